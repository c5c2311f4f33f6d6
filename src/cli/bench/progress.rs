//! A line on the terminal that says how far the run is.

use std::io::IsTerminal;
use std::io::Write;
use std::io::stderr;
use std::time::Duration;

use crate::env;
use crate::env::Instant;

/// The line. Where standard error is no terminal, nothing is shown.
#[derive(Debug)]
pub(super) struct Progress {
    on_terminal: bool,
    what: &'static str,
    /// Operations at which it will be over, where that is known.
    target: Option<u64>,
    begun_at: u64,
    last: (Instant, u64),
}

impl Progress {
    /// How often it is worth showing.
    pub(super) const INTERVAL: Duration = Duration::from_secs(1);

    pub(super) fn new() -> Self {
        Self {
            on_terminal: stderr().is_terminal(),
            what: "connecting",
            target: None,
            begun_at: 0,
            last: (env::now(), 0),
        }
    }

    /// Something begins, to be over with `target` operations in all, where that is known.
    pub(super) fn begin(&mut self, what: &'static str, target: Option<u64>) {
        self.what = what;
        self.target = target;
        self.begun_at = self.last.1;
    }

    /// Shows that so many operations are done by `now`.
    pub(super) fn show(&mut self, finished: u64, now: Instant) {
        let (then, before) = std::mem::replace(&mut self.last, (now, finished));
        let elapsed = now - then;
        if !self.on_terminal || elapsed < Self::INTERVAL / 2 {
            return;
        }
        let millis = elapsed.as_millis().max(1);
        let rate = u128::from(finished - before) * 1000 / millis;
        let share = self.target.map(|target| {
            let all = target.saturating_sub(self.begun_at).max(1);
            let done = finished.saturating_sub(self.begun_at);
            format!(" {:3} %", u128::from(done) * 100 / u128::from(all))
        });
        let share = share.unwrap_or_default();
        // A terminal that is gone shows nothing; the run goes on.
        let _ = write!(stderr(), "\r\x1b[K{}{share}  {rate} op/s", self.what);
    }

    /// Removes the line.
    pub(super) fn clear(&self) {
        if self.on_terminal {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
