//! What a connection counted in the measured window.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest latency that is told apart, in nanoseconds: a minute. Longer ones count as this.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Latencies are kept to so many digits.
const DIGITS: u8 = 3;

/// Operations, their latencies and their errors.
#[derive(Debug)]
pub(super) struct Tally {
    operations: u64,
    latency: Histogram<u64>,
    /// How often each error number came.
    errors: BTreeMap<u32, u64>,
    /// A latency that came so often in a row. All requests of a batch leave at one time, and those
    /// that come back together have one latency, so most of them need not look for their bucket.
    run: (u64, u64),
}

impl Tally {
    pub(super) fn new() -> Self {
        let latency = Histogram::new_with_max(LATENCY_NS_MAX, DIGITS);
        Self {
            operations: 0,
            latency: latency.expect("constants that fit"),
            errors: BTreeMap::new(),
            run: (0, 0),
        }
    }

    /// Counts an operation that took so long.
    pub(super) fn count(&mut self, latency: Duration) {
        self.operations += 1;
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        if nanos == self.run.0 {
            self.run.1 += 1;
            return;
        }
        self.end_run();
        self.run = (nanos, 1);
    }

    /// Counts an operation that failed with `number`.
    pub(super) fn count_error(&mut self, number: u32) {
        *self.errors.entry(number).or_insert(0) += 1;
    }

    /// Adds what another connection counted.
    pub(super) fn add(&mut self, mut other: Self) {
        other.end_run();
        self.operations += other.operations;
        self.latency.add(&other.latency).expect("the same bounds");
        for (number, count) in other.errors {
            *self.errors.entry(number).or_insert(0) += count;
        }
    }

    /// Operations that succeeded.
    pub(super) fn operations(&self) -> u64 {
        self.operations
    }

    /// Errors: their numbers, and how often each came.
    pub(super) fn errors(&self) -> &BTreeMap<u32, u64> {
        &self.errors
    }

    /// The latency that this share of the operations did not exceed, in nanoseconds.
    pub(super) fn latency_ns_at(&self, quantile: f64) -> u64 {
        let value = self.latency.value_at_quantile(quantile);
        value.min(self.latency.max())
    }

    /// The mean latency, in nanoseconds.
    pub(super) fn latency_ns_mean(&self) -> f64 {
        self.latency.mean()
    }

    fn end_run(&mut self) {
        let (nanos, count) = std::mem::take(&mut self.run);
        self.latency.saturating_record_n(nanos, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_one_latency_and_others_are_counted_alike() {
        let mut all = Tally::new();
        for part in [[1_000, 1_000, 2_000], [1_000, 3_000, 3_000]] {
            let mut tally = Tally::new();
            part.into_iter()
                .for_each(|nanos| tally.count(Duration::from_nanos(nanos)));
            tally.count_error(5);
            all.add(tally);
        }
        assert_eq!((all.operations(), all.errors()[&5]), (6, 2));
        assert_eq!(all.latency_ns_at(0.5), 1_000);
        assert!((2_990..=3_010).contains(&all.latency_ns_at(1.0)));
    }

    #[test]
    fn an_endless_latency_counts_as_the_longest() {
        let mut all = Tally::new();
        let mut tally = Tally::new();
        tally.count(Duration::MAX);
        all.add(tally);
        assert!(all.latency_ns_at(1.0) >= LATENCY_NS_MAX);
    }
}
