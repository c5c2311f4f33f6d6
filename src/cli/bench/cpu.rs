//! The CPU time of processes, from `/proc` (proc(5)).

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

/// A process whose CPU time is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Process {
    /// This one.
    Own,
    /// The one with this number.
    Other(u32),
}

impl Process {
    /// User and system time of all its threads so far. A thread that ends takes its time along;
    /// servers keep theirs.
    ///
    /// # Errors
    /// If there is no such process.
    pub(super) fn cpu_time(self) -> io::Result<Duration> {
        let folder = match self {
            Self::Own => "/proc/self".to_owned(),
            Self::Other(id) => format!("/proc/{id}"),
        };
        let folder = Path::new(&folder);
        match scheduled(folder) {
            Some(time) => Ok(time),
            None => ticked(folder),
        }
    }
}

/// By the scheduler's nanoseconds. A kernel may be built without them.
fn scheduled(process: &Path) -> Option<Duration> {
    let mut nanos: u64 = 0;
    for thread in fs::read_dir(process.join("task")).ok()? {
        let path = thread.ok()?.path().join("schedstat");
        match fs::read_to_string(path) {
            Ok(text) => nanos += text.split_whitespace().next()?.parse::<u64>().ok()?,
            // It has ended since the folder was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound && nanos > 0 => {}
            Err(_) => return None,
        }
    }
    (nanos > 0).then(|| Duration::from_nanos(nanos))
}

/// By the clock ticks of the whole process.
fn ticked(process: &Path) -> io::Result<Duration> {
    /// A tick, in milliseconds: `USER_HZ` is 100 wherever Linux has io_uring.
    const TICK_MS: u64 = 10;
    let text = fs::read_to_string(process.join("stat"))?;
    let ticks = ticks(&text).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Duration::from_millis(ticks * TICK_MS))
}

/// `utime` and `stime`, fields 14 and 15. The name, field 2, may contain anything, also `)`.
fn ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 120 34 0 0 20 0 1 0 5 0 0";
        assert_eq!(ticks(stat), Some(154));
        assert_eq!(ticks("7 (cut) S 1"), None);
    }

    #[test]
    fn this_process_uses_time_and_no_process_has_none() {
        let before = Process::Own.cpu_time().unwrap();
        let mut sum = 0_u64;
        while Process::Own.cpu_time().unwrap() == before {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(Process::Other(u32::MAX).cpu_time().is_err());
    }
}
