//! Memory that is shared with a driver of the kernel.

use std::ffi::c_void;
use std::fmt;
use std::io;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

use super::fs::FileHandle;

/// Pages that a driver may read or write whenever it has been told that it may. They are only ever
/// copied from and to, so no reference is held to what changes.
pub struct Mapping {
    memory: NonNull<c_void>,
    bytes: usize,
    is_writable: bool,
}

// SAFETY: a Mapping owns its pages, and all access is by copying.
unsafe impl Send for Mapping {}
// SAFETY: as above; what several threads copy at once is for those who share it to keep apart, and
// copying reads and writes nothing but bytes.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// `bytes` bytes from `offset` of what the driver of `file` shows, to be read.
    ///
    /// # Errors
    /// What `mmap(2)` gives.
    pub fn of_driver(file: &FileHandle, offset: u64, bytes: usize) -> io::Result<Self> {
        let (flags, access) = (MapFlags::SHARED | MapFlags::POPULATE, ProtFlags::READ);
        // SAFETY: the kernel chooses the address, so nothing that is there already is replaced.
        let memory = unsafe { mmap(std::ptr::null_mut(), bytes, access, flags, file, offset) };
        Ok(Self {
            memory: NonNull::new(memory?).expect("no mapping is at address zero"),
            bytes,
            is_writable: false,
        })
    }

    /// `bytes` bytes of zeroes of this process, of which only those take memory that are used.
    ///
    /// # Errors
    /// What `mmap(2)` gives.
    pub fn anonymous(bytes: usize) -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: as above.
        let memory = unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, access, flags) };
        Ok(Self {
            memory: NonNull::new(memory?).expect("no mapping is at address zero"),
            bytes,
            is_writable: true,
        })
    }

    /// Where byte `at` is, for the driver.
    pub fn address(&self, at: usize) -> u64 {
        assert!(at <= self.bytes);
        self.memory.as_ptr().addr() as u64 + at as u64
    }

    /// Copies what is from `at` on to `to`.
    ///
    /// # Panics
    /// If it ends before `to` does.
    pub fn load(&self, at: usize, to: &mut [u8]) {
        self.check(at, to.len());
        // SAFETY: `check` says that the range is mapped, and it is no memory of `to`'s owner.
        unsafe {
            let from = self.memory.as_ptr().cast::<u8>().add(at);
            std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len());
        }
    }

    /// Copies `from` to where `at` is.
    ///
    /// # Panics
    /// If it ends before `from` does, or is only for reading.
    pub fn store(&self, at: usize, from: &[u8]) {
        self.check(at, from.len());
        assert!(self.is_writable, "what a driver shows is only for reading");
        // SAFETY: as above, and the pages may be written.
        unsafe {
            let to = self.memory.as_ptr().cast::<u8>().add(at);
            std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len());
        }
    }

    fn check(&self, at: usize, bytes: usize) {
        let end = at.checked_add(bytes);
        assert!(
            end.is_some_and(|end| end <= self.bytes),
            "{at}+{bytes} is not within {} bytes",
            self.bytes
        );
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: made by mmap with this length, and no reference to it was ever given out.
        let gone = unsafe { munmap(self.memory.as_ptr(), self.bytes) };
        debug_assert!(gone.is_ok());
    }
}

impl fmt::Debug for Mapping {
    /// The length only: what is in it belongs to a guest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({} bytes)", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_loaded() {
        let memory = Mapping::anonymous(8192).expect("memory");
        memory.store(5000, b"block");
        let mut loaded = [0; 7];
        memory.load(4999, &mut loaded);
        assert_eq!(&loaded, b"\0block\0");
        assert_eq!(memory.address(3), memory.address(0) + 3);
    }

    #[test]
    #[should_panic(expected = "not within")]
    fn nothing_lies_beyond_the_end() {
        let memory = Mapping::anonymous(4096).expect("memory");
        memory.load(4090, &mut [0; 7]);
    }
}
