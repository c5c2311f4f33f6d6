//! One value that another thread makes and a task waits for.

use std::sync::{Mutex, PoisonError};

use super::wait::Signal;

/// A place for one value, from any thread to one task.
#[derive(Debug)]
pub struct Slot<T> {
    value: Mutex<Option<T>>,
    filled: Signal,
}

impl<T> Slot<T> {
    /// An empty place.
    pub const fn new() -> Self {
        Self {
            value: Mutex::new(None),
            filled: Signal::new(),
        }
    }

    /// Puts the value there and wakes whoever waits for it.
    pub fn put(&self, value: T) {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        self.filled.wake_all();
    }

    /// Waits for the value and takes it.
    pub async fn take(&self) -> T {
        let take = || {
            let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
            value.take()
        };
        self.filled.wait_for(take).await
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self::new()
    }
}
