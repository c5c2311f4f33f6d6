//! Proves a store: reads all that its superblock leads to, and changes nothing.
//!
//! It shares nothing with the store that runs but [`format`](super::format), the codec, and how the
//! slots of superblocks and keys are read, so a mistake there is not excused by the same mistake
//! here. What is proved is the state that the store would have when it is opened: the newest
//! checkpoint with the log behind it.
//!
//! | | what must hold |
//! |---|---|
//! | I1 | Of the superblocks the newest counts; the others are the ones written before it. |
//! | I2 | A pointer leads into a segment of the right kind, no further than was written there. |
//! | I3 | What a pointer leads to can be read and opens at its place. |
//! | I4 | No two chunks overlap, and a node stands at one position of its trees only. |
//! | I5 | A free segment has no live bytes. |
//! | I6 | The log has no gap, no durable batch is missing, and its records fit their volumes. |
//! | I7 | No snapshot or ghost points into a free segment. |
//! | I8 | No two segments have the same sequence number; none is newer than the superblock. |
//! | I9 | Trailers, batches, fingerprints and the pointers to what they are about agree. |
//! | I10 | Trees are as high as their sizes ask for, and hold nothing behind their ends. |
//! | I11 | There is room for what opening the store writes. |
//!
//! A damaged structure is a finding, and everything that does not depend on it is still proved.
//!
//! **Memory.** 24 bytes for each segment; about 40 bytes for each block that the log behind the
//! checkpoint mentions; about 48 bytes for each node, 24 MiB for each TiB of volumes; 8 bytes for
//! each chunk, up to [`Limits::chunks`]: if there are more, the trees are walked again for the
//! segments that had no room. With [`Depth::Data`] one segment is held too.

mod chunks;
mod layout;
mod log;
mod overlay;
mod prove;
mod replay;
mod report;
mod segment;
mod source;
mod superblocks;
mod table;
mod walk;

pub use prove::check_with;
pub use report::{Finding, LiveBytes, LogSummary, Progress, Report, SegmentCounts};

pub(super) use layout::{Batches, TrailerFound, batches, read_trailer};
pub(super) use log::Follow;
pub(super) use source::{Source, Unread};
pub(super) use superblocks::damage;
pub(super) use table::{read_page, read_root};

use super::StoreError;
use crate::backend::Checked;
use crate::codec::Credential;

/// How much is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Depth {
    /// Superblocks, trees, the segment table, trailers, and the log behind the checkpoint.
    Metadata,
    /// Every segment with data in it, too: each reachable chunk is opened.
    Data,
}

/// What a check may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Pointers to chunks that are held at a time, 8 bytes each.
    pub chunks: usize,
    /// Findings that are told; further ones are counted only.
    pub findings: usize,
}

impl Default for Limits {
    /// 512 MiB of pointers, which is 256 GiB of chunks of 4 KiB; and 1000 findings.
    fn default() -> Self {
        Self {
            chunks: 64 << 20,
            findings: 1000,
        }
    }
}

/// Checks the store on `backend`, which nobody writes to meanwhile.
///
/// # Errors
/// If there is no store, or none that this version reads, or if its superblocks cannot be read:
/// one that cannot be read may be the newest.
pub async fn check(
    backend: &Checked,
    depth: Depth,
    key: Option<&Credential>,
) -> Result<Report, StoreError> {
    check_with(backend, depth, Limits::default(), key, &mut |_| {}).await
}
