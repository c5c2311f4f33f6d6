//! A line on the terminal that says how far a copy is.

use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

use crate::cli::print::brief;
use crate::env;
use crate::env::Instant;

/// How often the line is written again.
const INTERVAL: Duration = Duration::from_millis(200);

/// The line. Where standard error is no terminal, nothing is shown.
pub(super) struct Progress {
    on_terminal: bool,
    what: &'static str,
    all_bytes: u64,
    began: Instant,
    shown: Instant,
}

impl Progress {
    /// `what` begins, to be over after `all_bytes`.
    pub(super) fn new(what: &'static str, all_bytes: u64) -> Self {
        let now = env::now();
        Self {
            on_terminal: stderr().is_terminal(),
            what,
            all_bytes,
            began: now,
            shown: now,
        }
    }

    /// Shows that so many bytes are done.
    pub(super) fn show(&mut self, done_bytes: u64) {
        if !self.on_terminal {
            return;
        }
        let now = env::now();
        if now - self.shown < INTERVAL {
            return;
        }
        self.shown = now;
        let line = line(self.what, done_bytes, self.all_bytes, now - self.began);
        // A terminal that is gone shows nothing; the copy goes on.
        let _ = write!(stderr(), "\r\x1b[K{line}");
    }
}

impl Drop for Progress {
    /// Removes the line.
    fn drop(&mut self) {
        if self.on_terminal {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

fn line(what: &str, done_bytes: u64, all_bytes: u64, elapsed: Duration) -> String {
    let millis = u64::try_from(elapsed.as_millis())
        .unwrap_or(u64::MAX)
        .max(1);
    let per_second = |bytes: u64| u128::from(bytes) * 1000 / u128::from(millis);
    let rate = u64::try_from(per_second(done_bytes)).unwrap_or(u64::MAX);
    let percent = u128::from(done_bytes) * 100 / u128::from(all_bytes.max(1));
    let left = (all_bytes - done_bytes) / rate.max(1);
    let (done, all, rate) = (brief(done_bytes), brief(all_bytes), brief(rate));
    let (minutes, seconds) = (left / 60, left % 60);
    format!("{what} {percent:3} %  {done} of {all}  {rate}/s  {minutes}:{seconds:02} left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_long_it_will_take() {
        let shown = line("importing", 1 << 30, 4 << 30, Duration::from_secs(32));
        let expected = "importing  25 %  1G of 4G  32M/s  1:36 left";
        assert_eq!(shown, expected);
        line("importing", 0, 0, Duration::ZERO);
    }
}
