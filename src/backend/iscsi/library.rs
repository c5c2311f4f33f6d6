//! libiscsi: what is declared here is what is used, from `iscsi/iscsi.h` and
//! `iscsi/scsi-lowlevel.h` of libiscsi 1.19. Strings end with a zero byte. Nothing of a context may
//! be used by two threads at a time.

use std::ffi::{c_char, c_int, c_void};

use crate::backend::library::functions;

/// `struct iscsi_context *`: a session with a target.
pub(super) type ContextPtr = *mut c_void;
/// `iscsi_command_cb`: context, status, what it was about, argument.
pub(super) type Callback = unsafe extern "C" fn(ContextPtr, c_int, *mut c_void, *mut c_void);

/// `ISCSI_SESSION_NORMAL`.
pub(super) const SESSION_NORMAL: c_int = 2;
/// `ISCSI_HEADER_DIGEST_NONE` and `ISCSI_HEADER_DIGEST_CRC32C`.
pub(super) const DIGEST_NONE: c_int = 0;
pub(super) const DIGEST_CRC32C: c_int = 3;
/// `SCSI_STATUS_...`.
pub(super) const STATUS_GOOD: c_int = 0;
pub(super) const STATUS_CHECK_CONDITION: c_int = 2;
pub(super) const STATUS_BUSY: c_int = 8;
pub(super) const STATUS_RESERVATION_CONFLICT: c_int = 0x18;
pub(super) const STATUS_TASK_SET_FULL: c_int = 0x28;
pub(super) const STATUS_ACA_ACTIVE: c_int = 0x30;
pub(super) const STATUS_TASK_ABORTED: c_int = 0x40;
pub(super) const STATUS_REDIRECT: c_int = 0x101;
/// `SCSI_XFER_...`.
pub(super) const XFER_NONE: c_int = 0;
pub(super) const XFER_READ: c_int = 1;
pub(super) const XFER_WRITE: c_int = 2;
/// `SCSI_RESIDUAL_NO_RESIDUAL`.
pub(super) const NO_RESIDUAL: c_int = 0;

/// The beginning of `struct scsi_task`, as far as it is read. It is made and freed by the library.
#[repr(C)]
pub(super) struct Task {
    status: c_int,
    cdb_size: c_int,
    xfer_dir: c_int,
    expxferlen: c_int,
    cdb: [u8; 16],
    pub(super) residual_status: c_int,
    pub(super) residual: usize,
    pub(super) sense: RawSense,
}

/// The beginning of `struct scsi_sense`.
#[repr(C)]
pub(super) struct RawSense {
    pub(super) error_type: u8,
    pub(super) key: c_int,
    pub(super) ascq: c_int,
}

const _: () = assert!(std::mem::offset_of!(Task, residual_status) == 32);
const _: () = assert!(std::mem::offset_of!(Task, sense) == 48);

functions! {
    ["libiscsi.so.7"];
    iscsi_create_context: fn(*const c_char) -> ContextPtr;
    iscsi_destroy_context: fn(ContextPtr) -> c_int;
    iscsi_set_targetname: fn(ContextPtr, *const c_char) -> c_int;
    iscsi_set_session_type: fn(ContextPtr, c_int) -> c_int;
    iscsi_set_header_digest: fn(ContextPtr, c_int) -> c_int;
    iscsi_set_isid_random: fn(ContextPtr, u32, u32) -> c_int;
    iscsi_set_initiator_username_pwd: fn(ContextPtr, *const c_char, *const c_char) -> c_int;
    iscsi_set_target_username_pwd: fn(ContextPtr, *const c_char, *const c_char) -> c_int;
    iscsi_set_noautoreconnect: fn(ContextPtr, c_int);
    iscsi_set_timeout: fn(ContextPtr, c_int) -> c_int;
    iscsi_connect_async: fn(ContextPtr, *const c_char, Callback, *mut c_void) -> c_int;
    iscsi_login_async: fn(ContextPtr, Callback, *mut c_void) -> c_int;
    iscsi_logout_sync: fn(ContextPtr) -> c_int;
    iscsi_get_target_address: fn(ContextPtr) -> *const c_char;
    iscsi_get_error: fn(ContextPtr) -> *const c_char;
    iscsi_get_fd: fn(ContextPtr) -> c_int;
    iscsi_which_events: fn(ContextPtr) -> c_int;
    iscsi_service: fn(ContextPtr, c_int) -> c_int;
    scsi_create_task: fn(c_int, *mut u8, c_int, c_int) -> *mut Task;
    scsi_free_scsi_task: fn(*mut Task);
    scsi_task_add_data_in_buffer: fn(*mut Task, c_int, *mut u8) -> c_int;
    scsi_task_add_data_out_buffer: fn(*mut Task, c_int, *mut u8) -> c_int;
    iscsi_scsi_command_async: fn(
        ContextPtr, c_int, *mut Task, Callback, *mut c_void, *mut c_void
    ) -> c_int;
    iscsi_scsi_command_sync: fn(ContextPtr, c_int, *mut Task, *mut c_void) -> *mut Task;
}
