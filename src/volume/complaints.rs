//! What the operator reads about failed requests: every kind of trouble, but no flood.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::base::Error;
use crate::env;
use crate::env::Instant;

/// One line about a volume in this time, at most.
const INTERVAL: Duration = Duration::from_secs(1);

/// The complaints about one volume.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    last: Option<Instant>,
    unsaid: u64,
}

impl Complaints {
    /// Notes that a request of `volume` ended with `error`. What a client did wrong is its own
    /// business; what a disk did wrong is logged.
    pub(super) fn hear(&self, volume: &str, error: &Error) {
        if matches!(error, Error::Refused(_)) {
            return;
        }
        let now = env::now();
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.last.is_some_and(|last| now - last < INTERVAL) {
            heard.unsaid += 1;
            return;
        }
        tracing::warn!(volume, %error, more_before = heard.unsaid, "a request failed");
        *heard = Heard {
            last: Some(now),
            unsaid: 0,
        };
    }
}
