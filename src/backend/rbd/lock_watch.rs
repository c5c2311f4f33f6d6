//! Whether the lock of an image is still ours, for requests that take long.
//!
//! Whoever takes the lock from us has the cluster take nothing more from us first, and then librbd
//! keeps what waits for the lock without end. Only asking tells; and asking waits for the cluster,
//! as the requests do. So a thread asks, one at a time, and says nothing while there is no answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::image::Image;
use crate::env::{self, Instant};

/// How often a request that takes long asks, and how long after a look the next one is.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

/// How often in a row the lock must be missed. While a connection is made anew it may seem lost for
/// a moment.
const MISSES: u32 = 3;

/// What looks have found so far.
#[derive(Debug, Default)]
pub(super) struct LockWatch(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    is_looking: bool,
    next: Instant,
    misses: u32,
}

impl LockWatch {
    /// Has somebody look, unless that is under way or was done just now; whether the lock is known
    /// to be lost.
    pub(super) fn is_lost(self: &Arc<Self>, image: &Arc<Image>) -> bool {
        let mut state = self.state();
        if !state.is_looking && state.next <= env::now() {
            state.is_looking = true;
            let (watch, image) = (Arc::clone(self), Arc::clone(image));
            env::spawn(async move {
                let is_there = env::aside(move || image.has_lock()).await;
                watch.note(is_there);
            });
        }
        state.misses >= MISSES
    }

    fn note(&self, is_there: bool) {
        let mut state = self.state();
        state.is_looking = false;
        state.next = env::now() + INTERVAL;
        state.misses = if is_there { 0 } else { state.misses + 1 };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
