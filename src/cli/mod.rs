//! The words that people type.

pub mod bench;
mod bitmap;
mod completions;
mod date;
mod device;
mod interrupt;
mod job;
mod key;
mod keys;
mod log;
mod man;
mod names;
mod offline;
mod ops;
mod place;
mod print;
mod progress;
mod qos;
mod raw;
mod renewal;
mod serve;
mod snapshot;
mod snapshot_diff;
mod stats;
mod status;
mod store;
mod store_check;
mod store_facts;
mod store_inspect;
mod store_served;
mod top;
mod trees;
mod vacancy;
mod volume;
mod xml;

use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};

use crate::env;

/// How long storage servers have to hear that we go.
const GOODBYE: Duration = Duration::from_secs(10);

/// Userspace block devices: disks over NBD, served by io_uring.
#[derive(Debug, Parser)]
#[command(name = "bedplate", version, about, max_term_width = 100)]
struct Words {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Store(store::StoreArgs),
    Volume(volume::VolumeArgs),
    Snapshot(snapshot::SnapshotArgs),
    Bitmap(bitmap::BitmapArgs),
    Key(key::KeyCommandArgs),
    Qos(qos::QosArgs),
    Raw(raw::RawArgs),
    Attach(device::AttachArgs),
    Detach(device::DetachArgs),
    Job(job::JobArgs),
    Status(status::StatusArgs),
    Stats(stats::StatsArgs),
    Top(top::TopArgs),
    Bench(bench::BenchArgs),
    Completions(completions::CompletionsArgs),
    #[command(hide = true)]
    Man(man::ManArgs),
}

/// Does what the words of this process say. Exit status 0: done; 1: it failed, and a line on
/// standard error says why; 2: the words are wrong.
pub fn run() -> ExitCode {
    let words = Words::parse();
    let code = match words.command {
        Command::Serve(args) => end(serve::run(args)),
        Command::Store(args) => end(store::run(args)),
        Command::Volume(args) => end(volume::run(args)),
        Command::Snapshot(args) => end(snapshot::run(args)),
        Command::Bitmap(args) => end(bitmap::run(args)),
        Command::Key(args) => end(key::run(args)),
        Command::Qos(args) => end(qos::run(args)),
        Command::Raw(args) => end(raw::run(args)),
        Command::Attach(args) => end(device::attach(args)),
        Command::Detach(args) => end(device::detach(args)),
        Command::Job(args) => end(job::run(args)),
        Command::Status(args) => end(status::run(args)),
        Command::Top(args) => end(top::run(args)),
        Command::Stats(args) => end(stats::run(args)),
        Command::Bench(args) => end(bench::run(args)),
        Command::Completions(args) => {
            completions::run(args, Words::command());
            ExitCode::SUCCESS
        }
        Command::Man(args) => end(man::run(args, Words::command())),
    };
    // Storage servers are told that we go, so that they keep nothing for us.
    env::detached_done(GOODBYE);
    code
}

fn end<E: std::error::Error>(done: Result<(), E>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bedplate: {error}");
            ExitCode::FAILURE
        }
    }
}
