//! What the operating system and its operator tell the process: signals, and limits.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag::register_conditional_shutdown;
use signal_hook::iterator::Signals;

/// What an operator asks of a running process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// SIGTERM or SIGINT: finish and end.
    Stop,
    /// SIGHUP: open the log file again.
    Reopen,
}

/// The signals of this process, caught from here on.
#[derive(Debug)]
pub struct Operator(Signals);

impl Operator {
    /// Catches SIGTERM, SIGINT and SIGHUP.
    ///
    /// # Errors
    /// If the kernel does not let the process catch them.
    pub fn listen() -> io::Result<Self> {
        Signals::new([SIGTERM, SIGINT, SIGHUP]).map(Self)
    }

    /// Waits, blocking this thread, for the next signal.
    pub fn wait(&mut self) -> Asked {
        match self.0.forever().next() {
            Some(SIGHUP) => Asked::Reopen,
            _ => Asked::Stop,
        }
    }

    /// From here on SIGTERM or SIGINT ends the process at once, with exit status 1: an operator who
    /// asks twice does not want to wait.
    pub fn end_at_once_if_asked_again(self) {
        let asked = Arc::new(AtomicBool::new(true));
        for signal in [SIGTERM, SIGINT] {
            // It cannot fail for signals that were caught before; if it does, asking twice waits.
            let _ = register_conditional_shutdown(signal, 1, Arc::clone(&asked));
        }
    }
}

/// Raises the number of descriptors that this process may have to what the system allows, so that
/// connections are limited by us and not by a default of 1,024.
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Keeps the memory of this process from ever being written to disk as a core dump, or read by
/// another process of the same user: `prctl(2)`, `PR_SET_DUMPABLE`. For whoever has keys in it.
pub fn forbid_core_dumps() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "a core dump of this process would contain its keys");
    }
}
