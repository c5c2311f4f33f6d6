//! One operation on an image: librbd ends it on a thread of its own, and a task waits for that.
//!
//! Whatever librbd reads or writes belongs to the operation and stays until librbd is done with
//! it, also if the task is dropped.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use super::image::Image;
use super::library::{Completion, Functions, ImagePtr, functions};
use crate::backend::in_flight::Share;
use crate::base::Buf;
use crate::env::Slot;

/// What an operation owns.
struct Operation {
    buf: Mutex<Buf>,
    result: Slot<isize>,
    _share: Share,
    _image: Arc<Image>,
}

/// Starts an operation and waits for its end; gives what librbd gives, negative for an error
/// number, and the buffer.
///
/// `start` is given the image, the buffer's memory, and the completion.
pub(super) async fn operate(
    image: &Arc<Image>,
    share: Share,
    mut buf: Buf,
    start: impl FnOnce(&Functions, ImagePtr, *mut c_char, Completion) -> c_int,
) -> (isize, Buf) {
    let memory = buf.as_mut_ptr().cast::<c_char>();
    let operation = Arc::new(Operation {
        buf: Mutex::new(buf),
        result: Slot::new(),
        _share: share,
        _image: Arc::clone(image),
    });
    submit(image, &operation, memory, start);
    let result = operation.result.take().await;
    let mut buf = operation.buf.lock().unwrap_or_else(PoisonError::into_inner);
    (result, std::mem::replace(&mut *buf, Buf::new(0)))
}

fn submit(
    image: &Image,
    operation: &Arc<Operation>,
    memory: *mut c_char,
    start: impl FnOnce(&Functions, ImagePtr, *mut c_char, Completion) -> c_int,
) {
    let functions = image.cluster().functions;
    let owned = Arc::into_raw(Arc::clone(operation));
    let mut completion = ptr::null_mut();
    // SAFETY: `ended` takes over `owned` when it is called, once.
    let created = unsafe {
        let argument = owned.cast_mut().cast::<c_void>();
        (functions.rbd_aio_create_completion)(argument, ended, &raw mut completion)
    };
    let started = match created {
        0.. => start(functions, image.handle(), memory, completion),
        error => error,
    };
    if started >= 0 {
        return;
    }
    // It was not begun, so nobody ends it.
    // SAFETY: `owned` came from `into_raw` above and `ended` is not called.
    drop(unsafe { Arc::from_raw(owned) });
    if created >= 0 {
        // SAFETY: the completion was made above and is used no more.
        unsafe { (functions.rbd_aio_release)(completion) };
    }
    operation.result.put(started as isize);
}

/// Called by a thread of librbd when an operation has ended.
unsafe extern "C" fn ended(completion: Completion, argument: *mut c_void) {
    // SAFETY: it is the pointer that was made for this call, see `submit`.
    let operation = unsafe { Arc::from_raw(argument.cast::<Operation>().cast_const()) };
    let functions = functions().expect("this was called by the library");
    // SAFETY: the completion is librbd's, and is used no more after this.
    let result = unsafe {
        let result = (functions.rbd_aio_get_return_value)(completion);
        (functions.rbd_aio_release)(completion);
        result
    };
    operation.result.put(result);
}
