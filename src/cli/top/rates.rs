//! What was done between two looks.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::ops::Ops;
use crate::control::api::proto;

/// What was done in an interval, each second of it.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Rates {
    /// CPU time of the server, in percent of one core.
    pub(super) cpu_percent: u64,
    pub(super) connections: u64,
    /// By all clients.
    pub(super) reads: Rate,
    pub(super) writes: Rate,
    /// Those that most is done with first.
    pub(super) exports: Vec<ExportRates>,
    pub(super) stores: Vec<StoreRates>,
}

/// So much a second.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Rate {
    pub(super) requests: u64,
    pub(super) bytes: u64,
}

/// What was done with an export.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct ExportRates {
    pub(super) name: String,
    pub(super) connections: u64,
    pub(super) reads: Rate,
    pub(super) writes: Rate,
    pub(super) p50: Option<Duration>,
    pub(super) p99: Option<Duration>,
    /// Requests that had to wait for limits, a second.
    pub(super) waits: u64,
    /// Since the export was opened.
    pub(super) errors: u64,
}

/// What was done in a store, in bytes a second.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct StoreRates {
    pub(super) name: String,
    /// What is live, in percent of what can hold data.
    pub(super) used_percent: u64,
    /// In free segments, in bytes.
    pub(super) free: u64,
    pub(super) clients: u64,
    pub(super) log: u64,
    pub(super) moved: u64,
    /// In percent of what clients wrote; `None` if they did not.
    pub(super) deduplicated_percent: Option<u64>,
    /// Blocks from the cache, in percent of those read; `None` if there were none.
    pub(super) cached_percent: Option<u64>,
    pub(super) problem: String,
}

impl Rates {
    /// What was done after `old` was counted and before `new` was.
    pub(super) fn between(old: &proto::CountsResponse, new: &proto::CountsResponse) -> Self {
        let interval = Interval(new.at.saturating_sub(old.at));
        let before: BTreeMap<_, _> = old.exports.iter().map(|one| (&one.name, one)).collect();
        let none = proto::ExportCounts::default();
        let mut exports: Vec<ExportRates> = new
            .exports
            .iter()
            .map(|export| {
                let before = before.get(&export.name).copied().unwrap_or(&none);
                ExportRates::between(before, export, interval)
            })
            .collect();
        let (mut reads, mut writes) = (Rate::default(), Rate::default());
        for export in &exports {
            reads = reads.plus(export.reads);
            writes = writes.plus(export.writes);
        }
        exports.sort_by(|a, b| b.load().cmp(&a.load()).then(a.name.cmp(&b.name)));
        let before: BTreeMap<_, _> = old.stores.iter().map(|one| (&one.name, one)).collect();
        let stores = new.stores.iter().map(|store| {
            let before = before.get(&store.name).copied().unwrap_or(store);
            StoreRates::between(before, store, interval)
        });
        Self {
            cpu_percent: interval.rate(100 * new.cpu.saturating_sub(old.cpu)) / 1_000_000_000,
            connections: new.connections,
            reads,
            writes,
            exports,
            stores: stores.collect(),
        }
    }
}

/// A time between looks, in nanoseconds.
#[derive(Clone, Copy)]
struct Interval(u64);

impl Interval {
    /// How much that is a second.
    fn rate(self, much: u64) -> u64 {
        let second = u128::from(much) * 1_000_000_000;
        let rate = second.checked_div(u128::from(self.0)).unwrap_or(0);
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

impl Rate {
    fn of(ops: &Ops, interval: Interval) -> Self {
        Self {
            requests: interval.rate(ops.requests()),
            bytes: interval.rate(ops.bytes),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            bytes: self.bytes + other.bytes,
        }
    }
}

impl ExportRates {
    fn between(old: &proto::ExportCounts, new: &proto::ExportCounts, interval: Interval) -> Self {
        let reads = Ops::reads(new).since(&Ops::reads(old));
        let writes = Ops::writes(new).since(&Ops::writes(old));
        let both = reads.plus(&writes);
        let waits = |counts: &proto::ExportCounts| counts.waits.map_or(0, |waits| waits.requests);
        Self {
            name: new.name.clone(),
            connections: new.connections,
            reads: Rate::of(&reads, interval),
            writes: Rate::of(&writes, interval),
            p50: both.percentile(50),
            p99: both.percentile(99),
            waits: interval.rate(waits(new).saturating_sub(waits(old))),
            errors: Ops::all(new).errors,
        }
    }

    fn load(&self) -> u64 {
        self.reads.requests + self.writes.requests
    }
}

impl StoreRates {
    fn between(old: &proto::Store, new: &proto::Store, interval: Interval) -> Self {
        let (then, now) = (
            old.traffic.unwrap_or_default(),
            new.traffic.unwrap_or_default(),
        );
        let (before, after) = (
            old.activity.unwrap_or_default(),
            new.activity.unwrap_or_default(),
        );
        let usage = new.usage.unwrap_or_default();
        let more = |new: u64, old: u64| new.saturating_sub(old);
        let clients = more(now.clients, then.clients);
        let hits = more(after.cache_hits, before.cache_hits);
        let misses = more(after.cache_misses, before.cache_misses);
        Self {
            name: new.name.clone(),
            used_percent: percent(usage.live, usage.physical).unwrap_or(0),
            free: usage.free,
            clients: interval.rate(clients),
            log: interval.rate(more(now.log, then.log)),
            moved: interval.rate(more(now.moved, then.moved)),
            deduplicated_percent: percent(more(now.deduplicated, then.deduplicated), clients),
            cached_percent: percent(hits, hits + misses),
            problem: new.problem.clone(),
        }
    }
}

fn percent(part: u64, whole: u64) -> Option<u64> {
    let percent = (u128::from(part) * 100).checked_div(u128::from(whole))?;
    u64::try_from(percent).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::proto::op_counts::Kind;

    pub(in super::super) fn counts(seconds: u64, reads: u64) -> proto::CountsResponse {
        let op = |kind: Kind, count: u64| proto::OpCounts {
            kind: kind.into(),
            bytes: 4096 * count,
            latency: 1000 * count,
            latencies: vec![0, count],
            ..proto::OpCounts::default()
        };
        let export = |name: &str, reads, writes| proto::ExportCounts {
            name: name.to_owned(),
            connections: 1,
            ops: vec![op(Kind::Read, reads), op(Kind::Write, writes)],
            ..proto::ExportCounts::default()
        };
        proto::CountsResponse {
            at: seconds * 1_000_000_000,
            cpu: seconds * 500_000_000,
            connections: 2,
            exports: vec![
                export("main/idle", 7, 7),
                export("main/vm1", reads, reads / 2),
            ],
            stores: vec![proto::Store {
                name: "main".to_owned(),
                usage: Some(proto::Usage {
                    physical: 1000,
                    live: 250,
                    free: 1 << 30,
                    ..proto::Usage::default()
                }),
                traffic: Some(proto::Traffic {
                    clients: reads * 4096,
                    deduplicated: reads * 1024,
                    log: reads * 2048,
                    ..proto::Traffic::default()
                }),
                ..proto::Store::default()
            }],
        }
    }

    #[test]
    fn rates_are_differences_by_the_servers_clock() {
        let rates = Rates::between(&counts(10, 1000), &counts(12, 9000));
        assert_eq!(rates.cpu_percent, 50);
        let (requests, bytes) = (4000, 4000 * 4096);
        assert_eq!(rates.reads, Rate { requests, bytes });
        assert_eq!(rates.writes.requests, 2000);
        let busiest = &rates.exports[0];
        assert_eq!((&*busiest.name, busiest.waits), ("main/vm1", 0));
        assert_eq!(busiest.p99, Some(Duration::from_nanos(2048)));
        assert_eq!(rates.exports[1].p99, None);
        let store = &rates.stores[0];
        assert_eq!((store.used_percent, store.log), (25, 4000 * 2048));
        assert_eq!(store.deduplicated_percent, Some(25));
        assert_eq!(store.cached_percent, None);
    }

    #[test]
    fn a_first_look_knows_no_rates() {
        let rates = Rates::between(&counts(10, 1000), &counts(10, 1000));
        assert_eq!((rates.cpu_percent, rates.reads), (0, Rate::default()));
    }
}
