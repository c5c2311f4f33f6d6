//! Dirty bitmaps: which blocks of a volume have changed since a moment.
//!
//! A bitmap is a *ghost*: the tree of the volume as it was then, whose nodes are kept and whose
//! data is not. What has changed is where the two trees differ. So a write knows nothing of
//! bitmaps, what a crash leaves of a volume is what its bitmaps are compared with, and making one
//! is copying a root.
//!
//! A block has changed if the ghost has another pointer for it than the volume. What must never be
//! is that the pointers are equal and the contents are not. An equal pointer means the same place,
//! and a place is written once while its segment has its number; so it must not be that a ghost
//! leads into a segment which is given a new number. This is what keeps it from being:
//!
//! - Garbage collection frees a segment only if a whole traversal has met no pointer into it in any
//!   tree, ghosts included ([`collect`](super::collect)). Nothing that only ghosts lead to counts
//!   as live: a segment that has nothing else is one of those that the next traversal knows as
//!   moved from. There what was moved gets its new place in ghosts as elsewhere, and what was not
//!   becomes dead, which is like no pointer: changed. So that traversal meets nothing there.
//! - A ghost gets pointers in no other way than by copying the root of its volume, which is what
//!   snapshots and clones do; the argument why that is safe while a traversal is under way is
//!   theirs. No volume ever gets one from a ghost.
//! - A durable checkpoint has the ghosts as they were when the segments were doomed that are free
//!   in it, or later. What a recovery writes to was free in the checkpoint that it began from, or
//!   holds nothing that counts (a segment that the log took and did not use); no ghost in that
//!   checkpoint leads there.
//!
//! So everything that happens to the volume may happen: a discard makes holes, which differ from
//! what was there and not from holes; a deduplicated write that finds what the ghost has is the
//! same content; a rollback gives the volume other pointers, which lead to other places or to the
//! same content; what a volume is larger than its ghost by, the ghost has as holes, as the volume
//! had it. The other error, a block that is called changed though it is the same, is allowed and
//! rare: it was written again, or it came back after the place where it was then had been freed.
//!
//! Where there is no space even for the nodes of a ghost that have to change, all of it is given
//! up: everything counts as changed, and its nodes are free.

use super::{Core, Pause, TreeState};
use crate::base::limits::BITMAPS_MAX;
use crate::store::format::root::TreeKind;
use crate::store::map::Ref;
use crate::store::{BitmapInfo, BitmapName, StoreError, TreeName};

impl Core {
    /// All bitmaps, as people see them.
    pub(in crate::store) fn list_bitmaps(&self) -> Vec<BitmapInfo> {
        let info = |tree: &TreeState| {
            let volume = self.trees.get(&tree.parent)?;
            Some(BitmapInfo {
                name: BitmapName::new(&volume.name, &tree.name).ok()?,
                created: tree.created,
                given_up: tree.given_up,
            })
        };
        let ghosts = self.trees.values().filter(|tree| tree.is_ghost());
        let mut list: Vec<BitmapInfo> = ghosts.filter_map(info).collect();
        list.sort_by(|one, other| one.name.cmp(&other.name));
        list
    }

    /// The bitmaps of the volume that tree `id` is, or was taken of: each with its identity.
    pub(in crate::store) fn bitmaps_of(&self, id: u32) -> Vec<(String, u32)> {
        let volume = match self.trees.get(&id) {
            Some(tree) if tree.kind == TreeKind::Snapshot => tree.parent,
            _ => id,
        };
        let is_named = |tree: &&TreeState| BitmapName::new("volume", &tree.name).is_ok();
        let ghosts = self.ghosts_of(volume).filter(is_named);
        let mut list: Vec<_> = ghosts.map(|tree| (tree.name.clone(), tree.id)).collect();
        list.sort();
        // A store that somebody has made by hand may have more.
        list.truncate(BITMAPS_MAX);
        list
    }

    /// What the volume that tree `id` is, or was taken of, was made from, if that is still there.
    pub(in crate::store) fn origin_of(&self, id: u32) -> Option<u32> {
        let tree = self.trees.get(&id)?;
        let volume = match tree.kind {
            TreeKind::Snapshot => self.trees.get(&tree.parent)?,
            TreeKind::Volume | TreeKind::Ghost => tree,
        };
        self.trees
            .contains_key(&volume.parent)
            .then_some(volume.parent)
    }

    /// The ghost of a bitmap.
    ///
    /// # Errors
    /// If there is none of this name.
    pub(in crate::store) fn find_bitmap(&self, name: &BitmapName) -> Result<u32, StoreError> {
        let volume = self.find(&TreeName::volume(name.volume_name())?)?.id;
        let mut ghosts = self.ghosts_of(volume);
        let found = ghosts.find(|tree| tree.name == name.bitmap_name());
        let found = found.map(|tree| tree.id);
        found.ok_or_else(|| StoreError::NotFound(name.to_string()))
    }

    /// Makes a bitmap: from now on it tells what changes.
    pub(in crate::store) fn create_bitmap(
        &mut self,
        name: &BitmapName,
        now: u64,
    ) -> Result<(), StoreError> {
        self.check_new_bitmap(name)?;
        self.check_count(1)?;
        self.nodes.freeze();
        self.add_ghost(name, now)
    }

    /// Has a bitmap tell what changes from now on.
    pub(in crate::store) fn clear_bitmap(
        &mut self,
        name: &BitmapName,
        now: u64,
    ) -> Result<(), StoreError> {
        // It gets an identity of its own: whoever reads the old one is told that it is gone, and
        // is not given a mixture.
        self.delete_bitmap(name)?;
        self.nodes.freeze();
        self.add_ghost(name, now)
    }

    /// Deletes a bitmap.
    pub(in crate::store) fn delete_bitmap(&mut self, name: &BitmapName) -> Result<(), StoreError> {
        let id = self.find_bitmap(name)?;
        self.trees.remove(&id);
        self.gave_up();
        self.changed = true;
        Ok(())
    }

    /// Takes snapshots of volumes and makes a bitmap of each, all at this moment.
    pub(in crate::store) fn snapshot_with_bitmaps(
        &mut self,
        names: &[TreeName],
        bitmap: &str,
        now: u64,
    ) -> Result<(), StoreError> {
        let mut bitmaps = Vec::with_capacity(names.len());
        for name in names {
            let bitmap = BitmapName::new(name.volume_name(), bitmap)?;
            if !bitmaps.contains(&bitmap) {
                self.check_new_bitmap(&bitmap)?;
                bitmaps.push(bitmap);
            }
        }
        self.check_count(names.len() + bitmaps.len())?;
        self.snapshot(names, now)?;
        bitmaps
            .iter()
            .try_for_each(|bitmap| self.add_ghost(bitmap, now))
    }

    /// Gives up a ghost: every block counts as changed.
    pub(super) fn give_up_ghost(&mut self, id: u32) {
        let tree = self.trees.get_mut(&id).expect("it is there");
        (tree.root, tree.given_up) = (Ref::HOLE, true);
        self.traffic.given_up += 1;
        self.changed = true;
    }

    fn check_new_bitmap(&self, name: &BitmapName) -> Result<(), StoreError> {
        let volume = self.find(&TreeName::volume(name.volume_name())?)?.id;
        if self.find_bitmap(name).is_ok() {
            return Err(StoreError::Exists(name.to_string()));
        }
        if self.ghosts_of(volume).count() >= BITMAPS_MAX {
            let why = format!("a volume has at most {BITMAPS_MAX} bitmaps; delete one first");
            return Err(StoreError::Invalid(why));
        }
        Ok(())
    }

    /// Copies the root of a volume whose nodes are frozen.
    fn add_ghost(&mut self, name: &BitmapName, now: u64) -> Result<(), StoreError> {
        let volume = self.find(&TreeName::volume(name.volume_name())?)?.clone();
        self.add(TreeState {
            parent: volume.id,
            kind: TreeKind::Ghost,
            name: name.bitmap_name().to_owned(),
            created: now,
            pause: Pause::Nothing,
            ..volume
        });
        Ok(())
    }

    pub(super) fn ghosts_of(&self, volume: u32) -> impl Iterator<Item = &TreeState> {
        let is_one = move |tree: &&TreeState| tree.is_ghost() && tree.parent == volume;
        self.trees.values().filter(is_one)
    }
}
