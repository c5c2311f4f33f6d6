//! Renewal: all that a store has is written again, into segments taken from a moment on.
//!
//! So it comes under the key that the store has since then, or is packed as its volumes want it by
//! now. Garbage collection does it: the segments from before are victims however full they are, and
//! metadata leaves them too. Requests are served meanwhile, and space that is short comes first.
//!
//! A renewal is in the root: whoever opens the store after a crash goes on with it.

use std::collections::BTreeSet;

use super::Core;
use super::space::Wish;
use crate::base::{Error, Refusal};
use crate::codec::{MOUNT_SALT_BYTES, Secret};
use crate::store::format::root::Renewal;
use crate::store::format::{SegInfo, SegState, Seq};
use crate::store::tuning::Promise;

/// After this many passes in a row in which nothing came of it a renewal is given up: nothing was
/// moved, so nothing will be emptied.
const VAIN_PASSES: u32 = 6;

/// The same for passes that moved something, but have not emptied anything that is old: space is
/// short, and what is moved is not what would help.
const IDLE_PASSES: u32 = 40;

/// Segments that garbage collection has to be allowed for a renewal to begin: the log leaves two
/// behind when it begins anew, the open one and its successor, and metadata one.
const SEGS_TO_BEGIN: u32 = 4;

/// The same for anything to be moved that is only old: one to move into, one for the leaves.
const SEGS_TO_MOVE: u32 = 2;

/// A renewal under way, and how those before it ended.
#[derive(Debug, Default)]
pub(in crate::store) struct Renewals {
    /// What is being renewed.
    pub(in crate::store) now: Option<Renewal>,
    /// Segments that were to be emptied when it began, or when the store was opened.
    of: u32,
    /// The fewest segments that were left, and how many passes have ended since.
    least: (u32, u32),
    /// What had been moved when the pass before ended, in bytes, and how many passes have ended
    /// since anything was.
    moved: (u64, u32),
    begun: u64,
    ended: u64,
    /// How the last one ended.
    end: Ended,
}

/// How a renewal ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::store) enum Ended {
    /// Nothing is left of what was there before.
    #[default]
    Well,
    /// Somebody did not want it any more.
    Stopped,
    /// So many segments could not be emptied.
    Stuck(u32),
}

/// A master key that replaces the store's.
#[derive(Debug)]
pub(in crate::store) struct NewMaster {
    pub(in crate::store) key: Secret,
    /// What the next mount draws.
    pub(in crate::store) salt: [u8; MOUNT_SALT_BYTES],
}

impl Renewals {
    /// Goes on with what a root says, which the caller [counts](Core::count_renewal).
    pub(super) fn going_on(now: Option<Renewal>) -> Self {
        Self {
            now,
            begun: u64::from(now.is_some()),
            ..Self::default()
        }
    }

    /// How renewal `number` ended, if it has.
    pub(in crate::store) fn end_of(&self, number: u64) -> Option<Ended> {
        (self.ended >= number).then_some(self.end)
    }

    /// Whether a segment is one of those to be emptied.
    pub(in crate::store) fn is_old(&self, info: SegInfo) -> bool {
        let before = self.now.map_or(0, |renewal| renewal.before);
        let is_used = matches!(info.state, SegState::Log | SegState::Gc | SegState::Meta);
        is_used && info.seq.counter() < before
    }
}

impl Core {
    /// Begins to renew everything that is written by now; gives the number of the renewal. One that
    /// is under way becomes part of it.
    ///
    /// # Errors
    /// If there is no space for the log to begin anew.
    pub(in crate::store) fn begin_renewal(&mut self, repacks: bool) -> Result<u64, Error> {
        if self.allowance(Wish::CollectApart) < SEGS_TO_BEGIN {
            return Err(Error::Refused(Refusal::NoSpace));
        }
        let before = self.table.next_counter();
        self.log.begin_anew(&mut self.table);
        self.meta.close();
        self.renew_before(before, repacks);
        Ok(self.renewals.begun)
    }

    fn renew_before(&mut self, before: u64, repacks: bool) {
        let repacks = repacks || self.renewals.now.is_some_and(|now| now.repacks);
        self.renewals.now = Some(Renewal { before, repacks });
        self.renewals.begun += 1;
        self.count_renewal();
        self.changed = true;
    }

    /// Counts what is to be emptied, from the beginning.
    pub(super) fn count_renewal(&mut self) {
        let left = self.left_to_renew();
        let renewals = &mut self.renewals;
        renewals.of = left;
        renewals.least = (left, 0);
        renewals.moved = (self.traffic.moved, 0);
    }

    /// How many segments are to be emptied, and how many of them are left; nothing if no renewal is
    /// under way.
    pub(in crate::store) fn renewal(&self) -> Option<(u32, u32)> {
        self.renewals.now?;
        Some((self.renewals.of, self.left_to_renew()))
    }

    /// Whether there is space for moving what is only old: that frees no more than it takes.
    pub(super) fn has_room_to_renew(&self) -> bool {
        self.allowance(Wish::CollectApart) >= SEGS_TO_MOVE
    }

    /// Whether a renewal is under way and space is not short.
    pub(in crate::store) fn is_renewing_calmly(&self) -> bool {
        self.renewals.now.is_some() && !self.is_short()
    }

    fn left_to_renew(&self) -> u32 {
        let old = self
            .table
            .all()
            .filter(|(_, info)| self.renewals.is_old(*info));
        u32::try_from(old.count()).expect("segments are numbered in 32 bits")
    }

    /// Looks, after a pass of garbage collection, at what has come of the renewal under way.
    pub(super) fn judge_renewal(&mut self) {
        let Some((_, left)) = self.renewal() else {
            return;
        };
        if left == 0 {
            return self.end_renewal(Ended::Well);
        }
        let Renewals { least, moved, .. } = &mut self.renewals;
        *least = match left < least.0 {
            true => (left, 0),
            false => (least.0, least.1 + 1),
        };
        *moved = match self.traffic.moved > moved.0 {
            true => (self.traffic.moved, 0),
            false => (moved.0, moved.1 + 1),
        };
        let is_vain = least.1.min(moved.1) >= VAIN_PASSES || least.1 >= IDLE_PASSES;
        if is_vain {
            tracing::warn!(
                segments = left,
                "a renewal is given up: these cannot be emptied"
            );
            self.end_renewal(Ended::Stuck(left));
        }
    }

    /// Ends the renewal under way; what is old stays so.
    pub(in crate::store) fn stop_renewal(&mut self) {
        if self.renewals.now.is_some() {
            self.end_renewal(Ended::Stopped);
        }
    }

    fn end_renewal(&mut self, end: Ended) {
        self.renewals.now = None;
        (self.renewals.ended, self.renewals.end) = (self.renewals.begun, end);
        self.changed = true;
    }

    /// Has the next checkpoint begin a new mount, whose keys are made from another master key, and
    /// a renewal; gives the number of the checkpoint.
    ///
    /// # Errors
    /// If the store is not well, there is no space, or it was opened as often as can be counted.
    pub(in crate::store) fn replace_master(&mut self, master: NewMaster) -> Result<u64, Error> {
        self.check_health()?;
        if self.table.epoch() + 1 == Seq::EPOCHS {
            return Err(Error::Refused(Refusal::Invalid));
        }
        if self.allowance(Wish::CollectApart) < SEGS_TO_BEGIN {
            return Err(Error::Refused(Refusal::NoSpace));
        }
        self.new_master = Some(master);
        Ok(self.ask_checkpoint())
    }

    /// Begins the mount that was asked for, if one was: metadata is written by it from here on, and
    /// everything else [once](super::super::table::Table::settle_epoch) this checkpoint is durable,
    /// since its superblock is what tells its key.
    pub(super) fn begin_mount(&mut self) {
        let Some((NewMaster { key, salt }, keys)) = self.new_master.take().zip(self.sealer.keys())
        else {
            return;
        };
        let epoch = self.table.begin_epoch();
        keys.renew(key);
        keys.add(epoch, salt);
        self.superblock.salt = salt;
        self.meta.close();
        // With the new key in one checkpoint, so that it is never forgotten; the log follows.
        self.renew_before(self.table.next_counter(), false);
    }

    /// The mounts whose keys are needed: those that wrote what is used, and this one.
    pub(super) fn mounts_in_use(&self) -> BTreeSet<u32> {
        if self.tuning.breaks(Promise::Keys) {
            return BTreeSet::from([self.table.epoch()]);
        }
        let used = self
            .table
            .all()
            .filter(|(_, info)| info.state != SegState::Free);
        let mut epochs: BTreeSet<u32> = used.map(|(_, info)| info.seq.epoch()).collect();
        epochs.insert(self.table.epoch());
        epochs
    }
}
