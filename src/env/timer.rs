//! Points in time, and waiting for them.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::{Add, Sub};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::current;

/// A point in time, in nanoseconds since some fixed point: of the monotonic clock, or of a
/// simulation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Instant(u64);

impl Instant {
    pub(super) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the fixed point, for those who compute with points in time.
    pub fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this, or zero if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The first multiple of `step`, counted from when the clock was zero, that is not before this.
    #[must_use]
    pub fn round_up(self, step: Duration) -> Self {
        let step = u64::try_from(step.as_nanos()).expect("a step, not an age");
        Self(self.0.next_multiple_of(step))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

/// The CPU time of all threads of this process.
pub(super) fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.try_into().unwrap_or_default()
}

/// The kernel's monotonic clock.
pub(super) fn monotonic() -> Instant {
    clock(rustix::time::ClockId::Monotonic)
}

/// The same, but going on while the machine is suspended.
pub(super) fn since_boot() -> Instant {
    clock(rustix::time::ClockId::Boottime)
}

fn clock(id: rustix::time::ClockId) -> Instant {
    let time = rustix::time::clock_gettime(id);
    let seconds = u64::try_from(time.tv_sec).expect("the monotonic clock is not negative");
    let nanos = u64::try_from(time.tv_nsec).expect("nanoseconds are not negative");
    Instant(seconds * 1_000_000_000 + nanos)
}

pub(super) fn wall_clock() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    // A clock that was set to before 1970 is as good as none.
    u64::try_from(time.tv_sec).unwrap_or(0)
}

/// The timers of one thread, in order of time and, where that is equal, of creation.
#[derive(Default)]
pub(super) struct Timers {
    waiting: BTreeMap<Key, Waker>,
    created: u64,
}

type Key = (Instant, u64);

impl Timers {
    /// When the next timer is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.waiting
            .first_key_value()
            .map(|((deadline, _), _)| *deadline)
    }

    /// Takes every timer that is due at `now`.
    pub(super) fn take_due(&mut self, now: Instant) -> impl Iterator<Item = Waker> + use<> {
        let later = self.waiting.split_off(&(now, u64::MAX));
        std::mem::replace(&mut self.waiting, later).into_values()
    }
}

/// Waiting for a point in time.
#[derive(Debug)]
pub struct Sleep {
    deadline: Instant,
    registered: Option<u64>,
}

impl Sleep {
    pub(super) fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            registered: None,
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let core = current();
        if core.now() >= self.deadline {
            return Poll::Ready(());
        }
        let mut timers = core.timers.borrow_mut();
        let created = *self.registered.get_or_insert_with(|| {
            timers.created += 1;
            timers.created
        });
        timers
            .waiting
            .insert((self.deadline, created), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let Some(created) = self.registered else {
            return;
        };
        super::CURRENT.with_borrow(|core| {
            if let Some(core) = core {
                let key = (self.deadline, created);
                core.timers.borrow_mut().waiting.remove(&key);
            }
        });
    }
}
