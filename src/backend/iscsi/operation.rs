//! One command on its way: libiscsi ends it on the thread that drives the session, and a task, of
//! any thread, waits for that.
//!
//! Whatever libiscsi reads or writes belongs to the operation and stays until libiscsi is done with
//! it, also if the task is dropped.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::scsi::{Cdb, Sense};
use super::unflushed::Unflushed;
use crate::backend::in_flight::Share;
use crate::base::Buf;
use crate::env::Slot;

/// Which way data goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Direction {
    /// There is none.
    None,
    /// To us.
    In,
    /// To the target.
    Out,
}

/// The memory of one or several commands.
pub(super) struct Memory {
    pointer: *mut u8,
    buf: Mutex<Buf>,
}

// SAFETY: the memory is the buffer's, which stays where it is; whoever uses it while commands are
// under way is libiscsi, and the buffer is taken out only when they have ended.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    pub(super) fn new(mut buf: Buf) -> Arc<Self> {
        let pointer = buf.as_mut_ptr();
        let buf = Mutex::new(buf);
        Arc::new(Self { pointer, buf })
    }

    /// Takes the buffer out, once every command that uses it has ended.
    pub(super) fn take(&self) -> Buf {
        let mut buf = self.buf.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *buf, Buf::new(0))
    }
}

/// A command and its data, which can be sent more than once.
#[derive(Clone)]
pub(super) struct Command {
    pub(super) cdb: Cdb,
    pub(super) direction: Direction,
    memory: Arc<Memory>,
    window: Range<usize>,
    /// Whether an answer may be shorter than the room for it.
    pub(super) may_be_short: bool,
}

impl Command {
    /// A command whose data are in `window` of `memory`.
    pub(super) fn new(
        cdb: Cdb,
        direction: Direction,
        memory: &Arc<Memory>,
        window: Range<usize>,
    ) -> Self {
        Self {
            cdb,
            direction,
            memory: Arc::clone(memory),
            window,
            may_be_short: false,
        }
    }

    /// The same, whose answer may be shorter than the room for it.
    pub(super) fn or_shorter(self) -> Self {
        Self {
            may_be_short: true,
            ..self
        }
    }

    /// A command with all of `memory`.
    pub(super) fn whole(cdb: Cdb, direction: Direction, memory: &Arc<Memory>) -> Self {
        let len = memory
            .buf
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len();
        Self::new(cdb, direction, memory, 0..len)
    }

    /// Where its data are, and how many bytes that is.
    pub(super) fn data(&self) -> (*mut u8, usize) {
        (
            self.memory.pointer.wrapping_add(self.window.start),
            self.window.len(),
        )
    }
}

/// How an attempt at a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// Done, but for so many bytes of the data, which do not exist.
    Good(usize),
    /// Not done, for this reason.
    Sense(Sense),
    /// Not done: the disk is reserved for others.
    Conflict,
    /// Not done now; it may be tried again.
    Busy,
    /// The connection was lost; it may have been done.
    Lost,
}

/// An attempt at a command.
pub(super) struct Operation {
    pub(super) command: Command,
    outcome: Slot<Outcome>,
    ended: AtomicBool,
    lost: AtomicBool,
    /// Where it is noted when it is done, if it has to be flushed.
    unflushed: Option<Arc<Unflushed>>,
    /// What it takes of the bytes under way.
    _share: Option<Arc<Share>>,
}

impl Operation {
    pub(super) fn new(
        command: Command,
        share: Option<Arc<Share>>,
        unflushed: Option<Arc<Unflushed>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            command,
            outcome: Slot::new(),
            ended: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            unflushed,
            _share: share,
        })
    }

    /// Waits for its end, and takes that.
    pub(super) async fn outcome(&self) -> Outcome {
        self.outcome.take().await
    }

    /// Ends it, if it has not ended yet.
    pub(super) fn end(&self, outcome: Outcome) {
        if self.ended.swap(true, Ordering::SeqCst) {
            return;
        }
        match (outcome, &self.unflushed) {
            // Here, and not by who waits for it: that one may learn of it later than of the loss of
            // the connection.
            (Outcome::Good(_), Some(unflushed)) => unflushed.add(self.command.clone()),
            (Outcome::Lost, _) => self.lost.store(true, Ordering::SeqCst),
            _ => {}
        }
        self.outcome.put(outcome);
    }

    pub(super) fn was_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}
