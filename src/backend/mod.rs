//! Where bytes rest: a flat space of bytes that is read, written, flushed and discarded.
//!
//! [`Backend`] is the contract. [`open`] gives a [`Checked`] one, which is the only way to a
//! backend from above: it asserts the contract on every call, both ways.

mod checked;
mod faulty;
mod file;
mod in_flight;
mod iscsi;
mod library;
mod lock;
mod make;
mod mem;
pub mod nfs;
mod null;
mod pages;
mod rbd;
mod retry;
mod url;

use crate::base::{Buf, Error, Extent, Lent, OpenError, Refusal, Result, StatusRun, ZeroMode};

pub use checked::Checked;
pub use faulty::{Fault, Faulty, Kind};
pub use file::File;
pub use iscsi::{Iscsi, IscsiPlace};
pub use make::{Made, grow, make, unmake};
pub use mem::Mem;
pub use nfs::{Nfs, NfsPlace};
pub use null::Null;
pub use rbd::{Rbd, RbdPlace};
pub(crate) use retry::Backoff;
pub use url::Location;

/// What a backend is like. Fixed while it is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// How large it is, in bytes: a multiple of `block`.
    pub size: u64,
    /// What offsets and lengths are multiples of, in bytes: a power of two, 1 to 4096.
    pub block: u64,
    /// The smallest request that is not slow, in bytes: a power of two, at least `block`.
    pub preferred_block: u64,
    /// Whether zeroes can be written faster than data.
    pub fast_zeroes: bool,
}

/// Whether a backend is opened to be changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Only to be read. Others may read it too.
    Read,
    /// To be written. Nobody else may have it open.
    Write,
}

/// A place where bytes rest. Ranges lie inside, are not empty and are multiples of the
/// [geometry](Geometry)'s block. Calls may overlap in time; those whose ranges overlap and of
/// which one writes have no order, and the caller does not make them.
#[expect(
    async_fn_in_trait,
    reason = "backends are used on one thread and known by type, so no bound is needed"
)]
pub trait Backend {
    /// What this backend is like.
    fn geometry(&self) -> Geometry;

    /// The sector of what has sectors, in bytes, 512 to 4096: what was ever written to it counts in
    /// them, as partition tables do. 512 for what has none.
    fn sector(&self) -> u64 {
        512
    }

    /// Fills all of `buf`, which is as long as `at`, from `at`. Bytes never written read as zero.
    ///
    /// # Errors
    /// `Failed`, or `Corrupt` where the backend can tell.
    async fn read(&self, at: Extent, buf: Buf) -> Result<Buf>;

    /// Writes `data` from `offset`. Later reads see it; a power loss may lose it, or tear it at
    /// 512 bytes, until a flush that begins after this ends.
    ///
    /// # Errors
    /// `Refused` for lack of space, else `Unknown`: some of it may have been written.
    async fn write(&self, offset: u64, data: Buf) -> Result<()>;

    /// What memory that is lent must be aligned to, in bytes; `None` if this backend reads only to
    /// memory of this process, and writes only from there.
    fn lent_align(&self) -> Option<u32> {
        None
    }

    /// As [`read`](Self::read), to memory that is lent, as long as `at`.
    ///
    /// # Errors
    /// As that; `Refused` as not supported without a [`lent_align`](Self::lent_align).
    async fn read_to(&self, _at: Extent, _memory: Lent) -> Result<()> {
        Err(Error::Refused(Refusal::NotSupported))
    }

    /// As [`write`](Self::write), from memory that is lent, as long as `at`. Who lends it may
    /// change it meanwhile: then any of what was in it is written.
    ///
    /// # Errors
    /// As that; `Refused` as not supported without a [`lent_align`](Self::lent_align).
    async fn write_from(&self, _at: Extent, _memory: Lent) -> Result<()> {
        Err(Error::Refused(Refusal::NotSupported))
    }

    /// Makes every change that ended before this began survive a power loss.
    ///
    /// # Errors
    /// `Unknown`. It is never repeated: the kernel forgets a failed write once it has reported it.
    async fn flush(&self) -> Result<()>;

    /// Gives up the contents of `at`, which read as anything afterwards. Doing nothing is allowed.
    ///
    /// # Errors
    /// `Unknown`.
    async fn discard(&self, at: Extent) -> Result<()>;

    /// Makes `at` read as zeroes, as `mode` says.
    ///
    /// # Errors
    /// `Refused` as not supported if it must be fast and cannot be, which is told at once; else as
    /// [`write`](Self::write).
    async fn write_zeroes(&self, at: Extent, mode: ZeroMode) -> Result<()>;

    /// What is allocated from the start of `at` on: at least one run, at most `runs_max`, no run
    /// empty, two neighbours never equal, in all at most as long as `at`. What is not known
    /// better is data.
    ///
    /// # Errors
    /// `Failed`.
    async fn status(&self, at: Extent, runs_max: usize) -> Result<Vec<StatusRun>>;
}

/// Opens what `location` names.
///
/// # Errors
/// One line that names it, the cause and the remedy.
pub async fn open(location: &Location, access: Access) -> std::result::Result<Checked, OpenError> {
    let medium = match location {
        Location::File(path) => Medium::File(File::open(path, access).await?),
        Location::Rbd(place) => Medium::Rbd(Rbd::open(place, access).await?),
        Location::Nfs(place) => Medium::Nfs(Nfs::open(place, access).await?),
        Location::Iscsi(place) => Medium::Iscsi(Iscsi::open(place, access).await?),
        Location::Mem(size) => Medium::Mem(Mem::new(*size)),
        Location::Null(size) => Medium::Null(Null::new(*size)),
    };
    Ok(Checked::new(medium))
}

/// Every kind of backend there is.
#[derive(Debug)]
pub enum Medium {
    /// A file or a block device.
    File(File),
    /// An image in a Ceph cluster.
    Rbd(Rbd),
    /// A file on an NFS server.
    Nfs(Nfs),
    /// A disk of an iSCSI target.
    Iscsi(Iscsi),
    /// Memory.
    Mem(Mem),
    /// Nothing.
    Null(Null),
    /// Memory with faults, for tests.
    Faulty(Faulty),
}

/// Calls the same method of whichever backend it is.
macro_rules! each {
    ($medium:expr, $backend:ident => $call:expr) => {
        match $medium {
            Medium::File($backend) => $call,
            Medium::Rbd($backend) => $call,
            Medium::Nfs($backend) => $call,
            Medium::Iscsi($backend) => $call,
            Medium::Mem($backend) => $call,
            Medium::Null($backend) => $call,
            Medium::Faulty($backend) => $call,
        }
    };
}

impl Backend for Medium {
    fn geometry(&self) -> Geometry {
        each!(self, backend => backend.geometry())
    }

    fn sector(&self) -> u64 {
        each!(self, backend => backend.sector())
    }

    async fn read(&self, at: Extent, buf: Buf) -> Result<Buf> {
        each!(self, backend => backend.read(at, buf).await)
    }

    async fn write(&self, offset: u64, data: Buf) -> Result<()> {
        each!(self, backend => backend.write(offset, data).await)
    }

    fn lent_align(&self) -> Option<u32> {
        each!(self, backend => backend.lent_align())
    }

    async fn read_to(&self, at: Extent, memory: Lent) -> Result<()> {
        each!(self, backend => backend.read_to(at, memory).await)
    }

    async fn write_from(&self, at: Extent, memory: Lent) -> Result<()> {
        each!(self, backend => backend.write_from(at, memory).await)
    }

    async fn flush(&self) -> Result<()> {
        each!(self, backend => backend.flush().await)
    }

    async fn discard(&self, at: Extent) -> Result<()> {
        each!(self, backend => backend.discard(at).await)
    }

    async fn write_zeroes(&self, at: Extent, mode: ZeroMode) -> Result<()> {
        each!(self, backend => backend.write_zeroes(at, mode).await)
    }

    async fn status(&self, at: Extent, runs_max: usize) -> Result<Vec<StatusRun>> {
        each!(self, backend => backend.status(at, runs_max).await)
    }
}
