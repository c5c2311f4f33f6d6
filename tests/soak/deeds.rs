//! The oracle's part for admin operations: what they make of the trees, and which of those that
//! were not answered a crash has left done.
//!
//! An admin operation that was answered survives a crash. One that was not has happened or not, as
//! a whole. While one is under way nothing else is done to the same volumes, so after a crash each
//! can be judged by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bedplate::base::{Error, Refusal};
use bedplate::store::{BitmapName, StoreError, TreeInfo, TreeKind, TreeName};

use super::bitmap::Bitmap;
use super::content::Content;
use super::history::{Op, Time, Version};
use super::oracle::Oracle;
use super::tally::trace;
use super::tree::{Clusters, State, Tree, TreeId, Wide};

/// An admin operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Deed {
    Create(TreeId),
    Delete(TreeId),
    Rename(TreeId, TreeName),
    Resize(TreeId, u64),
    /// Snapshots of different volumes, of one moment.
    Snapshot(Vec<TreeId>),
    /// The second is made from the first.
    Clone(TreeId, TreeId),
    /// The volume gets the content of the snapshot.
    Rollback(TreeId, TreeId),
    WriteThrough(TreeId, bool),
    /// A bitmap of the volume.
    Bitmap(TreeId, String),
    ClearBitmap(TreeId, String),
    DeleteBitmap(TreeId, String),
    /// Snapshots of different volumes, and a bitmap of each of these, of one moment.
    Marked(Vec<TreeId>, String),
}

/// An admin operation under way.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) op: Op,
    pub(crate) issued: Time,
    pub(crate) deed: Deed,
    /// What it locks.
    volumes: Vec<TreeId>,
}

impl Deed {
    fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "volumes created",
            Self::Delete(_) => "trees deleted",
            Self::Rename(..) => "volumes renamed",
            Self::Resize(..) => "volumes grown",
            Self::Snapshot(trees) if trees.len() > 1 => "snapshots of several volumes",
            Self::Snapshot(_) => "snapshots of one volume",
            Self::Clone(..) => "volumes cloned",
            Self::Rollback(..) => "volumes rolled back",
            Self::WriteThrough(..) => "write-through set",
            Self::Bitmap(..) => "bitmaps made",
            Self::ClearBitmap(..) => "bitmaps cleared",
            Self::DeleteBitmap(..) => "bitmaps deleted",
            Self::Marked(..) => "snapshots with bitmaps",
        }
    }
}

impl Oracle {
    /// A new volume that is about to be made.
    pub(crate) fn add_volume(&mut self, name: TreeName, bytes: u64, clusters: Clusters) -> TreeId {
        self.add(Tree::new(name, bytes, clusters))
    }

    /// A new snapshot of `volume` that is about to be taken.
    pub(crate) fn add_snapshot(&mut self, volume: TreeId, name: &str) -> TreeId {
        let of = self.tree(volume);
        let name = TreeName::snapshot(of.name.volume_name(), name).expect("a good name");
        let mut tree = Tree::new(name, of.bytes, Rc::clone(&of.clusters));
        tree.write_through = of.write_through;
        tree.of = Some(volume);
        // What is done to it locks its volume.
        tree.locked = false;
        tree.state = State::Coming(Some(volume));
        self.add(tree)
    }

    /// A new volume that is about to be made from another tree.
    pub(crate) fn add_clone(&mut self, from: TreeId, name: TreeName) -> TreeId {
        let of = self.tree(from);
        let mut tree = Tree::new(name, of.bytes, Rc::clone(&of.clusters));
        tree.write_through = of.write_through;
        tree.state = State::Coming(Some(from));
        self.add(tree)
    }

    fn add(&mut self, tree: Tree) -> TreeId {
        self.trees_made += 1;
        self.trees.insert(self.trees_made, tree);
        self.trees_made
    }

    /// Begins an admin operation; gives its number.
    pub(crate) fn begin_deed(&mut self, deed: Deed) -> Op {
        let op = self.next_op();
        let issued = self.tick();
        let volumes = self.volumes_of(&deed);
        for volume in &volumes {
            let tree = self.trees.get_mut(volume).expect("it is there");
            tree.locked = true;
        }
        match &deed {
            Deed::Delete(tree) => {
                let tree = self.trees.get_mut(tree).expect("it is there");
                tree.state = State::Going;
            }
            Deed::Rollback(volume, snapshot) => self.push_rollback(*volume, *snapshot, op, issued),
            Deed::Bitmap(..) | Deed::ClearBitmap(..) | Deed::Marked(..) => {
                for volume in &volumes {
                    self.edit(*volume, |tree| tree.coming = Some(Bitmap::new(tree, op)));
                }
            }
            _ => {}
        }
        trace(issued, || format!("begin op {op}: {deed:?}"));
        self.digest.add(&[issued, u64::from(op)]);
        self.pending.push(Pending {
            op,
            issued,
            deed,
            volumes,
        });
        op
    }

    fn volumes_of(&self, deed: &Deed) -> Vec<TreeId> {
        let volume_of = |tree: &TreeId| self.tree(*tree).of.unwrap_or(*tree);
        match deed {
            Deed::Snapshot(trees) | Deed::Marked(trees, _) => trees.iter().map(volume_of).collect(),
            Deed::Clone(from, to) => vec![volume_of(from), *to],
            Deed::Create(tree)
            | Deed::Delete(tree)
            | Deed::Rename(tree, _)
            | Deed::Resize(tree, _)
            | Deed::Rollback(tree, _)
            | Deed::Bitmap(tree, _)
            | Deed::ClearBitmap(tree, _)
            | Deed::DeleteBitmap(tree, _)
            | Deed::WriteThrough(tree, _) => vec![volume_of(tree)],
        }
    }

    /// From `issued` on each block of the volume may show what the snapshot has.
    fn push_rollback(&mut self, volume: TreeId, snapshot: TreeId, op: Op, issued: Time) {
        let target = self.tree(snapshot).settled();
        let least = self.tree(snapshot).len();
        let horizon = self.horizon();
        let tree = self.trees.get_mut(&volume).expect("it is there");
        let rest = Version::new(op, Content::Zero, issued, true);
        let mut blocks: Vec<u64> = tree.blocks.keys().copied().collect();
        blocks.extend(
            target
                .keys()
                .filter(|block| !tree.blocks.contains_key(block)),
        );
        for block in blocks {
            let content = target.get(&block).copied().unwrap_or(Content::Zero);
            tree.push(block, Version { content, ..rest }, horizon);
        }
        // Blocks that were never touched, and may be under the rollback.
        tree.wide.push(Wide {
            version: rest,
            range: 0..u64::MAX,
        });
        tree.least = tree.least.min(least);
    }

    /// An admin operation was answered; gives whether it was done.
    pub(crate) fn end_deed(&mut self, op: Op, result: Result<(), StoreError>) -> bool {
        let now = self.tick();
        let place = self.pending.iter().position(|pending| pending.op == op);
        let pending = self.pending.remove(place.expect("it was begun"));
        trace(now, || format!("end op {op}: {result:?}"));
        self.digest.add(&[now, u64::from(op)]);
        let Err(error) = result else {
            self.promise(pending.issued);
            self.do_deed(&pending, now);
            return true;
        };
        let what = format!("{:?}", pending.deed);
        let may_have_happened = match error {
            StoreError::NoSpace => {
                let is_delete = matches!(pending.deed, Deed::Delete(_));
                assert!(self.is_broken || !is_delete, "{what}: no space");
                self.judge(&what, false, Error::Refused(Refusal::NoSpace))
            }
            StoreError::Io(error) => self.judge(&what, false, error),
            StoreError::Closed => self.judge(&what, false, Error::Poisoned),
            other => panic!("{what}: {other}, and nothing is wrong with it"),
        };
        match may_have_happened {
            // It stays as it is, locked, until the store is opened again.
            true => self.pending.push(pending),
            false => self.undo_deed(&pending),
        }
        false
    }

    /// A deed has happened.
    fn do_deed(&mut self, pending: &Pending, now: Time) {
        self.unlock(pending);
        self.tally.count(pending.deed.name());
        match &pending.deed {
            Deed::Create(tree) => self.edit(*tree, |tree| tree.state = State::Ready),
            Deed::Delete(tree) => {
                self.trees.remove(tree);
            }
            Deed::Rename(tree, to) => self.rename(*tree, to),
            Deed::Resize(tree, bytes) => self.edit(*tree, |tree| tree.resize(*bytes, now)),
            Deed::Snapshot(trees) => {
                for tree in trees {
                    self.arrive(*tree, pending);
                }
            }
            Deed::Clone(_, tree) => self.arrive(*tree, pending),
            Deed::Rollback(tree, snapshot) => {
                let bytes = self.tree(*snapshot).bytes;
                self.edit(*tree, |tree| {
                    tree.settle(0..u64::MAX, pending.op, now, true);
                    tree.resize(bytes, now);
                });
            }
            Deed::WriteThrough(tree, on) => self.edit(*tree, |tree| {
                tree.write_through = *on;
                tree.changed = now;
            }),
            Deed::Marked(trees, bitmap) => {
                for tree in trees {
                    let of = self.tree(*tree).of.expect("a snapshot");
                    self.add_bitmap(of, bitmap, pending);
                    self.arrive(*tree, pending);
                }
            }
            Deed::Bitmap(tree, bitmap) | Deed::ClearBitmap(tree, bitmap) => {
                self.add_bitmap(*tree, bitmap, pending);
            }
            Deed::DeleteBitmap(tree, bitmap) => self.edit(*tree, |tree| {
                tree.bitmaps.remove(bitmap);
            }),
        }
    }

    /// A deed has not happened.
    fn undo_deed(&mut self, pending: &Pending) {
        self.unlock(pending);
        match &pending.deed {
            Deed::Create(tree) | Deed::Clone(_, tree) => {
                self.trees.remove(tree);
            }
            Deed::Snapshot(trees) | Deed::Marked(trees, _) => {
                self.trees.retain(|tree, _| !trees.contains(tree));
            }
            Deed::Delete(tree) => self.edit(*tree, |tree| tree.state = State::Ready),
            Deed::Rollback(tree, _) => self.edit(*tree, |tree| {
                tree.cancel(0..u64::MAX, pending.op);
                tree.least = tree.len();
            }),
            Deed::Rename(..)
            | Deed::Resize(..)
            | Deed::WriteThrough(..)
            | Deed::Bitmap(..)
            | Deed::ClearBitmap(..)
            | Deed::DeleteBitmap(..) => {}
        }
        for volume in &pending.volumes {
            if let Some(tree) = self.trees.get_mut(volume) {
                tree.coming = None;
            }
        }
    }

    /// A bitmap has been made of `volume`.
    fn add_bitmap(&mut self, volume: TreeId, name: &str, pending: &Pending) {
        self.edit(volume, |tree| {
            let mut bitmap = tree.coming.take().expect("it is being made");
            bitmap.made(tree, pending.issued);
            tree.bitmaps.insert(name.to_owned(), bitmap);
        });
    }

    fn unlock(&mut self, pending: &Pending) {
        for volume in &pending.volumes {
            if let Some(tree) = self.trees.get_mut(volume) {
                tree.locked = false;
            }
        }
    }

    fn edit(&mut self, tree: TreeId, edit: impl FnOnce(&mut Tree)) {
        edit(self.trees.get_mut(&tree).expect("it is there"));
    }

    fn rename(&mut self, volume: TreeId, to: &TreeName) {
        for (id, tree) in &mut self.trees {
            if *id == volume {
                tree.name = to.clone();
            } else if tree.of == Some(volume) {
                let snapshot = tree.name.snapshot_name().expect("a snapshot");
                let name = TreeName::snapshot(to.volume_name(), snapshot);
                tree.name = name.expect("a good name");
            }
        }
    }

    /// A tree is there that was made from another: it is one of the states that this one had from
    /// when that began until now.
    fn arrive(&mut self, tree: TreeId, pending: &Pending) {
        let State::Coming(Some(source)) = self.tree(tree).state else {
            unreachable!("it is made from something")
        };
        let blocks = self.tree(source).blocks.iter();
        let blocks = blocks.map(|(block, history)| (*block, history.to_copy()));
        let blocks = blocks.collect();
        self.edit(tree, |tree| {
            tree.blocks = blocks;
            tree.state = State::Fresh(pending.op, pending.issued, source);
        });
    }

    /// The store was not closed but lost: nothing is under way any more.
    pub(crate) fn lose_power(&mut self) {
        trace(self.tick(), || {
            format!("the life ends; pending: {:?}", self.pending)
        });
        self.looks.clear();
        self.is_closing = false;
    }

    /// The store is open again and has these trees. Decides which of the admin operations that
    /// were not answered have happened. Gives the time before which everything must be there.
    pub(crate) fn reopen(&mut self, list: &[TreeInfo], bitmaps: &[BitmapName]) -> Time {
        let now = self.tick();
        let mut listed = BTreeMap::new();
        for info in list {
            let before = listed.insert(info.name.clone(), info);
            assert!(before.is_none(), "{} is listed twice", info.name);
        }
        for pending in std::mem::take(&mut self.pending) {
            if let Deed::Rollback(tree, snapshot) = &pending.deed {
                // The blocks tell, and the size if it was another.
                self.unlock(&pending);
                let bytes = self.tree(*snapshot).bytes;
                let is_new = |info: &&&TreeInfo| info.size == bytes;
                let has_shrunk = listed.get(&self.tree(*tree).name).filter(is_new).is_some();
                self.edit(*tree, |tree| match has_shrunk {
                    true => tree.resize(bytes, now),
                    false => tree.least = tree.len(),
                });
            } else if let Deed::ClearBitmap(tree, name) = &pending.deed {
                // Nothing tells but what it tells.
                self.unlock(&pending);
                let old = self.tree(*tree).bitmaps[name].clone();
                self.add_bitmap(*tree, name, &pending);
                self.edit(*tree, |tree| {
                    tree.bitmaps.get_mut(name).expect("just added").or(old);
                });
            } else if self.has_happened(&pending, &listed, bitmaps) {
                self.promise(pending.issued);
                self.do_deed(&pending, now);
            } else {
                self.undo_deed(&pending);
            }
        }
        self.compare(&listed);
        self.compare_bitmaps(bitmaps);
        self.floor
    }

    fn has_happened(
        &self,
        pending: &Pending,
        listed: &BTreeMap<TreeName, &TreeInfo>,
        bitmaps: &[BitmapName],
    ) -> bool {
        let has_bitmap = |tree: &TreeId, name: &String| {
            let volume = self.tree(*tree).name.volume_name();
            let is_it = |bitmap: &BitmapName| {
                bitmap.volume_name() == volume && bitmap.bitmap_name() == name
            };
            bitmaps.iter().any(is_it)
        };
        let is_there = |tree: &TreeId| listed.contains_key(&self.tree(*tree).name);
        let info = |tree: &TreeId| listed.get(&self.tree(*tree).name);
        match &pending.deed {
            Deed::Create(tree) | Deed::Clone(_, tree) => is_there(tree),
            Deed::Delete(tree) => !is_there(tree),
            Deed::Rename(tree, to) => {
                let renamed = listed.contains_key(to);
                let name = &self.tree(*tree).name;
                assert_ne!(renamed, is_there(tree), "is {name} {to} now, or not?");
                renamed
            }
            Deed::Resize(tree, bytes) => info(tree).is_some_and(|info| info.size == *bytes),
            Deed::Snapshot(trees) => all_or_none(trees.iter().map(is_there)),
            Deed::Marked(trees, bitmap) => {
                let bitmaps = trees.iter().map(|tree| has_bitmap(tree, bitmap));
                all_or_none(trees.iter().map(is_there).chain(bitmaps))
            }
            Deed::Bitmap(tree, bitmap) => has_bitmap(tree, bitmap),
            Deed::DeleteBitmap(tree, bitmap) => !has_bitmap(tree, bitmap),
            Deed::ClearBitmap(..) => unreachable!("decided by the blocks"),
            Deed::WriteThrough(tree, on) => {
                info(tree).is_some_and(|info| info.properties.write_through == *on)
            }
            Deed::Rollback(..) => unreachable!("decided by the blocks"),
        }
    }

    /// The store must list just the bitmaps that there are.
    fn compare_bitmaps(&self, listed: &[BitmapName]) {
        let named = self.trees.values().flat_map(|tree| {
            let name = |bitmap: &String| {
                let name = BitmapName::new(tree.name.volume_name(), bitmap);
                name.expect("a good name")
            };
            tree.bitmaps.keys().map(name)
        });
        let known: BTreeSet<BitmapName> = named.collect();
        let listed: BTreeSet<BitmapName> = listed.iter().cloned().collect();
        assert_eq!(known, listed, "the bitmaps");
    }

    /// The store must list just the trees that there are.
    pub(crate) fn compare(&self, listed: &BTreeMap<TreeName, &TreeInfo>) {
        for tree in self.trees.values() {
            let name = &tree.name;
            let info = listed.get(name);
            let info = info.unwrap_or_else(|| panic!("{name} is lost"));
            assert_eq!(info.size, tree.bytes, "the size of {name}");
            let kind = match tree.of {
                None => TreeKind::Volume,
                Some(_) => TreeKind::Snapshot,
            };
            assert_eq!(info.kind, kind, "what {name} is");
            let through = info.properties.write_through;
            if tree.is_volume() {
                assert_eq!(through, tree.write_through, "{name}: write-through");
            }
        }
        let known = |name: &&TreeName| self.trees.values().any(|tree| tree.name == **name);
        if let Some(name) = listed.keys().find(|name| !known(name)) {
            panic!("{name} has come from nowhere");
        }
    }
}

/// Whether all of what was done at once is there, or nothing of it.
fn all_or_none(there: impl Iterator<Item = bool>) -> bool {
    let there: Vec<bool> = there.collect();
    let (some, all) = (there.contains(&true), !there.contains(&false));
    assert!(all || !some, "a part of what was done at once: {there:?}");
    all
}
