//! Space: who may take how many of the last free segments.
//!
//! A log store needs space to make space, and to be opened after a crash. The last two fifths of
//! the reserve are for checkpoints, which record what was freed, and for opening, which takes a log
//! and makes a checkpoint. A segment above that is kept for garbage collection alone, so that it
//! can always begin; then a few for trims, which a full store must still take, and which are given
//! back once nothing but trims is in them; the rest is for garbage collection again. Writes may
//! take none of it, and they are admitted before they are acknowledged.
//!
//! The reserve is a sixteenth of the store. What a pass of garbage collection moves has to fit it,
//! and a pass changes up to every leaf of the map, which is a 512th of the store to be written:
//! where segments are 93 per cent full, a pass that moves less than 2.7 per cent of the store gains
//! less than its checkpoint costs. With a reserve of 3 per cent a store that was 90 per cent full
//! came to a halt under uniform overwriting, and with 5 per cent under skewed.

use super::Core;
use crate::base::{Error, Refusal};
use crate::store::format::{SEALED_BLOCK, SegState, Seq, Shape};
use crate::store::{Tuning, Usage};

/// Segments that garbage collection leaves to trims: one that is being filled and holds written
/// blocks too, one that is waited for, one more while the first is being freed.
const TRIM_SEGS: u32 = 3;

/// Segments that checkpoints and an opening have at least: a checkpoint may be under way when power
/// is lost, and opening takes two for the log and makes a checkpoint, each of up to two.
const OPENING_SEGS: u32 = 6;

/// How far below that it may go when nothing else helps: garbage collection without any segment to
/// move into takes one, which it pays back with what that empties; discards stop before that one.
const LAST_SEGS: u32 = 2;

/// How much is kept back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reserve {
    /// Segments in all.
    segs: u32,
    /// Nodes that may have changed before a checkpoint is made; twice as many, and writes wait.
    pub(super) changed_max: usize,
}

/// Who wants a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::store) enum Wish {
    /// A write.
    Write,
    /// A discard or a writing of zeroes.
    Trim,
    /// The same, while garbage collection gains nothing any more.
    LastTrim,
    /// Garbage collection that has no segment to move into.
    Collect,
    /// Garbage collection that has one, but for what is older or younger.
    CollectApart,
}

impl Reserve {
    /// The reserve of a store of this shape.
    pub(super) fn of(shape: Shape, tuning: Tuning) -> Self {
        let usable = shape.segs() - shape.first_seg();
        let segs = (usable / 16).max(16).min(usable / 2);
        let nodes_per_seg = shape.seg_bytes() as usize / SEALED_BLOCK;
        let by_space = (segs / 5).max(2) as usize * nodes_per_seg / 2;
        let by_memory = tuning.leaf_cache / 2 / SEALED_BLOCK;
        Self {
            segs,
            changed_max: by_space.min(by_memory).max(4),
        }
    }

    /// What checkpoints and an opening may need.
    fn opening(self) -> u32 {
        (self.segs * 2 / 5).max(OPENING_SEGS)
    }

    /// How many of `free` segments `wish` may take.
    fn allows(self, wish: Wish, free: u32) -> u32 {
        let opening = self.opening();
        let above = |floor: u32| free.saturating_sub(floor);
        match wish {
            Wish::Write => above(self.segs),
            Wish::Trim => above(opening + 1),
            Wish::LastTrim => above(opening - LAST_SEGS + 1),
            Wish::Collect => {
                let last = above(opening - LAST_SEGS).min(1);
                above(opening + 1 + TRIM_SEGS).max(last)
            }
            Wish::CollectApart => above(opening + 1 + TRIM_SEGS),
        }
    }
}

impl Core {
    /// How many segments `wish` may take now.
    pub(super) fn allowance(&self, wish: Wish) -> u32 {
        self.reserve.allows(wish, self.table.free())
    }

    /// Whether `segs` segments may be taken for `wish`.
    ///
    /// # Errors
    /// `None`: wait for garbage collection; `Some`: there is nothing that it could free.
    pub(super) fn admit(&mut self, segs: u32, wish: Wish) -> Result<(), Option<Error>> {
        if self.allowance(wish) >= segs {
            return Ok(());
        }
        match (self.is_parked(), wish) {
            (false, _) => Err(None),
            (true, Wish::Trim) if self.allowance(Wish::LastTrim) >= segs => Ok(()),
            (true, _) => Err(Some(Error::Refused(Refusal::NoSpace))),
        }
    }

    /// Takes a segment for what garbage collection moves, if it may have one.
    pub(in crate::store) fn take_for_moves(&mut self, wish: Wish, age: u8) -> Option<(u32, Seq)> {
        match self.allowance(wish) {
            0 => None,
            _ => self.table.take(SegState::Gc, age),
        }
    }

    /// Whether there is space for nodes that change because what they lead to has moved.
    ///
    /// Moving stops higher, so that what was moved is not moved in vain: checkpoints may take some
    /// more while the traversal is under way that makes it known. All nodes of a store are a 500th
    /// of it, half of this level a 80th.
    pub(super) fn has_room_for_nodes(&self) -> bool {
        self.table.free() >= (self.reserve.opening() / 2).max(OPENING_SEGS)
    }

    /// Whether garbage collection should free some segments, and may hope to.
    pub(in crate::store) fn wants_collection(&self) -> bool {
        let is_due = self.passes.asked > self.passes.ended;
        let is_due = is_due || self.renewals.now.is_some();
        self.health == super::Health::Well && (is_due || self.is_short())
    }

    /// Whether space is short, and garbage collection may hope to free some.
    pub(in crate::store) fn is_short(&self) -> bool {
        let shape = self.shape();
        let usable = shape.segs() - shape.first_seg();
        let low = self.reserve.segs + (usable / 12).max(4);
        self.free_soon() < low && !self.is_parked()
    }

    /// Whether even the reserve is half used.
    pub(in crate::store) fn is_nearly_full(&self) -> bool {
        self.free_soon() < self.reserve.segs * 3 / 4
    }

    /// Segments that are free or will be.
    pub(in crate::store) fn free_soon(&self) -> u32 {
        let soon = u32::try_from(self.table.freed_soon()).unwrap_or(u32::MAX);
        self.table.free().saturating_add(soon)
    }

    /// A level that rises when segments are freed and does not sink when the log takes some: what
    /// garbage collection has gained, and spent itself.
    pub(in crate::store) fn gained(&self) -> u64 {
        u64::from(self.free_soon()) + self.log.segments_used()
    }

    /// Notes that garbage collection has gained nothing: it rests until more has been written, or
    /// something was given up.
    pub(in crate::store) fn park(&mut self) {
        self.parked = Some(self.free_soon());
    }

    /// Notes that something was given up, so that garbage collection may find more.
    pub(super) fn gave_up(&mut self) {
        self.parked = None;
    }

    fn is_parked(&self) -> bool {
        self.parked.is_some_and(|parked| self.free_soon() >= parked)
    }

    /// How full the store is.
    pub(in crate::store) fn usage(&self) -> Usage {
        let shape = self.shape();
        let seg_bytes = u64::from(shape.seg_bytes());
        let mut usage = Usage {
            reserve: u64::from(self.reserve.segs) * seg_bytes,
            physical: u64::from(shape.segs() - shape.first_seg()) * seg_bytes,
            free: u64::from(self.table.free()) * seg_bytes,
            ..Usage::default()
        };
        for (_, info) in self.table.all() {
            if matches!(info.state, SegState::Log | SegState::Gc) {
                usage.live += u64::from(info.live.min(shape.seg_bytes()));
            } else if info.state == SegState::Meta {
                usage.live += seg_bytes;
            }
        }
        usage.written = usage.physical - usage.free;
        usage.live = usage.live.min(usage.written);
        usage.logical = self.volumes().map(|tree| tree.size).sum();
        usage
    }
}
