//! The words that people type.

mod log;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::base::OpenError;

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
}

/// Does what the words of this process say. Exit status 0: done; 1: it failed, and a line on
/// standard error says why; 2: the words are wrong.
pub fn run() -> ExitCode {
    let words = Words::parse();
    let done = match words.command {
        Command::Serve(args) => serve::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &OpenError) -> ExitCode {
    eprintln!("bedplate: {error}");
    ExitCode::FAILURE
}
