//! One flush for all who wait for one.
//!
//! A flush covers what ended before it began. So whoever asks while one is under way cannot use
//! it, and waits for the next, which begins when that one ends and serves all who have asked by
//! then. With any number of clients there are at most two flushes in sight: one under way, one to
//! come.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::backend::{Backend, Checked};
use crate::base::{Error, Result};
use crate::env::Signal;

/// The flushes of one backend.
#[derive(Debug, Default)]
pub(super) struct Flusher {
    state: Mutex<State>,
    ended: Signal,
}

/// Flushes are numbered from 1 in the order in which they begin.
#[derive(Debug, Default)]
struct State {
    begun: u64,
    succeeded: u64,
    under_way: bool,
    failed: bool,
}

enum Turn {
    /// A flush that began late enough has ended.
    Served,
    /// It is the caller who flushes for everybody.
    Run,
    Failed,
}

impl Flusher {
    /// Returns once a flush of `backend` that began after this call has ended well.
    pub(super) async fn flush(&self, backend: &Checked) -> Result<()> {
        let wanted = self.lock().begun + 1;
        match self.ended.wait_for(|| self.lock().turn(wanted)).await {
            Turn::Served => Ok(()),
            Turn::Failed => Err(Error::Poisoned),
            Turn::Run => {
                // Should this task be dropped while it flushes, another takes over.
                let under_way = UnderWay(self);
                let flushed = backend.flush().await;
                under_way.end(flushed.is_ok());
                flushed
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn turn(&mut self, wanted: u64) -> Option<Turn> {
        if self.failed {
            return Some(Turn::Failed);
        }
        if self.succeeded >= wanted {
            return Some(Turn::Served);
        }
        if self.under_way {
            return None;
        }
        self.under_way = true;
        self.begun += 1;
        Some(Turn::Run)
    }
}

struct UnderWay<'a>(&'a Flusher);

impl UnderWay<'_> {
    fn end(self, well: bool) {
        let mut state = self.0.lock();
        match well {
            true => state.succeeded = state.begun,
            false => state.failed = true,
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.lock().under_way = false;
        self.0.ended.wake_all();
    }
}
