//! Comparing two trees: which blocks differ.
//!
//! Trees share what they have in common, and only at the same position. So where two entries are
//! the same everything below is, and is skipped at once: what a comparison costs depends on how
//! much has changed, not on how large the trees are.

use super::tree::{entry, span};
use super::{Miss, Node, Nodes, Ref, Target};
use crate::store::format::{FANOUT, Ptr};

/// Consecutive blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::store) struct Range {
    pub(in crate::store) first: u64,
    pub(in crate::store) count: u64,
}

impl Nodes {
    /// Calls `see` with whether blocks differ between two trees, each a root and a height, and
    /// how many; in order, from the first of `range` on, until it says `false`. Ends after `steps`
    /// parts of the trees.
    ///
    /// # Errors
    /// The next node that is not in memory.
    pub(in crate::store) fn compare(
        &mut self,
        trees: [(Ref, u8); 2],
        range: Range,
        steps: usize,
        see: &mut impl FnMut(bool, u64) -> bool,
    ) -> Result<(), Miss> {
        let end = range.first + range.count;
        let mut block = range.first;
        for _ in 0..steps {
            if block >= end {
                return Ok(());
            }
            let [old, new] = match self.meet(trees, block)? {
                Meeting::Same(level) => {
                    let width = span(level + 1);
                    let next = ((block / width + 1) * width).min(end);
                    if !see(false, next - block) {
                        return Ok(());
                    }
                    block = next;
                    continue;
                }
                Meeting::Leaves(leaves) => leaves,
            };
            let old = self.leaf(old)?;
            let new = self.leaf(new)?;
            let last = ((block / span(1) + 1) * span(1)).min(end);
            for at in block..last {
                let index = entry(at, 0);
                let (old, new) = (Ptr::from_bits(old[index]), Ptr::from_bits(new[index]));
                if !see(old != new || old.is_dead() || new.is_dead(), 1) {
                    return Ok(());
                }
            }
            block = last;
        }
        Ok(())
    }

    /// The way down to `block` in both trees, as far as they differ.
    fn meet(&mut self, trees: [(Ref, u8); 2], block: u64) -> Result<Meeting, Miss> {
        // Behind what its nodes reach a tree has holes; before that its root is below nodes that a
        // higher tree has, and is met on its own level.
        let mut at = trees.map(|(root, height)| match block < span(height) {
            true => root,
            false => Ref::HOLE,
        });
        let highest = trees.iter().map(|(_, height)| *height).max().unwrap_or(1);
        for level in (0..highest).rev() {
            let is_here = |side: usize| at[side].is_hole() || level < trees[side].1;
            let are_here = is_here(0) && is_here(1);
            if are_here && self.identity(at[0]) == self.identity(at[1]) {
                return Ok(Meeting::Same(level));
            }
            if level == 0 {
                break;
            }
            for (at, (_, height)) in at.iter_mut().zip(trees) {
                if !at.is_hole() && level < height {
                    *at = Ref::from_bits(self.get(*at, level)?[entry(block, level)]);
                }
            }
        }
        Ok(Meeting::Leaves(at))
    }

    /// The same for every way to refer to the same node: while a checkpoint writes it, some do so
    /// by its slot and some by its place.
    fn identity(&self, at: Ref) -> Ref {
        let at = self.resolve(at);
        match at.target() {
            Target::Disk(ptr) => self.being_written(ptr).map_or(at, Ref::slot),
            Target::Hole | Target::Slot(_) => at,
        }
    }

    fn leaf(&mut self, at: Ref) -> Result<Node, Miss> {
        match at.is_hole() {
            true => Ok([0; FANOUT]),
            false => self.get(at, 0).copied(),
        }
    }
}

/// What the ways to a block in two trees come to.
enum Meeting {
    /// The same node, of this level.
    Same(u8),
    /// Two leaves, or one and nothing.
    Leaves([Ref; 2]),
}
