//! A store in memory that is right by construction, or wrong on purpose: an oracle that never
//! complains proves nothing, so each of these bugs must make it complain.
//!
//! What is durable is one map of trees; what is not is a list of changes, of which a crash keeps
//! the first few. An admin operation makes everything durable.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use bedplate::base::{Buf, Durability, Error, Refusal, Result as IoResult, Status, StatusRun};
use bedplate::env;
use bedplate::env::sim;
use bedplate::store::{Properties, StoreError, TreeInfo, TreeKind, TreeName};

use super::chance::index;
use super::content::BLOCK;

/// What is wrong with a fake store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bug {
    None,
    /// A flush makes nothing durable.
    FlushLies,
    /// A flush covers only what was written before the one before it.
    FlushLate,
    FuaLies,
    WriteThroughLies,
    /// A crash loses a change, and keeps one that came after.
    LosesFromTheMiddle,
    /// A crash swaps two changes.
    Reorders,
    /// A read shows the neighbour's data now and then.
    ReadsElsewhere,
    /// A read shows what was there before, now and then.
    ReadsStale,
    /// A block is half of two.
    Tears,
    ZeroesTooLittle,
    /// Holes are called data now and then.
    StatusLies,
    /// Writes change the last snapshot, too, now and then.
    SnapshotLeaks,
    /// Snapshots of several volumes are taken one after the other.
    SnapshotsApart,
    /// A rollback forgets a block.
    RollbackForgets,
    /// A clone lacks a block.
    CloneForgets,
    /// Admin operations are not durable when they are answered.
    AdminLies,
    /// What was deleted is there again after a crash.
    DeletedComesBack,
    /// Nothing is as large as it was after a crash.
    ForgetsSize,
    /// A write says that there is no space when there is.
    FullTooEarly,
    /// A request hangs.
    Hangs,
    /// A bitmap forgets a block now and then.
    BitmapForgets,
    /// A bitmap tells a block that was not changed, now and then.
    BitmapInvents,
    /// A bitmap that is cleared tells something of before.
    BitmapComesLate,
}

impl Bug {
    /// All that are wrong.
    pub(crate) const ALL: [Self; 23] = [
        Self::FlushLies,
        Self::FlushLate,
        Self::FuaLies,
        Self::WriteThroughLies,
        Self::LosesFromTheMiddle,
        Self::Reorders,
        Self::ReadsElsewhere,
        Self::ReadsStale,
        Self::Tears,
        Self::ZeroesTooLittle,
        Self::StatusLies,
        Self::SnapshotLeaks,
        Self::SnapshotsApart,
        Self::RollbackForgets,
        Self::CloneForgets,
        Self::AdminLies,
        Self::DeletedComesBack,
        Self::ForgetsSize,
        Self::FullTooEarly,
        Self::Hangs,
        Self::BitmapForgets,
        Self::BitmapInvents,
        Self::BitmapComesLate,
    ];
}

type Block = Rc<[u8]>;
type Id = u32;

#[derive(Clone, Default)]
pub(super) struct Trees(pub(super) BTreeMap<Id, FakeTree>);

#[derive(Clone)]
pub(super) struct FakeTree {
    pub(super) name: TreeName,
    size: u64,
    properties: Properties,
    pub(super) blocks: BTreeMap<u64, Block>,
    before: BTreeMap<u64, Block>,
    pub(super) bitmaps: BTreeMap<String, BTreeMap<u64, Block>>,
}

#[derive(Clone)]
enum Change {
    Write(Id, u64, Block),
    Zero(Id, u64, u64),
}

pub(super) struct State {
    pub(super) bug: Bug,
    durable: Trees,
    pub(super) current: Trees,
    /// What `current` has and `durable` has not.
    changes: Vec<Change>,
    /// How many changes there were in all before the first of these.
    first: usize,
    flushed_before: usize,
    deleted: Option<(Id, FakeTree)>,
    made: Id,
}

/// Where a fake store keeps what survives.
#[derive(Clone)]
pub(crate) struct FakeMedium(Rc<RefCell<State>>);

/// A fake store in use.
#[derive(Clone)]
pub(crate) struct FakeStore(FakeMedium);

/// A fake volume in use.
#[derive(Clone)]
pub(crate) struct FakeDisk {
    medium: FakeMedium,
    pub(super) id: Id,
}

impl FakeMedium {
    pub(crate) fn new(bug: Bug) -> Self {
        Self(Rc::new(RefCell::new(State {
            bug,
            durable: Trees::default(),
            current: Trees::default(),
            changes: Vec::new(),
            first: 0,
            flushed_before: 0,
            deleted: None,
            made: 0,
        })))
    }

    pub(crate) fn open(&self) -> FakeStore {
        let mut state = self.0.borrow_mut();
        state.make_durable(usize::MAX);
        FakeStore(self.clone())
    }

    pub(crate) fn crash(&self, choose: &mut dyn FnMut(u64) -> u64) {
        let mut state = self.0.borrow_mut();
        let kept = index(choose(state.changes.len() as u64 + 1));
        state.changes.truncate(kept);
        if kept >= 2 && state.bug == Bug::LosesFromTheMiddle {
            state.changes.remove(index(choose(kept as u64 - 1)));
        }
        if kept >= 2 && state.bug == Bug::Reorders {
            let one = index(choose(kept as u64 - 1));
            state.changes.swap(one, kept - 1);
        }
        state.make_durable(usize::MAX);
        if state.bug == Bug::DeletedComesBack
            && let Some((id, tree)) = state.deleted.take()
        {
            state.durable.0.insert(id, tree);
        }
        if state.bug == Bug::ForgetsSize {
            for tree in state.durable.0.values_mut() {
                tree.size += 4096;
            }
        }
        state.current = state.durable.clone();
    }
}

impl State {
    /// Makes the first changes durable, counted from the very first one.
    fn make_durable(&mut self, end: usize) {
        let count = end.saturating_sub(self.first).min(self.changes.len());
        for change in self.changes.drain(..count) {
            self.durable.apply(&change);
        }
        self.first += count;
    }

    fn change(&mut self, change: Change) {
        self.current.apply(&change);
        self.changes.push(change);
    }

    fn end(&self) -> usize {
        self.first + self.changes.len()
    }

    /// An admin operation has been done to `current`.
    pub(super) fn commit(&mut self) {
        if self.bug == Bug::AdminLies && sim::one_in(2) {
            return;
        }
        self.make_durable(usize::MAX);
        self.durable = self.current.clone();
    }

    pub(super) fn find(&self, name: &TreeName) -> Result<Id, StoreError> {
        let mut trees = self.current.0.iter();
        let found = trees.find(|(_, tree)| tree.name == *name);
        found
            .map(|(id, _)| *id)
            .ok_or_else(|| StoreError::NotFound(name.to_string()))
    }

    pub(super) fn find_mut(&mut self, name: &str) -> Result<&mut FakeTree, StoreError> {
        let id = self.find(&TreeName::volume(name)?)?;
        Ok(self.current.0.get_mut(&id).expect("found"))
    }

    /// Takes the snapshot `name`.
    pub(super) fn copy_to(&mut self, name: &TreeName) -> Result<(), StoreError> {
        let id = self.find(&TreeName::volume(name.volume_name())?)?;
        let mut tree = self.current.0[&id].clone();
        tree.name = name.clone();
        tree.bitmaps.clear();
        self.insert(tree);
        Ok(())
    }

    fn insert(&mut self, tree: FakeTree) {
        self.made += 1;
        self.current.0.insert(self.made, tree);
    }
}

impl Trees {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write(id, at, block) => {
                if let Some(tree) = self.0.get_mut(id) {
                    tree.put(*at, Rc::clone(block));
                }
            }
            Change::Zero(id, first, end) => {
                if let Some(tree) = self.0.get_mut(id) {
                    let mut later = tree.blocks.split_off(first);
                    tree.blocks.append(&mut later.split_off(end));
                }
            }
        }
    }
}

impl FakeTree {
    fn put(&mut self, at: u64, block: Block) {
        let zero = block.iter().all(|byte| *byte == 0);
        let before = match zero {
            true => self.blocks.remove(&at),
            false => self.blocks.insert(at, block),
        };
        if let Some(before) = before {
            self.before.insert(at, before);
        }
    }
}

pub(super) async fn delay() {
    env::sleep(Duration::from_micros(sim::below(1000))).await;
}

impl FakeStore {
    pub(super) fn state(&self) -> std::cell::RefMut<'_, State> {
        self.0.0.borrow_mut()
    }

    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        delay().await;
        self.state().commit();
        Ok(())
    }

    pub(crate) fn list(&self) -> Vec<TreeInfo> {
        let state = self.state();
        let info = |tree: &FakeTree| TreeInfo {
            name: tree.name.clone(),
            kind: match tree.name.snapshot_name() {
                None => TreeKind::Volume,
                Some(_) => TreeKind::Snapshot,
            },
            size: tree.size,
            created: 0,
            origin: None,
            properties: tree.properties,
            space: None,
        };
        state.current.0.values().map(info).collect()
    }

    pub(crate) fn disk(&self, name: &TreeName) -> Result<FakeDisk, StoreError> {
        Ok(FakeDisk {
            medium: self.0.clone(),
            id: self.state().find(name)?,
        })
    }

    pub(crate) async fn create_volume(
        &self,
        name: &str,
        size: u64,
        properties: Properties,
    ) -> Result<(), StoreError> {
        delay().await;
        {
            let mut state = self.state();
            state.insert(FakeTree {
                name: TreeName::volume(name)?,
                size,
                properties,
                blocks: BTreeMap::new(),
                before: BTreeMap::new(),
                bitmaps: BTreeMap::new(),
            });
            state.commit();
        }
        delay().await;
        Ok(())
    }

    pub(crate) async fn delete(&self, name: &TreeName) -> Result<(), StoreError> {
        delay().await;
        let mut state = self.state();
        let id = state.find(name)?;
        state.deleted = state.current.0.remove(&id).map(|tree| (id, tree));
        state.commit();
        Ok(())
    }

    pub(crate) async fn rename(&self, volume: &str, to: &str) -> Result<(), StoreError> {
        delay().await;
        let mut state = self.state();
        for tree in state.current.0.values_mut() {
            if tree.name.volume_name() == volume {
                tree.name = match tree.name.snapshot_name() {
                    None => TreeName::volume(to)?,
                    Some(snapshot) => TreeName::snapshot(to, snapshot)?,
                };
            }
        }
        state.commit();
        Ok(())
    }

    pub(crate) async fn resize(&self, volume: &str, size: u64) -> Result<(), StoreError> {
        delay().await;
        let mut state = self.state();
        state.find_mut(volume)?.size = size;
        state.commit();
        Ok(())
    }

    pub(crate) async fn clone_volume(&self, from: &TreeName, to: &str) -> Result<(), StoreError> {
        delay().await;
        let mut state = self.state();
        let id = state.find(from)?;
        let mut tree = state.current.0[&id].clone();
        tree.name = TreeName::volume(to)?;
        tree.bitmaps.clear();
        if state.bug == Bug::CloneForgets {
            tree.blocks.pop_last();
        }
        state.insert(tree);
        state.commit();
        Ok(())
    }

    pub(crate) async fn set_properties(
        &self,
        volume: &str,
        properties: Properties,
    ) -> Result<(), StoreError> {
        delay().await;
        let mut state = self.state();
        state.find_mut(volume)?.properties = properties;
        state.commit();
        Ok(())
    }

    pub(crate) async fn snapshot(&self, names: &[TreeName]) -> Result<(), StoreError> {
        delay().await;
        for name in names {
            if self.state().bug == Bug::SnapshotsApart {
                delay().await;
            }
            self.state().copy_to(name)?;
        }
        self.state().commit();
        delay().await;
        Ok(())
    }

    pub(crate) async fn rollback(&self, snapshot: &TreeName) -> Result<(), StoreError> {
        delay().await;
        let mut state = self.state();
        let id = state.find(snapshot)?;
        let mut blocks = state.current.0[&id].blocks.clone();
        let size = state.current.0[&id].size;
        let forgets = state.bug == Bug::RollbackForgets;
        let tree = state.find_mut(snapshot.volume_name())?;
        if forgets && let Some((at, block)) = tree.blocks.last_key_value() {
            blocks.insert(*at, Rc::clone(block));
        }
        tree.blocks = blocks;
        tree.size = size;
        state.commit();
        Ok(())
    }
}

impl FakeDisk {
    pub(super) fn state(&self) -> std::cell::RefMut<'_, State> {
        self.medium.0.borrow_mut()
    }

    fn has(&self, bug: Bug) -> bool {
        self.state().bug == bug
    }

    pub(crate) fn size(&self) -> u64 {
        self.state()
            .current
            .0
            .get(&self.id)
            .map_or(0, |tree| tree.size)
    }

    pub(crate) fn is_writable(&self) -> bool {
        let state = self.state();
        let tree = state.current.0.get(&self.id);
        tree.is_some_and(|tree| tree.name.snapshot_name().is_none())
    }

    pub(crate) async fn read(&self, first: u64, blocks: usize) -> IoResult<Buf> {
        delay().await;
        if self.has(Bug::Hangs) && sim::one_in(100) {
            std::future::pending::<()>().await;
        }
        let mut buf = Buf::zeroed(blocks * BLOCK);
        {
            let state = self.state();
            let (bug, gone) = (state.bug, Error::Refused(Refusal::Invalid));
            let tree = state.current.0.get(&self.id).ok_or(gone)?;
            for (at, to) in (first..).zip(buf.chunks_mut(BLOCK)) {
                let at = match bug == Bug::ReadsElsewhere && sim::one_in(30) {
                    true => at + 1,
                    false => at,
                };
                let stale = bug == Bug::ReadsStale && sim::one_in(10);
                let stale = tree.before.get(&at).filter(|_| stale);
                if let Some(block) = stale.or_else(|| tree.blocks.get(&at)) {
                    to.copy_from_slice(block);
                }
            }
        }
        delay().await;
        Ok(buf)
    }

    pub(crate) async fn write(
        &self,
        first: u64,
        data: Buf,
        durability: Durability,
    ) -> IoResult<()> {
        delay().await;
        self.must_have(first + (data.len() / BLOCK) as u64)?;
        if self.has(Bug::FullTooEarly) && sim::one_in(50) {
            return Err(Error::Refused(Refusal::NoSpace));
        }
        for (at, block) in (first..).zip(data.chunks(BLOCK)) {
            let mut state = self.state();
            let mut block: Block = block.into();
            let old = state.current.0[&self.id].blocks.get(&at).cloned();
            if let Some(old) = old
                && state.bug == Bug::Tears
                && sim::one_in(30)
            {
                block = [&block[..2048], &old[2048..]].concat().into();
            }
            if state.bug == Bug::SnapshotLeaks
                && sim::one_in(10)
                && let Some(mut tree) = state.current.0.last_entry()
            {
                tree.get_mut().put(at, Rc::clone(&block));
            }
            state.change(Change::Write(self.id, at, block));
        }
        self.finish(durability, Bug::FuaLies).await
    }

    pub(crate) async fn zero(
        &self,
        first: u64,
        blocks: u64,
        durability: Durability,
    ) -> IoResult<()> {
        delay().await;
        self.must_have(first + blocks)?;
        let end = match self.has(Bug::ZeroesTooLittle) {
            true => first + blocks - 1,
            false => first + blocks,
        };
        self.state().change(Change::Zero(self.id, first, end));
        self.finish(durability, Bug::FuaLies).await
    }

    fn must_have(&self, end: u64) -> IoResult<()> {
        let state = self.state();
        let tree = state.current.0.get(&self.id);
        match tree.is_some_and(|tree| end <= tree.size.div_ceil(BLOCK as u64)) {
            true => Ok(()),
            false => Err(Error::Refused(Refusal::Invalid)),
        }
    }

    async fn finish(&self, durability: Durability, lie: Bug) -> IoResult<()> {
        let through = {
            let state = self.state();
            let tree = state.current.0.get(&self.id);
            tree.is_some_and(|tree| tree.properties.write_through)
                && state.bug != Bug::WriteThroughLies
        };
        let fua = durability == Durability::Durable && !self.has(lie);
        match fua || through {
            true => self.flush().await,
            false => {
                delay().await;
                Ok(())
            }
        }
    }

    pub(crate) async fn flush(&self) -> IoResult<()> {
        let end = self.state().end();
        delay().await;
        {
            let mut state = self.state();
            match state.bug {
                Bug::FlushLies => {}
                Bug::FlushLate => {
                    let before = std::mem::replace(&mut state.flushed_before, end);
                    state.make_durable(before);
                }
                _ => state.make_durable(end),
            }
        }
        delay().await;
        Ok(())
    }

    pub(crate) async fn status(
        &self,
        first: u64,
        blocks: u64,
        runs_max: usize,
    ) -> IoResult<Vec<StatusRun>> {
        delay().await;
        let state = self.state();
        let gone = Error::Refused(Refusal::Invalid);
        let tree = state.current.0.get(&self.id).ok_or(gone)?;
        let mut runs: Vec<StatusRun> = Vec::new();
        let mut add = |blocks: u64, status: Status| {
            let bytes = blocks * BLOCK as u64;
            if bytes > 0 {
                StatusRun { bytes, status }.add_to(&mut runs, usize::MAX);
            }
        };
        let mut from = first;
        for at in tree.blocks.range(first..first + blocks).map(|(at, _)| *at) {
            add(at - from, Status::Hole);
            add(1, Status::Data);
            from = at + 1;
        }
        match state.bug == Bug::StatusLies && sim::one_in(20) {
            true => add(first + blocks - from, Status::Data),
            false => add(first + blocks - from, Status::Hole),
        }
        runs.truncate(runs_max);
        Ok(runs)
    }
}

impl fmt::Debug for FakeMedium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeMedium")
    }
}

impl fmt::Debug for FakeStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeStore")
    }
}

impl fmt::Debug for FakeDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FakeDisk({})", self.id)
    }
}
