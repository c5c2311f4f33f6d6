//! A leaky bucket as a clock: when it will be empty, if nothing more is poured in.
//!
//! What a request is charged moves the clock forward by the time that the rate takes to let it
//! through; time itself empties the bucket. A bucket admits while it would be empty within its
//! *slack*, which is its size: whatever the size of the next request, that one goes in whole, and
//! who comes after waits for it. So a bucket is one word, which any number of threads change
//! without a lock, and nothing has to be done while nothing happens.

use std::sync::atomic::{AtomicU64, Ordering};

use super::limits::Rate;

/// A second, in nanoseconds.
pub(super) const SECOND: u64 = 1_000_000_000;

/// The size of a bucket without a burst, in nanoseconds of its rate: 10 ms. Any second lets through
/// at most 1 % and one request more than the rate. It is what late timers are forgiven: with less,
/// what a thread oversleeps would be lost; QEMU's 100 ms let 10 % more through.
const SLACK: u64 = SECOND / 100;

/// One measure of one limiter.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// As large as the burst.
    average: Clock,
    /// Keeps a burst to its own rate.
    peak: Clock,
}

/// A bucket that leaks at one rate. Fields change together only while the limits are set; who reads
/// in that moment may charge one request by the old rate.
#[derive(Debug, Default)]
struct Clock {
    /// Units a second; 0 for no limit.
    rate: AtomicU64,
    slack: AtomicU64,
    empty_at: AtomicU64,
}

impl Bucket {
    /// Limits to `rate` from `now` on; what was used of a burst stays used.
    pub(super) fn set(&self, rate: Option<Rate>, now: u64) {
        let Some(Rate { average, burst }) = rate else {
            self.average.set(0, 0, now);
            return self.peak.set(0, 0, now);
        };
        let slack = burst.map_or(SLACK, |burst| burst.recovery_ns(average).max(SLACK));
        self.average.set(average, slack, now);
        self.peak
            .set(burst.map_or(0, |burst| burst.rate), SLACK, now);
    }

    /// When the next request may pass; in the past for at once.
    pub(super) fn due(&self) -> u64 {
        self.average.due().max(self.peak.due())
    }

    /// Charges `count / per` units at `now`. Gives the time that the average takes for them.
    pub(super) fn charge(&self, count: u64, per: u64, now: u64) -> u64 {
        self.peak.charge(count, per, now);
        self.average.charge(count, per, now)
    }
}

impl Clock {
    fn set(&self, rate: u64, slack: u64, now: u64) {
        let before = self.rate.swap(rate, Ordering::Relaxed);
        self.slack.store(slack, Ordering::Relaxed);
        let carried = |empty_at: u64| {
            let level = u128::from(empty_at.saturating_sub(now)) * u128::from(before);
            // The same level takes another time at another rate. More than the new bucket holds is
            // forgiven: nobody waits for hours because of what was allowed a moment ago.
            let time = level.checked_div(u128::from(rate)).unwrap_or(0);
            Some(now + u64::try_from(time).unwrap_or(u64::MAX).min(slack))
        };
        let updated = self
            .empty_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, carried);
        debug_assert!(updated.is_ok(), "it always gives a value");
    }

    fn due(&self) -> u64 {
        match self.rate.load(Ordering::Relaxed) {
            0 => 0,
            _ => {
                let slack = self.slack.load(Ordering::Relaxed);
                self.empty_at.load(Ordering::Relaxed).saturating_sub(slack)
            }
        }
    }

    fn charge(&self, count: u64, per: u64, now: u64) -> u64 {
        let rate = self.rate.load(Ordering::Relaxed);
        if rate == 0 || count == 0 {
            return 0;
        }
        let cost = time_of(count, per, rate);
        let charged = |empty_at: u64| Some(empty_at.max(now).saturating_add(cost));
        let updated = self
            .empty_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, charged);
        debug_assert!(updated.is_ok(), "it always gives a value");
        cost
    }
}

/// The time that `count / per` units take at `rate` a second, to the nearest nanosecond: up or down
/// always would bend rates of millions a second.
fn time_of(count: u64, per: u64, rate: u64) -> u64 {
    if let Some(units) = count.checked_mul(SECOND)
        && let Some(per) = per.checked_mul(rate)
    {
        // All but the largest; a division of 128 bits takes several times as long.
        return units.saturating_add(per / 2) / per;
    }
    let units = u128::from(count) * u128::from(SECOND);
    let per = u128::from(per) * u128::from(rate);
    u64::try_from((units + per / 2) / per).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::super::limits::Burst;
    use super::*;

    /// How many units of one each pass in each of `seconds` seconds, with always more to come.
    fn pass(bucket: &Bucket, from: u64, seconds: u64) -> Vec<u64> {
        let mut counts = vec![0; usize::try_from(seconds).expect("small")];
        let mut now = from;
        loop {
            now = now.max(bucket.due());
            let second = (now - from) / SECOND;
            let Some(count) = counts.get_mut(usize::try_from(second).expect("small")) else {
                return counts;
            };
            *count += 1;
            bucket.charge(1, 1, now);
        }
    }

    fn rate(average: u64, burst: Option<(u64, u64)>) -> Option<Rate> {
        let burst = burst.map(|(rate, seconds)| Burst { rate, seconds });
        Some(Rate { average, burst })
    }

    #[test]
    fn a_second_lets_through_what_it_should_and_a_hundredth_at_first() {
        for average in [1, 7, 100, 1000, 33_333, 100_000] {
            let bucket = Bucket::default();
            bucket.set(rate(average, None), 5);
            let counts = pass(&bucket, 5, 4);
            let most = average + average / 100 + 1;
            assert!(
                (average..=most).contains(&counts[0]),
                "{average} {counts:?}"
            );
            for count in &counts[1..] {
                assert!(count.abs_diff(average) <= 1, "{average} {counts:?}");
            }
        }
    }

    #[test]
    fn a_burst_lasts_as_long_as_its_bucket_and_comes_back() {
        let bucket = Bucket::default();
        bucket.set(rate(100, Some((500, 4))), 0);
        let counts = pass(&bucket, 0, 10);
        // 2,000 in the bucket, which fills at 500 - 100 a second: five seconds.
        for count in &counts[..5] {
            assert!((494..=506).contains(count), "{counts:?}");
        }
        for count in &counts[6..] {
            assert!((99..=101).contains(count), "{counts:?}");
        }
        // Half of what was used is earned back in ten seconds, and lasts two and a half.
        let counts = pass(&bucket, 20 * SECOND, 5);
        assert!(counts[1] >= 499 && counts[4] <= 101, "{counts:?}");
    }

    #[test]
    fn a_large_request_goes_in_whole_and_is_waited_for() {
        let bucket = Bucket::default();
        bucket.set(rate(1000, None), 0);
        assert_eq!(bucket.due(), 0);
        bucket.charge(5000, 1, 0);
        assert_eq!(bucket.due(), 5 * SECOND - SLACK);
        bucket.charge(4096, 1024, 5 * SECOND);
        assert_eq!(bucket.due(), 5 * SECOND + 4 * SECOND / 1000 - SLACK);
    }

    #[test]
    fn another_limit_keeps_the_burst_that_was_used_and_forgives_debts() {
        let bucket = Bucket::default();
        bucket.set(rate(100, Some((1000, 10))), 0);
        bucket.charge(10_000, 1, 0);
        bucket.set(rate(200, Some((1000, 10))), 0);
        // The average's bucket is still full; the rate of bursts does not add to that.
        assert!(bucket.due() <= SLACK && bucket.average.due() == 0);
        assert_eq!(bucket.average.empty_at.load(Ordering::Relaxed), 50 * SECOND);
        bucket.set(rate(1, None), 0);
        assert_eq!(bucket.due(), 0);
        bucket.set(None, 0);
        bucket.charge(u64::MAX, 1, 0);
        assert_eq!(bucket.due(), 0);
    }

    #[test]
    fn nothing_overflows() {
        let bucket = Bucket::default();
        bucket.set(rate(1, None), u64::MAX / 2);
        for _ in 0..10 {
            bucket.charge(u64::MAX, 1, u64::MAX / 2);
        }
        assert!(bucket.due() > u64::MAX / 2);
    }
}
