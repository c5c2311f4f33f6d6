//! Requests as a server has counted them.

use std::time::Duration;

use crate::control::api::proto;
use crate::control::api::proto::op_counts::Kind;
use crate::volume::{LATENCY_BUCKETS, OpCounts};

/// All kinds of requests, and what people call them.
pub(super) const KINDS: [(Kind, &str); 6] = [
    (Kind::Read, "read"),
    (Kind::Write, "write"),
    (Kind::WriteZeroes, "write_zeroes"),
    (Kind::Discard, "discard"),
    (Kind::Flush, "flush"),
    (Kind::Other, "other"),
];

/// Requests of some kinds, added up.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Ops {
    /// Bytes that they were about.
    pub(super) bytes: u64,
    /// How many of them ended in an error.
    pub(super) errors: u64,
    latency: Duration,
    latencies: [u64; LATENCY_BUCKETS],
}

impl Ops {
    /// Those of `export` that are of one of `kinds`.
    pub(super) fn of(export: &proto::ExportCounts, kinds: &[Kind]) -> Self {
        let mut sum = Self::default();
        for counts in &export.ops {
            if kinds.contains(&counts.kind()) {
                sum.bytes += counts.bytes;
                sum.errors += counts.errors;
                sum.latency += Duration::from_nanos(counts.latency);
                for (sum, bucket) in sum.latencies.iter_mut().zip(&counts.latencies) {
                    *sum += bucket;
                }
            }
        }
        sum
    }

    /// What reads.
    pub(super) fn reads(export: &proto::ExportCounts) -> Self {
        Self::of(export, &[Kind::Read])
    }

    /// What changes something.
    pub(super) fn writes(export: &proto::ExportCounts) -> Self {
        Self::of(export, &[Kind::Write, Kind::WriteZeroes, Kind::Discard])
    }

    /// All there are.
    pub(super) fn all(export: &proto::ExportCounts) -> Self {
        Self::of(export, &KINDS.map(|(kind, _)| kind))
    }

    /// Those that came after `earlier`; all, if they are not those of `earlier` and more: the
    /// export was closed and opened again.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let newer = self.latencies.iter().zip(&earlier.latencies);
        let mut latencies = [0; LATENCY_BUCKETS];
        for (more, (new, old)) in latencies.iter_mut().zip(newer) {
            let Some(difference) = new.checked_sub(*old) else {
                return self.clone();
            };
            *more = difference;
        }
        Self {
            bytes: self.bytes.saturating_sub(earlier.bytes),
            errors: self.errors.saturating_sub(earlier.errors),
            latency: self.latency.saturating_sub(earlier.latency),
            latencies,
        }
    }

    /// These and `others`.
    pub(super) fn plus(&self, others: &Self) -> Self {
        let mut sum = self.clone();
        sum.bytes += others.bytes;
        sum.errors += others.errors;
        sum.latency += others.latency;
        for (sum, more) in sum.latencies.iter_mut().zip(&others.latencies) {
            *sum += more;
        }
        sum
    }

    /// How many there are.
    pub(super) fn requests(&self) -> u64 {
        self.latencies.iter().sum()
    }

    /// How long one took; `None` if there is none.
    pub(super) fn mean(&self) -> Option<Duration> {
        let nanos = self.latency.as_nanos();
        let mean = nanos.checked_div(u128::from(self.requests()))?;
        Some(Duration::from_nanos(
            u64::try_from(mean).unwrap_or(u64::MAX),
        ))
    }

    /// What `percent` of them took less than, rounded up to a power of two nanoseconds; the longest
    /// that is told apart, if they took longer than that. `None` if there is none.
    pub(super) fn percentile(&self, percent: u64) -> Option<Duration> {
        let requests = self.requests();
        let mut left = (requests * percent).div_ceil(100);
        if requests == 0 {
            return None;
        }
        let longest = OpCounts::bucket_end(LATENCY_BUCKETS - 2);
        for (index, count) in self.latencies.iter().enumerate() {
            if left <= *count {
                return OpCounts::bucket_end(index).or(longest);
            }
            left -= count;
        }
        longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(reads: &[u64], flushes: &[u64]) -> proto::ExportCounts {
        let of = |kind: Kind, latencies: &[u64]| proto::OpCounts {
            kind: kind.into(),
            bytes: 4096 * latencies.iter().sum::<u64>(),
            errors: 1,
            latency: 1000 * latencies.iter().sum::<u64>(),
            latencies: latencies.to_vec(),
        };
        proto::ExportCounts {
            ops: vec![of(Kind::Read, reads), of(Kind::Flush, flushes)],
            ..proto::ExportCounts::default()
        }
    }

    #[test]
    fn requests_are_added_up_by_kind() {
        let export = export(&[50, 49, 0, 1], &[3]);
        let reads = Ops::reads(&export);
        assert_eq!((reads.requests(), reads.bytes), (100, 409_600));
        assert_eq!(Ops::writes(&export), Ops::default());
        let all = Ops::all(&export);
        assert_eq!((all.requests(), all.errors), (103, 2));
        assert_eq!(reads.mean(), Some(Duration::from_nanos(1000)));
        for (percent, nanos) in [(1, 1 << 10), (50, 1 << 10), (99, 1 << 11), (100, 1 << 13)] {
            assert_eq!(reads.percentile(percent), Some(Duration::from_nanos(nanos)));
        }
        let none = Ops::default();
        assert_eq!((none.mean(), none.percentile(99)), (None, None));
        let mut longest = Ops::default();
        longest.latencies[LATENCY_BUCKETS - 1] = 1;
        assert_eq!(longest.percentile(50), Some(Duration::from_nanos(1 << 34)));
    }

    #[test]
    fn what_was_done_meanwhile_is_the_difference() {
        let (old, new) = (export(&[5, 1], &[]), export(&[6, 4], &[]));
        let (old, new) = (Ops::reads(&old), Ops::reads(&new));
        assert_eq!(new.since(&old).requests(), 4);
        assert_eq!(new.since(&old).bytes, 4 * 4096);
        assert_eq!(old.since(&new), old, "opened again");
    }
}
