//! Which blocks of a volume or snapshot differ from another tree: a bitmap's ghost, a snapshot.

use super::{Core, NotMapped, Pause};
use crate::base::{Error, Refusal, Status, StatusRun};
use crate::store::format::BLOCK;
use crate::store::map::Range;

/// Parts of the trees that are compared under one hold of the core's lock: about a hundred
/// microseconds.
const STEPS_AT_ONCE: usize = 64;

impl Core {
    /// Compares the first of `count` blocks from `first` on of `tree` with those of `since`; adds
    /// to `runs`, which become `runs_max` at most, and gives how many blocks these are. None means
    /// that there is no room for what comes next.
    ///
    /// # Errors
    /// What has to be done first, or that one of the trees is not there any more.
    pub(in crate::store) fn changes(
        &mut self,
        (since, tree): (u32, u32),
        (first, count): (u64, u64),
        runs: &mut Vec<StatusRun>,
        runs_max: usize,
    ) -> Result<u64, NotMapped> {
        let new = self.place_of(tree, first, count)?;
        let gone = NotMapped::Fail(Error::Refused(Refusal::Invalid));
        let since = self.trees.get(&since).ok_or(gone)?;
        if since.pause == Pause::Everything {
            return Err(NotMapped::Paused);
        }
        let (old, given_up) = ((since.root, since.height), since.given_up);
        let mut done = 0;
        let mut see = |differ: bool, blocks: u64| {
            let status = match differ {
                true => Status::Dirty,
                false => Status::Clean,
            };
            let bytes = blocks * BLOCK as u64;
            let is_told = StatusRun { bytes, status }.add_to(runs, runs_max);
            done += if is_told { blocks } else { 0 };
            is_told
        };
        if given_up {
            see(true, count);
            return Ok(done);
        }
        let range = Range { first, count };
        let compared = self
            .nodes
            .compare([old, new], range, STEPS_AT_ONCE, &mut see);
        match compared {
            Err(miss) if done == 0 => Err(NotMapped::Load(self.load(miss))),
            _ => Ok(done),
        }
    }
}
