//! What a node in memory refers to.

use std::fmt;

use crate::store::format::Ptr;

/// A node or a block: nothing, on the backend, or (a node only) in memory because it has changed.
///
/// A pointer into segment 0 is never real, since the superblocks are there; so the bits below it
/// number the slots of nodes in memory, and an entry is 64 bits wherever it points.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(in crate::store) struct Ref(u64);

/// A [`Ref`], taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::store) enum Target {
    /// Nothing.
    Hole,
    /// On the backend.
    Disk(Ptr),
    /// In memory, in this slot.
    Slot(u32),
}

impl Ref {
    /// Nothing.
    pub(in crate::store) const HOLE: Self = Self(0);

    /// The node in slot `index`.
    pub(in crate::store) const fn slot(index: u32) -> Self {
        Self(index as u64 + 1)
    }

    /// The entry with these bits.
    pub(in crate::store) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits of the entry.
    pub(in crate::store) const fn bits(self) -> u64 {
        self.0
    }

    /// What it refers to.
    pub(in crate::store) fn target(self) -> Target {
        let ptr = Ptr::from_bits(self.0);
        if self.0 == 0 {
            Target::Hole
        } else if ptr.seg() == 0 {
            Target::Slot(u32::try_from(self.0 - 1).expect("slots are numbered in 32 bits"))
        } else {
            Target::Disk(ptr)
        }
    }

    /// Whether nothing is there.
    pub(in crate::store) const fn is_hole(self) -> bool {
        self.0 == 0
    }
}

impl From<Ptr> for Ref {
    fn from(ptr: Ptr) -> Self {
        Self(ptr.bits())
    }
}

impl fmt::Debug for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.target())
    }
}
