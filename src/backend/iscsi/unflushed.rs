//! What was written and is not flushed yet, to be written again to a target that was restarted.
//!
//! A target with a volatile cache may lose all of that, and says no more than that it was reset. A
//! flush after it would be told as done, and nothing of what it was for would be there. So what is
//! done is kept until a flush that began after it has ended, and is done again, in the order in
//! which it ended, before anything else is sent on a new connection. Commands whose ranges overlap
//! never are under way together, so that order is one in which they may have been done.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::operation::Command;

/// What a command counts at least, in bytes: what it takes in memory without its data.
const COMMAND_BYTES: usize = 512;

/// Commands that are done and not flushed.
#[derive(Default)]
pub(super) struct Unflushed(Mutex<List>);

#[derive(Default)]
struct List {
    commands: VecDeque<Command>,
    /// How many were ever taken out at the front.
    forgotten: u64,
    bytes: usize,
}

/// A moment: what was done before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Moment(u64);

fn bytes(command: &Command) -> usize {
    command.data().1.max(COMMAND_BYTES)
}

impl Unflushed {
    /// Notes that `command` is done.
    pub(super) fn add(&self, command: Command) {
        let mut list = self.lock();
        list.bytes += bytes(&command);
        list.commands.push_back(command);
    }

    /// Now.
    pub(super) fn moment(&self) -> Moment {
        let list = self.lock();
        Moment(list.forgotten + list.commands.len() as u64)
    }

    /// Forgets what was done before `moment`, since it has been flushed.
    pub(super) fn forget(&self, moment: Moment) {
        let mut list = self.lock();
        while list.forgotten < moment.0 {
            let command = list.commands.pop_front().expect("as many as were counted");
            list.bytes -= bytes(&command);
            list.forgotten += 1;
        }
    }

    /// How much memory it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// All of it, in order.
    pub(super) fn all(&self) -> Vec<Command> {
        self.lock().commands.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::operation::{Direction, Memory};
    use super::super::scsi;
    use super::*;
    use crate::base::Buf;

    fn write(lba: u64, bytes: usize) -> Command {
        let blocks = u32::try_from(bytes / 512).expect("few");
        let memory = Memory::new(Buf::new(bytes));
        Command::whole(scsi::write(lba, blocks), Direction::Out, &memory)
    }

    #[test]
    fn what_was_done_before_a_flush_began_is_forgotten_with_it() {
        let unflushed = Unflushed::default();
        unflushed.add(write(0, 4096));
        unflushed.add(write(8, 8192));
        let first = unflushed.moment();
        unflushed.add(write(0, 4096));
        assert_eq!(unflushed.bytes(), 16384);
        let second = unflushed.moment();
        unflushed.forget(second);
        assert_eq!((unflushed.all().len(), unflushed.bytes()), (0, 0));
        // Flushes may end in another order than they began.
        unflushed.forget(first);
        unflushed.add(write(16, 4096));
        unflushed.forget(second);
        let left = unflushed.all();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].cdb, scsi::write(16, 8));
        unflushed.forget(unflushed.moment());
        assert_eq!(unflushed.bytes(), 0);
    }
}
