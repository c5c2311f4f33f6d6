//! Every kind of disk there is.

use super::{EncryptedDisk, RawDisk, StoredDisk};
use crate::base::{
    Aspect, Buf, Durability, Error, Extent, Lent, Mark, Refusal, Result, StatusRun, ZeroMode,
};

/// A disk: any range of its bytes may be read and changed.
#[derive(Debug)]
pub enum Disk {
    /// A backend as it is.
    Raw(RawDisk),
    /// A backend that is encrypted in place.
    Encrypted(Box<EncryptedDisk>),
    /// A volume or snapshot of a store.
    Stored(StoredDisk),
}

/// Calls the same method of whichever disk it is.
macro_rules! each {
    ($disk:expr, $known:ident => $call:expr) => {
        match $disk {
            Disk::Raw($known) => $call,
            Disk::Encrypted($known) => $call,
            Disk::Stored($known) => $call,
        }
    };
}

/// Awaits the same method of whichever disk it is. Where one disk lies on another the future is
/// boxed: else that of every request would be as large as those of both. It costs 20 ns beside the
/// 170 of the cipher.
macro_rules! each_awaited {
    ($disk:expr, $known:ident => $call:expr) => {
        match $disk {
            Disk::Raw($known) => $call.await,
            Disk::Encrypted($known) => Box::pin($call).await,
            Disk::Stored($known) => $call.await,
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
        each_awaited!(self, disk => disk.read(at))
    }

    /// Writes `data` from `offset`.
    ///
    /// # Errors
    /// `Refused` for lack of space, else `Unknown`.
    pub async fn write(&self, offset: u64, data: Buf, durability: Durability) -> Result<()> {
        each_awaited!(self, disk => disk.write(offset, data, durability))
    }

    /// The sector that clients see, in bytes.
    pub fn sector(&self) -> u64 {
        match self {
            Self::Raw(disk) => disk.sector(),
            Self::Encrypted(_) | Self::Stored(_) => 512,
        }
    }

    /// What memory that is lent must be aligned to, in bytes, for requests of whole sectors; `None`
    /// if the disk looks at what it reads and writes, or keeps it.
    pub fn lent_align(&self) -> Option<u32> {
        match self {
            Self::Raw(disk) => disk.lent_align(),
            Self::Encrypted(_) | Self::Stored(_) => None,
        }
    }

    /// The bytes of `at`, to memory that is lent.
    ///
    /// # Errors
    /// As [`read`](Self::read); `Refused` without a [`lent_align`](Self::lent_align).
    pub async fn read_to(&self, at: Extent, memory: Lent) -> Result<()> {
        match self {
            Self::Raw(disk) => disk.read_to(at, memory).await,
            Self::Encrypted(_) | Self::Stored(_) => Err(Error::Refused(Refusal::NotSupported)),
        }
    }

    /// Writes `at` from memory that is lent.
    ///
    /// # Errors
    /// As [`write`](Self::write); `Refused` without a [`lent_align`](Self::lent_align).
    pub async fn write_from(&self, at: Extent, memory: Lent, durability: Durability) -> Result<()> {
        match self {
            Self::Raw(disk) => disk.write_from(at, memory, durability).await,
            Self::Encrypted(_) | Self::Stored(_) => Err(Error::Refused(Refusal::NotSupported)),
        }
    }

    /// Makes everything that was answered before survive a power loss.
    ///
    /// # Errors
    /// `Unknown`, or `Poisoned` after that.
    pub async fn flush(&self) -> Result<()> {
        each_awaited!(self, disk => disk.flush())
    }

    /// Gives up the whole blocks in `at`.
    ///
    /// # Errors
    /// `Unknown`.
    pub async fn discard(&self, at: Extent, durability: Durability) -> Result<()> {
        each_awaited!(self, disk => disk.discard(at, durability))
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
            Self::Encrypted(disk) => Box::pin(disk.write_zeroes(at, mode, durability)).await,
            Self::Stored(disk) => disk.write_zeroes(at, durability).await,
        }
    }

    /// Whether a flush of the backend beneath has failed, as far as the disk itself knows.
    pub fn is_poisoned(&self) -> bool {
        match self {
            Self::Raw(disk) => disk.backend().is_poisoned(),
            Self::Encrypted(disk) => disk.backend().is_poisoned(),
            Self::Stored(_) => false,
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
        match self {
            Self::Raw(disk) => disk.status(at, runs_max).await,
            Self::Encrypted(disk) => Ok(disk.status(at)),
            Self::Stored(disk) => disk.status(at, runs_max).await,
        }
    }
}

impl Disk {
    /// What `aspect` is of the start of `at`: at least one run, at most `runs_max`.
    ///
    /// # Errors
    /// As [`status`](Self::status); `Refused` for what this kind of disk does not tell, and for
    /// changes since what is gone.
    pub async fn status_of(
        &self,
        at: Extent,
        runs_max: usize,
        aspect: Aspect,
    ) -> Result<Vec<StatusRun>> {
        match (self, aspect) {
            (_, Aspect::Allocation) => self.status(at, runs_max).await,
            (Self::Stored(disk), Aspect::Depth) => disk.depth(at, runs_max).await,
            (Self::Stored(disk), Aspect::Changes(mark)) => disk.changes(mark, at, runs_max).await,
            _ => Err(Error::Refused(Refusal::NotSupported)),
        }
    }

    /// Whether it tells how far from itself what is allocated lies.
    pub fn has_depth(&self) -> bool {
        matches!(self, Self::Stored(_))
    }

    /// The bitmaps that tell what has changed, by name.
    pub fn bitmaps(&self) -> Vec<(String, Mark)> {
        match self {
            Self::Stored(disk) => disk.bitmaps(),
            Self::Raw(_) | Self::Encrypted(_) => Vec::new(),
        }
    }
}

impl From<RawDisk> for Disk {
    fn from(disk: RawDisk) -> Self {
        Self::Raw(disk)
    }
}

impl From<EncryptedDisk> for Disk {
    fn from(disk: EncryptedDisk) -> Self {
        Self::Encrypted(Box::new(disk))
    }
}

impl From<StoredDisk> for Disk {
    fn from(disk: StoredDisk) -> Self {
        Self::Stored(disk)
    }
}
