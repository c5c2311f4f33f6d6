//! How large an image is, for requests, which do not wait for the cluster to know it.
//!
//! librbd knows the size until somebody changes the image; whoever asks it then waits for the
//! cluster, which may not answer. So librbd tells of changes, a thread asks once for each, and
//! requests wait for that thread as they wait for anything else.

use std::ffi::c_void;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::image::Image;
use crate::env::{self, Signal};

/// What is known of the size of an image.
#[derive(Debug)]
pub(super) struct SizeWatch {
    state: Mutex<State>,
    looked: Signal,
}

#[derive(Debug)]
struct State {
    /// Changes that librbd has told of, and one before the first look.
    changes: u64,
    /// How many of them had been told when the last look that has ended began.
    seen: u64,
    is_looking: bool,
    /// What that look has found, in bytes, or the number of its error.
    size: Result<u64, i32>,
}

impl SizeWatch {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                changes: 1,
                seen: 0,
                is_looking: false,
                size: Ok(0),
            }),
            looked: Signal::new(),
        }
    }

    /// For librbd, which is given an `Arc` of this: the image may have changed.
    ///
    /// # Safety
    /// `watch` is such an `Arc` as a pointer, and somebody keeps it.
    pub(super) unsafe extern "C" fn note_change(watch: *mut c_void) {
        // SAFETY: the caller promises it.
        let watch = unsafe { &*watch.cast::<Self>() };
        watch.state().changes += 1;
    }

    /// How large `image` is, whose watch this is, in bytes.
    ///
    /// # Errors
    /// If the connection was fenced.
    pub(super) async fn size(self: &Arc<Self>, image: &Arc<Image>) -> io::Result<u64> {
        // Asked for by this request, or by another one since; what was known before is not enough.
        let mut least = None;
        let look = || {
            let mut state = self.state();
            let least = *least.get_or_insert(state.changes);
            if state.seen >= least {
                return Some(state.size);
            }
            if !std::mem::replace(&mut state.is_looking, true) {
                let changes = state.changes;
                let (watch, image) = (Arc::clone(self), Arc::clone(image));
                env::spawn(async move {
                    let size = env::aside(move || image.size()).await;
                    watch.note(changes, &size);
                });
            }
            None
        };
        let found = self.looked.wait_for(look).await;
        found.map_err(io::Error::from_raw_os_error)
    }

    fn note(&self, changes: u64, size: &io::Result<u64>) {
        let mut state = self.state();
        state.is_looking = false;
        state.size = match size {
            Ok(size) => Ok(*size),
            Err(error) => Err(error.raw_os_error().unwrap_or(libc::EIO)),
        };
        state.seen = changes;
        if state.size.is_err() {
            // Whoever asks after this looks again.
            state.changes += 1;
        }
        drop(state);
        self.looked.wake_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
