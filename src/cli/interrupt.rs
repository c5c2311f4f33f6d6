//! Whether somebody wants a long command to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::OpenError;
use crate::env;
use crate::env::Operator;

/// Whether SIGINT, SIGTERM or SIGHUP has come. A second one ends the process at once.
#[derive(Clone)]
pub(super) struct Interrupt {
    came: Arc<AtomicBool>,
}

impl Interrupt {
    /// Catches these signals from here on, so that what is half done is not left behind.
    ///
    /// # Errors
    /// If the kernel does not let the process catch them.
    pub(super) fn listen() -> Result<Self, OpenError> {
        let unusable = |error| OpenError::new("signals", error, "");
        let mut operator = Operator::listen().map_err(unusable)?;
        let came = Arc::new(AtomicBool::new(false));
        let note = Arc::clone(&came);
        // Noted by the thread that waits: this one may be busy for a while.
        env::spawn(env::blocking(move || {
            operator.wait();
            note.store(true, Ordering::SeqCst);
            operator.end_at_once_if_asked_again();
        }));
        Ok(Self { came })
    }

    /// One that never comes.
    #[cfg(test)]
    pub(super) fn never() -> Self {
        Self {
            came: Arc::default(),
        }
    }

    /// Whether one has come.
    pub(super) fn came(&self) -> bool {
        self.came.load(Ordering::SeqCst)
    }
}
