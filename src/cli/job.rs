//! `bedplate job`: lists, shows and cancels the jobs of a running server.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::date;
use super::place::ServerChoice;
use super::print;
use crate::base::OpenError;
use crate::control::api::proto;
use crate::control::api::proto::job::{Kind, State};

const LIST_EXAMPLES: &str = "\
Examples:
  bedplate job list
  bedplate job list --json | jq '.[] | select(.state == \"running\")'";

const SHOW_EXAMPLES: &str = "\
Example:
  bedplate job show 7";

const CANCEL_EXAMPLES: &str = "\
Example:
  bedplate job cancel 7     returns when nothing of it remains

The command that the job belongs to fails then. Ending that command, with Ctrl-C or in any other
way, cancels its job as well.";

/// List, show and cancel imports and exports.
#[derive(Debug, Args)]
pub(super) struct JobArgs {
    #[command(flatten)]
    server: ServerChoice,

    #[command(subcommand)]
    command: JobCommand,
}

#[derive(Debug, Subcommand)]
enum JobCommand {
    List(ListArgs),
    Show(ShowArgs),
    Cancel(CancelArgs),
}

/// List jobs: those that are running, and the last 100 that are not.
#[derive(Debug, Args)]
#[command(after_help = LIST_EXAMPLES)]
struct ListArgs {
    /// Print a JSON array; sizes are in bytes.
    #[arg(long)]
    json: bool,
}

/// Tell everything about a job.
#[derive(Debug, Args)]
#[command(after_help = SHOW_EXAMPLES)]
struct ShowArgs {
    /// Its number, as 'job list' says.
    #[arg(value_name = "JOB")]
    id: u64,

    /// Print one JSON object; sizes are in bytes.
    #[arg(long)]
    json: bool,
}

/// End a job. Nothing of what it made remains.
#[derive(Debug, Args)]
#[command(after_help = CANCEL_EXAMPLES)]
struct CancelArgs {
    /// Its number, as 'job list' says.
    #[arg(value_name = "JOB")]
    id: u64,
}

/// Does what the words after `job` say.
///
/// # Errors
/// One line that says what could not be done, why, and what to do.
pub(super) fn run(args: JobArgs) -> Result<(), OpenError> {
    let server = args.server;
    match args.command {
        JobCommand::List(args) => list(&server, &args),
        JobCommand::Show(args) => show(&server, &args),
        JobCommand::Cancel(args) => cancel(&server, &args),
    }
}

fn list(server: &ServerChoice, args: &ListArgs) -> Result<(), OpenError> {
    let found = server.run(async |place| place.list_jobs(proto::ListJobsRequest {}).await)?;
    let facts: Vec<JobFacts> = found.jobs.into_iter().map(JobFacts::new).collect();
    match args.json {
        true => print::json(&facts),
        false => print::line(&table(&facts)),
    }
    Ok(())
}

fn show(server: &ServerChoice, args: &ShowArgs) -> Result<(), OpenError> {
    let message = proto::GetJobRequest { id: args.id };
    let found = server.run(async move |place| place.get_job(message).await)?;
    let facts = JobFacts::new(found.job.unwrap_or_default());
    match args.json {
        true => print::json(&facts),
        false => print::line(&facts.text()),
    }
    Ok(())
}

fn cancel(server: &ServerChoice, args: &CancelArgs) -> Result<(), OpenError> {
    let message = proto::CancelJobRequest { id: args.id };
    server.run(async move |place| place.cancel_job(message).await.map(drop))
}

/// What is told about a job. Sizes are in bytes.
#[derive(Debug, Serialize)]
struct JobFacts {
    id: u64,
    kind: &'static str,
    name: String,
    state: &'static str,
    size: u64,
    done: u64,
    /// ISO 8601, in UTC.
    started: String,
    ended: Option<String>,
    checksum: Option<String>,
    error: Option<String>,
}

impl JobFacts {
    fn new(job: proto::Job) -> Self {
        let kind = match job.kind() {
            Kind::Unspecified => "unknown",
            Kind::Import => "import",
            Kind::Export => "export",
        };
        let state = match job.state() {
            State::Unspecified => "unknown",
            State::Running => "running",
            State::Done => "done",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
        };
        let said = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            id: job.id,
            kind,
            name: job.name,
            state,
            size: job.size,
            done: job.done,
            started: date::utc(job.started),
            ended: (job.ended > 0).then(|| date::utc(job.ended)),
            checksum: said(job.checksum),
            error: said(job.error),
        }
    }

    fn percent(&self) -> u128 {
        u128::from(self.done) * 100 / u128::from(self.size.max(1))
    }

    fn text(&self) -> String {
        let mut facts = vec![
            ("job", self.id.to_string()),
            ("kind", self.kind.to_owned()),
            ("name", self.name.clone()),
            ("state", self.state.to_owned()),
            ("size", print::brief(self.size)),
            (
                "done",
                format!("{} ({} %)", print::brief(self.done), self.percent()),
            ),
            ("started", self.started.clone()),
        ];
        for (key, value) in [
            ("ended", &self.ended),
            ("checksum", &self.checksum),
            ("error", &self.error),
        ] {
            if let Some(value) = value {
                facts.push((key, value.clone()));
            }
        }
        print::facts(&facts)
    }
}

fn table(jobs: &[JobFacts]) -> String {
    let rows: Vec<[String; 6]> = jobs
        .iter()
        .map(|job| {
            [
                job.id.to_string(),
                job.kind.to_owned(),
                job.name.clone(),
                job.state.to_owned(),
                format!("{} %", job.percent()),
                job.started.clone(),
            ]
        })
        .collect();
    print::table(["JOB", "KIND", "NAME", "STATE", "DONE", "STARTED"], &rows)
}
