//! File operations of the ring.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use io_uring::{opcode, squeue, types};

use super::reactor::plain;
use super::ring::{Keep, Operation, StorageNote, count};
use crate::base::{Buf, Extent};

/// A file that operations under way keep open.
pub type FileHandle = Arc<OwnedFd>;

/// Reads into `buf` from `offset` of `file`. Gives the bytes read, which are fewer than `buf` holds
/// at the end of the file, and the buffer.
pub async fn read_at(file: &FileHandle, offset: u64, buf: Buf) -> (io::Result<usize>, Buf) {
    let _note = StorageNote::new();
    read(file, offset, buf).await
}

/// Writes `buf` from `offset` of `file`. Gives the bytes written, which may be fewer than `buf`
/// holds, and the buffer.
pub async fn write_at(file: &FileHandle, offset: u64, buf: Buf) -> (io::Result<usize>, Buf) {
    let _note = StorageNote::new();
    let entry = opcode::Write::new(fd(file), buf.as_ptr(), length(&buf)).offset(offset);
    with_buf(file, entry.build(), buf).await
}

/// Makes the data of `file` durable.
///
/// # Errors
/// What `fdatasync(2)` gives. After an error nothing is known about earlier writes.
pub async fn fdatasync(file: &FileHandle) -> io::Result<()> {
    let entry = opcode::Fsync::new(fd(file)).flags(types::FsyncFlags::DATASYNC);
    on_storage(file, entry.build()).await.map(drop)
}

/// Manipulates the space of `file` in `at` as `mode` says, as `fallocate(2)`.
///
/// # Errors
/// What `fallocate(2)` gives.
pub async fn fallocate(
    file: &FileHandle,
    mode: rustix::fs::FallocateFlags,
    at: Extent,
) -> io::Result<()> {
    let mode = i32::try_from(mode.bits()).expect("a flag of fallocate(2)");
    let entry = opcode::Fallocate::new(fd(file), at.bytes())
        .offset(at.offset())
        .mode(mode);
    on_storage(file, entry.build()).await.map(drop)
}

/// Runs an operation on storage that touches no memory of this process. Gives the kernel's result.
pub(super) async fn on_storage(file: &FileHandle, entry: squeue::Entry) -> io::Result<usize> {
    let _note = StorageNote::new();
    count(plain(file, entry).await)
}

/// Reads from a file that has no offset, such as a pipe or an event.
pub(super) async fn read_raw(file: &FileHandle, buf: Buf) -> (io::Result<usize>, Buf) {
    // An offset of -1 means the current position (io_uring_enter(2), IORING_OP_READ).
    read(file, u64::MAX, buf).await
}

async fn read(file: &FileHandle, offset: u64, mut buf: Buf) -> (io::Result<usize>, Buf) {
    let entry = opcode::Read::new(fd(file), buf.as_mut_ptr(), length(&buf)).offset(offset);
    with_buf(file, entry.build(), buf).await
}

async fn with_buf(file: &FileHandle, entry: squeue::Entry, buf: Buf) -> (io::Result<usize>, Buf) {
    let operation = Operation::new(Some(Arc::clone(file)), entry, Keep::Buf(buf));
    match operation.await {
        (result, Keep::Buf(buf)) => (count(result), buf),
        _ => unreachable!("an operation gives back what it was given"),
    }
}

pub(super) fn fd(file: &FileHandle) -> types::Fd {
    types::Fd(file.as_raw_fd())
}

/// The length of a buffer as the ring counts; larger than any buffer.
fn length(buf: &Buf) -> u32 {
    u32::try_from(buf.len()).expect("a buffer is smaller than 4 GiB")
}
