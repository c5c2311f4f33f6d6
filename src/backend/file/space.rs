//! The space of a file: giving it up, making it zero, and telling what is allocated.

use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::Errno;

use super::super::pages::add_run;
use super::write_error;
use crate::base::{Error, Extent, Fault, Result, Status, StatusRun, ZeroMode};
use crate::env;
use crate::env::FileHandle;

/// What is written at once where zeroes have to be written as data, in bytes.
pub(super) const SLOW_ZEROES_BYTES: u64 = 1 << 20;

/// The space of one file or block device.
#[derive(Debug)]
pub(super) struct Space {
    handle: FileHandle,
    device: bool,
    /// Whether the file system has said that it cannot punch a hole.
    no_punch: AtomicBool,
    /// Whether the file system has said that it cannot make a range zero.
    no_zero_range: AtomicBool,
}

impl Space {
    pub(super) fn new(handle: FileHandle, device: bool) -> Self {
        Self {
            handle,
            device,
            no_punch: AtomicBool::new(false),
            no_zero_range: AtomicBool::new(false),
        }
    }

    /// Gives the space back where the file can. It is a hint, so a file that cannot is no error.
    pub(super) async fn discard(&self, at: Extent) -> Result<()> {
        if self.device {
            let handle = FileHandle::clone(&self.handle);
            return env::blocking(move || discard_blocks(&handle, at)).await;
        }
        self.punch(at).await.map(drop)
    }

    /// Makes `at` zero without writing data; `false` if this file cannot in that way, and then
    /// nothing has been changed.
    pub(super) async fn write_zeroes(&self, at: Extent, mode: ZeroMode) -> Result<bool> {
        if mode.may_unmap && self.punch(at).await? {
            return Ok(true);
        }
        // On a block device without an offload the kernel writes the zeroes itself, which is no
        // faster than we are, and so is not what a fast request asked for.
        if self.device && mode.only_if_fast {
            return Ok(false);
        }
        self.try_fallocate(FallocateFlags::ZERO_RANGE, &self.no_zero_range, at)
            .await
    }

    /// What is allocated, as far as `lseek(2)` tells.
    pub(super) async fn status(&self, at: Extent, runs_max: usize) -> Result<Vec<StatusRun>> {
        let handle = FileHandle::clone(&self.handle);
        env::blocking(move || map(&handle, at, runs_max))
            .await
            .map_err(|error| Error::Failed(Fault::new("map", &error.into())))
    }

    async fn punch(&self, at: Extent) -> Result<bool> {
        self.try_fallocate(FallocateFlags::PUNCH_HOLE, &self.no_punch, at)
            .await
    }

    /// Tries `mode`; `false`, now and from now on, where the file system does not have it.
    async fn try_fallocate(
        &self,
        mode: FallocateFlags,
        refused: &AtomicBool,
        at: Extent,
    ) -> Result<bool> {
        if refused.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let mode = mode | FallocateFlags::KEEP_SIZE;
        match env::fallocate(&self.handle, mode, at).await {
            Ok(()) => Ok(true),
            Err(error) => match error.raw_os_error() {
                Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::ENODEV) => {
                    refused.store(true, Ordering::Relaxed);
                    Ok(false)
                }
                _ => Err(write_error("fallocate", &error)),
            },
        }
    }
}

/// `BLKDISCARD` of `linux/fs.h`: `_IO(0x12, 119)`, with the offset and the length in bytes.
const BLKDISCARD: libc::c_ulong = 0x1277;

fn discard_blocks(device: &FileHandle, at: Extent) -> Result<()> {
    use std::os::fd::AsRawFd;
    let range = [at.offset(), at.bytes()];
    // SAFETY: the descriptor is open, and the request reads two u64 from where it is pointed.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), BLKDISCARD, range.as_ptr()) };
    if result == 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP | libc::ENOTTY) => Ok(()),
        _ => Err(Error::Unknown(Fault::new("discard", &error))),
    }
}

/// Walks from data to hole to data. Nothing else uses the file's own position.
fn map(
    file: &FileHandle,
    at: Extent,
    runs_max: usize,
) -> std::result::Result<Vec<StatusRun>, Errno> {
    let mut runs = Vec::new();
    let mut from = at.offset();
    while from < at.end() && runs.len() < runs_max {
        let data = match rustix::fs::seek(file, SeekFrom::Data(from)) {
            Ok(data) => data.min(at.end()),
            // No data up to the end of the file.
            Err(Errno::NXIO) => at.end(),
            // A file system that cannot tell: everything is data.
            Err(Errno::INVAL) => from,
            Err(error) => return Err(error),
        };
        add_run(&mut runs, data - from, Status::Hole);
        from = data;
        if from == at.end() || runs.len() == runs_max {
            break;
        }
        let hole = match rustix::fs::seek(file, SeekFrom::Hole(from)) {
            Ok(hole) => hole.min(at.end()),
            Err(Errno::INVAL | Errno::NXIO) => at.end(),
            Err(error) => return Err(error),
        };
        // A hole that was punched between the two questions starts where the data did.
        let hole = hole.max(from + 1).min(at.end());
        add_run(&mut runs, hole - from, Status::Data);
        from = hole;
    }
    Ok(runs)
}
