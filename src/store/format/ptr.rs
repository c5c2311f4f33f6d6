//! The physical pointer: where a block or a node lies, in 64 bits.

use std::fmt;

use super::{BLOCK, CHUNK_ALIGN};
use crate::codec::{Codec, TAG_BYTES};

const SEG_SHIFT: u32 = 36;
const OFF_SHIFT: u32 = 14;
const OFF_MASK: u64 = (1 << 22) - 1;
const LEN_SHIFT: u32 = 1;
const LEN_MASK: u64 = (1 << 13) - 1;

/// Where sealed bytes lie: segment, offset, length and codec. Zero is a hole.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Ptr(u64);

#[expect(
    clippy::len_without_is_empty,
    reason = "a chunk has bytes; see is_hole"
)]
impl Ptr {
    /// No space is allocated; reads as zeroes.
    pub const HOLE: Self = Self(0);

    /// In a leaf of a ghost: what was there is gone, and another block is there by now. Nothing
    /// real is like it, since the superblocks are in segment 0 and no chunk has no bytes.
    pub const DEAD: Self = Self(1);

    /// A pointer to a chunk of `len` bytes, its seal not counted, at `offset` of segment `seg`.
    ///
    /// # Panics
    /// If a part is out of its range: segment 1 to 2^28 - 1, offset a multiple of 16 below 64 MiB,
    /// length 1 to 4096.
    pub fn new(seg: u32, offset: u32, len: usize, codec: Codec) -> Self {
        assert!(seg > 0 && seg < 1 << 28, "segment {seg}");
        assert!((1..=BLOCK).contains(&len), "a chunk of {len} bytes");
        assert_eq!(offset as usize % CHUNK_ALIGN, 0, "offset {offset}");
        let offset = u64::from(offset) / CHUNK_ALIGN as u64;
        assert!(offset <= OFF_MASK, "offset beyond the largest segment");
        let codec = match codec {
            Codec::Lz4 => 0,
            Codec::Zstd => 1,
        };
        Self(u64::from(seg) << SEG_SHIFT | offset << OFF_SHIFT | (len as u64) << LEN_SHIFT | codec)
    }

    /// A pointer to a whole block or node, stored as it is.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn raw(seg: u32, offset: u32) -> Self {
        Self::new(seg, offset, BLOCK, Codec::Lz4)
    }

    /// The pointer with these bits, whatever they are.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits of the pointer, as they are stored.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether nothing is there.
    pub const fn is_hole(self) -> bool {
        self.0 == 0
    }

    /// Whether what was there is gone.
    pub const fn is_dead(self) -> bool {
        self.0 == Self::DEAD.0
    }

    /// The segment.
    pub const fn seg(self) -> u32 {
        (self.0 >> SEG_SHIFT) as u32
    }

    /// The offset in the segment, in bytes.
    pub const fn offset(self) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "26 bits are left")]
        {
            ((self.0 >> OFF_SHIFT & OFF_MASK) as u32) * CHUNK_ALIGN as u32
        }
    }

    /// The length in bytes, without the seal. In a pointer from a disk it may be anything up to
    /// 8191; see [`is_sound`](Self::is_sound).
    pub const fn len(self) -> usize {
        (self.0 >> LEN_SHIFT & LEN_MASK) as usize
    }

    /// The length in bytes, with the seal.
    pub const fn sealed_len(self) -> usize {
        self.len() + TAG_BYTES
    }

    /// The first byte after the chunk and its seal, as an offset in the segment.
    pub const fn end(self) -> u64 {
        self.offset() as u64 + self.sealed_len() as u64
    }

    /// Whether the chunk is a block as it was written, not compressed.
    pub const fn is_raw(self) -> bool {
        self.len() == BLOCK
    }

    /// How to make a block of the chunk, where it is not raw.
    pub const fn codec(self) -> Codec {
        match self.0 & 1 {
            0 => Codec::Lz4,
            _ => Codec::Zstd,
        }
    }

    /// Whether the parts are in range: a segment that is not 0, a length of 1 to 4096. Holds for
    /// what [`new`](Self::new) made; what came from a disk is asked first.
    pub const fn is_sound(self) -> bool {
        self.seg() > 0 && self.len() >= 1 && self.len() <= BLOCK
    }
}

impl fmt::Debug for Ptr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Ptr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_hole() {
            return f.write_str("hole");
        }
        if self.is_dead() {
            return f.write_str("dead");
        }
        write!(f, "{}+{:#x}", self.seg(), self.offset())?;
        match (self.is_raw(), self.codec()) {
            (true, _) => Ok(()),
            (false, codec) => write!(f, " {:?} {} bytes", codec, self.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_comes_back() {
        let largest = (64 << 20) - 16;
        for (seg, offset, len) in [
            (1, 0, 1),
            (1 << 27, 4112, 100),
            ((1 << 28) - 1, largest, 4096),
        ] {
            for codec in [Codec::Lz4, Codec::Zstd] {
                let ptr = Ptr::new(seg, offset, len, codec);
                assert_eq!((ptr.seg(), ptr.offset(), ptr.len()), (seg, offset, len));
                assert_eq!(ptr.codec(), codec);
                assert!(ptr.is_sound() && !ptr.is_hole());
                assert_eq!(Ptr::from_bits(ptr.bits()), ptr);
            }
        }
    }

    #[test]
    fn bits_that_point_nowhere_are_not_sound() {
        for bits in [0, Ptr::DEAD.bits(), u64::MAX, 4096 << 1, 1 << 36] {
            assert!(!Ptr::from_bits(bits).is_sound(), "{bits:#x}");
        }
    }
}
