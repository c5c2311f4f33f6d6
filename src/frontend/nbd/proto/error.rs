//! The error numbers that NBD has, and which of them an error of ours becomes.

use std::fmt;

use super::wire::errno;
use crate::base::Error;

/// An error number of the protocol (proto.md, "Error values").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NbdError(u32);

impl NbdError {
    /// `NBD_EPERM`: not on a read-only export.
    pub const PERM: Self = Self(errno::EPERM);
    /// `NBD_EIO`.
    pub const IO: Self = Self(errno::EIO);
    /// `NBD_ENOMEM`.
    pub const NOMEM: Self = Self(errno::ENOMEM);
    /// `NBD_EINVAL`: the request is wrong.
    pub const INVAL: Self = Self(errno::EINVAL);
    /// `NBD_ENOSPC`: also for writing past the end.
    pub const NOSPC: Self = Self(errno::ENOSPC);
    /// `NBD_EOVERFLOW`: too long to be answered in one chunk.
    pub const OVERFLOW: Self = Self(errno::EOVERFLOW);
    /// `NBD_ENOTSUP`: zeroing would not be fast.
    pub const NOTSUP: Self = Self(errno::ENOTSUP);
    /// `NBD_ESHUTDOWN`: the server is stopping.
    pub const SHUTDOWN: Self = Self(errno::ESHUTDOWN);

    /// The number on the wire, which is not zero.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The protocol has eight numbers on purpose, so that they mean the same everywhere; an
    /// `errno(3)` that none of them comes close to is an I/O error.
    const fn from_errno(number: i32) -> Self {
        match number {
            libc::EPERM | libc::EACCES | libc::EROFS => Self::PERM,
            libc::ENOMEM => Self::NOMEM,
            libc::EINVAL => Self::INVAL,
            libc::ENOSPC | libc::EDQUOT | libc::EFBIG => Self::NOSPC,
            libc::EOVERFLOW => Self::OVERFLOW,
            libc::EOPNOTSUPP => Self::NOTSUP,
            libc::ESHUTDOWN => Self::SHUTDOWN,
            _ => Self::IO,
        }
    }
}

impl From<Error> for NbdError {
    fn from(error: Error) -> Self {
        Self::from_errno(error.errno())
    }
}

impl fmt::Display for NbdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::PERM => "EPERM",
            Self::NOMEM => "ENOMEM",
            Self::INVAL => "EINVAL",
            Self::NOSPC => "ENOSPC",
            Self::OVERFLOW => "EOVERFLOW",
            Self::NOTSUP => "ENOTSUP",
            Self::SHUTDOWN => "ESHUTDOWN",
            _ => "EIO",
        };
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Fault;
    use crate::base::Refusal;

    fn failed(errno: i32) -> Error {
        Error::Failed(Fault {
            during: "write",
            errno,
        })
    }

    #[test]
    fn every_error_has_a_number_on_the_wire() {
        let cases = [
            (Error::Refused(Refusal::Invalid), "EINVAL"),
            (Error::Refused(Refusal::ReadOnly), "EPERM"),
            (Error::Refused(Refusal::NotSupported), "ENOTSUP"),
            (Error::Refused(Refusal::NoSpace), "ENOSPC"),
            (Error::Refused(Refusal::ShuttingDown), "ESHUTDOWN"),
            (Error::Poisoned, "EIO"),
            (failed(libc::ENOSPC), "ENOSPC"),
            (failed(libc::ENOMEM), "ENOMEM"),
            (failed(libc::EROFS), "EPERM"),
            (failed(libc::EOVERFLOW), "EOVERFLOW"),
            (failed(libc::ETIMEDOUT), "EIO"),
            (failed(0), "EIO"),
            (failed(-1), "EIO"),
        ];
        for (error, name) in cases {
            assert_eq!(NbdError::from(error).to_string(), name, "{error:?}");
        }
    }
}
