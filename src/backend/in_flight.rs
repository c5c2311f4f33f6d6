//! How many bytes may be on their way to storage that takes whatever it is given.
//!
//! Libraries for storage over a network accept requests without end and keep them in memory while
//! the storage does not answer. So whoever has a request for one waits here first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::env::Signal;

/// The bytes under way to one backend.
#[derive(Debug)]
pub(super) struct InFlight {
    limit: usize,
    bytes: Mutex<usize>,
    freed: Signal,
}

/// A share of them, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    of: Arc<InFlight>,
    bytes: usize,
}

impl InFlight {
    /// At most `limit` bytes at a time, and more only by a request that is larger, alone.
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            bytes: Mutex::new(0),
            freed: Signal::new(),
        })
    }

    /// Waits until `bytes` more may be under way.
    pub(super) async fn share(self: &Arc<Self>, bytes: usize) -> Share {
        let take = || {
            let mut under_way = self.lock();
            if *under_way > 0 && *under_way + bytes > self.limit {
                return None;
            }
            *under_way += bytes;
            Some(())
        };
        self.freed.wait_for(take).await;
        let of = Arc::clone(self);
        Share { of, bytes }
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        *self.of.lock() -= self.bytes;
        self.of.freed.wake_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{self, Either, sim};

    #[test]
    fn no_more_is_under_way_than_may_be() {
        sim::run(1, async {
            let bound = InFlight::new(100);
            let first = bound.share(60).await;
            let second = env::either(bound.share(50), std::future::ready(())).await;
            assert!(matches!(second, Either::Second(())), "110 of 100");
            drop(first);
            let large = bound.share(1000).await;
            let small = env::either(bound.share(1), std::future::ready(())).await;
            assert!(matches!(small, Either::Second(())), "beside a larger one");
            drop(large);
            drop(bound.share(100).await);
            assert_eq!(*bound.lock(), 0);
        });
    }
}
