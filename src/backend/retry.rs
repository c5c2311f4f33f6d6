//! What is tried again where storage over a network does not answer, and for how long.
//!
//! One policy for all of it:
//!
//! - **What the guest sees** is a slow disk. Its requests wait for the `timeout` of the place,
//!   [`NETWORK_TIMEOUT`] if it names none, and then fail.
//! - **What is tried again** is whatever the storage said it has not done (busy, not ready, a unit
//!   attention), and whatever was under way when a connection was lost. The latter may have been
//!   done, and doing it again is right as long as the old copy cannot be done later: a new
//!   connection is used only once the storage has ended what came by the old one. On Ceph librados
//!   does that (its OSDs know requests by number, and do none of them twice); how long it may go
//!   on, and what follows, is as everywhere.
//! - **When** is after a pause that doubles from try to try, up to a bound, and is never the same
//!   for two servers, which else would come all at once to storage that has just come back.
//! - **What is unknown** is a write that has not been answered in time. It may still be done. So
//!   the backend cuts the connection, and sends nothing else before the storage has ended what it
//!   still has (a fence); where the storage can be reached, the error is told after that.
//!
//! [`NETWORK_TIMEOUT`]: crate::base::limits::NETWORK_TIMEOUT

use std::time::Duration;

use crate::env;

/// The first pause, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What came of a try.
#[derive(Debug)]
pub(super) enum Attempt<T> {
    /// There is an end to it, good or bad.
    Done(T),
    /// It was not done, or may be done again.
    Again,
}

/// Does `attempt` again and again, with pauses, until it is done; `None` once `patience` is over,
/// wherever it then is.
pub(super) async fn patiently<T>(
    patience: Duration,
    mut attempt: impl AsyncFnMut() -> Attempt<T>,
) -> Option<T> {
    let mut backoff = Backoff::new();
    let work = async {
        loop {
            match attempt().await {
                Attempt::Done(done) => return done,
                Attempt::Again => backoff.pause().await,
            }
        }
    };
    env::timeout(patience, work).await
}

/// Pauses that become longer.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    /// Before the first pause.
    pub(crate) fn new() -> Self {
        Self { next: PAUSE_MIN }
    }

    /// Waits for the next pause: between half of what its turn is, and all of it.
    pub(crate) async fn pause(&mut self) {
        let half = self.next / 2;
        self.next = (self.next * 2).min(PAUSE_MAX);
        let nanos = u64::try_from(half.as_nanos()).expect("seconds");
        let jitter = Duration::from_nanos(env::random_u64() % (nanos + 1));
        env::sleep(half + jitter).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::sim;

    #[test]
    fn pauses_double_up_to_a_bound_and_differ() {
        let pauses = |seed| {
            sim::run(seed, async {
                let mut backoff = Backoff::new();
                let mut pauses = Vec::new();
                for _ in 0..12 {
                    let before = env::now();
                    backoff.pause().await;
                    pauses.push(env::now() - before);
                }
                pauses
            })
        };
        let mut turn = PAUSE_MIN;
        for pause in pauses(1) {
            assert!(pause >= turn / 2 && pause <= turn, "{pause:?} of {turn:?}");
            turn = (turn * 2).min(PAUSE_MAX);
        }
        assert_eq!(turn, PAUSE_MAX);
        assert_ne!(pauses(1), pauses(2));
    }

    #[test]
    fn it_is_tried_until_it_is_done() {
        sim::run(1, async {
            let mut tries = 0;
            let attempt = async || {
                tries += 1;
                match tries {
                    5 => Attempt::Done(tries),
                    _ => Attempt::Again,
                }
            };
            assert_eq!(patiently(Duration::from_secs(60), attempt).await, Some(5));
        });
    }

    #[test]
    fn patience_ends_between_tries_and_within_one() {
        sim::run(1, async {
            let patience = Duration::from_secs(60);
            let before = env::now();
            let never = patiently(patience, async || Attempt::<()>::Again).await;
            assert_eq!((never, env::now() - before), (None, patience));
            let stuck = async || std::future::pending::<Attempt<()>>().await;
            assert_eq!(patiently(patience, stuck).await, None);
            assert_eq!(env::now() - before, 2 * patience);
        });
    }
}
