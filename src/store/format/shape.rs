//! How a store is divided: what is fixed when it is made.

use super::{BLOCK, FANOUT, Malformed, Ptr, SYSTEM_BYTES};
use crate::codec::Place;
use crate::store::format::Seq;

/// The entries of a node: what lies below each of its 512 parts.
pub type NodeEntries = [Ptr; FANOUT];

/// The division of a store into segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    seg_shift: u8,
    block_shift: u8,
    segs: u32,
}

impl Shape {
    /// The largest number of segments: 16,777,216, so that the list of the table's pages stays
    /// small. 64 TiB at 4 MiB, 1 PiB at 64 MiB.
    pub const SEGS_MAX: u32 = 1 << 24;

    /// The smallest segment: 128 KiB. Only tests make such small ones.
    pub const SEG_SHIFT_MIN: u8 = 17;

    /// The largest segment: 64 MiB, what a pointer can reach.
    pub const SEG_SHIFT_MAX: u8 = 26;

    /// Segments that a store has at least, beside those of the system area.
    pub const SEGS_MIN: u32 = 16;

    /// A store of `bytes` bytes in segments of 2^`seg_shift`, on a backend whose blocks have
    /// 2^`block_shift` bytes. What does not fill a segment is not used.
    ///
    /// # Errors
    /// If a part is out of its range.
    pub fn new(bytes: u64, seg_shift: u8, block_shift: u8) -> Result<Self, Malformed> {
        if !(Self::SEG_SHIFT_MIN..=Self::SEG_SHIFT_MAX).contains(&seg_shift) {
            return Err(Malformed("a segment size that is not 128 KiB to 64 MiB"));
        }
        if !(9..=12).contains(&block_shift) {
            return Err(Malformed("a backend block that is not 512 to 4096 bytes"));
        }
        let segs = u32::try_from(bytes >> seg_shift).unwrap_or(u32::MAX);
        let shape = Self {
            seg_shift,
            block_shift,
            segs,
        };
        if segs > Self::SEGS_MAX {
            return Err(Malformed("more than 2^24 segments; use larger segments"));
        }
        if segs < shape.first_seg() + Self::SEGS_MIN {
            return Err(Malformed(
                "too small for a store: it needs the system area \
                and 16 segments",
            ));
        }
        Ok(shape)
    }

    /// The binary logarithm of a segment's size.
    pub const fn seg_shift(self) -> u8 {
        self.seg_shift
    }

    /// The binary logarithm of the backend's block.
    pub const fn block_shift(self) -> u8 {
        self.block_shift
    }

    /// The size of a segment in bytes.
    pub const fn seg_bytes(self) -> u32 {
        1 << self.seg_shift
    }

    /// The backend's block in bytes.
    pub const fn block(self) -> u32 {
        1 << self.block_shift
    }

    /// How many segments there are, those of the system area included.
    pub const fn segs(self) -> u32 {
        self.segs
    }

    /// The first segment behind the system area.
    pub const fn first_seg(self) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "at most 16")]
        {
            SYSTEM_BYTES.div_ceil(1 << self.seg_shift) as u32
        }
    }

    /// How many bytes of the backend the store uses.
    pub const fn bytes(self) -> u64 {
        (self.segs as u64) << self.seg_shift
    }

    /// Where `offset` of segment `seg` lies on the backend.
    pub const fn backend_offset(self, seg: u32, offset: u32) -> u64 {
        ((seg as u64) << self.seg_shift) + offset as u64
    }

    /// `bytes` rounded up to the backend's block.
    pub const fn round_up(self, bytes: u32) -> u32 {
        bytes.next_multiple_of(self.block())
    }

    /// Whether what `ptr` points to lies inside a segment that can hold data.
    pub const fn holds(self, ptr: Ptr) -> bool {
        ptr.is_sound()
            && ptr.seg() >= self.first_seg()
            && ptr.seg() < self.segs
            && ptr.end() <= self.seg_bytes() as u64
    }

    /// The place that seals what `ptr` points to, in a segment numbered `seq`.
    pub const fn place(ptr: Ptr, seq: Seq) -> Place {
        Place {
            seq: seq.bits(),
            offset: ptr.offset(),
        }
    }

    /// How many levels of nodes a tree over `bytes` bytes has: at least one.
    pub fn height(bytes: u64) -> u8 {
        let mut height = 1;
        let mut reach = (BLOCK * FANOUT) as u64;
        while reach < bytes {
            reach = reach.saturating_mul(FANOUT as u64);
            height += 1;
        }
        height
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_height_reaches_the_size_and_no_further() {
        for (bytes, height) in [
            (512, 1),
            (2 << 20, 1),
            ((2 << 20) + 1, 2),
            (1 << 30, 2),
            ((1 << 30) + 1, 3),
            (1 << 40, 4),
            (u64::MAX, 6),
        ] {
            assert_eq!(Shape::height(bytes), height, "{bytes}");
        }
    }

    #[test]
    fn a_shape_out_of_range_is_refused() {
        assert!(Shape::new(64 << 20, 20, 9).is_ok());
        for (bytes, seg, block) in [
            (64 << 20, 16, 9),
            (64 << 20, 27, 9),
            (64 << 20, 20, 8),
            (64 << 20, 20, 13),
            (1 << 20, 20, 9),
            (u64::MAX, 26, 9),
        ] {
            assert!(Shape::new(bytes, seg, block).is_err());
        }
    }
}
