//! `bedplate stats`: what clients of a running server did, and what became of it in its stores.

use clap::Args;
use serde::Serialize;

use super::ops::{KINDS, Ops};
use super::place::ServerChoice;
use super::print;
use crate::base::OpenError;
use crate::control::ExportName;
use crate::control::api::proto;

const EXAMPLES: &str = "\
Examples:
  bedplate stats
  bedplate stats main --json | jq '.[0].write_amplification'
  bedplate stats main/vm1

Counted since a store, or an export, was opened. Deduplication, compression and garbage collection
work on a store as a whole, so what they did is counted there. Times are from the turn of the
server's loop in which a request came to the one in which it was done, rounded up to powers of two.
Live: bedplate top";

/// Tell what was done since stores and exports were opened.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct StatsArgs {
    /// A store, or an export: a volume, a snapshot, a raw disk; all stores without it.
    #[arg(value_name = "STORE|EXPORT", value_parser = ExportName::new)]
    what: Option<ExportName>,

    #[command(flatten)]
    server: ServerChoice,

    /// Print a JSON array of stores, or for an export one JSON object; sizes are in bytes.
    #[arg(long)]
    json: bool,
}

/// What was written to a store, in bytes.
#[derive(Debug, Serialize)]
struct TrafficFacts {
    name: String,
    clients: u64,
    deduplicated: u64,
    new: u64,
    log: u64,
    moved: u64,
    repacked: u64,
    metadata: u64,
    passes: u64,
    cache_hits: u64,
    cache_misses: u64,
    /// What was written to the backend for each byte that clients wrote.
    write_amplification: Option<f64>,
}

/// What clients did with an export.
#[derive(Debug, Serialize)]
struct ExportFacts {
    name: String,
    connections: u64,
    /// By kind: `read`, `write`, `write_zeroes`, `discard`, `flush`, `other`.
    ops: serde_json::Map<String, serde_json::Value>,
    /// Requests that had to wait for its own limits.
    waited: u64,
}

/// Requests of one kind; times are in microseconds.
#[derive(Debug, Serialize)]
struct OpFacts {
    requests: u64,
    bytes: u64,
    errors: u64,
    mean_us: Option<f64>,
    p50_us: Option<f64>,
    p99_us: Option<f64>,
}

/// Asks, and prints what was answered.
///
/// # Errors
/// One line that says why there is no answer.
pub(super) fn run(args: StatsArgs) -> Result<(), OpenError> {
    let name = args.what.map(|name| name.to_string()).unwrap_or_default();
    let message = proto::CountsRequest { name: name.clone() };
    let told = args
        .server
        .run(async move |place| place.counts(message).await)?;
    let is_export = |export: &&proto::ExportCounts| export.name == name;
    if let Some(export) = told.exports.iter().find(is_export) {
        match args.json {
            true => print::json(&ExportFacts::new(export)),
            false => print::line(&text_of(export)),
        }
        return Ok(());
    }
    let facts: Vec<TrafficFacts> = told.stores.into_iter().map(TrafficFacts::new).collect();
    match args.json {
        true => print::json(&facts),
        false => {
            let mut texts: Vec<String> = facts.iter().map(TrafficFacts::text).collect();
            if !told.exports.is_empty() {
                texts.push(table_of(&told.exports));
            }
            print::line(&texts.join("\n\n"));
        }
    }
    Ok(())
}

impl ExportFacts {
    fn new(told: &proto::ExportCounts) -> Self {
        let mut ops = serde_json::Map::new();
        for (kind, name) in KINDS {
            let of_kind = Ops::of(told, &[kind]);
            if of_kind.requests() > 0 {
                let facts = serde_json::to_value(OpFacts::new(&of_kind));
                ops.insert(name.to_owned(), facts.expect("facts have text for keys"));
            }
        }
        Self {
            name: told.name.clone(),
            connections: told.connections,
            ops,
            waited: told.waits.map_or(0, |waits| waits.requests),
        }
    }
}

impl OpFacts {
    fn new(ops: &Ops) -> Self {
        let micros = |time: std::time::Duration| time.as_secs_f64() * 1e6;
        Self {
            requests: ops.requests(),
            bytes: ops.bytes,
            errors: ops.errors,
            mean_us: ops.mean().map(micros),
            p50_us: ops.percentile(50).map(micros),
            p99_us: ops.percentile(99).map(micros),
        }
    }
}

/// An export, its requests by kind.
fn text_of(export: &proto::ExportCounts) -> String {
    let mut rows = Vec::new();
    for (kind, name) in KINDS {
        let ops = Ops::of(export, &[kind]);
        if ops.requests() > 0 {
            rows.push([
                name.to_owned(),
                ops.requests().to_string(),
                print::brief(ops.bytes),
                ops.errors.to_string(),
                print::time(ops.mean()),
                print::time(ops.percentile(50)),
                print::time(ops.percentile(99)),
            ]);
        }
    }
    let header = ["OP", "REQUESTS", "BYTES", "ERRORS", "MEAN", "P50", "P99"];
    let facts = [
        ("export", export.name.clone()),
        ("connections", export.connections.to_string()),
        (
            "waited for limits",
            export.waits.map_or(0, |waits| waits.requests).to_string(),
        ),
    ];
    format!(
        "{}\n\n{}",
        print::facts(&facts),
        print::table(header, &rows)
    )
}

/// Exports, a line each.
fn table_of(exports: &[proto::ExportCounts]) -> String {
    let rows = exports.iter().map(|export| {
        let (reads, writes) = (Ops::reads(export), Ops::writes(export));
        [
            export.name.clone(),
            export.connections.to_string(),
            reads.requests().to_string(),
            print::brief(reads.bytes),
            writes.requests().to_string(),
            print::brief(writes.bytes),
            Ops::all(export).errors.to_string(),
        ]
    });
    let rows: Vec<_> = rows.collect();
    let header = [
        "EXPORT",
        "CONNECTIONS",
        "READS",
        "READ",
        "WRITES",
        "WRITTEN",
        "ERRORS",
    ];
    print::table(header, &rows)
}

impl TrafficFacts {
    fn new(store: proto::Store) -> Self {
        let traffic = store.traffic.unwrap_or_default();
        let activity = store.activity.unwrap_or_default();
        let written = traffic.log + traffic.moved + traffic.metadata;
        // Sizes that a fraction of a percent does not matter for.
        #[allow(clippy::cast_precision_loss)]
        let amplification = written as f64 / traffic.clients as f64;
        let hundredths = (amplification * 100.0).round() / 100.0;
        Self {
            name: store.name,
            clients: traffic.clients,
            deduplicated: traffic.deduplicated,
            new: traffic.new,
            log: traffic.log,
            moved: traffic.moved,
            repacked: traffic.repacked,
            metadata: traffic.metadata,
            passes: traffic.passes,
            cache_hits: activity.cache_hits,
            cache_misses: activity.cache_misses,
            write_amplification: (traffic.clients > 0).then_some(hundredths),
        }
    }

    fn text(&self) -> String {
        let amplification = self.write_amplification;
        let amplification = amplification.map(|ratio| format!("{ratio:.2}"));
        let amplification = amplification.unwrap_or_else(|| "-".to_owned());
        print::facts(&[
            ("store", self.name.clone()),
            ("written by clients", print::brief(self.clients)),
            ("deduplicated", print::brief(self.deduplicated)),
            ("not deduplicated", print::brief(self.new)),
            ("log", print::brief(self.log)),
            ("moved", print::brief(self.moved)),
            ("repacked", print::brief(self.repacked)),
            ("checkpoints", print::brief(self.metadata)),
            ("passes", self.passes.to_string()),
            ("write amplification", amplification),
            ("read from the cache", self.cache_share()),
        ])
    }

    fn cache_share(&self) -> String {
        match (self.cache_hits * 100).checked_div(self.cache_hits + self.cache_misses) {
            Some(percent) => format!("{percent} % of blocks"),
            None => "-".to_owned(),
        }
    }
}
