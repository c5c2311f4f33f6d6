//! Volumes and snapshots in a log on a backend.
//!
//! A store is made by [`create()`] and opened by [`Store::open`], which recovers it: there is no
//! other way, so a crash is nothing special. A [`Disk`] is one of its volumes or snapshots in use.
//!
//! Everything that is known is in the [core](self), which does no I/O; the shell around it reads
//! and writes what the core decides. `format` is what lies on the backend.

mod cache;
mod changes;
pub mod check;
mod checkpointer;
mod collector;
mod core;
mod create;
mod dedup;
mod disk;
mod error;
mod find;
pub mod format;
mod gather;
pub mod inspect;
mod keys;
mod learner;
mod log;
mod map;
mod moved;
mod names;
mod payload;
mod prepare;
mod readahead;
mod recover;
mod renew;
mod sealing;
mod shell;
mod space;
mod table;
mod tuning;
mod unlock;
mod used;

use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use create::{Creation, Encryption, create};
pub use disk::Disk;
pub use error::StoreError;
pub use format::root::{Compression, Dedup, Properties, TreeKind};
pub use keys::{KeyChange, NewKey, change_keys, list_keys};
pub use names::{BitmapName, TreeName};
pub use renew::RenewalProgress;
pub use space::{Counted, Space, TreeSpace};
#[cfg(debug_assertions)]
#[doc(hidden)]
pub use tuning::Sabotage;
pub use tuning::Tuning;

use self::core::{Core, Health};
pub use crate::base::Mark;

use crate::backend::{Backend, Checked};
use crate::codec::Credential;
use crate::env;
use format::{Malformed, Shape};
use shell::Shell;

/// An open store.
#[derive(Debug)]
pub struct Store {
    shell: Arc<Shell>,
}

/// A volume or snapshot, as people see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TreeInfo {
    /// What it is called.
    pub name: TreeName,
    /// What it is.
    pub kind: TreeKind,
    /// Its size in bytes.
    pub size: u64,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// What a clone was made from, if that is still there.
    pub origin: Option<TreeName>,
    /// How it is treated.
    pub properties: Properties,
    /// What it held when garbage collection counted last, if it was there then.
    pub space: Option<TreeSpace>,
}

/// A dirty bitmap, as people see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BitmapInfo {
    /// What it is called.
    pub name: BitmapName,
    /// Since when it tells what has changed, in seconds since 1970.
    pub created: u64,
    /// Whether it was given up for lack of space, so that everything counts as changed.
    pub given_up: bool,
}

/// How full a store is, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// The sizes of all volumes together.
    pub logical: u64,
    /// What all segments have that can hold data.
    pub physical: u64,
    /// In free segments.
    pub free: u64,
    /// In segments that are used.
    pub written: u64,
    /// Reachable, as far as is known: the rest of what is written is garbage.
    pub live: u64,
    /// Kept back for garbage collection and checkpoints.
    pub reserve: u64,
}

/// What was written since a store was opened, in bytes. All of it together, divided by what
/// clients wrote, is the write amplification.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Blocks that clients wrote, zeroes not counted.
    pub clients: u64,
    /// What of it deduplication found to be there already.
    pub deduplicated: u64,
    /// What of it deduplication looked for and did not find.
    pub new: u64,
    /// Batches of the log and trailers.
    pub log: u64,
    /// What garbage collection moved.
    pub moved: u64,
    /// Blocks of it that were cold and became smaller.
    pub repacked: u64,
    /// Checkpoints.
    pub metadata: u64,
    /// How often garbage collection has visited everything.
    pub passes: u64,
    /// Bitmaps that were given up for lack of space, so that all counts as changed in them.
    pub given_up: u64,
}

/// What has happened in a store since it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StoreCounts {
    /// Checkpoints that are durable.
    pub checkpoints: u64,
    /// Blocks that were read from the cache.
    pub cache_hits: u64,
    /// Blocks that had to be read from the backend.
    pub cache_misses: u64,
    /// Writes that had to wait.
    pub stalls: Stalls,
}

/// Writes that had to wait, by what for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stalls {
    /// The log was behind.
    pub log: u64,
    /// Too much had changed since the last checkpoint.
    pub checkpoint: u64,
    /// Garbage collection had to free something first.
    pub space: u64,
    /// An operation on the whole volume was under way.
    pub operation: u64,
}

impl Store {
    /// Opens the store on `backend`: recovers it and makes a checkpoint. Its chores run on the
    /// caller's reactor until it is closed.
    ///
    /// # Errors
    /// What is wrong with the store, or that it is none. Nothing is written to a store that cannot
    /// be opened.
    pub async fn open(
        backend: Checked,
        tuning: Tuning,
        key: Option<&Credential>,
    ) -> Result<Arc<Self>, StoreError> {
        let slots = find::read_slots(&backend).await?;
        let mut recovered = recover::recover(&backend, &slots, tuning, key).await?;
        let key_slots = recovered.key_slots.take();
        let core = Core::new(recovered, tuning).ok_or(StoreError::NoSpace)?;
        find::complete_superblock(&backend, &slots).await?;
        let shell = Shell::new(backend, core);
        shell.checkpoint().await?;
        if let Some(key_slots) = key_slots {
            unlock::write_key_slots(&shell.backend, &key_slots).await?;
        }
        env::spawn(Arc::clone(&shell).keep_checkpointing());
        env::spawn(Arc::clone(&shell).keep_collecting());
        env::spawn(Arc::clone(&shell).keep_learning());
        shell.is_in_use.store(true, Ordering::SeqCst);
        shell.wait_for_space().await?;
        Ok(Arc::new(Self { shell }))
    }

    /// Makes a checkpoint and ends all chores. Afterwards every request is refused. A disk beneath
    /// that has no space left is not waited for.
    ///
    /// # Errors
    /// If the checkpoint could not be made; what was flushed is safe all the same.
    pub async fn close(&self) -> Result<(), StoreError> {
        if !self.shell.is_in_use.swap(false, Ordering::SeqCst) {
            return Err(StoreError::Closed);
        }
        let made = self.checkpoint().await;
        let mut core = self.shell.core();
        if core.health == Health::Well {
            core.health = Health::Closed;
        }
        drop(core);
        self.shell.wake_all();
        made
    }

    /// Whether it takes requests.
    ///
    /// # Errors
    /// Why not.
    pub fn health(&self) -> Result<(), StoreError> {
        Ok(self.shell.core().check_health()?)
    }

    /// How it is divided.
    pub fn shape(&self) -> Shape {
        self.shell.shape()
    }

    /// How full it is.
    pub fn usage(&self) -> Usage {
        self.shell.core().usage()
    }

    /// What garbage collection has counted last; nothing before its first pass since the store was
    /// opened.
    pub fn counted(&self) -> Option<Counted> {
        self.shell.core().counted
    }

    /// Has a pass of garbage collection made that begins now, and waits for its end: it counts what
    /// is in use, frees the segments in which nothing is, and moves together what the next pass can
    /// free then.
    ///
    /// # Errors
    /// A pass that could not be ended: nothing is lost by it.
    pub async fn collect(&self) -> Result<(), StoreError> {
        Ok(self.shell.collect_now().await?)
    }

    /// What was written since it was opened.
    pub fn traffic(&self) -> Traffic {
        self.shell.core().traffic
    }

    /// What has happened since it was opened.
    pub fn counts(&self) -> StoreCounts {
        let (cache_hits, cache_misses) = self.shell.blocks.hits_and_misses();
        let core = self.shell.core();
        StoreCounts {
            checkpoints: core.checkpoints.done,
            cache_hits,
            cache_misses,
            stalls: core.stalls,
        }
    }

    /// Whether it is in use and keeps its promises.
    pub fn is_well(&self) -> bool {
        self.shell.core().health == Health::Well
    }

    /// Gives the index of deduplication so many bytes of memory at most. What does not fit is
    /// forgotten, and written again when it is met again.
    pub fn limit_dedup_index(&self, bytes: usize) {
        self.shell.index.resize(bytes, self.shape().bytes());
    }

    /// All volumes and snapshots, by name.
    pub fn list(&self) -> Vec<TreeInfo> {
        self.shell.core().list()
    }

    /// The volume or snapshot of this name, to be used.
    ///
    /// # Errors
    /// If there is none.
    pub fn disk(&self, name: &TreeName) -> Result<Disk, StoreError> {
        let core = self.shell.core();
        let tree = core.find(name)?;
        let (id, size, kind) = (tree.id, tree.size, tree.kind);
        drop(core);
        Ok(Disk::new(Arc::clone(&self.shell), id, size, kind))
    }

    /// Makes a volume of `size` bytes, all holes.
    ///
    /// # Errors
    /// `Invalid` for a name or size that no volume can have, `Exists`.
    pub async fn create_volume(
        &self,
        name: &str,
        size: u64,
        properties: Properties,
    ) -> Result<(), StoreError> {
        let name = TreeName::volume(name)?;
        let now = env::wall_clock();
        self.administer(|core| core.create(&name, size, properties, now))
            .await
    }

    /// Deletes a snapshot, or a volume that has none with its bitmaps.
    ///
    /// # Errors
    /// `NotFound`, or `Busy` for a volume with snapshots.
    pub async fn delete(&self, name: &TreeName) -> Result<(), StoreError> {
        self.administer(|core| core.delete(name)).await
    }

    /// Gives a volume another name.
    ///
    /// # Errors
    /// `NotFound`, `Exists`, `Invalid`.
    pub async fn rename(&self, volume: &str, to: &str) -> Result<(), StoreError> {
        let (volume, to) = (TreeName::volume(volume)?, TreeName::volume(to)?);
        self.administer(|core| core.rename(&volume, &to)).await
    }

    /// Makes a volume larger. Its writes wait meanwhile.
    ///
    /// # Errors
    /// `NotFound`, or `Invalid` for a size that is smaller or that no volume can have.
    pub async fn resize(&self, volume: &str, size: u64) -> Result<(), StoreError> {
        let volume = TreeName::volume(volume)?;
        self.administer(|core| core.resize(&volume, size)).await
    }

    /// Makes volume `to` with the content that a volume or snapshot has now.
    ///
    /// # Errors
    /// `NotFound`, `Exists`, `Invalid`.
    pub async fn clone_volume(&self, from: &TreeName, to: &str) -> Result<(), StoreError> {
        let to = TreeName::volume(to)?;
        let now = env::wall_clock();
        self.administer(|core| core.clone_tree(from, &to, now))
            .await
    }

    /// Changes how a volume is treated.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_properties(
        &self,
        volume: &str,
        properties: Properties,
    ) -> Result<(), StoreError> {
        self.change_properties(volume, |all| *all = properties)
            .await
    }

    /// Changes some of how a volume is treated: what `change` does to all of it.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn change_properties(
        &self,
        volume: &str,
        change: impl FnOnce(&mut Properties),
    ) -> Result<(), StoreError> {
        let volume = TreeName::volume(volume)?;
        self.administer(|core| core.change_properties(&volume, change))
            .await
    }

    /// Takes snapshots, of several volumes at the same moment.
    ///
    /// # Errors
    /// `NotFound`, `Exists`, `Invalid`; then none of them is taken.
    pub async fn snapshot(&self, names: &[TreeName]) -> Result<(), StoreError> {
        let now = env::wall_clock();
        self.administer(|core| core.snapshot(names, now)).await
    }

    /// Takes snapshots, of several volumes at the same moment, and makes a bitmap called `bitmap`
    /// of each of these volumes at that moment.
    ///
    /// # Errors
    /// As [`snapshot`](Self::snapshot) and [`create_bitmap`](Self::create_bitmap); then none is
    /// made.
    pub async fn snapshot_with_bitmaps(
        &self,
        names: &[TreeName],
        bitmap: &str,
    ) -> Result<(), StoreError> {
        let now = env::wall_clock();
        self.administer(|core| core.snapshot_with_bitmaps(names, bitmap, now))
            .await
    }

    /// Gives a volume the content of one of its snapshots. Its writes wait meanwhile.
    ///
    /// # Errors
    /// `NotFound`, `Invalid`.
    pub async fn rollback(&self, snapshot: &TreeName) -> Result<(), StoreError> {
        self.administer(|core| core.rollback(snapshot)).await
    }

    /// Uses `size` bytes of the backend from now on.
    ///
    /// # Errors
    /// `Invalid` if that is less than now, or more than there is.
    pub async fn grow(&self, size: u64) -> Result<(), StoreError> {
        let (old, there) = (self.shape(), self.shell.backend.geometry().size);
        let invalid = |why: String| Err(StoreError::Invalid(why));
        if size < old.bytes() || size > there {
            let bytes = old.bytes();
            return invalid(format!(
                "{size} bytes are not {bytes} (now) to {there} (all)"
            ));
        }
        let new = Shape::new(size, old.seg_shift(), old.block_shift());
        let new = new.map_err(|Malformed(why)| StoreError::Invalid(why.to_owned()))?;
        self.administer(|core| {
            core.grow(new);
            Ok(())
        })
        .await
    }

    /// Does an operation on the store as a whole, and returns when it is durable.
    async fn administer(
        &self,
        work: impl FnOnce(&mut Core) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if !self.shell.is_in_use.load(Ordering::SeqCst) {
            return Err(StoreError::Closed);
        }
        let number = {
            let mut core = self.shell.core();
            core.check_health()?;
            work(&mut core)?;
            // Under the same lock: writes that wait for this wait for this checkpoint.
            core.ask_checkpoint()
        };
        self.wait_checkpoint(number).await
    }

    /// Returns when everything that was done until now is in a durable checkpoint.
    async fn checkpoint(&self) -> Result<(), StoreError> {
        let number = self.shell.core().ask_checkpoint();
        self.wait_checkpoint(number).await
    }

    async fn wait_checkpoint(&self, number: u64) -> Result<(), StoreError> {
        self.shell.chores.wake_all();
        Ok(self.shell.wait_checkpoint(number).await?)
    }
}
