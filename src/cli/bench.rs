//! `bedplate bench`: measures a served disk, whoever serves it.
//!
//! It batches as the server does: each receive takes all replies that have arrived, each reply
//! makes a new request, and all of those leave in one send. A client with a system call or two per
//! request (fio's nbd engine) reaches its own limit long before a good server's.

mod args;
mod board;
mod connection;
mod course;
mod cpu;
mod errno;
mod error;
mod leader;
mod outgoing;
mod payload;
mod plan;
mod progress;
mod replies;
mod report;
mod slots;
mod tally;
mod uri;
mod verify;
mod worker;

use std::rc::Rc;

pub use args::BenchArgs;
pub use error::BenchError;
pub use verify::Mismatch;

use crate::env;
use crate::env::Runtime;
use report::Report;

/// Measures, and prints what it found.
///
/// # Errors
/// If the run could not be done or a connection broke, or if in a verified run anything was wrong.
pub fn run(args: BenchArgs) -> Result<(), BenchError> {
    let seed = args.seed.unwrap_or_else(env::random_u64);
    let thread_count = usize::try_from(args.threads.min(args.connections)).unwrap_or(1);
    let threads = Runtime::start(thread_count).map_err(BenchError::Kernel)?;
    let args = Rc::new(args);
    let running = leader::run(Rc::clone(&args), seed, threads.handles().to_vec());
    let outcome = env::block_on(running).map_err(BenchError::Kernel)?;
    threads.stop();
    let report = Report::new(&args, &outcome?);
    match args.json {
        true => println!("{}", report.json()),
        false => println!("{report}"),
    }
    Ok(())
}
