//! Who waits for the file of a tracker: rounds of writing it, each for all who came before it.
//!
//! As with flushes: whoever comes while a round is under way waits for the next one. A round runs
//! in a task of its own, as one that is given up half-way could be overtaken by the next: an old
//! page would lie over a new one.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Tracker;
use crate::base::{Error, Result};
use crate::env;
use crate::env::Signal;

/// The rounds of one file.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    state: Mutex<State>,
    ended: Signal,
}

/// Rounds are numbered from 1.
#[derive(Debug, Default)]
struct State {
    /// Regions that the next round is for.
    wanted: Vec<Range<usize>>,
    begun: u64,
    done: u64,
    failed: Option<Error>,
}

impl Rounds {
    /// Returns once a round for `regions` has ended well.
    ///
    /// # Errors
    /// Why a round failed. No other is begun: what the file holds is not known any more.
    pub(super) async fn join(
        &self,
        regions: Range<usize>,
        tracker: impl FnOnce() -> Arc<Tracker>,
    ) -> Result<()> {
        let (mine, begun) = {
            let mut state = self.lock();
            state.wanted.push(regions);
            let is_idle = state.begun == state.done && state.failed.is_none();
            (state.begun + 1, is_idle.then(|| state.begin()))
        };
        if let Some(wanted) = begun {
            let tracker = tracker();
            env::start(async move { tracker.rounds.run(&tracker, wanted).await });
        }
        let outcome = || {
            let state = self.lock();
            match state.failed {
                Some(error) => Some(Err(error)),
                None => (state.done >= mine).then_some(Ok(())),
            }
        };
        self.ended.wait_for(outcome).await
    }

    /// Runs a round for `wanted`, and others until nobody wants one.
    async fn run(&self, tracker: &Tracker, mut wanted: Vec<Range<usize>>) {
        loop {
            let written = tracker.write_pages(&wanted).await;
            let next = {
                let mut state = self.lock();
                state.done = state.begun;
                state.failed = written.err();
                let goes_on = state.failed.is_none() && !state.wanted.is_empty();
                goes_on.then(|| state.begin())
            };
            self.ended.wake_all();
            match next {
                Some(next) => wanted = next,
                None => return,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Begins the next round; gives what it is for.
    fn begin(&mut self) -> Vec<Range<usize>> {
        self.begun += 1;
        std::mem::take(&mut self.wanted)
    }
}
