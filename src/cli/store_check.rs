//! `bedplate store check`: proves a store and says what is wrong with it.

use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

use clap::Args;

use super::keys::KeyArgs;
use super::names::parse_url;
use super::offline::on_reactor;
use super::print;
use super::store_facts::space_lines;
use crate::backend::{self, Access, Checked, Location};
use crate::base::OpenError;
use crate::codec::Credential;
use crate::env::{self, Instant};
use crate::store::StoreError;
use crate::store::check::{Depth, Limits, Progress, Report, check_with};

const EXAMPLES: &str = "\
Examples:
  bedplate store check /srv/store.img
  bedplate store check --data --json /dev/sdb

Nobody may have the store open meanwhile. Nothing is written to it.
Exit status 0: nothing is wrong; 1: something is, or the store cannot be checked.";

/// Prove that a store is in order, and say what is not.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct StoreCheckArgs {
    /// The backend of the store.
    #[arg(value_name = "URL", value_parser = parse_url)]
    url: Location,

    #[command(flatten)]
    key: KeyArgs,

    /// Read the data too, and open every block that is reachable.
    #[arg(long)]
    data: bool,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Checks, and prints what was found.
///
/// # Errors
/// If the store could not be checked, or something is wrong with it.
pub(super) fn run(args: StoreCheckArgs) -> Result<(), OpenError> {
    let url = args.url.to_string();
    let depth = match args.data {
        true => Depth::Data,
        false => Depth::Metadata,
    };
    let key = args.key.read()?;
    let report = on_reactor(async move {
        let backend = backend::open(&args.url, Access::Read).await?;
        let checked = watched(&backend, depth, key.as_ref()).await;
        checked.map_err(|error| error.of(&args.url.to_string()))
    })?;
    match args.json {
        true => print::json(&report),
        false => print::line(&text(&report, depth)),
    }
    let found = match report.findings_total {
        0 => return Ok(()),
        1 => "1 finding".to_owned(),
        count => format!("{count} findings"),
    };
    let remedy = "copy what can still be read to another store";
    Err(OpenError::new(url, found, remedy))
}

async fn watched(
    backend: &Checked,
    depth: Depth,
    key: Option<&Credential>,
) -> Result<Report, StoreError> {
    let mut bar = Bar::new();
    let mut told = |progress| bar.show(progress);
    let report = check_with(backend, depth, Limits::default(), key, &mut told).await;
    bar.clear();
    report
}

/// The findings first, a line each, so that the summary is what stays in sight.
fn text(report: &Report, depth: Depth) -> String {
    let mut lines: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    let untold = report.findings_total - report.findings.len() as u64;
    if untold > 0 {
        lines.push(format!("... and {untold} more"));
    }
    let (segments, live, log) = (&report.segments, &report.live, &report.log);
    let space = &report.space;
    let mut used = format!(
        "{} log, {} gc, {} meta, {} free",
        segments.log, segments.gc, segments.meta, segments.free
    );
    for (count, what) in [(segments.bad, "bad"), (segments.unknown, "unknown")] {
        if count > 0 {
            used.push_str(&format!(", {count} {what}"));
        }
    }
    let read = match depth {
        Depth::Metadata => "metadata; --data reads the data too",
        Depth::Data => "metadata and data",
    };
    let [holds, ratios] = space_lines(space, "");
    lines.push(print::facts(&[
        (
            "checkpoint",
            format!("{} of mount {}", report.generation, report.epoch),
        ),
        ("segments", used),
        (
            "trees",
            format!(
                "{}, with {} nodes and {} chunks",
                report.trees, report.nodes, report.chunks
            ),
        ),
        (
            "reachable",
            format!(
                "{} log, {} gc, {} meta",
                print::brief(live.log),
                print::brief(live.gc),
                print::brief(live.meta)
            ),
        ),
        holds,
        ratios,
        (
            "log behind it",
            format!(
                "{} batches with {} records in {} segments",
                log.batches, log.records, log.segments
            ),
        ),
        ("read", read.to_owned()),
        ("findings", report.findings_total.to_string()),
    ]));
    lines.join("\n")
}

/// A line on the terminal that says how far the check is. Elsewhere nothing is shown.
struct Bar {
    on_terminal: bool,
    shown_at: Option<Instant>,
}

impl Bar {
    const INTERVAL: Duration = Duration::from_millis(200);

    fn new() -> Self {
        Self {
            on_terminal: stderr().is_terminal(),
            shown_at: None,
        }
    }

    fn show(&mut self, progress: Progress) {
        if !self.on_terminal {
            return;
        }
        let now = env::now();
        if self
            .shown_at
            .is_some_and(|then| now - then < Self::INTERVAL)
        {
            return;
        }
        self.shown_at = Some(now);
        let Progress { stage, done, total } = progress;
        let share = match total {
            Some(total) => {
                let percent = u128::from(done) * 100 / u128::from(total.max(1));
                format!(" {percent:3} %")
            }
            None => String::new(),
        };
        // A terminal that is gone shows nothing; the check goes on.
        let _ = write!(stderr(), "\r\x1b[Kchecking {stage}: {done}{share}");
    }

    fn clear(&self) {
        if self.on_terminal {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
