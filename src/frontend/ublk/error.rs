//! Why a device could not be attached or detached.

use std::io;

use crate::base::OpenError;

/// What went wrong: which kind it is, for programs, and one line for people.
#[derive(Debug)]
pub struct UblkError {
    /// What kind it is.
    pub kind: UblkErrorKind,
    /// The line.
    pub line: OpenError,
}

/// The kinds of what can go wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UblkErrorKind {
    /// There is no such volume or device.
    NotFound,
    /// It is there already.
    Exists,
    /// Somebody uses it.
    InUse,
    /// The kernel, or what this process may do, has to be changed first.
    Unable,
    /// The kernel refused, and it is not known why.
    Failed,
}

impl UblkError {
    pub(super) fn new(
        kind: UblkErrorKind,
        what: impl Into<String>,
        why: impl std::fmt::Display,
        remedy: &'static str,
    ) -> Self {
        let line = OpenError::new(what, why, remedy);
        Self { kind, line }
    }

    /// Why the control device of the driver cannot be opened.
    pub(super) fn of_opening(error: &io::Error) -> Self {
        let what = "/dev/ublk-control";
        match error.kind() {
            io::ErrorKind::NotFound => {
                let why = format!("the kernel ({}) has no ublk driver", kernel_release());
                let remedy = "type modprobe ublk_drv; it wants Linux 6.5 or newer with \
                    CONFIG_BLK_DEV_UBLK, which Debian's own kernel has since version 6.12";
                Self::new(UblkErrorKind::Unable, what, why, remedy)
            }
            io::ErrorKind::PermissionDenied => {
                let remedy = "run the server as root, or let it open this device and have \
                    CAP_SYS_ADMIN";
                Self::new(UblkErrorKind::Unable, what, error, remedy)
            }
            _ => Self::new(UblkErrorKind::Failed, what, error, "see the kernel's log"),
        }
    }

    /// Why the driver did not do what `what` is about.
    pub(super) fn of_driver(what: &str, error: &io::Error) -> Self {
        let (kind, remedy) = match error.raw_os_error() {
            Some(libc::EPERM) => (
                UblkErrorKind::Unable,
                "run the server as root, or with CAP_SYS_ADMIN",
            ),
            Some(libc::EACCES) => (
                UblkErrorKind::Unable,
                "there may be as many devices as the kernel allows already; detach one, or raise \
                    /sys/module/ublk_drv/parameters/ublks_max",
            ),
            Some(libc::EEXIST) => (UblkErrorKind::Exists, "choose another number, or none"),
            Some(libc::ENODEV) => (UblkErrorKind::NotFound, "see bedplate status"),
            Some(libc::EINVAL) => (
                UblkErrorKind::Failed,
                "the kernel may not take so many queues or so deep ones; ask for fewer",
            ),
            Some(libc::EBUSY) => (UblkErrorKind::InUse, "another server may have it"),
            Some(libc::ENOMEM) => (UblkErrorKind::Failed, "ask for fewer or smaller queues"),
            _ => (UblkErrorKind::Failed, "see the kernel's log"),
        };
        Self::new(kind, what, error, remedy)
    }
}

fn kernel_release() -> String {
    let name = rustix::system::uname();
    format!("Linux {}", name.release().to_string_lossy())
}
