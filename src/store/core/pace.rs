//! Pace: how fast writes may go while garbage collection makes space.
//!
//! Collection returns space once in a pass, and a client that overwrites at full speed uses up what
//! there is before the first pass ends. Without a pace it would then wait for all of the rest of
//! the pass at once, a second or minutes, as long as a pass takes. So while space is short writes
//! may use what is left at the rate at which it would last for one pass more: the less is left, the
//! slower they become, and where collection keeps up they settle at the rate at which it returns
//! space. Flushes, discards and what is read are not held back.

use std::time::Duration;

use super::Core;
use super::space::Wish;
use crate::env::Instant;
use crate::store::format::SEALED_BLOCK;

/// What a pass is taken to last at least.
const PASS_MIN: Duration = Duration::from_millis(100);

/// What a pass is taken to last before one has ended.
const PASS_FIRST: Duration = Duration::from_secs(2);

/// How far writes may be ahead of their pace: what a timer may be late, so that it costs no rate.
const AHEAD: Duration = Duration::from_millis(5);

/// Writes that are held back go on at multiples of this, those of a millisecond together: one by
/// one each would be a turn of its own, with fingerprints, replies and wake-ups of its own, which
/// takes three times the CPU.
const TOGETHER: Duration = Duration::from_millis(1);

/// The longest that one write is held back. Then it goes on to where it is admitted, or waits for
/// space.
const HOLD_MAX: Duration = Duration::from_millis(250);

/// The pace of one store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// When the pass began that is under way, if one is.
    began: Option<Instant>,
    /// How long the last one took.
    last: Duration,
    /// When the next write is due.
    due: Option<Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            began: None,
            last: PASS_FIRST,
            due: None,
        }
    }
}

impl Pace {
    /// A pass begins.
    pub(super) fn begin_pass(&mut self, now: Instant) {
        self.began = Some(now);
    }

    /// The pass that was under way has ended.
    pub(super) fn end_pass(&mut self, now: Instant) {
        if let Some(began) = self.began.take() {
            self.last = now.since(began);
        }
    }

    /// How long to hold a write of `bytes` back while `left` bytes are left.
    fn hold(&mut self, now: Instant, bytes: u64, left: u64) -> Duration {
        let under_way = self.began.map_or(Duration::ZERO, |began| now.since(began));
        // One that takes longer than the last is taken to be half done.
        let pass = self.last.max(2 * under_way).max(PASS_MIN);
        let part = bytes as f64 / left.max(bytes).max(1) as f64;
        let due = self.due.map_or(now, |due| due.max(now));
        let latest = now + (HOLD_MAX - TOGETHER);
        self.due = Some((due + pass.mul_f64(part)).min(latest));
        match due.since(now) {
            wait if wait <= AHEAD => Duration::ZERO,
            _ => due.round_up(TOGETHER).since(now),
        }
    }

    /// Space is not short.
    fn let_go(&mut self) {
        self.due = None;
    }
}

impl Core {
    /// How long a write of so many blocks is to be held back before it is admitted.
    pub(in crate::store) fn hold_back(&mut self, now: Instant, blocks: usize) -> Duration {
        if !self.is_short() {
            self.pace.let_go();
            return Duration::ZERO;
        }
        let left = u64::from(self.allowance(Wish::Write)) * u64::from(self.shape().seg_bytes());
        let hold = self.pace.hold(now, (blocks * SEALED_BLOCK) as u64, left);
        self.stalls.space += u64::from(!hold.is_zero());
        hold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn at(millis: u64) -> Instant {
        Instant::default() + Duration::from_millis(millis)
    }

    /// How many bytes of 4 KiB writes, one after the other, get through in `millis`.
    fn written(pace: &mut Pace, from: u64, millis: u64, mut left: u64) -> u64 {
        let (mut now, end, before) = (at(from), at(from + millis), left);
        while now < end && left > 0 {
            now = now + pace.hold(now, 4096, left) + Duration::from_micros(5);
            left -= 4096;
        }
        before - left
    }

    #[test]
    fn what_is_left_is_never_used_up_however_long_a_pass_takes() {
        let mut pace = Pace::default();
        pace.begin_pass(at(0));
        let left = 100 * MIB;
        let first = written(&mut pace, 0, 1000, left);
        assert!((10 * MIB..60 * MIB).contains(&first), "{first}");
        let second = written(&mut pace, 1000, 60_000, left - first);
        assert!(second > 0 && first + second < left, "{first} {second}");
    }

    #[test]
    fn writes_settle_at_the_rate_at_which_space_returns() {
        let mut pace = Pace::default();
        let (mut left, mut rates) = (50 * MIB, Vec::new());
        for pass in 0..20 {
            pace.begin_pass(at(pass * 500));
            let used = written(&mut pace, pass * 500, 500, left);
            pace.end_pass(at((pass + 1) * 500));
            left = left - used + 20 * MIB;
            rates.push(used);
        }
        let settled = &rates[10..];
        let near = |rate: &u64| (18 * MIB..22 * MIB).contains(rate);
        assert!(settled.iter().all(near), "{rates:?}");
    }

    #[test]
    fn one_write_is_not_held_back_for_long_and_none_without_need() {
        let mut pace = Pace::default();
        pace.begin_pass(at(0));
        let holds: Vec<_> = (0..1000)
            .map(|_| pace.hold(at(100_000), 1 << 20, 1 << 20))
            .collect();
        assert!(holds.iter().all(|hold| *hold <= HOLD_MAX), "{holds:?}");
        assert_eq!(pace.hold(at(200_000), 4096, 1 << 40), Duration::ZERO);
    }
}
