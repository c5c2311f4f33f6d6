//! What a check found.

use std::fmt;

use serde::Serialize;

use crate::store::space::Space;

/// What a check found. The names of the fields are those of the JSON object; they are kept from
/// one version to the next.
#[derive(Serialize, Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// The generation of the superblock that counts.
    pub generation: u64,
    /// The mount that wrote it.
    pub epoch: u32,
    /// Segments by what they are used for once the log is replayed.
    pub segments: SegmentCounts,
    /// Volumes and snapshots.
    pub trees: u64,
    /// Distinct nodes of all trees.
    pub nodes: u64,
    /// Distinct chunks that volumes and snapshots reach.
    pub chunks: u64,
    /// What is reachable, in bytes with seals.
    pub live: LiveBytes,
    /// What the chunks hold.
    pub space: Space,
    /// The log behind the checkpoint.
    pub log: LogSummary,
    /// What is wrong, as far as it is told.
    pub findings: Vec<Finding>,
    /// All that is wrong, told or not.
    pub findings_total: u64,
}

/// How many segments are used for what.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SegmentCounts {
    /// Superblocks and key slots.
    pub system: u64,
    /// Nothing.
    pub free: u64,
    /// The log.
    pub log: u64,
    /// Output of garbage collection.
    pub gc: u64,
    /// Nodes, the segment table, root blobs.
    pub meta: u64,
    /// Not used any more.
    pub bad: u64,
    /// Not known, because the page of the segment table that tells does not open.
    pub unknown: u64,
}

/// Reachable bytes by the kind of their segments, seals and the rounding to 16 bytes included.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LiveBytes {
    /// In segments of the log.
    pub log: u64,
    /// In segments of garbage collection.
    pub gc: u64,
    /// In segments of metadata.
    pub meta: u64,
}

/// The log behind the checkpoint.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogSummary {
    /// Batches that would be replayed.
    pub batches: u64,
    /// Their records.
    pub records: u64,
    /// Segments that they lie in.
    pub segments: u64,
    /// The number of the first batch that is not there.
    pub next: u64,
}

/// Something that is wrong.
#[derive(Serialize, Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What does not hold: "I1" to "I11".
    pub invariant: &'static str,
    /// Where.
    pub place: String,
    /// In which way.
    pub what: String,
}

/// How far a check is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// What is being done.
    pub stage: &'static str,
    /// How much of it is done.
    pub done: u64,
    /// How much there is, where that is known.
    pub total: Option<u64>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<3} {}: {}", self.invariant, self.place, self.what)
    }
}

/// Gathers findings up to a bound, and counts the rest.
#[derive(Debug)]
pub(super) struct Findings {
    kept: Vec<Finding>,
    kept_max: usize,
    total: u64,
}

impl Findings {
    pub(super) fn new(kept_max: usize) -> Self {
        Self {
            kept: Vec::new(),
            kept_max,
            total: 0,
        }
    }

    pub(super) fn add(
        &mut self,
        invariant: &'static str,
        place: impl fmt::Display,
        what: impl fmt::Display,
    ) {
        self.total += 1;
        if self.kept.len() < self.kept_max {
            self.kept.push(Finding {
                invariant,
                place: place.to_string(),
                what: what.to_string(),
            });
        }
    }

    /// Counts what is wrong and not told, since there is no more room for it.
    pub(super) fn add_untold(&mut self, count: u64) {
        self.total += count;
    }

    /// Hands over what was gathered.
    pub(super) fn into_report(self, report: &mut Report) {
        report.findings = self.kept;
        report.findings_total = self.total;
    }
}
