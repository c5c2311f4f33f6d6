//! Work for a reactor, from a thread that is none.

use std::future::Future;
use std::sync::mpsc;

use tokio::sync::oneshot;

use crate::base::OpenError;
use crate::env::Handle;

/// Runs what `make` makes on `reactor` and waits, blocking this thread, for its outcome.
pub(super) fn run_on<T, F>(
    reactor: &Handle,
    make: impl FnOnce() -> F + Send + 'static,
) -> Result<T, OpenError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, OpenError>> + 'static,
{
    let (done, wait) = mpsc::channel();
    reactor.spawn(move || {
        let work = make();
        async move {
            // Whoever waits for it is there until it comes.
            let _ = done.send(work.await);
        }
    });
    let outcome = wait.recv();
    outcome.unwrap_or_else(|_| Err(OpenError::new("a reactor", "it ended early", "")))
}

/// Runs what `make` makes on `reactor` and gives its outcome; `None` if the reactor ends first.
/// Once it has begun it goes on to its end, also if nobody waits for that any more.
pub(super) async fn call_on<T, F>(
    reactor: &Handle,
    make: impl FnOnce() -> F + Send + 'static,
) -> Option<T>
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    let (done, wait) = oneshot::channel();
    reactor.spawn(move || {
        let work = make();
        async move {
            let _ = done.send(work.await);
        }
    });
    wait.await.ok()
}
