//! Memory that is lent: the pages of somebody's request, which a driver puts into the ring's table
//! of registered buffers. Operations of the ring read to them and write from them; nobody else here
//! reaches them.

use std::io;

use io_uring::opcode;

use super::current;
use super::fs::{FileHandle, fd, on_storage};
use crate::base::{Extent, Lent};

/// A place in the table of this thread's ring, where a driver puts memory that it lends. It is
/// taken until it is [given back](Self::give_back): whoever drops it leaves it to the driver.
#[derive(Debug)]
pub struct BufferPlace(u16);

impl BufferPlace {
    /// Takes a place that is free.
    ///
    /// # Errors
    /// `ENOBUFS` if none is, or what `io_uring_register(2)` gives for the table.
    pub fn take() -> io::Result<Self> {
        current().machine().ring.take_buffer_place().map(Self)
    }

    /// What a driver has put there.
    pub fn memory(&self) -> Lent {
        Lent(self.0)
    }

    /// Frees it. No driver may put anything there any more.
    pub fn give_back(self) {
        current().machine().ring.give_buffer_place_back(self.0);
    }
}

/// Reads what is missing of `at` in `file` to `memory`, where `done` bytes are already. Gives the
/// bytes read, which may be fewer, and are none at the end of the file.
///
/// # Errors
/// What `preadv(2)` gives.
pub async fn read_to(
    file: &FileHandle,
    at: Extent,
    memory: Lent,
    done: usize,
) -> io::Result<usize> {
    let part = Part::new(at, done);
    let to = std::ptr::without_provenance_mut(done);
    let entry = opcode::ReadFixed::new(fd(file), to, part.bytes, memory.0);
    on_storage(file, entry.offset(part.offset).build()).await
}

/// Writes what is missing of `at` in `file` from `memory`, of which `done` bytes are written
/// already. Gives the bytes written, which may be fewer.
///
/// # Errors
/// What `pwritev(2)` gives.
pub async fn write_from(
    file: &FileHandle,
    at: Extent,
    memory: Lent,
    done: usize,
) -> io::Result<usize> {
    let part = Part::new(at, done);
    let from = std::ptr::without_provenance(done);
    let entry = opcode::WriteFixed::new(fd(file), from, part.bytes, memory.0);
    on_storage(file, entry.offset(part.offset).build()).await
}

/// What of a request is to be done still. Addresses in memory that a driver has registered count
/// from 0, so the first byte to move is where as many were before it.
struct Part {
    offset: u64,
    bytes: u32,
}

impl Part {
    fn new(at: Extent, done: usize) -> Self {
        Self {
            offset: at.offset() + done as u64,
            bytes: u32::try_from(at.len() - done).expect("a request is smaller than 4 GiB"),
        }
    }
}
