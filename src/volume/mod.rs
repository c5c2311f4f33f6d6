//! A disk with a name: what clients see, whatever it rests on.

mod blocks;
mod catalog;
mod complaints;
mod disk;
mod encrypted;
mod flusher;
mod lease;
mod luks;
mod meter;
pub mod qos;
mod range_lock;
mod raw;
mod served;
mod stored;
mod tracker;
mod users;

use std::result;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::limits::PAYLOAD_BYTES_MAX;
use crate::base::{
    Answer, Aspect, Durability, Error, Extent, Mark, Op, Refusal, Reply, Request, Result,
    StatusRun, ZeroMode,
};
use crate::env;
use crate::store::StoreError;

pub use catalog::Catalog;
pub use disk::Disk;
pub use encrypted::EncryptedDisk;
pub use lease::Lease;
pub use luks::{LuksFailure, make_luks, open_luks};
pub use meter::{LATENCY_BUCKETS, OpCounts, OpKind};
pub use qos::{Flow, Qos};
pub use raw::RawDisk;
pub use served::Served;
pub use stored::StoredDisk;
pub use tracker::{REGION_BYTES, TrackedBitmap, Tracker};
pub use users::{Purpose, UserCount};

use complaints::Complaints;
use meter::Meter;
use qos::{Charge, Direction, Stage};
use users::Users;

/// A disk that clients use by its name.
#[derive(Debug)]
pub struct Volume {
    /// It may get another one while it is used.
    name: Mutex<Arc<str>>,
    description: String,
    /// Where it comes from, if it is of no store and outlives this process.
    origin: Option<String>,
    access: Access,
    disk: Disk,
    complaints: Complaints,
    qos: Arc<Qos>,
    users: Users,
    meter: Arc<Meter>,
    /// Tells what has changed, if somebody wants to know and the disk does not tell by itself.
    tracker: Option<Arc<Tracker>>,
}

/// What clients may do with a volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Read it.
    Read,
    /// Read and write it.
    Write,
}

/// Whether a request has to wait for the limits of its volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// If they say so.
    ToCome,
    /// No more: it was waited for.
    Here,
}

impl Volume {
    /// The volume `name` on `disk`.
    pub fn new(name: String, description: String, access: Access, disk: impl Into<Disk>) -> Self {
        Self {
            name: Mutex::new(name.into()),
            description,
            origin: None,
            access,
            disk: disk.into(),
            complaints: Complaints::default(),
            qos: Arc::default(),
            users: Users::default(),
            meter: Arc::default(),
            tracker: None,
        }
    }

    /// The same, whose changes `tracker` tells of.
    #[must_use]
    pub fn tracked_by(self, tracker: Arc<Tracker>) -> Self {
        let tracker = Some(tracker);
        Self { tracker, ..self }
    }

    /// The same, which is what comes from `origin`, now and whenever that is opened again.
    #[must_use]
    pub fn coming_from(self, origin: String) -> Self {
        Self {
            origin: Some(origin),
            ..self
        }
    }

    /// The same, of which clients may use as much as `qos` lets them.
    #[must_use]
    pub fn limited_by(self, qos: Arc<Qos>) -> Self {
        Self { qos, ..self }
    }

    /// The same, whose requests are counted by `meter`.
    #[must_use]
    fn metered_by(self, meter: Arc<Meter>) -> Self {
        Self { meter, ..self }
    }

    /// What clients call it.
    pub fn name(&self) -> Arc<str> {
        let name = self.name.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&name)
    }

    /// What it is, whatever it is called: the same number after a restart, and another one for
    /// every other volume, as far as 64 bits of a hash go. `None` if its content goes with this
    /// process.
    pub fn identity(&self) -> Option<u64> {
        let hash = match self.stored() {
            Some(disk) => disk.identity(),
            None => blake3::hash(self.origin.as_ref()?.as_bytes()),
        };
        let first = hash.as_bytes().first_chunk();
        Some(u64::from_le_bytes(*first.expect("a hash is longer")))
    }

    /// What a person is told about it.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// What clients may do with it.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.disk.size()
    }

    /// The smallest request that is not slow, in bytes.
    pub fn preferred_block(&self) -> u64 {
        self.disk.preferred_block()
    }

    /// Whether zeroes can be written faster than data.
    pub fn has_fast_zeroes(&self) -> bool {
        self.disk.has_fast_zeroes()
    }

    /// How much of it clients may use.
    pub fn qos(&self) -> &Qos {
        &self.qos
    }

    /// Whether requests may have to wait for the limits of the volume or its group.
    pub fn is_limited(&self) -> bool {
        self.qos.is_on()
    }

    /// What clients have done with it since it was opened, of this kind.
    pub fn counts(&self, kind: OpKind) -> OpCounts {
        self.meter.counts(kind)
    }

    /// Whether a flush of what it rests on has failed, so that it takes no more requests. Stores
    /// say this of themselves.
    pub fn is_poisoned(&self) -> bool {
        self.disk.is_poisoned()
    }

    /// The requests of one more client.
    pub fn new_flow(&self) -> Flow {
        self.qos.new_flow(self.meter.shard())
    }

    /// Waits for the turn of a read or write if it would hold memory meanwhile that others need;
    /// whether it has still to wait.
    ///
    /// # Errors
    /// `Refused` if the client is gone.
    pub async fn wait_without_memory(
        &self,
        flow: &Flow,
        direction: Direction,
        bytes: usize,
    ) -> Result<Turn> {
        let charge = Charge {
            direction,
            bytes: bytes as u64,
        };
        if !self.qos.is_on() || !flow.lacks_room(charge, bytes) {
            return Ok(Turn::ToCome);
        }
        Box::pin(flow.pass(Stage::Own, charge, 0))
            .await
            .map(|()| Turn::Here)
    }

    /// The whole life of one request of a client, top to bottom.
    ///
    /// An `async fn` would keep what it is given twice, once as given and once as it goes on, and
    /// one that it calls would keep it again; and a future is made, moved and dropped for every
    /// request. The rarer requests are boxed, as a future is as large as the largest of its parts.
    #[expect(clippy::manual_async_fn)]
    pub fn serve<'a>(
        &'a self,
        flow: &'a Flow,
        request: Request,
        turn: Turn,
    ) -> impl Future<Output = Reply> + use<'a> {
        async move {
            let (what, began) = (OpKind::of(&request.op), env::turn_began());
            let result = match self.stage(flow, &request.op, turn) {
                Some((stage, charge)) => {
                    let bytes = held_bytes(&request.op);
                    Box::pin(flow.pass(stage, charge, bytes)).await
                }
                None => Ok(()),
            };
            let done = |()| Answer::Done;
            let tracker = self.tracker.as_ref().filter(|_| result.is_ok());
            let noting = tracker.and_then(|tracker| Some((tracker, changed_by(&request.op)?)));
            let (result, _noted) = match noting {
                Some((tracker, at)) => match Box::pin(tracker.note(at)).await {
                    Ok(noted) => (Ok(()), Some(noted)),
                    Err(error) => (Err(error), None),
                },
                None => (result, None),
            };
            let result = match request.op {
                _ if result.is_err() => result.map(done),
                Op::Read { at } => self.disk.read(at).await.map(Answer::Data),
                Op::ReadTo { at, memory } => self.disk.read_to(at, memory).await.map(done),
                Op::Status {
                    at,
                    runs_max,
                    aspects,
                } => {
                    let status = Box::pin(self.status(at, runs_max, aspects));
                    status.await.map(Answer::Status)
                }
                Op::Cache { at } => {
                    self.disk.cache(at);
                    Ok(Answer::Done)
                }
                Op::Flush => self.flush().await.map(done),
                _ if self.access == Access::Read => Err(Error::Refused(Refusal::ReadOnly)),
                Op::Write {
                    offset,
                    data,
                    durability,
                } => self.disk.write(offset, data, durability).await.map(done),
                Op::WriteFrom {
                    at,
                    memory,
                    durability,
                } => {
                    let writing = self.disk.write_from(at, memory, durability);
                    writing.await.map(done)
                }
                Op::Discard { at, durability } => {
                    let discarding = Box::pin(self.disk.discard(at, durability));
                    discarding.await.map(done)
                }
                Op::WriteZeroes {
                    at,
                    mode,
                    durability,
                } => {
                    let zeroing = Box::pin(self.write_zeroes(flow, at, mode, durability));
                    zeroing.await.map(done)
                }
            };
            let took = env::turn_began() - began;
            flow.shard().count(what, took, result.is_err());
            if let Err(error) = &result {
                self.complaints.hear(&self.name(), error);
            }
            request.ticket.answer(result)
        }
    }

    /// The sector of a disk that has sectors, in bytes, 512 to 4096.
    pub fn sector(&self) -> u64 {
        self.disk.sector()
    }

    /// What memory that is lent must be aligned to, in bytes, for requests of whole sectors; `None`
    /// if they need memory of this process.
    pub fn lent_align(&self) -> Option<u32> {
        self.disk.lent_align()
    }

    /// The disk beneath it.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The disk beneath it, if that is of a store.
    fn stored(&self) -> Option<&StoredDisk> {
        match &self.disk {
            Disk::Stored(disk) => Some(disk),
            Disk::Raw(_) | Disk::Encrypted(_) => None,
        }
    }

    /// Gets another name, if it is the volume `from` that is now called `to`, or a snapshot of it.
    fn follow_rename(&self, from: &str, to: &str) {
        let mut name = self.name.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = match name.strip_prefix(from) {
            Some(rest) if rest.is_empty() || rest.starts_with('@') => rest,
            _ => return,
        };
        *name = format!("{to}{rest}").into();
    }

    /// Makes everything that was answered before survive a power loss.
    ///
    /// # Errors
    /// As the backend's flush.
    pub async fn flush(&self) -> Result<()> {
        self.disk.flush().await
    }

    /// Whether it tells how far from itself what is allocated lies.
    pub fn has_depth(&self) -> bool {
        self.disk.has_depth()
    }

    /// The bitmaps that tell what has changed, by name.
    pub fn bitmaps(&self) -> Vec<(String, Mark)> {
        let Some(tracker) = &self.tracker else {
            return self.disk.bitmaps();
        };
        let bitmaps = tracker.bitmaps().into_iter();
        bitmaps
            .map(|bitmap| (bitmap.name, Mark(bitmap.era)))
            .collect()
    }

    /// Has the tracker's bitmap `name`, a new one or one that there is, tell what changes from now
    /// on. What was changed before survives a power loss when this returns: what a backup reads
    /// then cannot be taken back.
    ///
    /// # Errors
    /// As [`Tracker::begin_bitmap`], `Invalid` without a tracker, or as the backend's flush.
    pub async fn begin_bitmap(&self, name: &str, is_new: bool) -> result::Result<(), StoreError> {
        let Some(tracker) = &self.tracker else {
            let why = "nothing tells of its changes";
            return Err(StoreError::Invalid(why.to_owned()));
        };
        tracker
            .begin_bitmap(name, env::wall_clock(), is_new)
            .await?;
        Ok(self.flush().await?)
    }

    /// What tells of its changes, if the disk does not tell by itself.
    pub fn tracker(&self) -> Option<&Arc<Tracker>> {
        self.tracker.as_ref()
    }

    async fn status(
        &self,
        at: Extent,
        runs_max: usize,
        aspects: Vec<Aspect>,
    ) -> Result<Vec<Vec<StatusRun>>> {
        let mut all = Vec::with_capacity(aspects.len());
        for aspect in aspects {
            all.push(match (&self.tracker, aspect) {
                (Some(tracker), Aspect::Changes(mark)) => tracker.changes(mark, at, runs_max),
                _ => self.disk.status_of(at, runs_max, aspect).await?,
            });
        }
        Ok(all)
    }

    /// Where a request has to wait for limits, and what it is charged then.
    fn stage(&self, flow: &Flow, op: &Op, turn: Turn) -> Option<(Stage, Charge)> {
        if !self.qos.is_on() || turn == Turn::Here {
            return None;
        }
        let charge = self.charge(op)?;
        let stage = flow.try_pass(charge).err()?;
        Some((stage, charge))
    }

    /// What a request is charged before it begins; `None` if that is nothing.
    fn charge(&self, op: &Op) -> Option<Charge> {
        let (direction, bytes) = match op {
            Op::Flush | Op::Status { .. } => return None,
            Op::Read { at } | Op::ReadTo { at, .. } => (Direction::Read, at.bytes()),
            // It is read, but no more than one request might.
            Op::Cache { at } => (Direction::Read, at.bytes().min(PAYLOAD_BYTES_MAX as u64)),
            // It is refused.
            _ if self.access == Access::Read => return None,
            Op::Write { data, .. } => (Direction::Write, data.len() as u64),
            Op::WriteFrom { at, .. } => (Direction::Write, at.bytes()),
            Op::WriteZeroes { mode, .. } if self.moves_zeroes(*mode) => return None,
            Op::Discard { .. } | Op::WriteZeroes { .. } => (Direction::Write, 0),
        };
        Some(Charge { direction, bytes })
    }

    /// Whether writing zeroes means to write bytes, which are charged as they are written.
    fn moves_zeroes(&self, mode: ZeroMode) -> bool {
        !self.disk.has_fast_zeroes() && !mode.only_if_fast
    }

    /// Writes zeroes. Where these are bytes, as many are charged at a time as a write may carry:
    /// one request for all of a disk would else hold back for hours whoever shares its limits.
    async fn write_zeroes(
        &self,
        flow: &Flow,
        at: Extent,
        mode: ZeroMode,
        durability: Durability,
    ) -> Result<()> {
        if !self.qos.is_on() || !self.moves_zeroes(mode) {
            return self.disk.write_zeroes(at, mode, durability).await;
        }
        let mut from = at.offset();
        while from < at.end() {
            let to = at.end().min(from + PAYLOAD_BYTES_MAX as u64);
            let charge = Charge {
                direction: Direction::Write,
                bytes: to - from,
            };
            flow.pass(Stage::Own, charge, 0).await?;
            let piece = Extent::between(from, to);
            self.disk.write_zeroes(piece, mode, durability).await?;
            from = to;
        }
        Ok(())
    }
}

/// What of a disk a request changes.
fn changed_by(op: &Op) -> Option<Extent> {
    match op {
        Op::Write { offset, data, .. } => {
            Some(Extent::between(*offset, *offset + data.len() as u64))
        }
        Op::WriteFrom { at, .. } | Op::Discard { at, .. } | Op::WriteZeroes { at, .. } => Some(*at),
        Op::Read { .. } | Op::ReadTo { .. } | Op::Cache { .. } | Op::Status { .. } | Op::Flush => {
            None
        }
    }
}

/// The memory that a request holds while it waits, in bytes.
fn held_bytes(op: &Op) -> usize {
    match op {
        Op::Read { at } => at.len(),
        Op::Write { data, .. } => data.len(),
        _ => 0,
    }
}
