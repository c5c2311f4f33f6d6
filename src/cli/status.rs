//! `bedplate status`: how a running server is.

use clap::Args;
use serde::Serialize;

use super::date;
use super::device::DeviceFacts;
use super::place::ServerChoice;
use super::print;
use super::store_facts::StoreFacts;
use crate::base::OpenError;
use crate::control::api::proto;

const EXAMPLES: &str = "\
Examples:
  bedplate status
  bedplate status --json | jq -e '.problems == []'

What is wrong, as far as the server knows, stands in the last lines; the exit status is 0 all the
same: the server was reached and has answered.";

/// Tell how a server is: its stores, who has what open, and what is wrong.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    server: ServerChoice,

    /// Print one JSON object; sizes are in bytes.
    #[arg(long)]
    json: bool,
}

/// An export, and how many connections have it open.
#[derive(Debug, Serialize)]
struct ExportFacts {
    name: String,
    connections: u64,
}

/// What is told about a server.
#[derive(Debug, Serialize)]
struct StatusFacts {
    version: String,
    pid: u32,
    /// ISO 8601, in UTC.
    started: String,
    nbd: Vec<String>,
    /// off, optional or required.
    tls: &'static str,
    connections: u64,
    jobs: u64,
    stores: Vec<StoreFacts>,
    raws: Vec<ExportFacts>,
    open: Vec<ExportFacts>,
    devices: Vec<DeviceFacts>,
    problems: Vec<String>,
}

/// Asks, and prints what was answered.
///
/// # Errors
/// One line that says why there is no answer.
pub(super) fn run(args: StatusArgs) -> Result<(), OpenError> {
    let told = args
        .server
        .run(async |place| place.status(proto::StatusRequest {}).await)?;
    let facts = StatusFacts::new(told);
    match args.json {
        true => print::json(&facts),
        false => print::line(&facts.text()),
    }
    Ok(())
}

impl StatusFacts {
    fn new(told: proto::StatusResponse) -> Self {
        let tls = match told.tls() {
            proto::Tls::Unspecified | proto::Tls::Off => "off",
            proto::Tls::Optional => "optional",
            proto::Tls::Required => "required",
        };
        let raws = told.raws.into_iter().map(|raw| ExportFacts {
            name: raw.name,
            connections: raw.connections,
        });
        let open = told.open.into_iter().map(|open| ExportFacts {
            name: open.name,
            connections: open.connections,
        });
        Self {
            tls,
            version: told.version,
            pid: told.pid,
            started: date::utc(told.started),
            nbd: told.nbd,
            connections: told.connections,
            jobs: told.jobs,
            stores: told.stores.into_iter().map(StoreFacts::new).collect(),
            raws: raws.collect(),
            open: open.collect(),
            devices: told.devices.into_iter().map(DeviceFacts::new).collect(),
            problems: told.problems,
        }
    }

    fn text(&self) -> String {
        let mut facts = vec![
            ("version", self.version.clone()),
            ("process", self.pid.to_string()),
            ("started", self.started.clone()),
        ];
        facts.extend(self.nbd.iter().map(|address| ("nbd", address.clone())));
        facts.push(("tls", self.tls.to_owned()));
        facts.push(("connections", self.connections.to_string()));
        facts.push(("jobs", self.jobs.to_string()));
        facts.extend(self.stores.iter().map(|store| ("store", store.brief())));
        let in_use = self.raws.iter().chain(&self.open);
        facts.extend(in_use.map(|export| {
            let ExportFacts { name, connections } = export;
            ("export", format!("{name}  {connections} connections"))
        }));
        let devices = self.devices.iter();
        facts.extend(devices.map(|device| ("device", device.brief())));
        match self.problems.is_empty() {
            true => facts.push(("health", "good".to_owned())),
            false => {
                let problems = self.problems.iter();
                facts.extend(problems.map(|problem| ("problem", problem.clone())));
            }
        }
        print::facts(&facts)
    }
}
