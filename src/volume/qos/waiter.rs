//! A request that waits for its turn, as the task that waits and whoever lets it pass see it.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::buckets::Charge;

thread_local! {
    /// The bytes of the requests that wait on this thread.
    static WAITING_BYTES: Cell<usize> = const { Cell::new(0) };
}

/// The bytes of the requests that wait for their turn on this thread.
pub(super) fn waiting_bytes() -> usize {
    WAITING_BYTES.get()
}

/// How waiting ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// The request may pass; it has been charged.
    Pass,
    /// Its client is gone, or does not wait any longer.
    Refused,
}

/// The place of a request in a queue.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    charge: Charge,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    verdict: Option<Verdict>,
    waker: Option<Waker>,
    is_gone: bool,
}

impl Waiter {
    pub(super) fn new(charge: Charge) -> Self {
        let state = Arc::default();
        Self { charge, state }
    }

    pub(super) fn charge(&self) -> Charge {
        self.charge
    }

    /// What it has been told.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.lock().verdict
    }

    /// Whether nobody waits any more: the task was dropped.
    pub(super) fn is_gone(&self) -> bool {
        self.lock().is_gone
    }

    /// Ends the wait.
    pub(super) fn tell(&self, verdict: Verdict) {
        let waker = {
            let mut state = self.lock();
            state.verdict = Some(verdict);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits until it is told, holding this many bytes meanwhile.
    pub(super) fn wait(self, bytes: usize) -> Waiting {
        WAITING_BYTES.set(WAITING_BYTES.get() + bytes);
        Waiting {
            waiter: self,
            bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waiting to be told.
#[derive(Debug)]
pub(super) struct Waiting {
    waiter: Waiter,
    bytes: usize,
}

impl Future for Waiting {
    type Output = Verdict;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Verdict> {
        let mut state = self.waiter.lock();
        if let Some(verdict) = state.verdict {
            return Poll::Ready(verdict);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.waiter.lock().is_gone = true;
        WAITING_BYTES.set(WAITING_BYTES.get() - self.bytes);
    }
}
