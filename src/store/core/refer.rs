//! Deduplication: which blocks may be referred to where they lie, instead of being written again.
//!
//! A reference must not outlive what it points to. So it may point to
//!
//! - a segment that nobody is about to free: not one that a traversal has found empty, nor one that
//!   garbage collection is moving out of, whose pointers the traversal under way replaces;
//! - a chunk that every recovery finds which finds the reference: in the log, where what comes
//!   first is recovered first, or moved by garbage collection once a durable checkpoint has all
//!   of its segment. What is only known from a trailer has to be there too: after a crash a trailer
//!   may be durable while what it lists is not, and segments are marked where that is ruled out.
//!
//! A traversal that is under way may have passed the block that begins to refer to a segment. It
//! says nothing about that segment then: [`Core::refer`] tells it.

use super::Core;
use crate::store::dedup::Known;
use crate::store::format::{SegState, Seq};
use crate::store::tuning::Promise;

impl Core {
    /// Whether a block may be what lies there.
    pub(super) fn may_refer(&self, known: Known) -> bool {
        let seg = known.ptr.seg();
        let info = self.table.info(seg);
        let is_there = match info.state {
            SegState::Log => true,
            SegState::Gc => info.listed,
            _ => false,
        };
        let is_staying = !self.table.is_doomed(seg) && !self.emptied.contains(&seg);
        let is_staying = is_staying || self.tuning.breaks(Promise::References);
        info.seq == known.seq && is_there && is_staying
    }

    /// Notes that another block refers to what lies in a segment.
    pub(super) fn refer(&mut self, seg: u32) {
        self.table.share(seg);
        if self.tuning.breaks(Promise::References) {
            return;
        }
        if let Some(traversal) = &mut self.traversal {
            traversal.spare(seg);
        }
    }

    /// Whether any volume looks for blocks that are there already.
    pub(in crate::store) fn wants_fingerprints(&self) -> bool {
        use crate::store::format::root::Dedup;
        self.volumes()
            .any(|tree| tree.properties.dedup != Dedup::Off)
    }

    /// Notes that garbage collection has filled a segment: all of it is durable with the next
    /// checkpoint that begins.
    pub(in crate::store) fn output_sealed(&mut self, seg: u32) {
        self.sealed.push_back((self.checkpoints.begun + 1, seg));
    }

    /// Has the index learn of the outputs that checkpoint `number` has made durable.
    pub(super) fn outputs_safe(&mut self, number: u64) {
        while let Some((_, seg)) = self.sealed.pop_front_if(|(sealed, _)| *sealed <= number) {
            self.table.list(seg);
            self.unread.push_back(seg);
        }
    }

    /// Has the index learn of everything that was there when the store was opened.
    pub(in crate::store) fn learn_all(&mut self) {
        self.unread.extend(self.table.all().map(|(seg, _)| seg));
    }

    /// The next segment whose trailer the index has to learn, if that can be believed.
    pub(in crate::store) fn next_unread(&mut self) -> Option<(u32, Seq)> {
        loop {
            let seg = self.unread.pop_front()?;
            if let Some(seq) = self.listed(seg) {
                return Some((seg, seq));
            }
        }
    }

    /// The sequence number of a segment whose trailer can be believed.
    pub(in crate::store) fn listed(&self, seg: u32) -> Option<Seq> {
        let info = self.table.info(seg);
        info.listed.then_some(info.seq)
    }
}
