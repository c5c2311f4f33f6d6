//! One tree: looking up, setting and cutting entries.

use super::{Miss, Nodes, Ref};
use crate::store::format::{FANOUT, Ptr};

/// Blocks below a leaf.
const LEAF_BLOCKS: u64 = FANOUT as u64;

/// Blocks below one entry of a node of this level.
pub(in crate::store) const fn span(level: u8) -> u64 {
    1 << (9 * level as u32)
}

/// The first leaf below entry `index` of a node of `level`, at least 1, whose first leaf is `base`.
pub(in crate::store) const fn first_leaf(base: u64, level: u8, index: u64) -> u64 {
    base + index * span(level - 1)
}

/// The entry for block `lba` in a node of this level.
pub(super) fn entry(lba: u64, level: u8) -> usize {
    let index = lba / span(level) % FANOUT as u64;
    usize::try_from(index).expect("below 512")
}

impl Nodes {
    /// Where block `lba` lies, in a tree of this `height`.
    ///
    /// # Errors
    /// The first node on the way that is not in memory.
    pub(in crate::store) fn lookup(
        &mut self,
        root: Ref,
        height: u8,
        lba: u64,
    ) -> Result<Ptr, Miss> {
        let mut at = root;
        for level in (0..height).rev() {
            if at.is_hole() {
                return Ok(Ptr::HOLE);
            }
            at = Ref::from_bits(self.get(at, level)?[entry(lba, level)]);
        }
        Ok(Ptr::from_bits(at.bits()))
    }

    /// Calls `see` with where each of `count` blocks from `first` on lies; runs of them that are
    /// holes in one node are seen at once.
    ///
    /// # Errors
    /// The first node on the way that is not in memory.
    pub(in crate::store) fn lookup_range(
        &mut self,
        root: Ref,
        height: u8,
        first: u64,
        count: u64,
        see: &mut impl FnMut(Ptr, u64) -> bool,
    ) -> Result<(), Miss> {
        let end = first + count;
        let mut lba = first;
        'blocks: while lba < end {
            let mut at = root;
            for level in (0..height).rev() {
                if at.is_hole() {
                    let width = span(level + 1);
                    let next = (lba / width + 1) * width;
                    let holes = next.min(end) - lba;
                    if !see(Ptr::HOLE, holes) {
                        return Ok(());
                    }
                    lba += holes;
                    continue 'blocks;
                }
                let node = self.get(at, level)?;
                if level > 0 {
                    at = Ref::from_bits(node[entry(lba, level)]);
                    continue;
                }
                let last = ((lba / LEAF_BLOCKS + 1) * LEAF_BLOCKS).min(end);
                for block in lba..last {
                    if !see(Ptr::from_bits(node[entry(block, 0)]), 1) {
                        return Ok(());
                    }
                }
                lba = last;
            }
        }
        Ok(())
    }

    /// Sees to it that the nodes on the way to `lba` are in memory, so that it can be set.
    ///
    /// # Errors
    /// The first one that is not.
    pub(in crate::store) fn check_path(
        &mut self,
        root: Ref,
        height: u8,
        lba: u64,
    ) -> Result<(), Miss> {
        self.lookup(root, height, lba).map(drop)
    }

    /// Sets where block `lba` lies; gives where it lay. The path is in memory.
    pub(in crate::store) fn set(&mut self, root: &mut Ref, height: u8, lba: u64, ptr: Ptr) -> Ptr {
        let mut slot = self.own(*root, height - 1);
        *root = Ref::slot(slot);
        for level in (1..height).rev() {
            let index = entry(lba, level);
            let child = Ref::from_bits(self.entries(slot)[index]);
            let owned = self.own(child, level - 1);
            self.entries(slot)[index] = Ref::slot(owned).bits();
            slot = owned;
        }
        let place = &mut self.entries(slot)[entry(lba, 0)];
        Ptr::from_bits(std::mem::replace(place, ptr.bits()))
    }

    /// Sees to it that the nodes are in memory that cutting `count` blocks from `first` on
    /// changes: those that lie across an end of the range.
    ///
    /// # Errors
    /// The first one that is not.
    pub(in crate::store) fn check_cut(
        &mut self,
        root: Ref,
        height: u8,
        first: u64,
        count: u64,
    ) -> Result<(), Miss> {
        let end = first + count;
        for lba in [first, end - 1] {
            let mut at = root;
            for level in (0..height).rev() {
                if at.is_hole() || !spans(first, end, lba, level) {
                    break;
                }
                at = Ref::from_bits(self.get(at, level)?[entry(lba, level)]);
            }
        }
        Ok(())
    }

    /// Makes holes of `count` blocks from `first` on; calls `lost` with where the blocks lay that
    /// were in leaves which are not gone as a whole.
    pub(in crate::store) fn cut(
        &mut self,
        root: &mut Ref,
        height: u8,
        first: u64,
        count: u64,
        lost: &mut impl FnMut(Ptr),
    ) {
        *root = self.cut_below(*root, height - 1, 0, first, first + count, lost);
    }

    /// Cuts the blocks from `first` up to `end` out of the node `at`, whose blocks begin at
    /// `base`; gives what is left of it.
    fn cut_below(
        &mut self,
        at: Ref,
        level: u8,
        base: u64,
        first: u64,
        end: u64,
        lost: &mut impl FnMut(Ptr),
    ) -> Ref {
        if at.is_hole() || first <= base && base + span(level + 1) <= end {
            return Ref::HOLE;
        }
        let width = span(level);
        let from = first.saturating_sub(base) / width;
        let to = (end - base).min(span(level + 1)).div_ceil(width);
        let slot = self.own(at, level);
        for index in from..to {
            let place = usize::try_from(index).expect("below 512");
            let old = self.entries(slot)[place];
            let new = match level {
                0 => {
                    if old != 0 {
                        lost(Ptr::from_bits(old));
                    }
                    Ref::HOLE
                }
                _ => {
                    let (child, base) = (Ref::from_bits(old), base + index * width);
                    self.cut_below(child, level - 1, base, first, end, lost)
                }
            };
            self.entries(slot)[place] = new.bits();
        }
        match self.entries(slot).iter().all(|entry| *entry == 0) {
            true => Ref::HOLE,
            false => Ref::slot(slot),
        }
    }
}

/// Whether the range from `first` to `end` covers only a part of the node of `level` that has
/// `lba`.
fn spans(first: u64, end: u64, lba: u64, level: u8) -> bool {
    let width = span(level + 1);
    let base = lba / width * width;
    first > base || end < base + width
}
