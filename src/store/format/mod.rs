#![doc = include_str!("FORMAT.md")]

pub mod batch;
mod fields;
mod ptr;
pub mod root;
mod segment;
mod shape;
pub mod superblock;
pub mod trailer;

pub use crate::codec::Codec;
pub use ptr::Ptr;
pub use segment::{INFO_BYTES, INFOS_PER_PAGE, SegInfo, SegState, Seq};
pub use shape::{NodeEntries, Shape};

/// The unit of every volume, in bytes: what one pointer points to.
pub const BLOCK: usize = crate::codec::BLOCK;

/// Entries of a node of a tree.
pub const FANOUT: usize = 512;

/// A node or a raw block with its seal, in bytes.
pub const SEALED_BLOCK: usize = BLOCK + crate::codec::TAG_BYTES;

/// What chunks start at multiples of within a segment, in bytes.
pub const CHUNK_ALIGN: usize = 16;

/// What is kept at the start of a store for superblocks and key slots, in bytes.
pub const SYSTEM_BYTES: u64 = 2 << 20;

/// What is wrong with bytes that should be one of this format's structures.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Malformed(pub &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}
