//! The bitmaps of the store in memory: copies of what was there.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bedplate::base::{Error, Refusal, Result as IoResult, Status, StatusRun};
use bedplate::env::sim;
use bedplate::store::{BitmapInfo, BitmapName, StoreError, TreeName};

use super::content::BLOCK;
use super::fake::{Bug, FakeDisk, FakeStore, FakeTree, State, delay};

impl State {
    fn keep_bitmap(&mut self, name: &BitmapName) -> Result<(), StoreError> {
        let is_late = self.bug == Bug::BitmapComesLate;
        let tree = self.find_mut(name.volume_name())?;
        let name = name.bitmap_name().to_owned();
        let blocks = match tree.bitmaps.get(&name).filter(|_| is_late) {
            // One block stays as it was.
            Some(old) if tree.blocks.len() > 1 => {
                let mut blocks = tree.blocks.clone();
                let stays = old.iter().find(|(at, old)| blocks.get(at) != Some(old));
                blocks.extend(stays.map(|(at, old)| (*at, Rc::clone(old))));
                blocks
            }
            _ => tree.blocks.clone(),
        };
        tree.bitmaps.insert(name, blocks);
        Ok(())
    }

    /// The volume of a tree.
    fn volume_of(&self, tree: &FakeTree) -> Option<&FakeTree> {
        let name = TreeName::volume(tree.name.volume_name()).ok()?;
        let id = self.find(&name).ok()?;
        self.current.0.get(&id)
    }
}

impl FakeStore {
    pub(crate) fn list_bitmaps(&self) -> Vec<BitmapInfo> {
        let state = self.state();
        let of = |tree: &FakeTree| {
            let volume = tree.name.volume_name().to_owned();
            let info = move |name: &String| BitmapInfo {
                name: BitmapName::new(&volume, name).expect("a good name"),
                created: 0,
                given_up: false,
            };
            tree.bitmaps.keys().map(info).collect::<Vec<_>>()
        };
        state.current.0.values().flat_map(of).collect()
    }

    pub(crate) async fn create_bitmap(&self, name: &BitmapName) -> Result<(), StoreError> {
        delay().await;
        {
            let mut state = self.state();
            state.keep_bitmap(name)?;
            state.commit();
        }
        delay().await;
        Ok(())
    }

    pub(crate) async fn clear_bitmap(&self, name: &BitmapName) -> Result<(), StoreError> {
        self.create_bitmap(name).await
    }

    pub(crate) async fn delete_bitmap(&self, name: &BitmapName) -> Result<(), StoreError> {
        delay().await;
        let mut state = self.state();
        let tree = state.find_mut(name.volume_name())?;
        tree.bitmaps.remove(name.bitmap_name());
        state.commit();
        Ok(())
    }

    pub(crate) async fn snapshot_with_bitmaps(
        &self,
        names: &[TreeName],
        bitmap: &str,
    ) -> Result<(), StoreError> {
        delay().await;
        {
            let mut state = self.state();
            for name in names {
                state.copy_to(name)?;
                state.keep_bitmap(&BitmapName::new(name.volume_name(), bitmap)?)?;
            }
            state.commit();
        }
        delay().await;
        Ok(())
    }
}

impl FakeDisk {
    pub(crate) async fn changes(
        &self,
        bitmap: &str,
        first: u64,
        blocks: u64,
        runs_max: usize,
    ) -> IoResult<Vec<StatusRun>> {
        delay().await;
        let state = self.state();
        let gone = Error::Refused(Refusal::Invalid);
        let tree = state.current.0.get(&self.id).ok_or(gone)?;
        let old = state.volume_of(tree).and_then(|it| it.bitmaps.get(bitmap));
        let (old, new): (_, &BTreeMap<_, _>) = (old.ok_or(gone)?, &tree.blocks);
        let known: BTreeSet<u64> = old.keys().chain(new.keys()).copied().collect();
        let mut runs: Vec<StatusRun> = Vec::new();
        let mut add = |blocks: u64, status: Status| {
            let bytes = blocks * BLOCK as u64;
            if bytes > 0 {
                StatusRun { bytes, status }.add_to(&mut runs, usize::MAX);
            }
        };
        let mut from = first;
        for at in known.range(first..first + blocks).copied() {
            let forgets = state.bug == Bug::BitmapForgets && sim::one_in(10);
            let invents = state.bug == Bug::BitmapInvents && sim::one_in(10);
            add(at - from, Status::Clean);
            match old.get(&at) != new.get(&at) && !forgets || invents {
                true => add(1, Status::Dirty),
                false => add(1, Status::Clean),
            }
            from = at + 1;
        }
        add(first + blocks - from, Status::Clean);
        runs.truncate(runs_max);
        Ok(runs)
    }
}
