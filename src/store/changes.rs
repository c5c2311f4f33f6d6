//! Bitmaps, and what has changed in a volume or snapshot in use.

use super::core::NotMapped;
use super::disk::Disk;
use super::format::BLOCK;
use super::{BitmapInfo, BitmapName, Store, StoreError, TreeName};
use crate::base::{self, Error, Mark, Refusal, Status, StatusRun};
use crate::env;

/// How often one question for changes takes the core's lock: so it is answered after four thousand
/// leaves, 8 GiB where everything differs, and asked again for the rest.
const SLICES_MAX: usize = 64;

impl Store {
    /// All bitmaps, by name.
    pub fn list_bitmaps(&self) -> Vec<BitmapInfo> {
        self.shell.core().list_bitmaps()
    }

    /// Makes a bitmap, which tells what of its volume changes from now on.
    ///
    /// # Errors
    /// `NotFound`, `Exists`, `Invalid`.
    pub async fn create_bitmap(&self, name: &BitmapName) -> Result<(), StoreError> {
        let now = env::wall_clock();
        self.administer(|core| core.create_bitmap(name, now)).await
    }

    /// Has a bitmap tell what changes from now on, and nothing of before.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn clear_bitmap(&self, name: &BitmapName) -> Result<(), StoreError> {
        let now = env::wall_clock();
        self.administer(|core| core.clear_bitmap(name, now)).await
    }

    /// Deletes a bitmap.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_bitmap(&self, name: &BitmapName) -> Result<(), StoreError> {
        self.administer(|core| core.delete_bitmap(name)).await
    }

    /// To tell what has changed since the bitmap was made or cleared.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn bitmap_mark(&self, name: &BitmapName) -> Result<Mark, StoreError> {
        self.shell.core().find_bitmap(name).map(Mark)
    }

    /// To tell what differs from a volume or snapshot.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn mark(&self, name: &TreeName) -> Result<Mark, StoreError> {
        self.shell.core().find(name).map(|tree| Mark(tree.id))
    }
}

impl Disk {
    /// The bitmaps of the volume that it is, or is a snapshot of, by name.
    pub fn bitmaps(&self) -> Vec<(String, Mark)> {
        let bitmaps = self.shell.core().bitmaps_of(self.tree);
        let marked = bitmaps.into_iter().map(|(name, id)| (name, Mark(id)));
        marked.collect()
    }

    /// Which of `count` blocks from `first` on differ from what `since` has: dirty and clean runs,
    /// at most `runs_max`. Fewer blocks than were asked for are described where that is not enough.
    ///
    /// # Errors
    /// As [`read`](Self::read), and `Refused` if what it is to be compared with is gone.
    pub async fn changes(
        &self,
        since: Mark,
        first: u64,
        count: u64,
        runs_max: usize,
    ) -> base::Result<Vec<StatusRun>> {
        let trees = (since.0, self.tree);
        let mut runs = Vec::new();
        let (mut done, mut slices) = (0, 0);
        while done < count && slices < SLICES_MAX {
            let rest = (first + done, count - done);
            let compared = self.shell.core().changes(trees, rest, &mut runs, runs_max);
            match compared {
                Ok(0) => break,
                Ok(more) => {
                    (done, slices) = (done + more, slices + 1);
                    env::end_of_turn().await;
                }
                Err(NotMapped::Load(load)) => self.shell.load(load).await?,
                Err(NotMapped::Paused) => self.until_comparable(trees).await,
                Err(NotMapped::Fail(error)) => return Err(error),
            }
        }
        Ok(runs)
    }

    /// How far from the disk itself `count` blocks from `first` on are allocated: by nobody, by its
    /// volume, or by what that was made from or something before it, as long as that is there. At
    /// most `runs_max` runs.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn depth(
        &self,
        first: u64,
        count: u64,
        runs_max: usize,
    ) -> base::Result<Vec<StatusRun>> {
        let origin = self.shell.core().origin_of(self.tree).map(Mark);
        let mut runs: Vec<StatusRun> = Vec::new();
        let mut at = first;
        for run in self.status(first, count, runs_max).await? {
            let blocks = run.bytes / BLOCK as u64;
            let end = at + blocks;
            let parts = match (run.status, origin) {
                (Status::Data, Some(origin)) => {
                    match self.changes(origin, at, blocks, runs_max).await {
                        // It was deleted a moment ago.
                        Err(Error::Refused(Refusal::Invalid)) => vec![run],
                        compared => compared?,
                    }
                }
                _ => vec![run],
            };
            for part in parts {
                let status = Status::Depth(match part.status {
                    Status::Hole => 0,
                    Status::Clean => 2,
                    _ => 1,
                });
                if !(StatusRun { status, ..part }).add_to(&mut runs, runs_max) {
                    return Ok(runs);
                }
                at += part.bytes / BLOCK as u64;
            }
            // There was no room for what differs in it.
            if at < end {
                return Ok(runs);
            }
        }
        Ok(runs)
    }

    /// Waits while one of two trees may not be read.
    async fn until_comparable(&self, (old, new): (u32, u32)) {
        let look = || {
            let core = self.shell.core();
            (!core.is_unreadable(old) && !core.is_unreadable(new)).then_some(())
        };
        self.shell.changed.wait_for(look).await;
    }
}
