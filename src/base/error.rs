//! What can go wrong with a request, told as what the caller may do next.

use std::fmt;

/// The result of anything that serves a request.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a request was not done. The variant says what is known about the bytes, which is what the
/// caller needs to decide what to do next; the cause inside is for the operator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// The request is wrong or forbidden. Nothing was tried. Do not repeat it.
    Refused(Refusal),
    /// It did not happen; the bytes are as before. It may be repeated.
    Failed(Fault),
    /// It may have happened, or may still happen. Only a fence or a reopen tells.
    Unknown(Fault),
    /// What was read is not what was written.
    Corrupt(Fault),
    /// An earlier flush failed, so nothing can be promised any more until the disk is reopened.
    Poisoned,
}

/// Why a request was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The range lies outside the disk, or the request is malformed.
    Invalid,
    /// The disk is read-only.
    ReadOnly,
    /// The disk cannot do this, or not in the way that was asked for.
    NotSupported,
    /// There is no space left.
    NoSpace,
    /// The server is stopping.
    ShuttingDown,
}

/// An operating system error and what it interrupted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// What was being done, as a verb: "read", "write", "flush".
    pub during: &'static str,
    /// The error number, as in `errno(3)`.
    pub errno: i32,
}

impl Fault {
    /// The fault behind an I/O error. One without a number counts as `EIO`.
    pub fn new(during: &'static str, error: &std::io::Error) -> Self {
        Self {
            during,
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        }
    }
}

impl Error {
    /// The error number to report to a client that knows no better, as in `errno(3)`.
    pub fn errno(self) -> i32 {
        match self {
            Self::Refused(Refusal::Invalid) => libc::EINVAL,
            Self::Refused(Refusal::ReadOnly) => libc::EPERM,
            Self::Refused(Refusal::NotSupported) => libc::EOPNOTSUPP,
            Self::Refused(Refusal::NoSpace) => libc::ENOSPC,
            Self::Refused(Refusal::ShuttingDown) => libc::ESHUTDOWN,
            Self::Failed(fault) | Self::Unknown(fault) => fault.errno,
            Self::Corrupt(_) | Self::Poisoned => libc::EIO,
        }
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = std::io::Error::from_raw_os_error(self.errno);
        write!(f, "{}: {cause}", self.during)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(Refusal::Invalid) => f.write_str("refused: not a valid request"),
            Self::Refused(Refusal::ReadOnly) => f.write_str("refused: the disk is read-only"),
            Self::Refused(Refusal::NotSupported) => f.write_str("refused: not supported"),
            Self::Refused(Refusal::NoSpace) => f.write_str("refused: no space left"),
            Self::Refused(Refusal::ShuttingDown) => f.write_str("refused: shutting down"),
            Self::Failed(fault) => write!(f, "failed during {fault}"),
            Self::Unknown(fault) => write!(f, "outcome unknown after {fault}"),
            Self::Corrupt(fault) => write!(f, "corrupt: {fault}"),
            Self::Poisoned => f.write_str("an earlier flush failed; reopen the disk"),
        }
    }
}

impl std::error::Error for Error {}
