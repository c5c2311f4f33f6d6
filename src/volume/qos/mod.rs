//! How much of a machine a volume may use, alone and together with others of a group.
//!
//! A request passes the limits of its volume, then those of the volume's group. Limits count
//! requests and bytes, of reads, writes and both; each has an average and may have a burst, as
//! QEMU's throttle groups have (`bucket.rs`). Who has to wait takes turns with the others
//! (`turns.rs`): volumes within a group, and connections within a volume. Where nothing is limited,
//! all this is one branch.
//!
//! Flushes are never held back, and neither is asking what is allocated. Discards and writes of
//! zeroes count as writes, but as no bytes where they move none.

mod bucket;
mod buckets;
mod limiter;
mod limits;
mod table;
mod turns;
mod waiter;

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::meter::Shard;
use crate::base::limits::WAITING_BYTES_MAX;
use crate::base::{Error, Refusal, Result};

pub use buckets::Direction;
pub use limiter::Waits;
pub use limits::{Burst, LimitWords, Limits, Measure, Rate, WrongLimit};
pub use table::{GroupQos, GroupStays, NoSuchGroup, QosSettings, QosTable, VolumeQos};

pub(super) use buckets::Charge;
use limiter::{Limiter, Party};
use waiter::Verdict;

/// The limits of one volume. Shared by all threads.
pub struct Qos {
    id: u64,
    own: Arc<Limiter>,
    group: RwLock<Option<Arc<Group>>>,
    has_group: AtomicBool,
    is_on: AtomicBool,
}

/// Limits that several volumes share.
#[derive(Debug)]
pub struct Group {
    name: String,
    limiter: Arc<Limiter>,
}

/// The requests of one client of a volume, as far as they take turns with those of others.
#[derive(Debug)]
pub struct Flow {
    qos: Arc<Qos>,
    id: u64,
    patience: Cell<Patience>,
    has_waited: Cell<bool>,
    /// Where they are counted.
    shard: Arc<Shard>,
}

/// Which limits a request has to wait for first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Those of its volume.
    Own,
    /// Those of the group.
    Group,
}

/// What becomes of requests whose turn has not come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Patience {
    /// They wait for it.
    Waits,
    /// They pass at once.
    Passes,
    /// They are refused.
    Leaves,
}

impl Group {
    /// A group without limits as yet.
    pub fn new(name: String) -> Arc<Self> {
        let limiter = Arc::default();
        Arc::new(Self { name, limiter })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its volumes may do together.
    pub fn limits(&self) -> Limits {
        self.limiter.limits()
    }

    /// Lets through what `limits` say, from now on.
    pub fn set(&self, limits: Limits) {
        self.limiter.set(limits);
    }

    /// What has had to wait because of these limits.
    pub fn waits(&self) -> Waits {
        self.limiter.waits()
    }
}

impl Default for Qos {
    fn default() -> Self {
        Self {
            id: new_id(),
            own: Arc::default(),
            group: RwLock::default(),
            has_group: AtomicBool::new(false),
            is_on: AtomicBool::new(false),
        }
    }
}

impl fmt::Debug for Qos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Qos").finish_non_exhaustive()
    }
}

impl Drop for Qos {
    fn drop(&mut self) {
        self.join(None);
    }
}

impl Qos {
    /// What the volume may do.
    pub fn limits(&self) -> Limits {
        self.own.limits()
    }

    /// Lets through what `limits` say, from now on.
    pub fn set(&self, limits: Limits) {
        self.own.set(limits);
        self.look();
    }

    /// The group whose limits it shares.
    pub fn group(&self) -> Option<Arc<Group>> {
        if !self.has_group.load(Ordering::Relaxed) {
            return None;
        }
        let group = self.group.read().unwrap_or_else(PoisonError::into_inner);
        group.clone()
    }

    /// Shares the limits of `group` from now on, and those of no other. What waits because of the
    /// group before passes.
    pub fn join(&self, group: Option<Arc<Group>>) {
        let before = {
            let mut place = self.group.write().unwrap_or_else(PoisonError::into_inner);
            self.has_group.store(group.is_some(), Ordering::Relaxed);
            std::mem::replace(&mut *place, group)
        };
        self.look();
        if let Some(before) = before {
            before.limiter.forget_volume(self.id);
        }
    }

    /// What has had to wait because of the volume's own limits.
    pub fn waits(&self) -> Waits {
        self.own.waits()
    }

    /// Whether anything may be limited: the only question where nothing is.
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Requests of one more client.
    pub(super) fn new_flow(self: &Arc<Self>, shard: Arc<Shard>) -> Flow {
        Flow {
            qos: Arc::clone(self),
            id: new_id(),
            patience: Cell::new(Patience::Waits),
            has_waited: Cell::new(false),
            shard,
        }
    }

    fn look(&self) {
        let is_on = self.own.is_on() || self.group().is_some();
        self.is_on.store(is_on, Ordering::Relaxed);
    }

    /// The limits that a request passes one after the other.
    fn limiters(&self) -> impl Iterator<Item = Arc<Limiter>> {
        let group = self.group().map(|group| Arc::clone(&group.limiter));
        std::iter::once(Arc::clone(&self.own)).chain(group)
    }
}

impl Flow {
    /// Lets everything that waits pass at once, and all that comes: the server is stopping, and
    /// what it has begun it finishes. It is charged all the same.
    pub fn release(&self) {
        self.settle(Patience::Passes, Verdict::Pass);
    }

    /// Refuses everything that waits, and all that comes: the client is gone.
    pub fn abandon(&self) {
        self.settle(Patience::Leaves, Verdict::Refused);
    }

    /// Whether a request that holds `bytes` should wait for its turn before it holds them: it would
    /// wait, and what waits on this thread holds all it may.
    pub(super) fn lacks_room(&self, charge: Charge, bytes: usize) -> bool {
        waiter::waiting_bytes() + bytes > WAITING_BYTES_MAX
            && self
                .qos
                .limiters()
                .any(|limiter| limiter.is_full(charge.direction))
    }

    /// Where its requests are counted.
    pub(super) fn shard(&self) -> &Shard {
        &self.shard
    }

    /// Lets a request pass if it need not wait; else says where it has to.
    pub(super) fn try_pass(&self, charge: Charge) -> std::result::Result<(), Stage> {
        if self.patience.get() != Patience::Waits {
            return Err(Stage::Own);
        }
        let passes = |limiter: &Limiter| !limiter.is_on() || limiter.try_pass(charge);
        if !passes(&self.qos.own) {
            return Err(Stage::Own);
        }
        match self.qos.group() {
            Some(group) if !passes(&group.limiter) => Err(Stage::Group),
            _ => Ok(()),
        }
    }

    /// Returns when it is the turn of a request, from this stage on; it holds `bytes` of memory
    /// meanwhile.
    ///
    /// # Errors
    /// `Refused` if the client is gone.
    pub(super) async fn pass(&self, from: Stage, charge: Charge, bytes: usize) -> Result<()> {
        if from == Stage::Own {
            self.pass_limiter(&self.qos.own, charge, bytes).await?;
        }
        match self.qos.group() {
            Some(group) => self.pass_limiter(&group.limiter, charge, bytes).await,
            None => Ok(()),
        }
    }

    async fn pass_limiter(
        &self,
        limiter: &Arc<Limiter>,
        charge: Charge,
        bytes: usize,
    ) -> Result<()> {
        let verdict = match self.patience.get() {
            _ if !limiter.is_on() => Verdict::Pass,
            Patience::Leaves => Verdict::Refused,
            Patience::Passes => {
                limiter.charge(charge);
                Verdict::Pass
            }
            Patience::Waits if limiter.try_pass(charge) => Verdict::Pass,
            Patience::Waits => {
                self.has_waited.set(true);
                limiter.pass(self.party(), charge, bytes).await
            }
        };
        match verdict {
            Verdict::Pass => Ok(()),
            Verdict::Refused => Err(Error::Refused(Refusal::ShuttingDown)),
        }
    }

    fn settle(&self, patience: Patience, verdict: Verdict) {
        self.patience.set(patience);
        if self.has_waited.get() {
            for limiter in self.qos.limiters() {
                limiter.settle(self.party(), verdict);
            }
        }
    }

    fn party(&self) -> Party {
        Party {
            volume: self.qos.id,
            client: self.id,
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        if self.has_waited.get() {
            for limiter in self.qos.limiters() {
                limiter.forget(self.party());
            }
        }
    }
}

/// An identity that nothing else has.
fn new_id() -> u64 {
    static GIVEN: AtomicU64 = AtomicU64::new(0);
    GIVEN.fetch_add(1, Ordering::Relaxed)
}
