//! A lock on an open file, so that two servers never write the same disk.
//!
//! Open file description locks (`fcntl(2)`) belong to the open file, not to the process, and end
//! with it however it ends. They are advisory: they hold between servers that ask, which QEMU's
//! do. A writer locks the whole file exclusively and so excludes readers too, because what they
//! read would change under them.
//!
//! They belong to the node that was opened, and a block device may have several, and others on top
//! of it and beneath. So whoever writes to one claims it besides (`O_EXCL`, open(2)), as mounting
//! does: that holds for the device by whatever name, for those stacked on it, and for its
//! partitions.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::Access;
use crate::base::limits::{TAKEN_PAUSE, TAKEN_TRIES};
use crate::env;

/// Locks all of `file` for `access`; `false` if somebody else keeps a lock against that for two
/// seconds: it may be one that was just killed.
///
/// # Errors
/// If the file cannot be locked at all.
pub(super) async fn lock(file: &OwnedFd, access: Access) -> io::Result<bool> {
    for _ in 1..TAKEN_TRIES {
        if try_lock(file, access)? {
            return Ok(true);
        }
        env::sleep(TAKEN_PAUSE).await;
    }
    try_lock(file, access)
}

/// Opens a file that is there; waits up to two seconds for one that is claimed by somebody else.
///
/// # Errors
/// As open(2); `BUSY` if it is still claimed then.
pub(super) async fn open(path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    for _ in 1..TAKEN_TRIES {
        match rustix::fs::open(path, flags, Mode::empty()) {
            Err(Errno::BUSY) => env::sleep(TAKEN_PAUSE).await,
            opened => return opened,
        }
    }
    rustix::fs::open(path, flags, Mode::empty())
}

fn try_lock(file: &OwnedFd, access: Access) -> io::Result<bool> {
    let kind = match access {
        Access::Read => libc::F_RDLCK,
        Access::Write => libc::F_WRLCK,
    };
    // SAFETY: a flock is plain data, for which all zeroes are valid.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = i16::try_from(kind).expect("a lock type is a small number");
    lock.l_whence = i16::try_from(libc::SEEK_SET).expect("a small number");
    // Length 0 means to the end, however far that moves.
    lock.l_len = 0;
    // SAFETY: the descriptor is open and `lock` outlives the call.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    if result == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(false),
        _ => Err(error),
    }
}
