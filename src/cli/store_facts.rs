//! What people are told about stores.

use serde::Serialize;

use super::print;
use crate::base::size;
use crate::control::api::proto;
use crate::store::Space;

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
    /// What garbage collection has counted; not there before its first pass.
    counted: Option<CountedFacts>,
    /// What is being written again, if anything is.
    renewal: Option<RenewalFacts>,
    /// Why it is not well, if it is not.
    problem: Option<String>,
}

/// How far the writing again of all that was there is, in bytes.
#[derive(Debug, Serialize)]
struct RenewalFacts {
    total: u64,
    done: u64,
}

/// What is told of what was counted. Sizes are in bytes.
#[derive(Debug, Serialize)]
struct CountedFacts {
    #[serde(flatten)]
    space: Space,
    dedup_ratio: f64,
    compression_ratio: f64,
    /// How long ago, in seconds.
    age: u64,
    is_estimate: bool,
}

impl CountedFacts {
    fn new(counted: proto::Counted) -> Self {
        let space = Space {
            mapped: counted.mapped,
            unique: counted.unique,
            stored: counted.stored,
        };
        Self {
            space,
            dedup_ratio: space.dedup_ratio(),
            compression_ratio: space.compression_ratio(),
            age: counted.age,
            is_estimate: counted.is_estimate,
        }
    }

    fn lines(&self) -> [(&'static str, String); 2] {
        let about = match self.is_estimate {
            true => "about ",
            false => "",
        };
        let [(name, holds), ratios] = space_lines(&self.space, about);
        [(name, format!("{holds}, {} s ago", self.age)), ratios]
    }
}

/// What is told of what a store holds; `about` stands before what is only estimated.
pub(super) fn space_lines(space: &Space, about: &str) -> [(&'static str, String); 2] {
    let [mapped, unique, stored] = [space.mapped, space.unique, space.stored].map(print::brief);
    let (dedup, compression) = (space.dedup_ratio(), space.compression_ratio());
    [
        (
            "holds",
            format!("{mapped} mapped, {about}{unique} unique, {about}{stored} stored"),
        ),
        (
            "ratios",
            format!("{about}{dedup:.2} by dedup, {compression:.2} by compression"),
        ),
    ]
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
            counted: store.counted.map(CountedFacts::new),
            renewal: store.renewal.map(|renewal| RenewalFacts {
                total: renewal.total,
                done: renewal.done,
            }),
            problem: Some(store.problem).filter(|problem| !problem.is_empty()),
        }
    }

    /// What is in free segments, in bytes.
    pub(super) fn free(&self) -> u64 {
        self.free
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
        match &self.counted {
            Some(counted) => facts.extend(counted.lines()),
            None => facts.push(("holds", "not counted yet; 'store collect' does".to_owned())),
        }
        if let Some(RenewalFacts { total, done }) = self.renewal {
            let [done, total] = [done, total].map(print::brief);
            facts.push(("renewal", format!("{done} of {total} written again")));
        }
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
