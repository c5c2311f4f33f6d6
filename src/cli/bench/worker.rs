//! What one connection asks for, and what it makes of the replies.
//!
//! It knows no socket: requests go into an [`Outgoing`], and [`Replies`](super::replies) tells it
//! what came back. For every reply it makes the next request.

use std::ops::Range;
use std::sync::Arc;

use super::args::Op;
use super::course::Course;
use super::course::share;
use super::error::BenchError;
use super::outgoing::Outgoing;
use super::payload::Payload;
use super::plan::Plan;
use super::replies::DataAt;
use super::replies::Hear;
use super::slots::Asked;
use super::slots::Request;
use super::slots::SlotIndex;
use super::slots::Slots;
use super::tally::Tally;
use super::verify::Contents;
use crate::env::Instant;
use crate::env::now;
use crate::frontend::nbd::proto::Framing;
use crate::frontend::nbd::proto::encode_request;
use crate::frontend::nbd::proto::wire::command;
use crate::frontend::nbd::proto::wire::command_flag;

/// A part of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Write the whole range once.
    Fill,
    /// Put on the load, and count what is done in the window.
    Load(Window),
    /// Read and compare the whole range once.
    ReadBack,
}

/// When it counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Window {
    pub(super) start: Instant,
    pub(super) end: Instant,
}

/// The requests of one connection.
#[derive(Debug)]
pub(super) struct Worker {
    plan: Arc<Plan>,
    connection: u64,
    stage: Stage,
    course: Course,
    slots: Slots,
    payload: Payload,
    verified: Option<Verified>,
    tally: Tally,
    finished: u64,
    /// The time when what is heard now was received; taken once a batch.
    now: Instant,
    outgoing: Outgoing,
}

/// What is known of the blocks of a connection's share.
#[derive(Debug)]
struct Verified {
    contents: Contents,
    share: Range<u64>,
    generations: Vec<u32>,
}

impl Worker {
    pub(super) fn new(plan: Arc<Plan>, connection: u64) -> Self {
        let payload = Payload::new(&plan, connection);
        let share = share(&plan, connection);
        let verified = plan.verify.then(|| Verified {
            contents: Contents::new(&plan),
            generations: share.clone().map(|_| 0).collect(),
            share,
        });
        Self {
            connection,
            stage: Stage::Fill,
            course: Course::once(&plan, connection),
            slots: Slots::new(plan.depth),
            outgoing: Outgoing::new(payload.area()),
            payload,
            verified,
            tally: Tally::new(),
            finished: 0,
            now: now(),
            plan,
        }
    }

    /// Begins a stage: as many requests as may be under way.
    pub(super) fn begin(&mut self, stage: Stage) {
        self.stage = stage;
        self.course = match stage {
            Stage::Fill | Stage::ReadBack => Course::once(&self.plan, self.connection),
            Stage::Load(_) => Course::endless(&self.plan, self.connection),
        };
        self.now = now();
        for slot in self.slots.indices() {
            self.ask_next(slot);
        }
    }

    /// Says that what is heard from here on was received at `now`.
    pub(super) fn received_at(&mut self, now: Instant) {
        self.now = now;
    }

    /// Requests under way. With none, the stage is over.
    pub(super) fn unanswered(&self) -> usize {
        self.slots.busy_count()
    }

    /// Operations done in all stages so far, counted or not.
    pub(super) fn finished(&self) -> u64 {
        self.finished
    }

    /// The requests to be sent, if there are any, in exchange for an empty vessel.
    pub(super) fn exchange(&mut self, spare: &mut Option<Outgoing>) -> Option<Outgoing> {
        if self.outgoing.is_empty() {
            return None;
        }
        let empty = spare
            .take()
            .unwrap_or_else(|| Outgoing::new(self.payload.area()));
        Some(std::mem::replace(&mut self.outgoing, empty))
    }

    /// What was counted.
    pub(super) fn into_tally(self) -> Tally {
        self.tally
    }

    fn ask_next(&mut self, slot: SlotIndex) {
        if matches!(self.stage, Stage::Load(window) if self.now >= window.end) {
            return;
        }
        let Some(block) = self.course.next(slot.0) else {
            return;
        };
        let asked = match (self.stage, self.plan.op) {
            (Stage::Fill, _) | (Stage::Load(_), Op::Write | Op::WriteFlush) => Asked::Write,
            (Stage::ReadBack, _) | (Stage::Load(_), Op::Read) => Asked::Read,
            (Stage::Load(_), Op::Flush) => Asked::Flush,
            (Stage::Load(_), Op::Trim) => Asked::Trim,
            (Stage::Load(_), Op::WriteZeroes) => Asked::WriteZeroes,
        };
        let started = self.now;
        self.ask(
            slot,
            Request {
                asked,
                block,
                started,
            },
        );
    }

    fn ask(&mut self, slot: SlotIndex, request: Request) {
        let cookie = self.slots.occupy(slot, request);
        let framing = self.plan.framing;
        let (number, flags) = match request.asked {
            Asked::Read => (command::READ, 0),
            Asked::Write if framing == Framing::Extended => {
                (command::WRITE, command_flag::PAYLOAD_LEN)
            }
            Asked::Write => (command::WRITE, 0),
            Asked::Flush => (command::FLUSH, 0),
            Asked::Trim => (command::TRIM, 0),
            Asked::WriteZeroes => (command::WRITE_ZEROES, 0),
        };
        let (offset, length) = match request.asked {
            Asked::Flush => (0, 0),
            _ => (self.plan.offset_of(request.block), self.plan.block_length()),
        };
        self.outgoing.write(|out| {
            encode_request(framing, flags, number, cookie, offset, length, out);
        });
        match request.asked {
            Asked::Write => self.append_data(request.block),
            Asked::WriteZeroes => self.note_zeroes(request.block),
            Asked::Read | Asked::Flush | Asked::Trim => {}
        }
    }

    fn append_data(&mut self, block: u64) {
        let (offset, bytes) = (self.plan.offset_of(block), self.plan.block_bytes);
        let Some(verified) = &mut self.verified else {
            return self.payload.append(bytes, &mut self.outgoing);
        };
        let generation = verified.generation(block);
        *generation += 1;
        let generation = *generation;
        let contents = &verified.contents;
        self.outgoing
            .write(|out| contents.append(offset, bytes, generation, out));
    }

    fn note_zeroes(&mut self, block: u64) {
        if let Some(verified) = &mut self.verified {
            *verified.generation(block) = 0;
        }
    }

    /// Takes note of data for a read: `at` counts from the begin of its block.
    fn take_data(
        &mut self,
        cookie: u64,
        at: Option<u64>,
        bytes: u64,
    ) -> Result<Request, BenchError> {
        let block_bytes = self.plan.block_length();
        let (_, slot) = self.slots.find(cookie)?;
        let offset = self.plan.offset_of(slot.request.block);
        let fits = at
            .and_then(|at| at.checked_add(bytes))
            .is_some_and(|end| end <= block_bytes);
        let taken = usize::try_from(bytes)
            .ok()
            .map(|bytes| slot.got_bytes.saturating_add(bytes));
        match taken.filter(|taken| *taken <= self.plan.block_bytes) {
            Some(taken) if fits && slot.request.asked == Asked::Read => slot.got_bytes = taken,
            _ => return Err(BenchError::Misplaced(offset)),
        }
        Ok(slot.request)
    }

    /// Where byte `at` of the export lies in the block that this request reads.
    fn place_in_block(&mut self, cookie: u64, at: u64) -> Result<Option<u64>, BenchError> {
        let (_, slot) = self.slots.find(cookie)?;
        Ok(at.checked_sub(self.plan.offset_of(slot.request.block)))
    }

    /// Whether what happens now counts.
    fn counts(&self) -> bool {
        match self.stage {
            Stage::Load(window) => window.start <= self.now && self.now < window.end,
            Stage::Fill | Stage::ReadBack => false,
        }
    }
}

impl Hear for Worker {
    fn data_bytes(&mut self, cookie: u64) -> Result<usize, BenchError> {
        let (_, slot) = self.slots.find(cookie)?;
        Ok(match slot.request.asked {
            Asked::Read => self.plan.block_bytes,
            _ => 0,
        })
    }

    fn data(&mut self, cookie: u64, at: DataAt, data: &[u8]) -> Result<(), BenchError> {
        let at = match at {
            DataAt::Request(at) => Some(at),
            DataAt::Export(at) => self.place_in_block(cookie, at)?,
        };
        let request = self.take_data(cookie, at, data.len() as u64)?;
        if let (Some(verified), Some(at)) = (&mut self.verified, at) {
            let generation = *verified.generation(request.block);
            let offset = self.plan.offset_of(request.block) + at;
            let checked = verified.contents.check(offset, data, generation);
            checked.map_err(BenchError::Mismatch)?;
        }
        Ok(())
    }

    fn hole(&mut self, cookie: u64, at: u64, bytes: u64) -> Result<(), BenchError> {
        let place = self.place_in_block(cookie, at)?;
        let request = self.take_data(cookie, place, bytes)?;
        if let Some(verified) = &mut self.verified {
            let generation = *verified.generation(request.block);
            let zeroes = vec![0; usize::try_from(bytes).expect("at most a block")];
            let checked = verified.contents.check(at, &zeroes, generation);
            checked.map_err(BenchError::Mismatch)?;
        }
        Ok(())
    }

    fn failed(&mut self, cookie: u64, number: u32) -> Result<(), BenchError> {
        let (_, slot) = self.slots.find(cookie)?;
        if self.plan.verify {
            let offset = self.plan.offset_of(slot.request.block);
            return Err(BenchError::Failed(offset, number));
        }
        slot.error = Some(number);
        Ok(())
    }

    fn done(&mut self, cookie: u64) -> Result<(), BenchError> {
        let (index, slot) = self.slots.release(cookie)?;
        let request = slot.request;
        if let Some(number) = slot.error {
            if self.counts() {
                self.tally.count_error(number);
            }
        } else if request.asked == Asked::Read && slot.got_bytes < self.plan.block_bytes {
            let offset = self.plan.offset_of(request.block);
            return Err(BenchError::Misplaced(offset));
        } else if self.is_half_of_a_pair(request) {
            let asked = Asked::Flush;
            self.ask(index, Request { asked, ..request });
            return Ok(());
        } else if self.counts() {
            self.tally.count(self.now - request.started);
        }
        self.finished += 1;
        self.ask_next(index);
        Ok(())
    }
}

impl Worker {
    /// Whether a flush follows, to be counted together with this.
    fn is_half_of_a_pair(&self, request: Request) -> bool {
        self.plan.op == Op::WriteFlush
            && request.asked == Asked::Write
            && matches!(self.stage, Stage::Load(_))
    }
}

impl Verified {
    fn generation(&mut self, block: u64) -> &mut u32 {
        assert!(
            self.share.contains(&block),
            "a connection stays in its share"
        );
        let index = usize::try_from(block - self.share.start).expect("bounded by the plan");
        &mut self.generations[index]
    }
}
