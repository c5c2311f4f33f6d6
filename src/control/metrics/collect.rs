//! Every metric there is: what it is called, what it says, and where it comes from.

use std::sync::Arc;
use std::time::Duration;

use super::text::{Exposition, Kind, Label};
use crate::frontend::nbd::Server;
use crate::store::{Store, StoreCounts, Traffic, Usage};
use crate::volume::qos::Waits;
use crate::volume::{Catalog, OpCounts};

/// Where the numbers come from.
#[derive(Debug)]
pub(in crate::control) struct Sources {
    pub(in crate::control) catalog: Arc<Catalog>,
    pub(in crate::control) nbd: Arc<Server>,
}

impl Sources {
    /// All metrics as text.
    pub(super) fn metrics(&self) -> String {
        let mut out = Exposition::default();
        out.family(
            "bedplate_info",
            Kind::Gauge,
            "Which version runs; always 1.",
        );
        out.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        out.family("bedplate_ready", Kind::Gauge, "1 while everything is well.");
        out.sample(&[], u8::from(self.complaints().is_empty()));
        out.family(
            "bedplate_connections",
            Kind::Gauge,
            "Connections of NBD clients.",
        );
        out.sample(&[], self.nbd.connections());
        self.add_requests(&mut out);
        self.add_limits(&mut out);
        self.add_usage(&mut out);
        self.add_traffic(&mut out);
        self.add_counts(&mut out);
        out.finish()
    }

    /// What is wrong, a line each; nothing if the server is ready to serve everything.
    pub(super) fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.nbd.is_draining() {
            complaints.push("the server is stopping".to_owned());
        }
        for served in self.catalog.stores() {
            if !served.store().is_well() {
                let name = served.name();
                complaints.push(format!("store {name} has stopped; see the log"));
            }
        }
        for (volume, _) in self.catalog.raws() {
            if volume.is_poisoned() {
                let name = volume.name();
                complaints.push(format!(
                    "a flush of {name} failed; it takes no more requests"
                ));
            }
        }
        complaints
    }

    fn add_requests(&self, out: &mut Exposition) {
        let used = self.catalog.counts();
        let mut add = |name, help, value: fn(&OpCounts) -> u64| {
            out.family(name, Kind::Counter, help);
            for (volume, kind, counts) in &used {
                let labels = [("volume", volume.as_str()), ("op", kind.name())];
                out.sample(&labels, value(counts));
            }
        };
        add(
            "bedplate_request_bytes_total",
            "Bytes that requests were about which went well.",
            |counts| counts.bytes,
        );
        add(
            "bedplate_request_errors_total",
            "Requests that ended in an error.",
            |counts| counts.errors,
        );
        out.family(
            "bedplate_request_duration_seconds",
            Kind::Histogram,
            "Time from the turn of the reactor that received a request to the one that did it.",
        );
        for (volume, kind, counts) in &used {
            add_histogram(
                out,
                &[("volume", volume.as_str()), ("op", kind.name())],
                counts,
            );
        }
    }

    fn add_limits(&self, out: &mut Exposition) {
        let table = self.catalog.qos();
        let (volumes, groups) = (table.volumes(), table.groups());
        let limited: Vec<(Label<'_>, Waits)> = volumes
            .iter()
            .map(|one| (("volume", one.name.as_str()), one.waits))
            .chain(
                groups
                    .iter()
                    .map(|one| (("group", one.name.as_str()), one.waits)),
            )
            .collect();
        out.family(
            "bedplate_qos_waits_total",
            Kind::Counter,
            "Requests that had to wait for a limit of their volume or group.",
        );
        for (label, waits) in &limited {
            out.sample(&[*label], waits.requests);
        }
        out.family(
            "bedplate_qos_wait_seconds_total",
            Kind::Counter,
            "How long they waited, all together.",
        );
        for (label, waits) in &limited {
            out.sample(&[*label], waits.time.as_secs_f64());
        }
    }

    fn add_usage(&self, out: &mut Exposition) {
        let usages = self.of_stores(Store::usage);
        let mut add = |name, help, value: fn(&Usage) -> u64| {
            add_all(out, &usages, (name, Kind::Gauge, help), value);
        };
        add(
            "bedplate_store_logical_bytes",
            "Sizes of all volumes together.",
            |usage| usage.logical,
        );
        add(
            "bedplate_store_physical_bytes",
            "What all segments have that can hold data.",
            |usage| usage.physical,
        );
        add("bedplate_store_free_bytes", "In free segments.", |usage| {
            usage.free
        });
        add(
            "bedplate_store_written_bytes",
            "In segments that are used.",
            |usage| usage.written,
        );
        add(
            "bedplate_store_live_bytes",
            "Reachable, as far as is known; the rest of what is written is garbage.",
            |usage| usage.live,
        );
        add(
            "bedplate_store_reserve_bytes",
            "Kept back for garbage collection and checkpoints.",
            |usage| usage.reserve,
        );
    }

    fn add_traffic(&self, out: &mut Exposition) {
        let traffic = self.of_stores(Store::traffic);
        let mut add = |name, help, value: fn(&Traffic) -> u64| {
            add_all(out, &traffic, (name, Kind::Counter, help), value);
        };
        add(
            "bedplate_store_client_bytes_total",
            "Blocks that clients wrote, zeroes not counted.",
            |traffic| traffic.clients,
        );
        add(
            "bedplate_store_dedup_hit_bytes_total",
            "What of it deduplication found to be there already.",
            |traffic| traffic.deduplicated,
        );
        add(
            "bedplate_store_dedup_miss_bytes_total",
            "What of it deduplication looked for and did not find.",
            |traffic| traffic.new,
        );
        add(
            "bedplate_store_log_bytes_total",
            "Batches of the log and trailers.",
            |traffic| traffic.log,
        );
        add(
            "bedplate_store_gc_moved_bytes_total",
            "What garbage collection moved.",
            |traffic| traffic.moved,
        );
        add(
            "bedplate_store_gc_repacked_bytes_total",
            "Blocks of it that were cold and became smaller.",
            |traffic| traffic.repacked,
        );
        add(
            "bedplate_store_gc_passes_total",
            "How often garbage collection has visited everything.",
            |traffic| traffic.passes,
        );
        add(
            "bedplate_store_metadata_bytes_total",
            "What checkpoints wrote.",
            |traffic| traffic.metadata,
        );
    }

    fn add_counts(&self, out: &mut Exposition) {
        let counts = self.of_stores(Store::counts);
        let mut add = |name, help, value: fn(&StoreCounts) -> u64| {
            add_all(out, &counts, (name, Kind::Counter, help), value);
        };
        add(
            "bedplate_store_checkpoints_total",
            "Checkpoints that are durable.",
            |counts| counts.checkpoints,
        );
        add(
            "bedplate_store_cache_hits_total",
            "Blocks that were read from the cache.",
            |counts| counts.cache_hits,
        );
        add(
            "bedplate_store_cache_misses_total",
            "Blocks that had to be read from the backend.",
            |counts| counts.cache_misses,
        );
        out.family(
            "bedplate_store_stalls_total",
            Kind::Counter,
            "Writes that had to wait: for the log, a checkpoint, garbage collection, or an \
             operation on the whole volume.",
        );
        for (name, counts) in &counts {
            for (reason, count) in [
                ("log", counts.stalls.log),
                ("checkpoint", counts.stalls.checkpoint),
                ("space", counts.stalls.space),
                ("operation", counts.stalls.operation),
            ] {
                out.sample(&[("store", name.as_str()), ("reason", reason)], count);
            }
        }
    }

    fn of_stores<T>(&self, ask: fn(&Store) -> T) -> Vec<(String, T)> {
        let stores = self.catalog.stores();
        let stores = stores.iter();
        stores
            .map(|served| (served.name().to_owned(), ask(served.store())))
            .collect()
    }
}

/// Adds a family with a number for each store.
fn add_all<T>(
    out: &mut Exposition,
    stores: &[(String, T)],
    (name, kind, help): (&'static str, Kind, &str),
    value: fn(&T) -> u64,
) {
    out.family(name, kind, help);
    for (store, of_store) in stores {
        out.sample(&[("store", store.as_str())], value(of_store));
    }
}

fn add_histogram(out: &mut Exposition, labels: &[Label<'_>; 2], counts: &OpCounts) {
    let mut below = 0;
    for (index, count) in counts.latency.iter().enumerate() {
        below += count;
        let end = OpCounts::bucket_end(index);
        let end = end.map_or_else(|| "+Inf".to_owned(), |end| end.as_secs_f64().to_string());
        let [volume, op] = *labels;
        out.sample_of("_bucket", &[volume, op, ("le", &end)], below);
    }
    let sum = Duration::from_nanos(counts.latency_ns).as_secs_f64();
    out.sample_of("_sum", labels, sum);
    out.sample_of("_count", labels, below);
}
