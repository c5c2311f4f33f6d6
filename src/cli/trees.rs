//! What people are told about volumes and snapshots.

use serde::Serialize;

use super::date;
use super::print;
use crate::base::size;
use crate::control::StoreName;
use crate::store::TreeInfo;

/// A volume or snapshot, as it is told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct TreeFacts {
    /// `STORE/VOL` or `STORE/VOL@SNAP`.
    pub(super) name: String,
    /// In bytes.
    pub(super) size: u64,
    /// ISO 8601, in UTC.
    pub(super) created: String,
    /// What it was made from, named as it is itself.
    pub(super) origin: Option<String>,
    /// How it is compressed.
    pub(super) compression: &'static str,
    /// Whether it is deduplicated.
    pub(super) dedup: &'static str,
    pub(super) write_through: bool,
}

impl TreeFacts {
    pub(super) fn new(store: &StoreName, tree: &TreeInfo) -> Self {
        Self {
            name: format!("{store}/{}", tree.name),
            size: tree.size,
            created: date::utc(tree.created),
            origin: tree.origin.as_ref().map(|name| format!("{store}/{name}")),
            compression: tree.properties.compression.name(),
            dedup: tree.properties.dedup.name(),
            write_through: tree.properties.write_through,
        }
    }

    pub(super) fn origin_or_dash(&self) -> String {
        self.origin.clone().unwrap_or_else(|| "-".to_owned())
    }

    /// The facts as cells of a table.
    fn cells(&self) -> [String; 4] {
        [
            self.name.clone(),
            size::format(self.size),
            self.created.clone(),
            self.origin_or_dash(),
        ]
    }
}

/// `trees` as a table for people.
pub(super) fn table(trees: &[TreeFacts]) -> String {
    let rows: Vec<_> = trees.iter().map(TreeFacts::cells).collect();
    print::table(["NAME", "SIZE", "CREATED", "ORIGIN"], &rows)
}
