//! What a server says has gone wrong (RFC 1813, section 2.6).

use std::fmt;
use std::io;

/// An error of NFS or of MOUNT, which have the same numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Status(pub(super) u32);

impl Status {
    /// There is no such file.
    pub const NO_ENTRY: Self = Self(2);
    /// There is such a file already.
    pub const EXISTS: Self = Self(17);
    /// It could be done, but not now: ask again.
    pub const LATER: Self = Self(10008);

    /// The error of the operating system that is nearest.
    pub fn errno(self) -> i32 {
        match self.0 {
            1 => libc::EPERM,
            2 => libc::ENOENT,
            6 => libc::ENXIO,
            13 => libc::EACCES,
            17 => libc::EEXIST,
            18 => libc::EXDEV,
            19 => libc::ENODEV,
            20 => libc::ENOTDIR,
            21 => libc::EISDIR,
            22 => libc::EINVAL,
            27 => libc::EFBIG,
            28 => libc::ENOSPC,
            30 => libc::EROFS,
            31 => libc::EMLINK,
            63 => libc::ENAMETOOLONG,
            69 => libc::EDQUOT,
            70 | 10001 => libc::ESTALE,
            71 => libc::EREMOTE,
            10004 => libc::EOPNOTSUPP,
            10008 => libc::EAGAIN,
            _ => libc::EIO,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            5 => f.write_str("an I/O error of the server"),
            10006 => f.write_str("the server has trouble of its own"),
            number => match self.errno() {
                libc::EIO => write!(f, "error {number} of NFS"),
                errno => io::Error::from_raw_os_error(errno).fmt(f),
            },
        }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
