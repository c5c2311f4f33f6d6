//! One connection to a target: a context of libiscsi, and what is under way by it.
//!
//! libiscsi does nothing by itself: whoever has the context asks it for what to wait, waits, and
//! has it work. It would connect again by itself, too, but blocks at that, and sends writes again
//! before anybody has looked whether they may still be sent. So it is told not to: a context is for
//! one connection, and when that is lost everything under way by it ends as lost.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_int, c_void};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::identity::Identity;
use super::library::{
    Callback, ContextPtr, DIGEST_CRC32C, DIGEST_NONE, Functions, NO_RESIDUAL, SESSION_NORMAL,
    STATUS_ACA_ACTIVE, STATUS_BUSY, STATUS_CHECK_CONDITION, STATUS_GOOD,
    STATUS_RESERVATION_CONFLICT, STATUS_TASK_ABORTED, STATUS_TASK_SET_FULL, Task, XFER_NONE,
    XFER_READ, XFER_WRITE, functions,
};
use super::operation::{Command, Direction, Operation, Outcome};
use super::scsi::Sense;
use crate::env::{self, FileHandle};

/// How long saying goodbye may take, in seconds.
const GOODBYE_SECONDS: c_int = 3;

/// How connecting or logging in went, told by libiscsi.
#[derive(Default)]
struct Progress {
    status: Cell<Option<c_int>>,
    text: RefCell<String>,
}

/// A context.
pub(super) struct Context {
    functions: &'static Functions,
    pointer: ContextPtr,
    lun: c_int,
    progress: Box<Progress>,
    under_way: Vec<Arc<Operation>>,
    /// The socket, as long as there is one. A copy, since the ring may still hold on to it when
    /// libiscsi closes its own.
    socket: Option<FileHandle>,
}

// SAFETY: a context may be used by any thread, by one at a time.
unsafe impl Send for Context {}

/// The connection is gone.
#[derive(Debug)]
pub(super) struct Gone;

impl Context {
    /// A context that is not connected yet.
    pub(super) fn new(of: &Identity) -> Option<Self> {
        let functions = functions().ok()?;
        // SAFETY: the name ends with zero. All calls below are of the context that this makes.
        let pointer = unsafe { (functions.iscsi_create_context)(of.initiator.as_ptr()) };
        if pointer.is_null() {
            return None;
        }
        let digest = if of.header_digest {
            DIGEST_CRC32C
        } else {
            DIGEST_NONE
        };
        // SAFETY: the context was made above, the strings end with zero and are copied.
        unsafe {
            (functions.iscsi_set_targetname)(pointer, of.target.as_ptr());
            (functions.iscsi_set_session_type)(pointer, SESSION_NORMAL);
            (functions.iscsi_set_header_digest)(pointer, digest);
            (functions.iscsi_set_isid_random)(pointer, of.isid.0, of.isid.1);
            (functions.iscsi_set_noautoreconnect)(pointer, 1);
            if let Some((user, secret)) = &of.login {
                let set = functions.iscsi_set_initiator_username_pwd;
                set(pointer, user.as_ptr(), secret.as_ptr().cast());
            }
            if let Some((user, secret)) = &of.target_login {
                let set = functions.iscsi_set_target_username_pwd;
                set(pointer, user.as_ptr(), secret.as_ptr().cast());
            }
        }
        Some(Self {
            functions,
            pointer,
            lun: of.lun.into(),
            progress: Box::default(),
            under_way: Vec::new(),
            socket: None,
        })
    }

    /// Begins to connect to `portal`, an address and a port as numbers.
    pub(super) fn connect(&mut self, portal: &CStr) -> Result<(), Gone> {
        self.progress.status.set(None);
        // SAFETY: the context is there, the string ends with zero, and the argument is where it is
        // for as long as the context.
        let begun = unsafe {
            let connect = self.functions.iscsi_connect_async;
            connect(
                self.pointer,
                portal.as_ptr(),
                progressed as Callback,
                self.argument(),
            )
        };
        if begun != 0 {
            self.note_error();
            return Err(Gone);
        }
        self.copy_socket()
    }

    /// Begins to log in.
    pub(super) fn log_in(&mut self) -> Result<(), Gone> {
        self.progress.status.set(None);
        // SAFETY: as above.
        let begun = unsafe {
            (self.functions.iscsi_login_async)(self.pointer, progressed, self.argument())
        };
        if begun != 0 {
            self.note_error();
            return Err(Gone);
        }
        Ok(())
    }

    fn argument(&self) -> *mut c_void {
        (&raw const *self.progress).cast_mut().cast()
    }

    /// How what was begun has ended, if it has.
    pub(super) fn progress(&self) -> Option<c_int> {
        self.progress.status.get()
    }

    /// What libiscsi said about it.
    pub(super) fn error(&self) -> String {
        self.progress.text.borrow().clone()
    }

    /// Where the target wants one to go instead.
    pub(super) fn redirected_to(&self) -> CString {
        // SAFETY: the context is there; it keeps such a string, which may be empty.
        unsafe { CStr::from_ptr((self.functions.iscsi_get_target_address)(self.pointer)) }
            .to_owned()
    }

    fn note_error(&self) {
        if self.progress.text.borrow().is_empty() {
            *self.progress.text.borrow_mut() = last_error(self.functions, self.pointer);
        }
    }

    fn copy_socket(&mut self) -> Result<(), Gone> {
        // SAFETY: the context is there.
        let fd = unsafe { (self.functions.iscsi_get_fd)(self.pointer) };
        if fd < 0 {
            return Err(Gone);
        }
        // SAFETY: the descriptor is open as long as the context has it.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        // Programs that this one starts must not keep the connection.
        let closes = rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC);
        let copy = closes.and_then(|()| rustix::io::fcntl_dupfd_cloexec(fd, 0));
        self.socket = Some(Arc::new(copy.map_err(|_| Gone)?));
        Ok(())
    }

    /// What to wait for: the socket, and events of `poll(2)`.
    pub(super) fn awaits(&self) -> Result<(FileHandle, i16), Gone> {
        let socket = self.socket.clone().ok_or(Gone)?;
        // SAFETY: the context is there.
        let events = unsafe { (self.functions.iscsi_which_events)(self.pointer) };
        Ok((socket, i16::try_from(events).unwrap_or(libc::POLLIN)))
    }

    /// Has libiscsi read and write what it can, after `events` of `poll(2)`. Callbacks happen in
    /// here.
    pub(super) fn service(&mut self, events: i16) -> Result<(), Gone> {
        let socket = self.socket.clone().ok_or(Gone)?;
        // It sends the head and the data of each PDU by themselves, and 256 KiB are 32 of them
        // where the target wants the usual 8 KiB: it would be woken 60 times.
        let served = env::corked(&socket, || {
            // SAFETY: the context is there.
            unsafe { (self.functions.iscsi_service)(self.pointer, events.into()) }
        });
        if served < 0 {
            self.note_error();
            return Err(Gone);
        }
        let is_lost = self.under_way.iter().any(|operation| operation.was_lost());
        self.under_way.retain(|operation| !operation.has_ended());
        if is_lost { Err(Gone) } else { Ok(()) }
    }

    /// Begins `operation`.
    pub(super) fn submit(&mut self, operation: Arc<Operation>) {
        let task = self.task(&operation.command);
        let begun = match task.is_null() {
            true => -1,
            // SAFETY: the context and the task are there; the operation stays in `under_way` until
            // the callback was called or the context is gone.
            false => unsafe {
                (self.functions.iscsi_scsi_command_async)(
                    self.pointer,
                    self.lun,
                    task,
                    ended,
                    std::ptr::null_mut(),
                    Arc::as_ptr(&operation).cast_mut().cast(),
                )
            },
        };
        if begun == 0 {
            return self.under_way.push(operation);
        }
        if !task.is_null() {
            // SAFETY: nobody else has it.
            unsafe { (self.functions.scsi_free_scsi_task)(task) };
        }
        operation.end(Outcome::Lost);
    }

    fn task(&self, command: &Command) -> *mut Task {
        let mut cdb = command.cdb.bytes().to_vec();
        let (memory, len) = command.data();
        let (direction, len) = match command.direction {
            Direction::None => (XFER_NONE, 0),
            Direction::In => (XFER_READ, len),
            Direction::Out => (XFER_WRITE, len),
        };
        let len = c_int::try_from(len).expect("transfers are split");
        let cdb_len = c_int::try_from(cdb.len()).expect("16 at most");
        let functions = self.functions;
        // SAFETY: the command is copied; the memory stays until the operation has ended.
        unsafe {
            let task = (functions.scsi_create_task)(cdb_len, cdb.as_mut_ptr(), direction, len);
            let added = match (task.is_null(), command.direction) {
                (true, _) | (_, Direction::None) => 0,
                (_, Direction::In) => (functions.scsi_task_add_data_in_buffer)(task, len, memory),
                (_, Direction::Out) => (functions.scsi_task_add_data_out_buffer)(task, len, memory),
            };
            if added == 0 {
                return task;
            }
            (functions.scsi_free_scsi_task)(task);
        }
        std::ptr::null_mut()
    }

    /// Does `last` and logs out. Blocks, for a few seconds at most.
    pub(super) fn say_goodbye(self, last: Option<Command>) {
        let functions = self.functions;
        // SAFETY: the context is there and this thread has it.
        unsafe { (functions.iscsi_set_timeout)(self.pointer, GOODBYE_SECONDS) };
        if let Some(command) = last {
            let task = self.task(&command);
            if !task.is_null() {
                let (context, data) = (self.pointer, std::ptr::null_mut());
                // SAFETY: as above; the task's memory stays until the call ends.
                unsafe {
                    let done = (functions.iscsi_scsi_command_sync)(context, self.lun, task, data);
                    if !done.is_null() {
                        (functions.scsi_free_scsi_task)(done);
                    }
                }
            }
        }
        // SAFETY: as above.
        unsafe { (functions.iscsi_logout_sync)(self.pointer) };
    }
}

impl Drop for Context {
    /// Cuts the connection. What is under way ends as lost.
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take() {
            // The ring may still wait for the copy, and keep the connection for a moment.
            let _ = rustix::net::shutdown(socket.as_fd(), rustix::net::Shutdown::Both);
        }
        // SAFETY: nobody uses the context after this. Callbacks happen in here.
        unsafe { (self.functions.iscsi_destroy_context)(self.pointer) };
        for operation in self.under_way.drain(..) {
            operation.end(Outcome::Lost);
        }
    }
}

fn last_error(functions: &Functions, context: ContextPtr) -> String {
    // SAFETY: the context is there; it keeps such a string.
    let text = unsafe { CStr::from_ptr((functions.iscsi_get_error)(context)) };
    text.to_string_lossy().trim().to_owned()
}

/// Called when connecting or logging in has ended.
unsafe extern "C" fn progressed(
    context: ContextPtr,
    status: c_int,
    _: *mut c_void,
    argument: *mut c_void,
) {
    // SAFETY: it is the pointer that was made in `argument`, and lives as long as the context.
    let progress = unsafe { &*argument.cast::<Progress>() };
    // What has failed later, or is told again, is no news.
    if progress.status.get().is_none() {
        progress.status.set(Some(status));
        if status != STATUS_GOOD {
            let functions = functions().expect("this was called by the library");
            *progress.text.borrow_mut() = last_error(functions, context);
        }
    }
}

/// Called when a command has ended.
unsafe extern "C" fn ended(_: ContextPtr, status: c_int, task: *mut c_void, argument: *mut c_void) {
    // SAFETY: the context keeps the operation until this was called.
    let operation = unsafe { &*argument.cast::<Operation>() };
    let task = task.cast::<Task>();
    // SAFETY: a task that the library gives is one that it has made.
    let about = unsafe { task.as_ref() };
    operation.end(outcome(status, about));
    if !task.is_null() {
        let functions = functions().expect("this was called by the library");
        // SAFETY: the task has ended and nobody uses it any more.
        unsafe { (functions.scsi_free_scsi_task)(task) };
    }
}

fn outcome(status: c_int, task: Option<&Task>) -> Outcome {
    match (status, task) {
        (STATUS_GOOD, Some(task)) if task.residual_status != NO_RESIDUAL => {
            Outcome::Good(task.residual)
        }
        (STATUS_GOOD, _) => Outcome::Good(0),
        (STATUS_CHECK_CONDITION, Some(task)) => {
            let sense = Sense {
                key: u8::try_from(task.sense.key).unwrap_or(0xf),
                code: u16::try_from(task.sense.ascq).unwrap_or(0),
                deferred: matches!(task.sense.error_type, 0x71 | 0x73),
            };
            match sense {
                // Nothing is wrong, or it was and has been helped.
                Sense {
                    key: 0 | 1,
                    deferred: false,
                    ..
                } => Outcome::Good(0),
                _ => Outcome::Sense(sense),
            }
        }
        (STATUS_RESERVATION_CONFLICT, _) => Outcome::Conflict,
        (STATUS_BUSY | STATUS_TASK_SET_FULL | STATUS_TASK_ABORTED | STATUS_ACA_ACTIVE, _) => {
            Outcome::Busy
        }
        _ => Outcome::Lost,
    }
}
