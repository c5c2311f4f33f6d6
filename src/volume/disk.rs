//! Every kind of disk there is.

use super::{RawDisk, StoredDisk};
use crate::base::{Buf, Durability, Extent, Result, StatusRun, ZeroMode};

/// A disk: any range of its bytes may be read and changed.
#[derive(Debug)]
pub enum Disk {
    /// A backend as it is.
    Raw(RawDisk),
    /// A volume or snapshot of a store.
    Stored(StoredDisk),
}

/// Calls the same method of whichever disk it is.
macro_rules! each {
    ($disk:expr, $known:ident => $call:expr) => {
        match $disk {
            Disk::Raw($known) => $call,
            Disk::Stored($known) => $call,
        }
    };
}

impl Disk {
    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        each!(self, disk => disk.size())
    }

    /// The smallest request that is not slow, in bytes.
    pub fn preferred_block(&self) -> u64 {
        each!(self, disk => disk.preferred_block())
    }

    /// Whether zeroes can be written faster than data.
    pub fn has_fast_zeroes(&self) -> bool {
        each!(self, disk => disk.has_fast_zeroes())
    }

    /// The bytes of `at`.
    ///
    /// # Errors
    /// `Failed`, or `Corrupt` where the disk can tell.
    pub async fn read(&self, at: Extent) -> Result<Buf> {
        each!(self, disk => disk.read(at).await)
    }

    /// Writes `data` from `offset`.
    ///
    /// # Errors
    /// `Refused` for lack of space, else `Unknown`.
    pub async fn write(&self, offset: u64, data: Buf, durability: Durability) -> Result<()> {
        each!(self, disk => disk.write(offset, data, durability).await)
    }

    /// Makes everything that was answered before survive a power loss.
    ///
    /// # Errors
    /// `Unknown`, or `Poisoned` after that.
    pub async fn flush(&self) -> Result<()> {
        each!(self, disk => disk.flush().await)
    }

    /// Gives up the whole blocks in `at`.
    ///
    /// # Errors
    /// `Unknown`.
    pub async fn discard(&self, at: Extent, durability: Durability) -> Result<()> {
        each!(self, disk => disk.discard(at, durability).await)
    }

    /// Makes `at` read as zeroes, as `mode` says.
    ///
    /// # Errors
    /// `Refused` if it must be fast and cannot be, else as [`write`](Self::write).
    pub async fn write_zeroes(
        &self,
        at: Extent,
        mode: ZeroMode,
        durability: Durability,
    ) -> Result<()> {
        match self {
            Self::Raw(disk) => disk.write_zeroes(at, mode, durability).await,
            Self::Stored(disk) => disk.write_zeroes(at, durability).await,
        }
    }

    /// Notes that `at` will be read soon.
    pub fn cache(&self, at: Extent) {
        each!(self, disk => disk.cache(at));
    }

    /// What is allocated from the start of `at` on: at least one run, at most `runs_max`.
    ///
    /// # Errors
    /// `Failed`.
    pub async fn status(&self, at: Extent, runs_max: usize) -> Result<Vec<StatusRun>> {
        each!(self, disk => disk.status(at, runs_max).await)
    }
}

impl From<RawDisk> for Disk {
    fn from(disk: RawDisk) -> Self {
        Self::Raw(disk)
    }
}

impl From<StoredDisk> for Disk {
    fn from(disk: StoredDisk) -> Self {
        Self::Stored(disk)
    }
}
