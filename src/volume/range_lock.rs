//! Locks on ranges of a disk.
//!
//! A write that does not fill its blocks reads them, changes them and writes them back. Between
//! the two no other write may touch these blocks, or it would be undone: such a write holds its
//! blocks exclusively, and writes that fill their blocks hold them shared, since the order of
//! overlapping writes is nobody's promise. Locks are granted in the order in which they are asked
//! for, so nobody waits for ever.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::Extent;
use crate::env::Signal;

/// The locked ranges of one disk. There are never more than requests in flight.
#[derive(Debug, Default)]
pub(super) struct RangeLock {
    queue: Mutex<Queue>,
    released: Signal,
}

#[derive(Debug, Default)]
struct Queue {
    /// Holders and waiters, in the order of asking.
    claims: Vec<Claim>,
    asked: u64,
}

#[derive(Debug)]
struct Claim {
    id: u64,
    at: Extent,
    sharing: Sharing,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sharing {
    Shared,
    Exclusive,
}

/// A range that is locked until this is dropped.
#[derive(Debug)]
#[must_use]
pub(super) struct Guard<'a> {
    lock: &'a RangeLock,
    id: u64,
}

impl RangeLock {
    /// Locks `at` against those who want it alone.
    pub(super) async fn shared(&self, at: Extent) -> Guard<'_> {
        self.claim(at, Sharing::Shared).await
    }

    /// Locks `at` against everybody.
    pub(super) async fn exclusive(&self, at: Extent) -> Guard<'_> {
        self.claim(at, Sharing::Exclusive).await
    }

    async fn claim(&self, at: Extent, sharing: Sharing) -> Guard<'_> {
        let id = {
            let mut queue = self.lock();
            queue.asked += 1;
            let id = queue.asked;
            queue.claims.push(Claim { id, at, sharing });
            id
        };
        // From here on the claim is withdrawn by dropping the guard, granted or not.
        let guard = Guard { lock: self, id };
        self.released
            .wait_for(|| self.lock().is_granted(id).then_some(()))
            .await;
        guard
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn is_granted(&self, id: u64) -> bool {
        let position = self.claims.iter().position(|claim| claim.id == id);
        let (earlier, rest) = self
            .claims
            .split_at(position.expect("a claim in the queue"));
        !earlier.iter().any(|other| other.excludes(&rest[0]))
    }
}

impl Claim {
    fn excludes(&self, other: &Self) -> bool {
        let alone = self.sharing == Sharing::Exclusive || other.sharing == Sharing::Exclusive;
        alone && self.at.overlaps(other.at)
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.lock.lock().claims.retain(|claim| claim.id != self.id);
        self.lock.released.wake_all();
    }
}
