//! Operations on whole volumes and snapshots: a root copied, dropped or renamed.
//!
//! Each is done at once in memory and is durable with the next checkpoint, which the caller asks
//! for and waits for before it answers. Where a write that follows would make no sense without the
//! operation, writes to the volume wait for that checkpoint too.

use super::{Core, Pause, TreeState};
use crate::store::format::Shape;
use crate::store::format::root::{Properties, TREES_MAX, TreeKind};
use crate::store::map::Ref;
use crate::store::{StoreError, TreeInfo, TreeName};

/// The largest volume: 64 PiB, what six levels of nodes reach many times over and every client
/// can count in signed 64 bits.
const VOLUME_BYTES_MAX: u64 = 64 << 50;

impl Core {
    /// The volumes, by identity.
    pub(in crate::store) fn volumes(&self) -> impl Iterator<Item = &TreeState> {
        let is_volume = |tree: &&TreeState| tree.kind == TreeKind::Volume;
        self.trees.values().filter(is_volume)
    }

    /// The volume or snapshot of this name.
    ///
    /// # Errors
    /// If there is none.
    pub(in crate::store) fn find(&self, name: &TreeName) -> Result<&TreeState, StoreError> {
        let missing = || StoreError::NotFound(name.to_string());
        let volume = self.volumes().find(|tree| tree.name == name.volume_name());
        let volume = volume.ok_or_else(missing)?;
        let Some(snapshot) = name.snapshot_name() else {
            return Ok(volume);
        };
        self.snapshots_of(volume.id)
            .find(|tree| tree.name == snapshot)
            .ok_or_else(missing)
    }

    /// Demands that the volume or snapshot of this name is the one with this identity.
    ///
    /// # Errors
    /// If it is another one by now, or none.
    pub(in crate::store) fn demand(&self, name: &TreeName, id: u32) -> Result<(), StoreError> {
        match self.find(name)?.id == id {
            true => Ok(()),
            false => Err(StoreError::NotFound(name.to_string())),
        }
    }

    /// All volumes and snapshots, as people see them.
    pub(in crate::store) fn list(&self) -> Vec<TreeInfo> {
        let mut list: Vec<TreeInfo> = self
            .trees
            .values()
            .filter_map(|tree| self.info(tree))
            .collect();
        list.sort_by(|one, other| one.name.cmp(&other.name));
        list
    }

    /// Makes a volume of holes.
    pub(in crate::store) fn create(
        &mut self,
        name: &TreeName,
        size: u64,
        properties: Properties,
        now: u64,
    ) -> Result<(), StoreError> {
        check_size(size)?;
        self.check_new(name)?;
        self.add(TreeState {
            id: 0,
            parent: 0,
            kind: TreeKind::Volume,
            name: name.volume_name().to_owned(),
            size,
            height: Shape::height(size),
            root: Ref::HOLE,
            created: now,
            properties,
            given_up: false,
            pause: Pause::Nothing,
        });
        Ok(())
    }

    /// Deletes a snapshot, or a volume that has none with its bitmaps.
    pub(in crate::store) fn delete(&mut self, name: &TreeName) -> Result<(), StoreError> {
        let id = self.find(name)?.id;
        let snapshots = self.snapshots_of(id).count();
        if snapshots > 0 {
            let why = format!("{name} has {snapshots} snapshots; delete them first");
            return Err(StoreError::Busy(why));
        }
        self.trees.remove(&id);
        self.trees
            .retain(|_, tree| !(tree.is_ghost() && tree.parent == id));
        self.gave_up();
        self.changed = true;
        Ok(())
    }

    /// Gives a volume another name.
    pub(in crate::store) fn rename(
        &mut self,
        volume: &TreeName,
        to: &TreeName,
    ) -> Result<(), StoreError> {
        let id = self.find(volume)?.id;
        self.check_free(to)?;
        to.volume_name().clone_into(&mut self.tree(id).name);
        Ok(())
    }

    /// Makes a volume larger. What is new are holes.
    pub(in crate::store) fn resize(
        &mut self,
        volume: &TreeName,
        size: u64,
    ) -> Result<(), StoreError> {
        check_size(size)?;
        let (id, old) = self.find(volume).map(|tree| (tree.id, tree.size))?;
        if size < old {
            let why = format!("{volume} has {old} bytes; a volume does not shrink");
            return Err(StoreError::Invalid(why));
        }
        let tree = &self.trees[&id];
        let (mut root, old_height) = (tree.root, tree.height);
        let height = Shape::height(size);
        for level in old_height..height {
            if root.is_hole() {
                break;
            }
            let slot = self.nodes.own(Ref::HOLE, level);
            self.nodes.entries(slot)[0] = root.bits();
            root = Ref::slot(slot);
        }
        let tree = self.tree(id);
        (tree.root, tree.height, tree.size, tree.pause) = (root, height, size, Pause::Writes);
        Ok(())
    }

    /// Changes how a volume is treated.
    pub(in crate::store) fn change_properties(
        &mut self,
        volume: &TreeName,
        change: impl FnOnce(&mut Properties),
    ) -> Result<(), StoreError> {
        let id = self.find(volume)?.id;
        change(&mut self.tree(id).properties);
        Ok(())
    }

    /// Makes a volume with the content of another, or of a snapshot.
    pub(in crate::store) fn clone_tree(
        &mut self,
        from: &TreeName,
        to: &TreeName,
        now: u64,
    ) -> Result<(), StoreError> {
        let from = self.find(from)?.clone();
        self.check_new(to)?;
        self.nodes.freeze();
        self.add(TreeState {
            parent: from.id,
            kind: TreeKind::Volume,
            name: to.volume_name().to_owned(),
            created: now,
            pause: Pause::Nothing,
            ..from
        });
        Ok(())
    }

    /// Takes snapshots of volumes, all at this moment.
    pub(in crate::store) fn snapshot(
        &mut self,
        names: &[TreeName],
        now: u64,
    ) -> Result<(), StoreError> {
        let mut taken = Vec::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            if name.snapshot_name().is_none() {
                let why = format!("'{name}' names no snapshot; write VOLUME@SNAPSHOT");
                return Err(StoreError::Invalid(why));
            }
            if names[..index].contains(name) {
                return Err(StoreError::Exists(name.to_string()));
            }
            let volume = TreeName::volume(name.volume_name())?;
            taken.push(self.find(&volume)?.clone());
            self.check_new(name)?;
        }
        self.check_count(names.len())?;
        self.nodes.freeze();
        for (name, volume) in names.iter().zip(taken) {
            self.add(TreeState {
                parent: volume.id,
                kind: TreeKind::Snapshot,
                name: name.snapshot_name().unwrap_or_default().to_owned(),
                created: now,
                pause: Pause::Nothing,
                ..volume
            });
        }
        Ok(())
    }

    /// Gives a volume the content of one of its snapshots.
    pub(in crate::store) fn rollback(&mut self, name: &TreeName) -> Result<(), StoreError> {
        let from = self.find(name)?.clone();
        if from.kind != TreeKind::Snapshot {
            let why = format!("'{name}' is no snapshot; write VOLUME@SNAPSHOT");
            return Err(StoreError::Invalid(why));
        }
        self.nodes.freeze();
        let volume = self.tree(from.parent);
        (volume.root, volume.height) = (from.root, from.height);
        (volume.size, volume.pause) = (from.size, Pause::Everything);
        Ok(())
    }

    /// Uses this many segments from now on.
    pub(in crate::store) fn grow(&mut self, shape: Shape) {
        self.table.grow(shape);
        self.gave_up();
        self.changed = true;
    }

    fn tree(&mut self, id: u32) -> &mut TreeState {
        self.changed = true;
        self.trees.get_mut(&id).expect("found just now")
    }

    fn snapshots_of(&self, volume: u32) -> impl Iterator<Item = &TreeState> {
        let is_one =
            move |tree: &&TreeState| tree.kind == TreeKind::Snapshot && tree.parent == volume;
        self.trees.values().filter(is_one)
    }

    fn info(&self, tree: &TreeState) -> Option<TreeInfo> {
        Some(TreeInfo {
            name: self.name_of(tree)?,
            kind: tree.kind,
            size: tree.size,
            created: tree.created,
            origin: match tree.kind {
                TreeKind::Snapshot | TreeKind::Ghost => None,
                TreeKind::Volume => self
                    .trees
                    .get(&tree.parent)
                    .and_then(|origin| self.name_of(origin)),
            },
            properties: tree.properties,
            space: self.tree_spaces.get(&tree.id).copied(),
        })
    }

    pub(in crate::store) fn name_of(&self, tree: &TreeState) -> Option<TreeName> {
        match tree.kind {
            TreeKind::Volume => TreeName::volume(&tree.name).ok(),
            TreeKind::Ghost => None,
            TreeKind::Snapshot => {
                let volume = self.trees.get(&tree.parent)?;
                TreeName::snapshot(&volume.name, &tree.name).ok()
            }
        }
    }

    fn check_new(&self, name: &TreeName) -> Result<(), StoreError> {
        self.check_count(1)?;
        self.check_free(name)
    }

    fn check_free(&self, name: &TreeName) -> Result<(), StoreError> {
        match self.find(name) {
            Ok(_) => Err(StoreError::Exists(name.to_string())),
            Err(_) => Ok(()),
        }
    }

    /// Refuses more trees than the root blob can hold, which lies in one segment.
    pub(super) fn check_count(&self, more: usize) -> Result<(), StoreError> {
        const ENTRY_BYTES_MAX: usize = 320;
        let room = self.shape().seg_bytes() as usize / 2;
        let pages = self.table.pages() * 16;
        let most = (room.saturating_sub(pages) / ENTRY_BYTES_MAX).min(TREES_MAX);
        match self.trees.len() + more <= most {
            true => Ok(()),
            false => {
                let why = format!(
                    "a store of this segment size has at most {most} volumes, \
                    snapshots and bitmaps"
                );
                Err(StoreError::Invalid(why))
            }
        }
    }

    pub(super) fn add(&mut self, tree: TreeState) {
        let id = self.next_tree;
        self.next_tree += 1;
        self.trees.insert(id, TreeState { id, ..tree });
        self.changed = true;
    }
}

fn check_size(size: u64) -> Result<(), StoreError> {
    let why = match size {
        0 => "a volume of no bytes".to_owned(),
        size if size % 512 != 0 => format!("{size} bytes is not a multiple of 512"),
        size if size > VOLUME_BYTES_MAX => "a volume of more than 64 PiB".to_owned(),
        _ => return Ok(()),
    };
    Err(StoreError::Invalid(why))
}
