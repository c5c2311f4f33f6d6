//! Commands to drivers of the kernel (`IORING_OP_URING_CMD`), and the memory that goes with them.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use io_uring::{IoUring, cqueue, opcode, squeue, types};

use super::fs::{FileHandle, fd};
use super::lent::BufferPlace;
use super::mapping::Mapping;
use super::ring::{Keep, Operation};
use super::slot::Slot;

/// What a driver is handed with a command.
#[derive(Clone, Copy, Debug)]
pub enum Handed<'a> {
    /// Memory that it may touch until it answers.
    Memory(&'a Arc<Mapping>),
    /// A place for memory that it lends with its answer, until the next command.
    Place(&'a BufferPlace),
}

/// Gives `command`, its `words` and what is `handed` with them to the driver of `file`. Gives the
/// driver's answer, negative for an error number.
///
/// A driver may keep a command for as long as it likes, and none can be cancelled: if the task is
/// dropped, or the reactor ends, the memory stays until the driver is done.
pub async fn drive(file: &FileHandle, command: u32, words: [u8; 16], handed: Handed<'_>) -> i32 {
    let entry = opcode::UringCmd16::new(fd(file), command).cmd(words);
    let (entry, keep) = match handed {
        Handed::Memory(memory) => (entry, Some(Arc::clone(memory))),
        // `struct ublk_auto_buf_reg` of `linux/ublk_cmd.h`: an index, and no flags.
        Handed::Place(place) => (entry.addr(Some(place.memory().0.into())), None),
    };
    let keep = Keep::Driver(keep);
    let operation = Operation::new(Some(Arc::clone(file)), entry.build(), keep);
    operation.await.0
}

/// Has the driver of `file` do `command` with `data`, on a thread and a ring of their own, since
/// such a command may take as long as all others together. `words` makes its 80 bytes of the
/// address where `data` is. Gives `data` as the driver leaves it.
///
/// # Errors
/// What the driver says, or that there is no thread or ring.
pub async fn ask_driver(
    file: &FileHandle,
    command: u32,
    mut data: Vec<u8>,
    words: impl FnOnce(u64) -> [u8; 80] + Send + 'static,
) -> io::Result<Vec<u8>> {
    let file = Arc::clone(file);
    let slot = Arc::new(Slot::new());
    let give = Arc::clone(&slot);
    let work = move || {
        let words = words(data.as_mut_ptr().addr() as u64);
        give.put(wait_for_driver(&file, command, words).map(|()| data));
    };
    let thread = std::thread::Builder::new().name("driver".to_owned());
    thread.spawn(work)?;
    slot.take().await
}

fn wait_for_driver(file: &FileHandle, command: u32, words: [u8; 80]) -> io::Result<()> {
    let mut ring = IoUring::<squeue::Entry128, cqueue::Entry>::builder().build(1)?;
    let file = types::Fd(file.as_raw_fd());
    let entry = opcode::UringCmd80::new(file, command).cmd(words).build();
    // SAFETY: the file and what the words point to are the caller's, which waits below until the
    // command is done.
    unsafe { ring.submission().push(&entry) }.map_err(io::Error::other)?;
    while ring.completion().is_empty() {
        match ring.submit_and_wait(1) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Nothing was submitted, so nobody has the memory.
            Err(error) => return Err(error),
        }
    }
    let answer = ring.completion().next().map(|done| done.result());
    match answer.expect("there is one") {
        error @ ..0 => Err(io::Error::from_raw_os_error(-error)),
        _ => Ok(()),
    }
}
