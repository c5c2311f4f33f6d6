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
    /// Memory for the index of deduplication, in bytes at most. A store takes 88 MiB for each
    /// tebibyte of its size; with less some of what is there already is written again, with 0 all.
    pub dedup_index: usize,
    /// A checkpoint is made when the log has grown by this many bytes.
    pub checkpoint_bytes: u64,
    /// A checkpoint is made when something has changed and the last one is this old.
    pub checkpoint_interval: Duration,
    /// A batch of the log is closed when its chunks have this many bytes.
    pub batch_bytes: u32,
    /// Batches that are written at the same time.
    pub batches_in_flight: usize,
    /// What to do wrong on purpose, so that tests can show that they would notice.
    #[doc(hidden)]
    #[cfg(debug_assertions)]
    pub sabotage: Option<Sabotage>,
}

/// A promise to break.
#[doc(hidden)]
#[cfg(debug_assertions)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sabotage {
    /// Flushes are answered when everything is written, not when it is durable.
    FlushEarly,
    /// Segments are free as soon as nothing in memory leads to them.
    ReuseEarly,
    /// Garbage collection frees what it has moved without changing all pointers to it.
    SkipMoves,
    /// A block may be what lies in a segment that is about to be freed.
    ReferToFreed,
    /// Segments are freed that ghosts lead to, and their entries stay.
    ForgetGhosts,
    /// The keys of older mounts are forgotten while something is sealed with them.
    ForgetKeys,
}

impl Tuning {
    /// Whether this promise is to be broken. Never in a release build.
    pub(super) fn breaks(&self, promise: Promise) -> bool {
        #[cfg(debug_assertions)]
        {
            let sabotage = match promise {
                Promise::Flush => Sabotage::FlushEarly,
                Promise::Reuse => Sabotage::ReuseEarly,
                Promise::Moves => Sabotage::SkipMoves,
                Promise::References => Sabotage::ReferToFreed,
                Promise::Ghosts => Sabotage::ForgetGhosts,
                Promise::Keys => Sabotage::ForgetKeys,
            };
            self.sabotage == Some(sabotage)
        }
        #[cfg(not(debug_assertions))]
        {
            let _ = promise;
            false
        }
    }
}

/// What tests may have the store break.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Promise {
    /// A flush is answered when what it covers is durable.
    Flush,
    /// A segment is used again when a durable checkpoint does without it.
    Reuse,
    /// A segment is freed when every pointer to what it held has been changed.
    Moves,
    /// What a block refers to stays.
    References,
    /// No ghost leads to a segment that is used again.
    Ghosts,
    /// What is used has a key that opens it.
    Keys,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            leaf_cache: 256 << 20,
            block_cache: 256 << 20,
            dedup_index: 128 << 20,
            checkpoint_bytes: 16 << 30,
            checkpoint_interval: Duration::from_secs(60),
            batch_bytes: 256 << 10,
            batches_in_flight: 4,
            #[cfg(debug_assertions)]
            sabotage: None,
        }
    }
}
