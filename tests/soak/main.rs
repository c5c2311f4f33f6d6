//! The soak: simulated worlds in which stores lose power, until one of them loses data.
//!
//! `scripts/soak` builds and runs it; `cargo test` runs some worlds, and shows that a store with a
//! bug is caught. A world is all that follows from one number, its seed, so what a world found can
//! be seen again.
//!
//! [`plan`] draws what a world is like, [`world`] runs it, [`client`], [`admin`], [`keeper`] and
//! [`renewer`] use the store, [`oracle`] says what it must show, [`history`] why.

#![cfg_attr(
    not(test),
    allow(
        dead_code,
        reason = "stores with bugs, and what looks at them, are for the tests"
    )
)]

mod admin;
mod bitmap;
mod chance;
mod client;
mod content;
mod deeds;
mod fake;
mod fake_bitmaps;
mod history;
mod keeper;
mod oracle;
mod plan;
mod renewer;
mod report;
mod subject;
mod tally;
mod tree;
mod verify;
mod words;
mod world;

#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bedplate::env;

use tally::Tally;
use words::{Words, store};

/// What all threads share.
struct Shared {
    words: Words,
    began: env::Instant,
    next: AtomicU64,
    is_over: AtomicBool,
    all: Mutex<All>,
}

#[derive(Default)]
struct All {
    tally: Tally,
    worlds: u64,
    /// The violation with the lowest seed, among those that were found.
    violation: Option<(u64, String)>,
}

fn main() -> ExitCode {
    let words = match Words::parse(std::env::args().skip(1)) {
        Ok(Some(words)) => words,
        Ok(None) => {
            print!("{}", words::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("soak: {why}; see scripts/soak --help");
            return ExitCode::from(2);
        }
    };
    if words.trace {
        tally::trace_all();
        let log = tracing_subscriber::fmt().without_time().with_ansi(false);
        log.with_max_level(tracing::Level::DEBUG).init();
    }
    let shared = Shared {
        words,
        began: env::now(),
        next: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
        all: Mutex::default(),
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(&shared));
        }
    });
    let all = shared.all.into_inner().expect("no thread panics");
    let seconds = (env::now() - shared.began).as_secs_f64();
    tell(&shared.words, &all, seconds, threads)
}

/// After so many worlds it is told that it goes on.
const TOLD_WORLDS: u64 = 10_000;

/// Runs worlds until there are enough, or one of them has gone wrong.
fn work(shared: &Shared) {
    while !shared.is_over.load(Ordering::Relaxed) {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let enough = shared.words.worlds.is_some_and(|worlds| number >= worlds);
        let limit = shared.words.time;
        if enough || limit.is_some_and(|limit| env::now() - shared.began >= limit) {
            return;
        }
        let seed = shared.words.seed.wrapping_add(number);
        let outcome = report::run(seed, store());
        let mut all = shared.all.lock().expect("no thread panics");
        all.worlds += 1;
        all.tally.merge(&outcome.tally);
        if all.worlds.is_multiple_of(TOLD_WORLDS) {
            let seconds = (env::now() - shared.began).as_secs();
            eprintln!("soak: {} worlds in {seconds} s", all.worlds);
        }
        if let Some(violation) = outcome.violation {
            shared.is_over.store(true, Ordering::Relaxed);
            if all
                .violation
                .as_ref()
                .is_none_or(|(found, _)| seed < *found)
            {
                all.violation = Some((seed, violation));
            }
        }
    }
}

fn tell(words: &Words, all: &All, seconds: f64, threads: usize) -> ExitCode {
    let worlds = all.worlds;
    #[expect(clippy::cast_precision_loss, reason = "a rate to be read by people")]
    let rate = worlds as f64 / seconds.max(0.001);
    println!(
        "{worlds} worlds from seed {} in {seconds:.1} s: {rate:.0} a second on {threads} cores",
        words.seed
    );
    for (what, count) in all.tally.lines() {
        println!("{count:>12} {what}");
    }
    match &all.violation {
        None => {
            println!("no violation");
            ExitCode::SUCCESS
        }
        Some((seed, why)) => {
            eprintln!("VIOLATION in the world of seed {seed}: {why}");
            eprintln!("again: scripts/soak --seed {seed} --worlds 1");
            ExitCode::FAILURE
        }
    }
}
