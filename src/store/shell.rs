//! An open store: the core, the backend, and what waits for them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cache::BlockCache;
use super::core::{Core, Health, Load};
use super::dedup::Index;
use super::format::trailer::{Entry, FOOTER_BYTES, Trailer};
use super::format::{BLOCK, FANOUT, Ptr, SEALED_BLOCK, Seq, Shape};
use super::gather::Gatherer;
use super::log::Job;
use super::map::{Node, empty_node};
use super::tuning::Promise;
use crate::backend::{Backend, Backoff, Checked};
use crate::base::limits::SPACE_TIMEOUT;
use crate::base::{Buf, Error, Extent, Fault, Refusal, Result};
use crate::codec::Sealer;
use crate::env::{self, Instant, Signal};

/// How often a write that failed is repeated, with the same bytes at the same place, before the
/// store stops.
const WRITE_TRIES: usize = 3;

/// How much of a segment is zeroed at once, in bytes.
const ZERO_BYTES: u64 = 1 << 20;

/// How much of the end of a segment is read to find its trailer, in bytes: all of it where the
/// segment is of the usual size and its chunks are not compressed.
const TRAILER_BYTES: u32 = 48 << 10;

/// What an open store consists of. Shared by all reactors.
#[derive(Debug)]
pub(super) struct Shell {
    pub(super) backend: Checked,
    pub(super) sealer: Sealer,
    pub(super) blocks: BlockCache,
    pub(super) index: Arc<Index>,
    pub(super) gatherer: Gatherer,
    /// A trailer was read for the index.
    pub(super) learned: Signal,
    core: Mutex<Core>,
    /// Something has changed that a request, a flush or a chore may wait for.
    pub(super) changed: Signal,
    /// The chores have something to do.
    pub(super) chores: Signal,
    flushing: Mutex<Flushing>,
    pub(super) flushed: Signal,
    /// Whether it is open for clients: not before recovery has ended, nor once it is being closed.
    pub(super) is_in_use: AtomicBool,
}

/// The flushes of the backend.
#[derive(Debug, Default)]
struct Flushing {
    under_way: bool,
}

/// One write's wait for a backend that has no space left.
#[derive(Default)]
struct SpaceWait {
    begun: Option<(Instant, Backoff)>,
}

impl SpaceWait {
    /// Waits for a moment; whether another try is worth it.
    async fn wait(&mut self, is_in_use: &AtomicBool) -> bool {
        if !is_in_use.load(Ordering::SeqCst) {
            return false;
        }
        let (end, backoff) = self.begun.get_or_insert_with(|| {
            tracing::error!(
                "the disk beneath the store has no space left; writes wait for it for {} s",
                SPACE_TIMEOUT.as_secs()
            );
            (env::now() + SPACE_TIMEOUT, Backoff::new())
        });
        let is_worth_it = env::now() < *end;
        if is_worth_it {
            backoff.pause().await;
        }
        is_worth_it
    }
}

/// What whoever wants a flush does next.
enum Turn {
    Done,
    /// Flush; every batch with a lower number is written.
    Run(u64),
    Fail(Error),
}

impl Shell {
    pub(super) fn new(backend: Checked, core: Core) -> Arc<Self> {
        Arc::new(Self {
            backend,
            sealer: core.sealer.clone(),
            blocks: BlockCache::new(core.tuning.block_cache),
            index: Arc::clone(&core.index),
            gatherer: Gatherer::default(),
            learned: Signal::new(),
            core: Mutex::new(core),
            changed: Signal::new(),
            chores: Signal::new(),
            flushing: Mutex::default(),
            flushed: Signal::new(),
            is_in_use: AtomicBool::new(false),
        })
    }

    /// The core, for a moment.
    pub(super) fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn shape(&self) -> Shape {
        self.core().shape()
    }

    /// Reads a node that is not in memory, and makes it known.
    ///
    /// A segment may have been freed and taken again while it was read; then the node does not
    /// open, and whoever wanted it finds another way through the map.
    pub(super) async fn load(&self, load: Load) -> Result<()> {
        let shape = self.shape();
        match read_node(&self.backend, &self.sealer, shape, load).await {
            Ok(node) => self.core().loaded(load, node),
            Err(error) => {
                let is_stale = self.core().table.seq(load.ptr.seg()) != load.seq;
                if !is_stale {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Writes what `make` gives, repeating what failed. The bytes and the place are the same each
    /// time, so it does not matter whether an attempt whose outcome is unknown happens late.
    ///
    /// A backend that is thin may run out of space beneath a store that has some; for that
    /// somebody is given [`SPACE_TIMEOUT`], unless the store is being opened or closed.
    pub(super) async fn write_firmly(&self, offset: u64, make: impl Fn() -> Buf) -> Result<()> {
        let mut tries = 0;
        let mut space = SpaceWait::default();
        loop {
            let error = match self.backend.write(offset, make()).await {
                Ok(()) => return Ok(()),
                Err(Error::Poisoned) => return Err(Error::Poisoned),
                Err(Error::Refused(Refusal::NoSpace)) if space.wait(&self.is_in_use).await => {
                    continue;
                }
                Err(error) => error,
            };
            tries += 1;
            if tries == WRITE_TRIES {
                tracing::error!(%error, offset, "a write failed {WRITE_TRIES} times");
                return Err(error);
            }
        }
    }

    /// Waits while segments are so few that a store which is opened again and again, and never for
    /// long, would run out of them: each opening takes some, and only garbage collection returns
    /// them.
    ///
    /// # Errors
    /// If the store stops meanwhile.
    pub(super) async fn wait_for_space(&self) -> Result<()> {
        let look = || {
            let core = self.core();
            match core.check_health() {
                Err(error) => Some(Err(error)),
                Ok(()) => (!core.is_nearly_full() || !core.is_short()).then_some(Ok(())),
            }
        };
        self.changed.wait_for(look).await
    }

    /// Stops the store: nothing is promised any more.
    pub(super) fn stop(&self) {
        let mut core = self.core();
        if core.health == Health::Well {
            core.health = Health::Stopped;
            tracing::error!("the store stops: what was not flushed may be lost");
        }
        drop(core);
        self.wake_all();
    }

    pub(super) fn wake_all(&self) {
        self.changed.wake_all();
        self.flushed.wake_all();
        self.chores.wake_all();
    }

    /// Starts to write what the log has gathered, if a hand is free for it.
    ///
    /// Up to the limit of batches in flight each is written by a task of its own, which goes on
    /// with what has gathered meanwhile. So a batch leaves at once when there is little to do, and
    /// batches grow when there is much.
    pub(super) fn pump(self: &Arc<Self>) {
        let limit = self.core().tuning.batches_in_flight;
        if !self.core().log.has_job(limit) {
            return;
        }
        let shell = Arc::clone(self);
        env::start(async move { shell.write_jobs(limit).await });
    }

    /// The same, once everything that can run in this turn has run.
    pub(super) fn pump_at_end_of_turn(self: &Arc<Self>) {
        if !self.core().log.claim_pump() {
            return;
        }
        let shell = Arc::clone(self);
        env::spawn(async move {
            env::end_of_turn().await;
            if shell.core().log.release_pump() {
                shell.pump();
            }
        });
    }

    async fn write_jobs(self: &Arc<Self>, limit: usize) {
        loop {
            let (shape, job) = {
                let mut core = self.core();
                match core.log.next_job(limit) {
                    Some(job) => (core.shape(), job),
                    None => return,
                }
            };
            let written = match self.write_job(shape, &job).await {
                Ok(bytes) => bytes,
                Err(error) => {
                    tracing::error!(%error, "the log could not be written");
                    self.stop();
                    return;
                }
            };
            let (wants_chores, wants_flush) = {
                let mut core = self.core();
                core.log.job_written(&job);
                core.traffic.log += written;
                let wants_chores = core.wants_checkpoint() || core.wants_collection();
                (
                    wants_chores,
                    core.log.wants_flush().then(|| core.log.written()),
                )
            };
            if let Some(written) = wants_flush
                && self.begin_flush()
            {
                let shell = Arc::clone(self);
                env::start(async move { shell.flush_backend(written).await });
            }
            self.changed.wake_all();
            if wants_chores {
                self.chores.wake_all();
            }
        }
    }

    /// Writes one thing; gives how many bytes that were.
    async fn write_job(&self, shape: Shape, job: &Job) -> Result<u64> {
        match job {
            Job::Batch(batch) => {
                let offset = shape.backend_offset(batch.seg, batch.header.offset);
                let seal = || batch.seal(&self.sealer, shape);
                self.write_firmly(offset, seal).await?;
                Ok(u64::from(shape.round_up(batch.header.bytes)))
            }
            Job::Zero(seg) => {
                let zero = Extent::between(0, u64::from(shape.seg_bytes()));
                let mut at = 0;
                while at < zero.bytes() {
                    let some = ZERO_BYTES.min(zero.bytes() - at);
                    let len = usize::try_from(some).expect("bounded");
                    let offset = shape.backend_offset(*seg, 0) + at;
                    self.write_firmly(offset, || Buf::zeroed(len)).await?;
                    at += some;
                }
                Ok(zero.bytes())
            }
            Job::Trailer(seg, trailer) => {
                let bytes = trailer.encode(&self.sealer, shape.seg_bytes());
                let len = u32::try_from(bytes.len()).expect("shorter than a segment");
                let room = shape.round_up(len);
                let offset = shape.backend_offset(*seg, shape.seg_bytes() - room);
                let make = || {
                    let mut buf = Buf::zeroed(room as usize);
                    let from = buf.len() - bytes.len();
                    buf[from..].copy_from_slice(&bytes);
                    buf
                };
                self.write_firmly(offset, make).await?;
                let prints = trailer.entries.iter().filter_map(Entry::fingerprint);
                self.index.hook(*seg, prints);
                Ok(u64::from(room))
            }
        }
    }

    /// Waits until every batch up to `number` is written; not yet durable.
    pub(super) async fn wait_written(&self, number: u64) -> Result<()> {
        let look = || {
            let core = self.core();
            match core.health {
                Health::Stopped => Some(Err(Error::Poisoned)),
                _ => (core.log.written() > number).then_some(Ok(())),
            }
        };
        self.changed.wait_for(look).await
    }

    /// Returns once batch `number`, and everything before it, is durable.
    ///
    /// A flush covers what was written before it began. So all who wait while one is under way
    /// share the next.
    pub(super) async fn wait_durable(self: &Arc<Self>, number: u64) -> Result<()> {
        self.wait_written(number).await?;
        if self.core().tuning.breaks(Promise::Flush) {
            return Ok(());
        }
        loop {
            match self.flushed.wait_for(|| self.turn(number)).await {
                Turn::Done => return Ok(()),
                Turn::Fail(error) => return Err(error),
                Turn::Run(covered) => {
                    let shell = Arc::clone(self);
                    // A task of its own: a flush that has begun ends, whoever stops waiting.
                    env::start(async move { shell.flush_backend(covered).await });
                }
            }
        }
    }

    fn turn(&self, number: u64) -> Option<Turn> {
        let core = self.core();
        if core.log.durable() > number {
            return Some(Turn::Done);
        }
        if core.health == Health::Stopped {
            return Some(Turn::Fail(Error::Poisoned));
        }
        self.begin_flush().then(|| Turn::Run(core.log.written()))
    }

    /// Whether the caller is to flush, since nobody does.
    fn begin_flush(&self) -> bool {
        let mut flushing = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        !std::mem::replace(&mut flushing.under_way, true)
    }

    async fn flush_backend(&self, covered: u64) {
        let flushed = self.backend.flush().await;
        match flushed {
            Ok(()) => self.core().log.flushed(covered),
            Err(_) => self.stop(),
        }
        let mut flushing = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        flushing.under_way = false;
        drop(flushing);
        self.flushed.wake_all();
    }
}

/// What was read is not what was written.
pub(super) fn corrupt(during: &'static str) -> Error {
    Error::Corrupt(Fault {
        during,
        errno: libc::EIO,
    })
}

/// The `len` bytes at `offset` of segment `seg`, whatever the backend's block.
pub(super) async fn read_chunk(
    backend: &Checked,
    shape: Shape,
    (seg, offset): (u32, u32),
    len: usize,
) -> Result<Buf> {
    let block = backend.geometry().block;
    let start = shape.backend_offset(seg, offset);
    let at = Extent::between(start, start + len as u64);
    let whole = at.grow(block);
    let buf = backend.read(whole, Buf::new(whole.len())).await?;
    let from = Extent::between(whole.offset(), start).len();
    Ok(buf.window(from, from + len))
}

/// Reads a node of a map.
///
/// # Errors
/// `Corrupt` if it is not what was written there.
pub(super) async fn read_node(
    backend: &Checked,
    sealer: &Sealer,
    shape: Shape,
    load: Load,
) -> Result<Box<Node>> {
    let Load { ptr, seq, .. } = load;
    let sealed = read_chunk(backend, shape, (ptr.seg(), ptr.offset()), SEALED_BLOCK).await?;
    let Ok(bytes) = sealer.open(Shape::place(ptr, seq), &sealed) else {
        return Err(corrupt("reading a node of a map"));
    };
    let mut node = empty_node();
    for (entry, bytes) in node.iter_mut().zip(bytes.chunks_exact(8)) {
        *entry = u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
    }
    // An entry is followed, so what comes from outside is looked at once, here.
    let sound = |bits: &u64| {
        let ptr = Ptr::from_bits(*bits);
        ptr.is_hole() || shape.holds(ptr) || ptr.is_dead() && load.level == 0
    };
    match node.iter().all(sound) {
        true => Ok(node),
        false => Err(corrupt("following a node of a map")),
    }
}

/// The trailer of a segment with this number, if it has one that opens.
///
/// # Errors
/// If it cannot be read.
pub(super) async fn read_trailer(
    backend: &Checked,
    sealer: &Sealer,
    shape: Shape,
    (seg, seq): (u32, Seq),
) -> Result<Option<Trailer>> {
    let seg_bytes = shape.seg_bytes();
    let most = TRAILER_BYTES.min(seg_bytes);
    let end = read_chunk(backend, shape, (seg, seg_bytes - most), most as usize).await?;
    let Some(bytes) = Trailer::peek(seq, seg_bytes, &end[end.len() - FOOTER_BYTES..]) else {
        return Ok(None);
    };
    if let Some(from) = end.len().checked_sub(bytes) {
        return Ok(Trailer::decode(sealer, seq, seg_bytes, &end[from..]).ok());
    }
    let len = u32::try_from(bytes).expect("no longer than the segment");
    let all = read_chunk(backend, shape, (seg, seg_bytes - len), bytes).await?;
    Ok(Trailer::decode(sealer, seq, seg_bytes, &all).ok())
}

const _: () = assert!(FANOUT * 8 == BLOCK);
