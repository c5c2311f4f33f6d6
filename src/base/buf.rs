//! Owned, page-aligned memory for the data of requests.
//!
//! Direct I/O wants aligned memory, and a ring wants memory that stays where it is until the
//! kernel is done with it; a [`Buf`] is both. It shows a window of its memory, so that a layer may
//! read more than was asked for and hand on the middle without copying. Dropped buffers are kept
//! by the thread that drops them, up to [`POOL_BYTES_MAX`], because mapping fresh
//! pages costs more than the request that uses them.

use std::alloc::{self, Layout};
use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use super::limits::{PAYLOAD_BYTES_MAX, POOL_BYTES_MAX};

/// The alignment of every buffer, in bytes: a page, and enough for direct I/O on any disk.
const ALIGN: usize = 4096;

/// One pool per power of two, from a page to twice the largest payload (unaligned ends grow a
/// request by up to two blocks).
const CLASSES: usize = ((2 * PAYLOAD_BYTES_MAX) / ALIGN).ilog2() as usize + 1;

/// A window of page-aligned memory. Fresh memory is zero; recycled memory holds old data, so
/// whoever fills a buffer fills all of it.
pub struct Buf {
    memory: NonNull<u8>,
    class: usize,
    start: usize,
    len: usize,
}

// SAFETY: a Buf owns its memory alone, as a Vec does; the pool it came from is not tied to it.
unsafe impl Send for Buf {}
// SAFETY: a shared Buf only gives out shared slices of the memory it owns.
unsafe impl Sync for Buf {}

impl Buf {
    /// A buffer of `len` bytes of unspecified contents.
    ///
    /// # Panics
    /// If `len` is more than twice [`PAYLOAD_BYTES_MAX`].
    pub fn new(len: usize) -> Self {
        let class = class_of(len);
        let memory = POOL
            .with_borrow_mut(|pool| pool.take(class))
            .unwrap_or_else(|| allocate(class));
        Self {
            memory,
            class,
            start: 0,
            len,
        }
    }

    /// A buffer of `len` zeroes.
    pub fn zeroed(len: usize) -> Self {
        let mut buf = Self::new(len);
        buf.fill(0);
        buf
    }

    /// Shows only the bytes from `from` up to `to` of what is shown now.
    ///
    /// # Panics
    /// If that is not inside what is shown now.
    #[must_use]
    pub fn window(mut self, from: usize, to: usize) -> Self {
        assert!(
            from <= to && to <= self.len,
            "a window of {} bytes does not reach from {from} to {to}",
            self.len
        );
        self.start += from;
        self.len = to - from;
        self
    }

    /// Shows the last `len` bytes up to the end of what is shown now: the opposite of taking a
    /// window up to the end.
    ///
    /// # Panics
    /// If the memory does not begin that early.
    #[must_use]
    pub fn widen(mut self, len: usize) -> Self {
        let end = self.start + self.len;
        assert!(len <= end, "{len} bytes before {end}");
        self.start = end - len;
        self.len = len;
        self
    }

    /// The bytes that this buffer occupies in memory, shown or not.
    pub fn capacity(&self) -> usize {
        class_bytes(self.class)
    }
}

impl From<&[u8]> for Buf {
    fn from(bytes: &[u8]) -> Self {
        let mut buf = Self::new(bytes.len());
        buf.copy_from_slice(bytes);
        buf
    }
}

impl Deref for Buf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: start + len lies within the allocation (kept by `window`), the memory was
        // zeroed when it was allocated, and it is owned by self.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(self.start), self.len) }
    }
}

impl AsRef<[u8]> for Buf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl DerefMut for Buf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; the exclusive borrow of self makes the slice exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr().add(self.start), self.len) }
    }
}

impl fmt::Debug for Buf {
    /// The length only: what is in a buffer belongs to a guest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buf({} bytes)", self.len)
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        let kept = POOL.try_with(|pool| pool.borrow_mut().put(self.class, self.memory));
        if !kept.unwrap_or(false) {
            release(self.class, self.memory);
        }
    }
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool::new()) };
}

/// The free buffers of one thread, by class.
struct Pool {
    free: [Vec<NonNull<u8>>; CLASSES],
    bytes: usize,
}

impl Pool {
    const fn new() -> Self {
        Self {
            free: [const { Vec::new() }; CLASSES],
            bytes: 0,
        }
    }

    fn take(&mut self, class: usize) -> Option<NonNull<u8>> {
        let memory = self.free[class].pop()?;
        self.bytes -= class_bytes(class);
        Some(memory)
    }

    /// Keeps `memory` unless the pool is full.
    fn put(&mut self, class: usize, memory: NonNull<u8>) -> bool {
        if self.bytes + class_bytes(class) > POOL_BYTES_MAX {
            return false;
        }
        self.bytes += class_bytes(class);
        self.free[class].push(memory);
        true
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for (class, free) in self.free.iter_mut().enumerate() {
            for memory in free.drain(..) {
                release(class, memory);
            }
        }
    }
}

fn class_of(len: usize) -> usize {
    let class = len.max(ALIGN).next_power_of_two().ilog2() - ALIGN.ilog2();
    let class = class as usize;
    assert!(
        class < CLASSES,
        "a buffer of {len} bytes is beyond every limit"
    );
    class
}

const fn class_bytes(class: usize) -> usize {
    ALIGN << class
}

fn layout(class: usize) -> Layout {
    Layout::from_size_align(class_bytes(class), ALIGN).expect("powers of two")
}

fn allocate(class: usize) -> NonNull<u8> {
    let layout = layout(class);
    // SAFETY: the layout's size is not zero.
    let memory = unsafe { alloc::alloc_zeroed(layout) };
    NonNull::new(memory).unwrap_or_else(|| alloc::handle_alloc_error(layout))
}

fn release(class: usize, memory: NonNull<u8>) {
    // SAFETY: the memory came from `allocate` with the same class, and its owner has let it go.
    unsafe { alloc::dealloc(memory.as_ptr(), layout(class)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_aligned_and_as_long_as_asked() {
        for len in [0, 1, 4096, 4097, PAYLOAD_BYTES_MAX] {
            let buf = Buf::new(len);
            assert_eq!(buf.len(), len);
            assert_eq!(buf.as_ptr().addr() % ALIGN, 0);
        }
    }

    #[test]
    fn a_window_of_a_window_counts_from_the_window() {
        let bytes: Vec<u8> = (0..100).collect();
        let buf = Buf::from(&bytes[..]).window(10, 50).window(5, 7);
        assert_eq!(&buf[..], &[15, 16]);
    }

    #[test]
    fn a_dropped_buffer_is_used_again() {
        let first = Buf::new(8192).as_ptr();
        assert_eq!(Buf::new(5000).as_ptr(), first);
    }

    #[test]
    #[should_panic(expected = "does not reach")]
    fn a_window_cannot_reach_beyond_its_buffer() {
        let _ = Buf::new(10).window(0, 11);
    }

    #[test]
    fn the_debug_form_shows_no_data() {
        assert_eq!(format!("{:?}", Buf::from(&b"secret"[..])), "Buf(6 bytes)");
    }
}
