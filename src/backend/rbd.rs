//! An image in a Ceph cluster, through librbd.
//!
//! librbd has threads of its own. Requests are handed to it from the reactors, which never wait
//! for it, and their ends come back from its threads. Librados tries again whatever can be tried
//! again, on new connections and other OSDs, without end; how long a request waits for that is for
//! us to say. One that changes something and has not ended in time may still be done later; so
//! before its error is told, the cluster is made to take nothing more from this server.

mod cluster;
mod image;
mod library;
mod lock_watch;
mod operation;
mod place;
mod size_watch;

use std::ffi::c_char;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::in_flight::InFlight;
use super::make::Made;
use super::{Access, Backend, Geometry};
use crate::base::limits::NETWORK_BYTES_MAX;
use crate::base::{
    Buf, Error, Extent, Fault, OpenError, Refusal, Result, Status, StatusRun, ZeroMode,
};
use crate::env::{self, Instant};

use cluster::{Cluster, c_string, check};
use image::Image;
use library::{Completion, Functions, ImagePtr, ZEROES_THICK};
use lock_watch::{INTERVAL, LockWatch};
use operation::operate;

pub use place::RbdPlace;

/// How long opening may take. Connecting gives up by itself; what waits for an OSD does not.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);

/// How long the holder of a lock has to say that it is there.
const OWNER_SILENCE: Duration = Duration::from_secs(5);

/// How long a lock that is held by somebody who is just going is tried for.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// Calls for the state of ranges that are under way at once.
const STATUS_CALLS_MAX: usize = 4;

/// What librbd is asked about at once where the state of a range is wanted, in bytes: some
/// thousand objects.
const STATUS_BYTES_MAX: u64 = 16 << 30;

/// The unit of requests, in bytes.
const BLOCK: u64 = 512;

/// An image in a Ceph cluster.
#[derive(Debug)]
pub struct Rbd {
    image: Arc<Image>,
    access: Access,
    size: u64,
    timeout: Duration,
    lock: Arc<LockWatch>,
    in_flight: Arc<InFlight>,
    /// Each with a thread.
    status_calls: Arc<InFlight>,
    fences: Arc<InFlight>,
}

impl Rbd {
    /// Opens the image at `place`, and locks it if it is to be written.
    ///
    /// # Errors
    /// One line that says what is missing, who does not answer, or who has it.
    pub async fn open(place: &RbdPlace, access: Access) -> std::result::Result<Self, OpenError> {
        let what = place.to_string();
        let refused = |why: String, remedy| OpenError::new(&what, why, remedy);
        let unsaid = |error| refused(format!("the cluster does not answer: {error}"), "");
        let of = place.clone();
        let image = in_time(place, move || Image::open(&of, access)).await??;
        let image = Arc::new(image);
        let about = Arc::clone(&image);
        let look = move || Ok((about.size()?, about.has_locks()?, about.locker()?));
        let looked: io::Result<_> = in_time(place, look).await?;
        let (size, has_locks, locker) = looked.map_err(unsaid)?;
        match (access, locker) {
            (Access::Write, _) if !has_locks => {
                let remedy = "enable it: rbd feature enable POOL/IMAGE exclusive-lock";
                return Err(refused(
                    "the image has no exclusive lock".to_owned(),
                    remedy,
                ));
            }
            (Access::Write, _) => lock(place, &image).await?,
            (Access::Read, Some(owner)) => return Err(in_use(place, &owner)),
            (Access::Read, None) => {}
        }
        let size = size - size % BLOCK;
        if size == 0 {
            let remedy = "give it a size with: rbd resize --size SIZE POOL/IMAGE";
            return Err(refused("it is empty".to_owned(), remedy));
        }
        Ok(Self {
            image,
            access,
            size,
            timeout: place.timeout,
            lock: Arc::default(),
            in_flight: InFlight::new(NETWORK_BYTES_MAX),
            status_calls: InFlight::new(STATUS_CALLS_MAX),
            fences: InFlight::new(1),
        })
    }

    /// Has librbd do something with `at`, and `buf`. Boxed, since it would make the futures of all
    /// requests larger, those of other backends too.
    async fn run(
        &self,
        during: &'static str,
        at: Extent,
        buf: Buf,
        start: impl FnOnce(&Functions, ImagePtr, *mut c_char, Completion) -> i32,
    ) -> Result<(usize, Buf)> {
        Box::pin(self.run_here(during, at, buf, start)).await
    }

    async fn run_here(
        &self,
        during: &'static str,
        at: Extent,
        buf: Buf,
        start: impl FnOnce(&Functions, ImagePtr, *mut c_char, Completion) -> i32,
    ) -> Result<(usize, Buf)> {
        if self.image.cluster().is_fenced() {
            let errno = libc::ESHUTDOWN;
            return Err(Error::Failed(Fault { during, errno }));
        }
        let until = env::now() + self.timeout;
        // librbd leaves out what lies behind the end, and calls that done.
        let size = self.image.size_watch().size(&self.image);
        let size = self.while_ours(until, size).await;
        let size = size.map_err(|errno| self.failed(&Fault { during, errno }))?;
        let size = size.map_err(|error| self.failed(&Fault::new(during, &error)))?;
        if at.end() > size {
            tracing::error!(size, "an image has become smaller while it is in use");
            let errno = libc::ENXIO;
            return Err(Error::Failed(Fault { during, errno }));
        }
        let operation = async {
            let share = self.in_flight.share(buf.len()).await;
            operate(&self.image, share, buf, start).await
        };
        let errno = match self.while_ours(until, operation).await {
            Err(errno) => errno,
            Ok((result, buf)) => match usize::try_from(result) {
                Ok(count) => return Ok((count, buf)),
                Err(_) => i32::try_from(-result).unwrap_or(libc::EIO),
            },
        };
        // A read that is done later harms nobody.
        if errno == libc::ETIMEDOUT && during != "read" {
            self.fence().await;
        }
        Err(self.failed(&Fault { during, errno }))
    }

    /// Waits for `operation` as long as the lock is ours, until the time of its request is up. What
    /// has not ended by then goes on without us.
    ///
    /// # Errors
    /// The number of the error.
    async fn while_ours<T>(
        &self,
        until: Instant,
        operation: impl Future<Output = T>,
    ) -> std::result::Result<T, i32> {
        let mut operation = std::pin::pin!(operation);
        loop {
            let left = until.since(env::now());
            if let Some(done) = env::timeout(left.min(INTERVAL), operation.as_mut()).await {
                return Ok(done);
            }
            let is_lost = self.access == Access::Write && self.lock.is_lost(&self.image);
            if is_lost || self.image.cluster().is_fenced() {
                return Err(libc::ESHUTDOWN);
            }
            if env::now() >= until {
                return Err(libc::ETIMEDOUT);
            }
        }
    }

    /// The error behind a fault, for what changes something.
    fn failed(&self, fault: &Fault) -> Error {
        if fault.errno == libc::ESHUTDOWN && self.image.cluster().note_fenced() {
            tracing::error!("another server has taken over an image; this one writes no more");
        }
        match fault.errno {
            libc::ENOSPC | libc::EDQUOT => Error::Refused(Refusal::NoSpace),
            _ => Error::Unknown(*fault),
        }
    }

    /// Makes sure that what has timed out is not done later.
    async fn fence(&self) {
        let _one = self.fences.share(1).await;
        let cluster = Arc::clone(self.image.cluster());
        if !cluster.is_fenced() {
            env::aside(move || cluster.fence()).await;
        }
    }
}

impl Backend for Rbd {
    fn geometry(&self) -> Geometry {
        Geometry {
            size: self.size,
            block: BLOCK,
            preferred_block: 4096,
            fast_zeroes: true,
        }
    }

    async fn read(&self, at: Extent, buf: Buf) -> Result<Buf> {
        let read = |functions: &Functions, image, memory, completion| {
            // SAFETY: the image is open, and the memory is as long as `at` until the end.
            unsafe { (functions.rbd_aio_read)(image, at.offset(), at.len(), memory, completion) }
        };
        match self.run("read", at, buf, read).await {
            Ok((count, buf)) if count == at.len() => Ok(buf),
            Ok(_) => Err(Error::Failed(Fault {
                during: "read",
                errno: libc::EIO,
            })),
            // A read changes nothing.
            Err(Error::Unknown(fault)) => Err(Error::Failed(fault)),
            Err(error) => Err(error),
        }
    }

    async fn write(&self, offset: u64, data: Buf) -> Result<()> {
        let at = Extent::between(offset, offset + data.len() as u64);
        let write = |functions: &Functions, image, memory: *mut c_char, completion| {
            let memory = memory.cast_const();
            // SAFETY: the image is open, and the memory is as long as `at` until the end.
            unsafe { (functions.rbd_aio_write)(image, offset, at.len(), memory, completion) }
        };
        self.run("write", at, data, write).await.map(drop)
    }

    async fn flush(&self) -> Result<()> {
        let flush = |functions: &Functions, image, _, completion| {
            // SAFETY: the image is open.
            unsafe { (functions.rbd_aio_flush)(image, completion) }
        };
        let nothing = Extent::between(0, 0);
        let flushed = self.run("flush", nothing, Buf::new(0), flush).await;
        flushed.map(drop)
    }

    async fn discard(&self, at: Extent) -> Result<()> {
        let discard = |functions: &Functions, image, _, completion| {
            // SAFETY: the image is open.
            unsafe { (functions.rbd_aio_discard)(image, at.offset(), at.bytes(), completion) }
        };
        self.run("discard", at, Buf::new(0), discard)
            .await
            .map(drop)
    }

    async fn write_zeroes(&self, at: Extent, mode: ZeroMode) -> Result<()> {
        let flags = if mode.may_unmap { 0 } else { ZEROES_THICK };
        let zero = |functions: &Functions, image, _, completion| {
            let (offset, len) = (at.offset(), at.len());
            // SAFETY: the image is open.
            unsafe { (functions.rbd_aio_write_zeroes)(image, offset, len, completion, flags, 0) }
        };
        self.run("write zeroes", at, Buf::new(0), zero)
            .await
            .map(drop)
    }

    async fn status(&self, at: Extent, runs_max: usize) -> Result<Vec<StatusRun>> {
        let at = Extent::between(at.offset(), at.end().min(at.offset() + STATUS_BYTES_MAX));
        let image = Arc::clone(&self.image);
        let until = env::now() + self.timeout;
        let found = self.while_ours(until, async {
            let share = self.status_calls.share(1).await;
            let look = move || {
                let found = image.extents(at);
                drop(share);
                found
            };
            env::aside(look).await
        });
        let failed = |errno| {
            let during = "status";
            Error::Failed(Fault { during, errno })
        };
        let found = found.await.map_err(failed)?;
        let found = found.map_err(|error| Error::Failed(Fault::new("status", &error)))?;
        Ok(runs(at, &found, runs_max))
    }
}

/// What `at` consists of where there is something in the extents `found`, in at most `runs_max`
/// runs.
fn runs(at: Extent, found: &[Extent], runs_max: usize) -> Vec<StatusRun> {
    let mut runs: Vec<StatusRun> = Vec::new();
    let mut from = at.offset();
    let mut add = |status, to: u64| {
        let bytes = to.saturating_sub(from);
        from = from.max(to);
        match runs.last_mut() {
            _ if bytes == 0 => {}
            Some(last) if last.status == status => last.bytes += bytes,
            _ => runs.push(StatusRun { bytes, status }),
        }
    };
    for extent in found {
        add(Status::Hole, extent.offset().min(at.end()));
        add(Status::Data, extent.end().min(at.end()));
    }
    add(Status::Hole, at.end());
    runs.truncate(runs_max);
    runs
}

/// Makes the image at `place` with `size` bytes if there is none.
///
/// # Errors
/// One line that says what is missing or who does not answer.
pub(super) async fn make(
    place: &RbdPlace,
    size: Option<u64>,
) -> std::result::Result<Made, OpenError> {
    let of = place.clone();
    let make = move || match (Image::open(&of, Access::Read), size) {
        (Ok(_), _) => Ok(Made::Before),
        (Err(error), None) => Err(error),
        // Whatever keeps it from being opened, keeps it from being made, unless it is not there.
        (Err(_), Some(size)) => create(&of, size).map(|()| Made::Here),
    };
    in_time(place, make).await?
}

fn create(place: &RbdPlace, size: u64) -> std::result::Result<(), OpenError> {
    let pool = Cluster::of(place)?.pool(place)?;
    let (functions, name) = (pool.cluster.functions, c_string(&place.image));
    // SAFETY: the pool is open, the name ends with zero, and the options are those that the
    // configuration says.
    let created = unsafe {
        let mut options = std::ptr::null_mut();
        (functions.rbd_image_options_create)(&raw mut options);
        let created = (functions.rbd_create4)(pool.handle, name.as_ptr(), size, options);
        (functions.rbd_image_options_destroy)(options);
        created
    };
    check(created).map_err(|error| {
        let why = format!("it cannot be made: {error}");
        OpenError::new(
            place.to_string(),
            why,
            "see what 'rbd create' says to the same name",
        )
    })
}

/// Takes the image at `place` away.
pub(super) async fn unmake(place: &RbdPlace) {
    let of = place.clone();
    // The image may still be about to be closed. If that takes too long it stays, empty, and says
    // so when it is made again.
    env::blocking(|| env::detached_done(OPEN_TIMEOUT)).await;
    let remove = move || -> std::result::Result<(), OpenError> {
        let pool = Cluster::of(&of)?.pool(&of)?;
        let name = c_string(&of.image);
        // SAFETY: the pool is open, the name ends with zero.
        let removed = unsafe { (pool.cluster.functions.rbd_remove)(pool.handle, name.as_ptr()) };
        check(removed).map_err(|error| OpenError::new(of.to_string(), error, ""))
    };
    if let Err(error) = in_time(place, remove).await.and_then(|done| done) {
        tracing::warn!(%error, "an image that was just made could not be removed");
    }
}

/// Makes the image at `place` at least `size` bytes large.
///
/// # Errors
/// One line that says what is missing or who does not answer.
pub(super) async fn grow(place: &RbdPlace, size: u64) -> std::result::Result<(), OpenError> {
    let of = place.clone();
    let grow = move || {
        let image = Image::open(&of, Access::Write)?;
        let grown = image.size().and_then(|now| match now >= size {
            true => Ok(()),
            false => image.resize(size),
        });
        grown.map_err(|error| {
            let why = format!("it cannot be made larger: {error}");
            OpenError::new(of.to_string(), why, "see what 'rbd resize' says to it")
        })
    };
    in_time(place, grow).await?
}

/// Takes the lock of `image` for good, from a holder that does not answer, too.
async fn lock(place: &RbdPlace, image: &Arc<Image>) -> std::result::Result<(), OpenError> {
    for _ in 0..TRIES {
        let locked = match acquire(place, image).await? {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if locked.raw_os_error() != Some(libc::EROFS) {
            let why = format!("it cannot be locked: {locked}");
            let remedy = "give the user the capabilities 'mon profile rbd, osd profile rbd'";
            return Err(OpenError::new(place.to_string(), why, remedy));
        }
        env::sleep(PAUSE).await;
    }
    let about = Arc::clone(image);
    let owners = in_time(place, move || about.owners()).await?;
    let owner = owners.ok().and_then(|mut owners| owners.pop());
    Err(in_use(place, owner.as_deref().unwrap_or("another client")))
}

async fn acquire(
    place: &RbdPlace,
    image: &Arc<Image>,
) -> std::result::Result<io::Result<()>, OpenError> {
    let of = Arc::clone(image);
    let mut acquiring = std::pin::pin!(env::aside(move || of.lock()));
    if let Some(locked) = env::timeout(OWNER_SILENCE, acquiring.as_mut()).await {
        return Ok(locked);
    }
    let of = Arc::clone(image);
    let broken = in_time(place, move || of.break_lock()).await?;
    if let Err(error) = broken {
        tracing::warn!(%error, "a lock could not be broken");
    }
    let waited = env::timeout(OPEN_TIMEOUT, acquiring).await;
    waited.ok_or_else(|| silent(place))
}

/// Does `work` on a thread of its own, and gives up waiting for it in the end. What is then
/// still opened is closed again when it is.
async fn in_time<T: Send + 'static>(
    place: &RbdPlace,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::result::Result<T, OpenError> {
    let done = env::timeout(OPEN_TIMEOUT, env::aside(work)).await;
    done.ok_or_else(|| silent(place))
}

fn silent(place: &RbdPlace) -> OpenError {
    let seconds = OPEN_TIMEOUT.as_secs();
    let why = format!("the OSDs of the pool did not answer for {seconds} s");
    OpenError::new(place.to_string(), why, "see what 'ceph -s' says")
}

fn in_use(place: &RbdPlace, owner: &str) -> OpenError {
    let why = format!("in use by the client at {owner}");
    OpenError::new(place.to_string(), why, "stop that one first")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(runs: &[StatusRun]) -> Vec<(u64, Status)> {
        runs.iter().map(|run| (run.bytes, run.status)).collect()
    }

    #[test]
    fn what_is_between_extents_is_holes() {
        let at = Extent::between(100, 200);
        let found = [
            Extent::between(90, 110),
            Extent::between(110, 120),
            Extent::between(150, 300),
        ];
        let expected = [(20, Status::Data), (30, Status::Hole), (50, Status::Data)];
        assert_eq!(shown(&runs(at, &found, 10)), expected);
        assert_eq!(shown(&runs(at, &found, 1)), expected[..1]);
        assert_eq!(shown(&runs(at, &[], 1)), [(100, Status::Hole)]);
    }
}
