//! What people are told about volumes and snapshots.

use serde::Serialize;

use super::date;
use super::print;
use crate::base::size;
use crate::control::api::proto;
use crate::store::{Properties, TreeSpace};

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
    /// NBD connections that have it open now.
    pub(super) connections: u64,
    /// Blocks that are no holes, in bytes, and the same as it is packed, when garbage collection
    /// counted last; not there before.
    pub(super) mapped: Option<u64>,
    pub(super) stored: Option<u64>,
}

impl TreeFacts {
    pub(super) fn new(tree: proto::Volume) -> Self {
        // A newer server may know of more; that has no name here.
        let told = tree.properties.unwrap_or_default();
        let known = Properties::try_from(&told).ok();
        let name = |name: Option<&'static str>| name.unwrap_or("unknown");
        Self {
            name: tree.name,
            size: tree.size,
            created: date::utc(tree.created),
            origin: tree.origin,
            compression: name(known.map(|known| known.compression.name())),
            dedup: name(known.map(|known| known.dedup.name())),
            write_through: told.write_through.unwrap_or_default(),
            connections: tree.connections,
            mapped: tree.held.map(|held| held.mapped),
            stored: tree.held.map(|held| held.stored),
        }
    }

    fn held(&self) -> String {
        let (Some(mapped), Some(stored)) = (self.mapped, self.stored) else {
            return "not counted yet; 'bedplate store collect' does".to_owned();
        };
        let ratio = TreeSpace { mapped, stored }.compression_ratio();
        let (mapped, stored) = (print::brief(mapped), print::brief(stored));
        format!("{mapped} mapped, {stored} stored, {ratio:.2} by compression")
    }

    fn mapped_or_dash(&self) -> String {
        self.mapped.map_or_else(|| "-".to_owned(), print::brief)
    }

    fn origin_or_dash(&self) -> String {
        self.origin.clone().unwrap_or_else(|| "-".to_owned())
    }

    /// The facts, a line each.
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let write_through = match self.write_through {
            true => "on",
            false => "off",
        };
        vec![
            ("name", self.name.clone()),
            ("size", size::format(self.size)),
            ("created", self.created.clone()),
            ("origin", self.origin_or_dash()),
            ("compress", self.compression.to_owned()),
            ("dedup", self.dedup.to_owned()),
            ("write-through", write_through.to_owned()),
            ("connections", self.connections.to_string()),
            ("holds", self.held()),
        ]
    }

    /// The facts as cells of a table.
    fn cells(&self) -> [String; 5] {
        [
            self.name.clone(),
            size::format(self.size),
            self.mapped_or_dash(),
            self.created.clone(),
            self.origin_or_dash(),
        ]
    }
}

/// What is told about `trees`.
pub(super) fn facts(trees: Vec<proto::Volume>) -> Vec<TreeFacts> {
    trees.into_iter().map(TreeFacts::new).collect()
}

/// `trees` as a table for people.
pub(super) fn table(trees: &[TreeFacts]) -> String {
    let rows: Vec<_> = trees.iter().map(TreeFacts::cells).collect();
    print::table(["NAME", "SIZE", "HOLDS", "CREATED", "ORIGIN"], &rows)
}
