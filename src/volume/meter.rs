//! What clients do with a volume: how many requests, how many bytes, how long, how many in vain.
//!
//! Each thread counts for itself, so that counting is a few plain additions and shares no cache
//! line with anybody; who wants to know adds up. Times are those of the turns of the reactor in
//! which a request was received and done: reading the clock twice for each request would cost more
//! than all else here. A request that is done in the turn in which it came took no time by that
//! measure.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::base::Op;

/// What kind of request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpKind {
    /// Reading data.
    Read,
    /// Writing data.
    Write,
    /// Writing zeroes.
    WriteZeroes,
    /// Discarding.
    Discard,
    /// Flushing.
    Flush,
    /// Anything else: what is allocated, what will be read.
    Other,
}

impl OpKind {
    /// All there are, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Read,
        Self::Write,
        Self::WriteZeroes,
        Self::Discard,
        Self::Flush,
        Self::Other,
    ];

    /// What metrics call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::WriteZeroes => "write_zeroes",
            Self::Discard => "discard",
            Self::Flush => "flush",
            Self::Other => "other",
        }
    }

    /// The kind of `op`, and the bytes that it is about.
    pub(super) fn of(op: &Op) -> (Self, u64) {
        match op {
            Op::Read { at } | Op::ReadTo { at, .. } => (Self::Read, at.bytes()),
            Op::Write { data, .. } => (Self::Write, data.len() as u64),
            Op::WriteFrom { at, .. } => (Self::Write, at.bytes()),
            Op::WriteZeroes { at, .. } => (Self::WriteZeroes, at.bytes()),
            Op::Discard { at, .. } => (Self::Discard, at.bytes()),
            Op::Flush => (Self::Flush, 0),
            Op::Cache { .. } | Op::Status { .. } => (Self::Other, 0),
        }
    }
}

/// Buckets of latency: below 2^10 ns, below 2^11, ... below 2^34 (17 s), and whatever is longer.
pub const LATENCY_BUCKETS: usize = 26;

/// The first bucket ends at 2 to the power of this, in nanoseconds.
const FIRST_BUCKET_BITS: u32 = 10;

/// Requests of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OpCounts {
    /// How many took how long, by bucket.
    pub latency: [u64; LATENCY_BUCKETS],
    /// The time that all took together, in nanoseconds.
    pub latency_ns: u64,
    /// The bytes that all were about.
    pub bytes: u64,
    /// How many ended in an error.
    pub errors: u64,
}

impl OpCounts {
    /// How many there were.
    pub fn requests(&self) -> u64 {
        self.latency.iter().sum()
    }

    /// Where bucket `index` ends; `None` for the last.
    pub fn bucket_end(index: usize) -> Option<Duration> {
        let bits = FIRST_BUCKET_BITS + u32::try_from(index).ok()?;
        (index + 1 < LATENCY_BUCKETS).then(|| Duration::from_nanos(1 << bits))
    }
}

/// The requests of one volume. Shared by all threads.
#[derive(Debug, Default)]
pub(super) struct Meter {
    shards: Mutex<Vec<(usize, Arc<Shard>)>>,
}

/// What one thread has counted. Only that thread writes, so it need not exclude anybody: it loads,
/// adds and stores.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Shard {
    by_kind: [Cells; 6],
}

#[derive(Debug, Default)]
struct Cells {
    latency: [AtomicU64; LATENCY_BUCKETS],
    latency_ns: AtomicU64,
    bytes: AtomicU64,
    errors: AtomicU64,
}

impl Meter {
    /// Where the calling thread counts. Made when it is first asked for: volumes that nobody uses
    /// cost nothing.
    pub(super) fn shard(&self) -> Arc<Shard> {
        let thread = this_thread();
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, shard)) = shards.iter().find(|(of, _)| *of == thread) {
            return Arc::clone(shard);
        }
        let shard = Arc::new(Shard::default());
        shards.push((thread, Arc::clone(&shard)));
        shard
    }

    /// What all threads have counted of this kind.
    pub(super) fn counts(&self, kind: OpKind) -> OpCounts {
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sum = OpCounts::default();
        for (_, shard) in shards.iter() {
            shard.by_kind[kind as usize].add_to(&mut sum);
        }
        sum
    }
}

impl Shard {
    /// Counts a request that is done.
    pub(super) fn count(&self, (kind, bytes): (OpKind, u64), took: Duration, is_error: bool) {
        let cells = &self.by_kind[kind as usize];
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bits = (u64::BITS - nanos.leading_zeros()).saturating_sub(FIRST_BUCKET_BITS);
        let bucket = usize::try_from(bits).map_or(0, |bits| bits.min(LATENCY_BUCKETS - 1));
        add(&cells.latency[bucket], 1);
        add(&cells.latency_ns, nanos);
        if is_error {
            add(&cells.errors, 1);
        } else {
            add(&cells.bytes, bytes);
        }
    }
}

impl Cells {
    fn add_to(&self, sum: &mut OpCounts) {
        for (sum, bucket) in sum.latency.iter_mut().zip(&self.latency) {
            *sum += bucket.load(Ordering::Relaxed);
        }
        sum.latency_ns += self.latency_ns.load(Ordering::Relaxed);
        sum.bytes += self.bytes.load(Ordering::Relaxed);
        sum.errors += self.errors.load(Ordering::Relaxed);
    }
}

/// Adds to a cell that nobody else writes.
fn add(cell: &AtomicU64, more: u64) {
    let sum = cell.load(Ordering::Relaxed).wrapping_add(more);
    cell.store(sum, Ordering::Relaxed);
}

fn this_thread() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Runtime;

    #[test]
    fn a_time_is_counted_where_it_belongs() {
        let meter = Meter::default();
        let shard = meter.shard();
        let read = (OpKind::Read, 4096);
        for (nanos, bucket) in [
            (0, 0),
            (1023, 0),
            (1024, 1),
            (2047, 1),
            (2048, 2),
            (1 << 33, 24),
            ((1 << 34) - 1, 24),
            (1 << 34, 25),
            (u64::MAX, 25),
        ] {
            let before = meter.counts(OpKind::Read).latency[bucket];
            shard.count(read, Duration::from_nanos(nanos), false);
            let after = meter.counts(OpKind::Read).latency[bucket];
            assert_eq!(after, before + 1, "{nanos}");
            let ends_after =
                OpCounts::bucket_end(bucket).is_none_or(|end| end > Duration::from_nanos(nanos));
            assert!(ends_after, "{nanos}");
        }
        shard.count(read, Duration::ZERO, true);
        let counts = meter.counts(OpKind::Read);
        assert_eq!((counts.requests(), counts.errors), (10, 1));
        assert_eq!(counts.bytes, 9 * 4096);
        assert_eq!(meter.counts(OpKind::Flush), OpCounts::default());
    }

    #[test]
    fn threads_count_for_themselves_and_are_added_up() {
        let meter = Arc::new(Meter::default());
        let (done, wait) = std::sync::mpsc::channel();
        let runtime = Runtime::start(4).expect("the kernel gives rings");
        for reactor in runtime.handles() {
            let (meter, done) = (Arc::clone(&meter), done.clone());
            reactor.spawn(move || async move {
                let shard = meter.shard();
                for _ in 0..10_000 {
                    shard.count((OpKind::Write, 1), Duration::ZERO, false);
                }
                assert!(Arc::ptr_eq(&shard, &meter.shard()));
                done.send(()).expect("somebody waits");
            });
        }
        drop(done);
        assert_eq!(wait.iter().take(4).count(), 4);
        assert_eq!(meter.counts(OpKind::Write).bytes, 40_000);
        runtime.stop();
    }
}
