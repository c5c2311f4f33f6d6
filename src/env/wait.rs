//! Waiting for a condition that another task makes true.

use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// Something that tasks, of any thread, wait for until somebody changes it.
pub struct Signal {
    waiting: Mutex<Vec<Waker>>,
    /// How often everybody was woken. Whoever has registered since the last time is still
    /// registered, so looking again costs nothing more.
    rounds: AtomicU64,
}

impl Signal {
    /// A signal that nobody waits for.
    pub const fn new() -> Self {
        Self {
            waiting: Mutex::new(Vec::new()),
            rounds: AtomicU64::new(0),
        }
    }

    /// Waits until `check` gives something. It is asked at once, whenever the task is polled, and
    /// after every [`wake_all`](Self::wake_all). It must not wake this signal itself.
    pub async fn wait_for<T>(&self, mut check: impl FnMut() -> Option<T>) -> T {
        let mut registered = None;
        poll_fn(|context| {
            if let Some(found) = check() {
                return Poll::Ready(found);
            }
            let round = self.rounds.load(Ordering::SeqCst);
            if registered == Some(round) {
                return Poll::Pending;
            }
            registered = Some(self.register(context.waker()));
            // What changed between the check and the registration woke nobody.
            check().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Has everybody who waits look again.
    pub fn wake_all(&self) {
        let waiting = {
            let mut waiting = self.lock();
            if waiting.is_empty() {
                return;
            }
            self.rounds.fetch_add(1, Ordering::SeqCst);
            std::mem::take(&mut *waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Registers `waker` and says in which round. A task that has stopped waiting stays until the
    /// next round; its waker is used again by whatever runs in its place, so there are never more
    /// than there have been tasks at once.
    fn register(&self, waker: &Waker) -> u64 {
        let mut waiting = self.lock();
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
        self.rounds.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Signal {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signal").finish_non_exhaustive()
    }
}
