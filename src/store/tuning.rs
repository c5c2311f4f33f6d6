//! What a store may use, and when it does its chores. None of it is in the format.

use std::time::Duration;

/// How much memory a store uses, and how often it does what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tuning {
    /// Memory for nodes of trees, in bytes: what is hot of the maps, and what has changed since
    /// the last checkpoint. The default, 256 MiB, covers 128 GiB of hot volume.
    pub leaf_cache: usize,
    /// Memory for blocks that were read, in bytes.
    pub block_cache: usize,
    /// A checkpoint is made when the log has grown by this many bytes.
    pub checkpoint_bytes: u64,
    /// A checkpoint is made when something has changed and the last one is this old.
    pub checkpoint_interval: Duration,
    /// A batch of the log is closed when its chunks have this many bytes.
    pub batch_bytes: u32,
    /// Batches that are written at the same time.
    pub batches_in_flight: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            leaf_cache: 256 << 20,
            block_cache: 256 << 20,
            checkpoint_bytes: 16 << 30,
            checkpoint_interval: Duration::from_secs(60),
            batch_bytes: 256 << 10,
            batches_in_flight: 4,
        }
    }
}
