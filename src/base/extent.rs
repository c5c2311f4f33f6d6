//! A range of bytes on a disk.

use std::fmt;

/// `bytes` bytes from `offset`. The end never overflows a `u64`, so arithmetic on it is safe.
///
/// A frontend makes an extent once, when a request arrives, and checks it against the size of the
/// disk; below the frontend a range is right by type and is asserted, not checked again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Extent {
    offset: u64,
    bytes: u64,
}

impl Extent {
    /// The range of `bytes` bytes from `offset`, or `None` where its end overflows.
    pub const fn new(offset: u64, bytes: u64) -> Option<Self> {
        match offset.checked_add(bytes) {
            Some(_) => Some(Self { offset, bytes }),
            None => None,
        }
    }

    /// The range from `start` up to, and without, `end`.
    ///
    /// # Panics
    /// If `end` lies before `start`.
    pub const fn between(start: u64, end: u64) -> Self {
        assert!(start <= end, "an extent ends before it starts");
        Self {
            offset: start,
            bytes: end - start,
        }
    }

    /// Where the range begins, in bytes.
    pub const fn offset(self) -> u64 {
        self.offset
    }

    /// How long the range is, in bytes.
    pub const fn bytes(self) -> u64 {
        self.bytes
    }

    /// The first byte after the range.
    pub const fn end(self) -> u64 {
        self.offset + self.bytes
    }

    /// The length as a buffer length.
    ///
    /// # Panics
    /// If the range is longer than an address space; data-carrying requests are bounded by
    /// [`limits::PAYLOAD_BYTES_MAX`](super::limits::PAYLOAD_BYTES_MAX) long before that.
    pub fn len(self) -> usize {
        usize::try_from(self.bytes).expect("an extent that carries data fits in memory")
    }

    /// Whether the range has no bytes.
    pub const fn is_empty(self) -> bool {
        self.bytes == 0
    }

    /// Whether the whole range lies on a disk of `size` bytes.
    pub const fn fits(self, size: u64) -> bool {
        self.end() <= size
    }

    /// Whether both ends are multiples of `block`, a power of two.
    pub const fn is_aligned(self, block: u64) -> bool {
        debug_assert!(block.is_power_of_two());
        (self.offset | self.bytes) & (block - 1) == 0
    }

    /// The smallest aligned range that contains this one. `block` is a power of two.
    pub const fn grow(self, block: u64) -> Self {
        Self::between(
            self.offset & !(block - 1),
            self.end().next_multiple_of(block),
        )
    }

    /// The largest aligned range inside this one, which may be empty. `block` is a power of two.
    pub const fn shrink(self, block: u64) -> Self {
        let start = self.offset.next_multiple_of(block);
        let end = self.end() & !(block - 1);
        if start < end {
            Self::between(start, end)
        } else {
            Self::between(start, start)
        }
    }

    /// Whether the two ranges share a byte.
    pub const fn overlaps(self, other: Self) -> bool {
        self.offset < other.end() && other.offset < self.end()
    }
}

impl fmt::Debug for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.offset, self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(offset: u64, bytes: u64) -> Extent {
        Extent::new(offset, bytes).expect("no overflow")
    }

    #[test]
    fn an_extent_never_overflows() {
        assert_eq!(Extent::new(u64::MAX, 1), None);
        assert_eq!(extent(u64::MAX, 0).end(), u64::MAX);
    }

    #[test]
    fn growing_and_shrinking_reach_block_boundaries() {
        assert_eq!(extent(1, 1).grow(512), extent(0, 512));
        assert_eq!(extent(512, 512).grow(512), extent(512, 512));
        assert_eq!(extent(511, 2).grow(512), extent(0, 1024));
        assert_eq!(extent(1, 1023).shrink(512), extent(512, 512));
        assert!(extent(1, 510).shrink(512).is_empty());
        assert!(extent(513, 100).shrink(512).is_empty());
    }

    #[test]
    fn touching_extents_do_not_overlap() {
        assert!(!extent(0, 512).overlaps(extent(512, 512)));
        assert!(extent(0, 513).overlaps(extent(512, 512)));
    }
}
