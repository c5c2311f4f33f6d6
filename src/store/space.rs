//! How much deduplication and compression save.

use serde::Serialize;

use crate::env::Instant;

/// What volumes and snapshots hold, and what that takes, in bytes. Zeroes take nothing.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Space {
    /// Blocks that are no holes. What snapshots and clones share with their volume counts once.
    pub mapped: u64,
    /// The same without those that are there already: each chunk once.
    pub unique: u64,
    /// The same as it is packed.
    pub stored: u64,
}

impl Space {
    /// How many times smaller deduplication makes what is mapped.
    pub fn dedup_ratio(&self) -> f64 {
        ratio(self.mapped, self.unique)
    }

    /// How many times smaller compression makes what is unique.
    pub fn compression_ratio(&self) -> f64 {
        ratio(self.unique, self.stored)
    }
}

fn ratio(of: u64, to: u64) -> f64 {
    match to {
        0 => 1.0,
        to => of as f64 / to as f64,
    }
}

/// What one volume or snapshot holds, in bytes, as if it were alone: what it shares with others, or
/// has several times, counts each time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TreeSpace {
    /// Blocks that are no holes.
    pub mapped: u64,
    /// The same as it is packed.
    pub stored: u64,
}

impl TreeSpace {
    pub(super) fn add(&mut self, other: Self) {
        self.mapped += other.mapped;
        self.stored += other.stored;
    }

    /// How many times smaller compression makes it.
    pub fn compression_ratio(&self) -> f64 {
        ratio(self.mapped, self.stored)
    }
}

/// What a pass of garbage collection has counted. Exact for what was not written to since it began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counted {
    /// When the count was complete.
    pub at: Instant,
    /// All together.
    pub space: Space,
    /// Whether some chunks that are shared were counted for each block, since telling them apart
    /// takes more memory than there is for it: then `unique` and `stored` are too large.
    pub is_estimate: bool,
}
