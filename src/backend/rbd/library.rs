//! librados and librbd, loaded when they are first needed: a server without Ceph does without them.
//!
//! What is declared here is what is used, from `rados/librados.h` and `rbd/librbd.h` of Ceph 16
//! (librbd 1.16). Later versions have the same functions. Strings end with a zero byte, functions
//! return 0 or more, or a negative error number.

use std::ffi::{c_char, c_int, c_void};

use crate::backend::library::functions;

/// A connection to a cluster: `rados_t`.
pub(super) type Rados = *mut c_void;
/// A pool in use: `rados_ioctx_t`.
pub(super) type IoCtx = *mut c_void;
/// An open image: `rbd_image_t`.
pub(super) type ImagePtr = *mut c_void;
/// What tells that an operation has ended: `rbd_completion_t`.
pub(super) type Completion = *mut c_void;
/// `rbd_image_options_t`.
pub(super) type Options = *mut c_void;
/// `rbd_callback_t`: called by a thread of librbd, which must not be kept.
pub(super) type Callback = unsafe extern "C" fn(Completion, *mut c_void);
/// Called for each extent that exists: offset, length, whether it exists, argument.
pub(super) type ExtentCallback = unsafe extern "C" fn(u64, usize, c_int, *mut c_void) -> c_int;
/// `rbd_update_callback_t`: called by a thread of librbd when the image may have changed.
pub(super) type UpdateCallback = unsafe extern "C" fn(*mut c_void);

/// `RBD_LOCK_MODE_EXCLUSIVE`.
pub(super) const LOCK_EXCLUSIVE: c_int = 0;
/// `RBD_FEATURE_EXCLUSIVE_LOCK`.
pub(super) const FEATURE_EXCLUSIVE_LOCK: u64 = 1 << 2;
/// `RBD_WRITE_ZEROES_FLAG_THICK_PROVISION`: the zeroes are to take up space.
pub(super) const ZEROES_THICK: c_int = 1;

functions! {
    ["librados.so.2", "librbd.so.1"];
    rados_create2: fn(*mut Rados, *const c_char, *const c_char, u64) -> c_int;
    rados_conf_read_file: fn(Rados, *const c_char) -> c_int;
    rados_conf_parse_env: fn(Rados, *const c_char) -> c_int;
    rados_conf_set: fn(Rados, *const c_char, *const c_char) -> c_int;
    rados_connect: fn(Rados) -> c_int;
    rados_shutdown: fn(Rados);
    rados_getaddrs: fn(Rados, *mut *mut c_char) -> c_int;
    rados_buffer_free: fn(*mut c_char);
    rados_blocklist_add: fn(Rados, *mut c_char, u32) -> c_int;
    rados_ioctx_create: fn(Rados, *const c_char, *mut IoCtx) -> c_int;
    rados_ioctx_set_namespace: fn(IoCtx, *const c_char);
    rados_set_pool_full_try: fn(IoCtx);
    rados_ioctx_destroy: fn(IoCtx);
    rbd_image_options_create: fn(*mut Options);
    rbd_image_options_destroy: fn(Options);
    rbd_create4: fn(IoCtx, *const c_char, u64, Options) -> c_int;
    rbd_remove: fn(IoCtx, *const c_char) -> c_int;
    rbd_open: fn(IoCtx, *const c_char, *mut ImagePtr, *const c_char) -> c_int;
    rbd_open_read_only: fn(IoCtx, *const c_char, *mut ImagePtr, *const c_char) -> c_int;
    rbd_close: fn(ImagePtr) -> c_int;
    rbd_resize: fn(ImagePtr, u64) -> c_int;
    rbd_get_size: fn(ImagePtr, *mut u64) -> c_int;
    rbd_update_watch: fn(ImagePtr, *mut u64, UpdateCallback, *mut c_void) -> c_int;
    rbd_update_unwatch: fn(ImagePtr, u64) -> c_int;
    rbd_get_features: fn(ImagePtr, *mut u64) -> c_int;
    rbd_is_exclusive_lock_owner: fn(ImagePtr, *mut c_int) -> c_int;
    rbd_lock_acquire: fn(ImagePtr, c_int) -> c_int;
    rbd_lock_get_owners: fn(ImagePtr, *mut c_int, *mut *mut c_char, *mut usize) -> c_int;
    rbd_lock_get_owners_cleanup: fn(*mut *mut c_char, usize);
    rbd_list_lockers: fn(
        ImagePtr, *mut c_int, *mut c_char, *mut usize, *mut c_char, *mut usize,
        *mut c_char, *mut usize, *mut c_char, *mut usize
    ) -> isize;
    rbd_lock_break: fn(ImagePtr, c_int, *const c_char) -> c_int;
    rbd_diff_iterate2: fn(
        ImagePtr, *const c_char, u64, u64, u8, u8, ExtentCallback, *mut c_void
    ) -> c_int;
    rbd_aio_create_completion: fn(*mut c_void, Callback, *mut Completion) -> c_int;
    rbd_aio_get_return_value: fn(Completion) -> isize;
    rbd_aio_release: fn(Completion);
    rbd_aio_read: fn(ImagePtr, u64, usize, *mut c_char, Completion) -> c_int;
    rbd_aio_write: fn(ImagePtr, u64, usize, *const c_char, Completion) -> c_int;
    rbd_aio_flush: fn(ImagePtr, Completion) -> c_int;
    rbd_aio_discard: fn(ImagePtr, u64, u64, Completion) -> c_int;
    rbd_aio_write_zeroes: fn(ImagePtr, u64, usize, Completion, c_int, c_int) -> c_int;
}
