//! The six buckets of one limiter: requests and bytes, of reads, of writes and of both.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::bucket::Bucket;
use super::limits::{Limits, Measure};

/// Which way data goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// To the client.
    Read,
    /// From the client.
    Write,
}

impl Direction {
    pub(super) const ALL: [Self; 2] = [Self::Read, Self::Write];
}

/// What a request is charged: one request and these bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::volume) struct Charge {
    pub(in crate::volume) direction: Direction,
    pub(in crate::volume) bytes: u64,
}

/// All buckets of one limiter.
#[derive(Debug)]
pub(super) struct Buckets {
    is_on: AtomicBool,
    by_measure: [Bucket; 6],
    iops_size: AtomicU64,
}

impl Default for Buckets {
    fn default() -> Self {
        Self {
            is_on: AtomicBool::new(false),
            by_measure: Default::default(),
            iops_size: AtomicU64::new(u64::MAX),
        }
    }
}

impl Buckets {
    /// Keeps to `limits` from `now` on.
    pub(super) fn set(&self, limits: &Limits, now: u64) {
        let size = limits.iops_size().unwrap_or(u64::MAX);
        self.iops_size.store(size, Ordering::Relaxed);
        for measure in Measure::ALL {
            self.bucket(measure).set(limits.rate(measure), now);
        }
        self.is_on.store(!limits.is_none(), Ordering::Relaxed);
    }

    /// Whether anything is limited.
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// When the next request of this direction may pass, whatever its size; in the past for at
    /// once.
    pub(super) fn due(&self, direction: Direction) -> u64 {
        let (requests, bytes) = measures(direction);
        let due = |measure: Measure| self.bucket(measure).due();
        requests.into_iter().chain(bytes).map(due).fold(0, u64::max)
    }

    /// Charges a request that passes `now`. Gives its share of the time of this limiter: what the
    /// bucket takes that is the tightest for it.
    pub(super) fn charge(&self, charge: Charge, now: u64) -> u64 {
        let (requests, bytes) = measures(charge.direction);
        let size = self.iops_size.load(Ordering::Relaxed);
        // A request larger than the size counts as so many, parts included, as with QEMU.
        let (count, per) = match charge.bytes > size {
            true => (charge.bytes, size),
            false => (1, 1),
        };
        let of_requests = requests.map(|measure| self.bucket(measure).charge(count, per, now));
        let of_bytes = bytes.map(|measure| self.bucket(measure).charge(charge.bytes, 1, now));
        of_requests.into_iter().chain(of_bytes).fold(0, u64::max)
    }

    fn bucket(&self, measure: Measure) -> &Bucket {
        &self.by_measure[measure as usize]
    }
}

/// What a request of this direction counts for.
fn measures(direction: Direction) -> ([Measure; 2], [Measure; 2]) {
    match direction {
        Direction::Read => (
            [Measure::Iops, Measure::ReadIops],
            [Measure::Bps, Measure::ReadBps],
        ),
        Direction::Write => (
            [Measure::Iops, Measure::WriteIops],
            [Measure::Bps, Measure::WriteBps],
        ),
    }
}
