//! A request, from the moment it is understood until its answer consumes it.

use super::{Buf, Extent, Result};

/// One request for a disk.
#[derive(Debug)]
pub struct Request {
    /// The obligation to answer.
    pub ticket: Ticket,
    /// What is asked for.
    pub op: Op,
}

/// What is asked of a disk. Extents lie on the disk: the frontend has checked them.
#[derive(Debug)]
pub enum Op {
    /// Read `at`; answered by [`Answer::Data`].
    Read {
        /// Where; at most [`PAYLOAD_BYTES_MAX`](super::limits::PAYLOAD_BYTES_MAX) bytes.
        at: Extent,
    },
    /// Write `data` from `offset`.
    Write {
        /// Where, in bytes.
        offset: u64,
        /// What.
        data: Buf,
        /// Whether it must survive a power loss before it is answered.
        durability: Durability,
    },
    /// Read `at` to memory that is lent; answered by [`Answer::Done`].
    ReadTo {
        /// Where.
        at: Extent,
        /// As long as `at`.
        memory: Lent,
    },
    /// Write `at` from memory that is lent.
    WriteFrom {
        /// Where.
        at: Extent,
        /// As long as `at`.
        memory: Lent,
        /// Whether it must survive a power loss before it is answered.
        durability: Durability,
    },
    /// Make everything that was answered before survive a power loss.
    Flush,
    /// The bytes of `at` are not needed any more; they may read as anything afterwards.
    Discard {
        /// Where.
        at: Extent,
        /// Whether it must be durable before it is answered.
        durability: Durability,
    },
    /// Make `at` read as zeroes.
    WriteZeroes {
        /// Where.
        at: Extent,
        /// How.
        mode: ZeroMode,
        /// Whether it must survive a power loss before it is answered.
        durability: Durability,
    },
    /// `at` will be read soon; a hint.
    Cache {
        /// Where.
        at: Extent,
    },
    /// What is allocated in `at`, or has changed; answered by [`Answer::Status`].
    Status {
        /// Where.
        at: Extent,
        /// How many runs to describe at most for each aspect, at least one.
        runs_max: usize,
        /// What to tell.
        aspects: Vec<Aspect>,
    },
}

/// Memory of who asks, which the kernel alone reaches, on the thread that was asked: the place of
/// the ring's table of registered buffers (`io_uring_register_buffers(3)`) where it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lent(pub u16);

/// What a status tells of a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Aspect {
    /// What is allocated.
    Allocation,
    /// How far from the disk itself it is allocated: see [`Status::Depth`].
    Depth,
    /// What has changed.
    Changes(Mark),
}

/// What the content of a disk is compared with to tell what has changed: a bitmap, for example. The
/// disk that gave it knows what it means, and it never means another one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Mark(pub u32);

/// When a write is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// As soon as reads see it: the volatile write cache of a disk.
    Cached,
    /// Once it would survive the end of this process, since the kernel or the storage has it: for
    /// who goes on when the server does not.
    Written,
    /// Once it would survive a power loss: force unit access (FUA).
    Durable,
}

/// How zeroes are to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZeroMode {
    /// Space may be given back (a hole), which a later write has to find again.
    pub may_unmap: bool,
    /// Only if it is faster than writing zeroes as data; otherwise refuse with
    /// [`Refusal::NotSupported`](super::Refusal::NotSupported), and at once.
    pub only_if_fast: bool,
}

/// What a request gets when it went well.
#[derive(Debug)]
pub enum Answer {
    /// It is done.
    Done,
    /// The bytes that were asked for, all of them.
    Data(Buf),
    /// The runs of each aspect that was asked for, in their order.
    Status(Vec<Vec<StatusRun>>),
}

/// A run of bytes of one status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StatusRun {
    /// How long the run is.
    pub bytes: u64,
    /// What is known of it.
    pub status: Status,
}

impl StatusRun {
    /// Adds it to `runs`, to the last one if that is of the same status; `false` if there are
    /// `runs_max` already.
    pub fn add_to(self, runs: &mut Vec<Self>, runs_max: usize) -> bool {
        let is_full = runs.len() == runs_max;
        match runs.last_mut() {
            Some(last) if last.status == self.status => last.bytes += self.bytes,
            _ if is_full => return false,
            _ => runs.push(self),
        }
        true
    }
}

/// The status of a run of bytes: what is allocated, or what has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Space is allocated; the contents are unknown.
    Data,
    /// Space is allocated, and it reads as zeroes.
    AllocatedZero,
    /// No space is allocated, and it reads as zeroes.
    Hole,
    /// It has changed since a moment.
    Dirty,
    /// It has not.
    Clean,
    /// It is allocated so far from the disk itself: 0 nowhere, 1 by the disk, 2 by what that was
    /// made from, or further away.
    Depth(u32),
}

/// The obligation to answer one request. Answering consumes it, so a request cannot be answered
/// twice; dropping it unanswered is a bug, which debug builds report at the place of the drop.
#[derive(Debug)]
#[must_use]
pub struct Ticket {
    cookie: u64,
}

/// The answer to one request, on its way back to the client.
#[derive(Debug)]
pub struct Reply {
    /// What the client calls the request.
    pub cookie: u64,
    /// How it went.
    pub result: Result<Answer>,
}

impl Ticket {
    /// A ticket for the request that its client calls `cookie`.
    pub fn new(cookie: u64) -> Self {
        Self { cookie }
    }

    /// Settles the obligation.
    pub fn answer(self, result: Result<Answer>) -> Reply {
        let cookie = self.cookie;
        std::mem::forget(self);
        Reply { cookie, result }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        debug_assert!(
            std::thread::panicking(),
            "request {:#x} was dropped unanswered",
            self.cookie
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "dropped unanswered")]
    #[cfg(debug_assertions)]
    fn a_dropped_ticket_is_noticed() {
        drop(Ticket::new(7));
    }

    #[test]
    fn an_answer_carries_the_cookie() {
        assert_eq!(Ticket::new(7).answer(Ok(Answer::Done)).cookie, 7);
    }
}
