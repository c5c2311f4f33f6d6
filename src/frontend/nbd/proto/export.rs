//! What the protocol has to know of the disks that it offers.

use crate::base::Mark;

/// One export. Flush, FUA, trim, write zeroes, cache and many connections at once are offered
/// by every export, so they are not said here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExportInfo {
    /// The canonical name, at most [`NAME_BYTES_MAX`](crate::base::limits::NAME_BYTES_MAX) bytes.
    pub name: String,
    /// What people may read about it, at most as long as a name; may be empty.
    pub description: String,
    /// The size of the disk, in bytes.
    pub size: u64,
    /// Whether everything that writes is refused.
    pub read_only: bool,
    /// The preferred block size, in bytes: a power of two from 512 to 32 MiB (proto.md,
    /// "Block size constraints").
    pub preferred_block: u32,
    /// Whether zeroing may be asked to fail where it is not faster than writing.
    pub can_fast_zero: bool,
    /// Whether it tells how far from itself what is allocated lies.
    pub has_depth: bool,
    /// The dirty bitmaps by name, at most [`BITMAPS_MAX`](crate::base::limits::BITMAPS_MAX).
    pub bitmaps: Vec<(String, Mark)>,
}

/// The exports that a client may choose from.
pub trait Exports {
    /// The names of all exports, sorted.
    fn names(&self) -> Vec<String>;

    /// The export that a client calls `name`. The empty name means the default export, where
    /// there is one; the answer carries its canonical name.
    fn find(&self, name: &str) -> Option<ExportInfo>;
}
