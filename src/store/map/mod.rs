//! The maps: from a block of a volume to where it lies.
//!
//! A volume or snapshot is a radix tree of nodes with 512 entries. Nodes on the backend are never
//! changed: a change copies the path from the root down into memory, and a checkpoint writes what
//! has been copied. Trees share what they have in common, and only at the same place: the part of
//! a tree below one entry is either the same node in two trees or it is not.
//!
//! A node in memory may be changed in place while it belongs to the current generation and to one
//! tree. A checkpoint or a snapshot begins a new generation, and so freezes all nodes at once.

mod cache;
mod compare;
mod nodes;
mod reference;
mod tree;

use super::format::{FANOUT, Ptr};

pub(super) use cache::{PtrHasher, PtrMap};
pub(super) use compare::Range;
pub(super) use nodes::{Nodes, Walk};
pub(super) use reference::{Ref, Target};
pub(super) use tree::{first_leaf, span};

/// The entries of a node: [`Ref`]s, or in a leaf [`Ptr`]s, as bits.
pub(super) type Node = [u64; FANOUT];

/// A node that is on the backend and not in memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Miss {
    /// Where it is.
    pub(super) ptr: Ptr,
    /// Its level: 0 for a leaf.
    pub(super) level: u8,
}

/// A node without entries.
pub(super) fn empty_node() -> Box<Node> {
    Box::new([0; FANOUT])
}
