//! What keeps a volume, or a group of volumes, to its limits.
//!
//! While nobody waits, a request is charged without a lock and goes its way. When its buckets are
//! full it waits in a queue, and so do all who come after it: else whoever comes at the right
//! moment would always be first. One task for the whole limiter, the *pump*, sleeps until the next
//! request may pass, lets through all that may, and ends when nobody waits any more. So there is
//! one timer for any number of requests, and none while the limits are not reached.
//!
//! Two threads that charge at the same moment may both find the bucket free, and let one request
//! more through than it holds. Both are charged, so the next waits for both: the rate stays exact.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::buckets::{Buckets, Charge, Direction};
use super::limits::Limits;
use super::turns::{Arrival, Line, Requests, Turns};
use super::waiter::{Verdict, Waiter};
use crate::env;
use crate::env::Signal;

/// The pump wakes at multiples of this time: 100 us. So the timers of all limiters of a thread fall
/// together, at most 10,000 times a second however many there are. Only who waits anyway waits for
/// it, and the buckets' slack makes up for it.
const TICK: u64 = 100_000;

/// The limits of one volume or group, and who waits because of them. Shared by all threads.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    buckets: Buckets,
    limits: Mutex<Limits>,
    /// How many wait; known without the lock.
    waiting: AtomicUsize,
    queue: Mutex<Queue>,
    /// The pump has to look again sooner than it thinks.
    hurry: Signal,
    hurried: AtomicU64,
    waits: AtomicU64,
    waited_ns: AtomicU64,
}

/// Who asks: a client of a volume.
#[derive(Clone, Copy, Debug)]
pub(super) struct Party {
    pub(super) volume: u64,
    pub(super) client: u64,
}

/// What has had to wait since the server was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Waits {
    /// Requests that had to wait.
    pub requests: u64,
    /// For how long, all together.
    pub time: Duration,
}

#[derive(Debug, Default)]
struct Queue {
    /// Volumes take turns, and within a volume its clients.
    turns: Turns<Turns<Requests>>,
    arrivals: Arrival,
    /// When the pump looks again; `None` if there is none.
    pump_at: Option<u64>,
}

impl Limiter {
    /// What is let through.
    pub(super) fn limits(&self) -> Limits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets through what `limits` say from now on. Who waits is let through as they allow.
    pub(super) fn set(&self, limits: Limits) {
        let mut queue = self.lock();
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
        let now = now();
        self.buckets.set(&limits, now);
        self.let_through(&mut queue, now);
        drop(queue);
        self.wake_pump();
    }

    /// Whether anything is limited.
    pub(super) fn is_on(&self) -> bool {
        self.buckets.is_on()
    }

    /// What has had to wait.
    pub(super) fn waits(&self) -> Waits {
        Waits {
            requests: self.waits.load(Ordering::Relaxed),
            time: Duration::from_nanos(self.waited_ns.load(Ordering::Relaxed)),
        }
    }

    /// Whether a request of this direction would have to wait.
    pub(super) fn is_full(&self, direction: Direction) -> bool {
        self.is_on() && (self.somebody_waits() || self.buckets.due(direction) > now())
    }

    /// Lets a request pass if it need not wait.
    pub(super) fn try_pass(&self, charge: Charge) -> bool {
        if self.somebody_waits() {
            return false;
        }
        let now = now();
        let is_due = self.buckets.due(charge.direction) <= now;
        if is_due {
            self.buckets.charge(charge, now);
        }
        is_due
    }

    /// Charges a request that passes whatever the limits say.
    pub(super) fn charge(&self, charge: Charge) {
        self.buckets.charge(charge, now());
    }

    /// Puts the request in the queue and returns when it is its turn, which holds `bytes` of memory
    /// meanwhile.
    pub(super) async fn pass(
        self: &Arc<Self>,
        party: Party,
        charge: Charge,
        bytes: usize,
    ) -> Verdict {
        let began = now();
        let waiter = Waiter::new(charge);
        if self.enqueue(party, waiter.clone(), began) {
            env::spawn(Arc::clone(self).pump());
        }
        // Not all who queue wait: what they queued behind may pass now, and they with it.
        if let Some(verdict) = waiter.verdict() {
            return verdict;
        }
        let verdict = waiter.wait(bytes).await;
        let waited = now().saturating_sub(began);
        self.waits.fetch_add(1, Ordering::Relaxed);
        self.waited_ns.fetch_add(waited, Ordering::Relaxed);
        verdict
    }

    /// Lets every request of `party` that waits pass at once, or refuses it, as `verdict` says.
    pub(super) fn settle(&self, party: Party, verdict: Verdict) {
        if !self.somebody_waits() {
            return;
        }
        let mut queue = self.lock();
        let mut waiters = Vec::new();
        queue.turns.change(party.volume, |clients| {
            clients.change(party.client, |requests| {
                requests.clear(&mut |waiter| waiters.push(waiter));
            });
        });
        self.dismiss(waiters, verdict);
    }

    /// Forgets the client of `party`, none of whose requests wait.
    pub(super) fn forget(&self, party: Party) {
        self.lock().turns.change(party.volume, |clients| {
            let left = clients.remove(party.client);
            debug_assert!(left.is_none_or(|left| {
                let waits = |way| left.next(way).is_some();
                !Direction::ALL.into_iter().any(waits)
            }));
        });
    }

    /// Forgets a volume; what waits of it passes.
    pub(super) fn forget_volume(&self, volume: u64) {
        let mut queue = self.lock();
        let mut waiters = Vec::new();
        if let Some(mut clients) = queue.turns.remove(volume) {
            clients.clear(&mut |waiter| waiters.push(waiter));
        }
        self.dismiss(waiters, Verdict::Pass);
    }

    fn somebody_waits(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Tells `waiters`, who have been taken out of the queue.
    fn dismiss(&self, waiters: Vec<Waiter>, verdict: Verdict) {
        self.waiting.fetch_sub(waiters.len(), Ordering::Relaxed);
        for waiter in waiters {
            if verdict == Verdict::Pass {
                self.buckets.charge(waiter.charge(), now());
            }
            waiter.tell(verdict);
        }
    }

    /// Puts `waiter` at the end of its line; whether the caller is to start the pump.
    fn enqueue(&self, party: Party, waiter: Waiter, now: u64) -> bool {
        let mut queue = self.lock();
        queue.arrivals += 1;
        let arrival = queue.arrivals;
        queue.turns.change(party.volume, |clients| {
            clients.change(party.client, |requests| requests.push(arrival, waiter));
        });
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let Some(due) = self.let_through(&mut queue, now) else {
            return false;
        };
        let before = queue.pump_at;
        queue.pump_at = Some(before.map_or(due, |before| before.min(due)));
        drop(queue);
        if before.is_some_and(|before| due < before) {
            self.wake_pump();
        }
        before.is_none()
    }

    /// Lets through whatever may pass `now`, in fair order. Gives the tick when to look again;
    /// `None` if nobody waits.
    fn let_through(&self, queue: &mut Queue, now: u64) -> Option<u64> {
        loop {
            let due = |way: &Direction| self.buckets.due(*way);
            let wanting = |way: &Direction| queue.turns.next(*way).is_some();
            let may_pass = |way: &Direction| due(way) <= now;
            let ways = Direction::ALL.into_iter().filter(wanting);
            let Some(way) = ways
                .clone()
                .filter(may_pass)
                .min_by_key(|way| queue.turns.next(*way))
            else {
                let next = ways.map(|way| due(&way)).min()?;
                return Some(next.checked_next_multiple_of(TICK).unwrap_or(u64::MAX));
            };
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            queue.turns.pop(way, &mut |waiter| {
                if waiter.is_gone() {
                    return 0;
                }
                let cost = self.buckets.charge(waiter.charge(), now);
                waiter.tell(Verdict::Pass);
                cost
            });
        }
    }

    /// Lets through who waits, at the right time, until nobody does.
    async fn pump(self: Arc<Self>) {
        let pumping = Pumping(&self);
        loop {
            let hurried = self.hurried.load(Ordering::SeqCst);
            let now = now();
            let due = {
                let mut queue = self.lock();
                queue.pump_at = self.let_through(&mut queue, now);
                queue.pump_at
            };
            let Some(due) = due else {
                // Known already, and somebody else may be pumping by now.
                return std::mem::forget(pumping);
            };
            let quiet = env::sleep(Duration::from_nanos(due.saturating_sub(now)));
            let hurry = self.hurry.wait_for(|| {
                let now = self.hurried.load(Ordering::SeqCst);
                (now != hurried).then_some(())
            });
            env::either(quiet, hurry).await;
        }
    }

    fn wake_pump(&self) {
        self.hurried.fetch_add(1, Ordering::SeqCst);
        self.hurry.wake_all();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that there is no pump any more, however it ended: its thread may end before others do.
struct Pumping<'a>(&'a Limiter);

impl Drop for Pumping<'_> {
    fn drop(&mut self) {
        self.0.lock().pump_at = None;
    }
}

fn now() -> u64 {
    env::now().as_nanos()
}
