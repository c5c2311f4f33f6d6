//! What people are told about stores.

use serde::Serialize;

use super::print;
use crate::base::size;
use crate::control::api::proto;

/// What is told about a store. Sizes are in bytes.
#[derive(Debug, Serialize)]
pub(super) struct StoreFacts {
    name: String,
    url: String,
    size: u64,
    segment_size: u32,
    volumes: u64,
    snapshots: u64,
    connections: u64,
    logical: u64,
    physical: u64,
    free: u64,
    written: u64,
    live: u64,
    reserve: u64,
    /// Why it is not well, if it is not.
    problem: Option<String>,
}

impl StoreFacts {
    pub(super) fn new(store: proto::Store) -> Self {
        let usage = store.usage.unwrap_or_default();
        Self {
            name: store.name,
            url: store.url,
            size: store.size,
            segment_size: store.segment_size,
            volumes: store.volumes,
            snapshots: store.snapshots,
            connections: store.connections,
            logical: usage.logical,
            physical: usage.physical,
            free: usage.free,
            written: usage.written,
            live: usage.live,
            reserve: usage.reserve,
            problem: Some(store.problem).filter(|problem| !problem.is_empty()),
        }
    }

    /// What is told of it in one line.
    pub(super) fn brief(&self) -> String {
        let (size, free) = (print::brief(self.size), print::brief(self.free));
        let Self {
            name,
            volumes,
            snapshots,
            connections,
            ..
        } = self;
        format!(
            "{name}  {free} of {size} free, {volumes} volumes, {snapshots} snapshots, \
            {connections} connections"
        )
    }

    pub(super) fn text(&self) -> String {
        let mut facts = vec![
            ("url", self.url.clone()),
            ("size", print::brief(self.size)),
            ("segment size", size::format(self.segment_size.into())),
            ("volumes", self.volumes.to_string()),
            ("snapshots", self.snapshots.to_string()),
            (
                "logical",
                format!("{} in all volumes", print::brief(self.logical)),
            ),
            (
                "physical",
                format!("{} for data", print::brief(self.physical)),
            ),
            ("free", print::brief(self.free)),
            (
                "written",
                format!(
                    "{}, of which {} is in use",
                    print::brief(self.written),
                    print::brief(self.live)
                ),
            ),
            ("reserve", print::brief(self.reserve)),
        ];
        if let Some(problem) = &self.problem {
            facts.push(("problem", problem.clone()));
        }
        print::facts(&facts)
    }
}

/// `stores` as a table for people.
pub(super) fn table(stores: &[StoreFacts]) -> String {
    let rows: Vec<[String; 6]> = stores
        .iter()
        .map(|store| {
            [
                store.name.clone(),
                print::brief(store.size),
                print::brief(store.free),
                store.volumes.to_string(),
                store.snapshots.to_string(),
                store.url.clone(),
            ]
        })
        .collect();
    print::table(
        ["NAME", "SIZE", "FREE", "VOLUMES", "SNAPSHOTS", "URL"],
        &rows,
    )
}
