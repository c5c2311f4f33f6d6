//! What is told about one volume, and about a copy of one.

use serde::Serialize;

use super::copy::Copied;
use crate::base::size;
use crate::cli::print;
use crate::cli::trees::TreeFacts;

/// A volume and its snapshots.
#[derive(Debug, Serialize)]
pub(super) struct VolumeFacts {
    #[serde(flatten)]
    pub(super) volume: TreeFacts,
    pub(super) snapshots: Vec<TreeFacts>,
}

impl VolumeFacts {
    pub(super) fn text(&self) -> String {
        let mut facts = self.volume.lines();
        for snapshot in &self.snapshots {
            let told = format!("{}  {}", snapshot.name, snapshot.created);
            facts.push(("snapshot", told));
        }
        print::facts(&facts)
    }
}

/// A copy that is complete.
#[derive(Debug, Serialize)]
pub(super) struct CopyFacts {
    /// Which volume or snapshot.
    name: String,
    /// In bytes, holes and all.
    size: u64,
    /// What was copied as data, in bytes.
    data: u64,
    /// Of the content, holes and all, as `xxhsum -H2` of a raw file says.
    xxh128: String,
}

impl CopyFacts {
    pub(super) fn new(name: String, copied: Copied) -> Self {
        Self {
            name,
            size: copied.bytes,
            data: copied.data_bytes,
            xxh128: format!("{:032x}", copied.checksum),
        }
    }

    pub(super) fn text(&self) -> String {
        print::facts(&[
            ("name", self.name.clone()),
            ("size", size::format(self.size)),
            ("data", print::brief(self.data)),
            ("xxh128", self.xxh128.clone()),
        ])
    }
}
