//! Blocks that say what they are: which write made them, and for which place.
//!
//! A block that is read back is either zeroes, or exactly what one write was given for one place,
//! or garbage; nothing else can be mistaken for it. So a stale block, a misplaced one and one that
//! is half of two are each told apart from the right one.

use std::fmt;

/// The size of a block, in bytes.
pub(crate) const BLOCK: usize = 4096;

/// What a block that is not zeroes begins with.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"soakdata");
const HEAD_BYTES: usize = 24;

/// What a block holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Content {
    /// Zeroes.
    Zero,
    /// What a write made.
    Stamp(Stamp),
}

/// The write that made a block, and where it was to go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Stamp {
    pub(crate) tree: u32,
    pub(crate) op: u32,
    pub(crate) block: u64,
}

impl Content {
    /// Makes `block` hold this.
    pub(crate) fn fill(self, block: &mut [u8]) {
        assert_eq!(block.len(), BLOCK, "one block");
        match self {
            Self::Zero => block.fill(0),
            Self::Stamp(stamp) => stamp.fill(block),
        }
    }

    /// What `block` holds.
    ///
    /// # Errors
    /// What it looks like, if no write has made it.
    pub(crate) fn recognize(block: &[u8]) -> Result<Self, String> {
        assert_eq!(block.len(), BLOCK, "one block");
        if block.iter().all(|byte| *byte == 0) {
            return Ok(Self::Zero);
        }
        let word = |at: usize| u64::from_le_bytes(block[at..at + 8].try_into().expect("8 bytes"));
        if word(0) != MAGIC {
            return Err(format!("bytes that nobody wrote: {:02x?}...", &block[..16]));
        }
        let half = |at: usize| u32::from_le_bytes(block[at..at + 4].try_into().expect("4 bytes"));
        let stamp = Stamp {
            tree: half(8),
            op: half(12),
            block: word(16),
        };
        let mut whole = [0; BLOCK];
        stamp.fill(&mut whole);
        match block.iter().zip(&whole).position(|(is, was)| is != was) {
            None => Ok(Self::Stamp(stamp)),
            Some(at) => Err(format!("{stamp}, but not as written from byte {at} on")),
        }
    }
}

impl Stamp {
    fn fill(self, block: &mut [u8]) {
        block[..8].copy_from_slice(&MAGIC.to_le_bytes());
        block[8..12].copy_from_slice(&self.tree.to_le_bytes());
        block[12..16].copy_from_slice(&self.op.to_le_bytes());
        block[16..HEAD_BYTES].copy_from_slice(&self.block.to_le_bytes());
        let head = (u64::from(self.op) << 32) ^ u64::from(self.tree);
        let seed = (head ^ self.block.rotate_left(17)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        // Every third one compresses well, and every third one some more or less.
        let flat_from = match self.op % 3 {
            0 => HEAD_BYTES,
            1 => BLOCK - usize::try_from(seed >> 53).expect("below 2048"),
            _ => BLOCK,
        };
        let mut word = seed | 1;
        for (index, place) in block[HEAD_BYTES..].chunks_exact_mut(8).enumerate() {
            let mixed = (word ^ (word >> 29)).wrapping_mul(0x94D0_49BB_1331_11EB);
            place.copy_from_slice(&(mixed ^ (mixed >> 32)).to_le_bytes());
            if HEAD_BYTES + index * 8 < flat_from {
                word = word.wrapping_add(0xBF58_476D_1CE4_E5B9);
            }
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero => f.write_str("zeroes"),
            Self::Stamp(stamp) => stamp.fmt(f),
        }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tree, op, block } = self;
        write!(f, "the data of op {op} for block {block} of tree {tree}")
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_recognized_and_a_damaged_one_is_not() {
        for op in 0..9 {
            let stamp = Stamp {
                tree: 3,
                op,
                block: 1 << 40,
            };
            let mut block = [0; BLOCK];
            Content::Stamp(stamp).fill(&mut block);
            assert_eq!(Content::recognize(&block), Ok(Content::Stamp(stamp)));
            for at in [0, 9, 20, 24, 100, 4095] {
                block[at] ^= 1;
                assert!(Content::recognize(&block).is_err(), "byte {at}");
                block[at] ^= 1;
            }
        }
        assert_eq!(Content::recognize(&[0; BLOCK]), Ok(Content::Zero));
    }
}
