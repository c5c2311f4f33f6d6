//! What the segment table keeps of each segment.

use std::fmt;

use super::fields::{put, u16_at, u32_at, u64_at};
use super::{BLOCK, Malformed};

/// How long an entry of the segment table is, in bytes.
pub const INFO_BYTES: usize = 16;

/// Entries of a page of the segment table.
pub const INFOS_PER_PAGE: usize = BLOCK / INFO_BYTES;

const COUNTER_BITS: u32 = 40;

/// The sequence number of a segment: which mount of the store took it, and which one of all that
/// were ever taken it is. No number is used twice, so it says which incarnation of a segment
/// something belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Seq(u64);

/// What a segment is used for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
pub enum SegState {
    /// Nothing; it may be taken.
    #[default]
    Free = 0,
    /// Batches of the log.
    Log = 1,
    /// Chunks that garbage collection has moved.
    Gc = 2,
    /// Nodes, pages of this table, root blobs.
    Meta = 3,
    /// Something in it cannot be read; it is not used again.
    Bad = 4,
    /// Superblocks and key slots.
    System = 5,
}

/// What the segment table keeps of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SegInfo {
    /// Its sequence number; that of its last use if it is free.
    pub seq: Seq,
    /// Bytes in it that were reachable when garbage collection last counted. A hint for choosing
    /// victims, except that 0 is exact for free segments.
    pub live: u32,
    /// What it is used for.
    pub state: SegState,
    /// How often what is in it has survived garbage collection: the higher, the colder.
    pub age: u8,
    /// Whether one of its chunks may be the content of several blocks, so that counting what is
    /// reachable has to tell them apart.
    pub shared: bool,
    /// Whether everything is there that its trailer lists, if that opens. After a crash a trailer
    /// may be durable while what it lists is not.
    pub listed: bool,
}

impl Seq {
    /// How many mounts there can be.
    pub const EPOCHS: u32 = 1 << 24;

    /// How many segments can ever be taken.
    pub const COUNTERS: u64 = 1 << COUNTER_BITS;

    /// The number of what mount `epoch` took as number `counter` of all; 24 and 40 bits.
    ///
    /// # Panics
    /// If one of them is larger.
    pub fn new(epoch: u32, counter: u64) -> Self {
        assert!(epoch < Self::EPOCHS, "epoch {epoch}");
        assert!(counter < Self::COUNTERS, "counter {counter}");
        Self(u64::from(epoch) << COUNTER_BITS | counter)
    }

    /// The number with these bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits, as they are stored.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The mount that took the segment.
    pub const fn epoch(self) -> u32 {
        (self.0 >> COUNTER_BITS) as u32
    }

    /// Which of all segments ever taken it is.
    pub const fn counter(self) -> u64 {
        self.0 & (Self::COUNTERS - 1)
    }
}

impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch(), self.counter())
    }
}

impl SegState {
    fn from_byte(byte: u8) -> Result<Self, Malformed> {
        Ok(match byte {
            0 => Self::Free,
            1 => Self::Log,
            2 => Self::Gc,
            3 => Self::Meta,
            4 => Self::Bad,
            5 => Self::System,
            _ => return Err(Malformed("an unknown state of a segment")),
        })
    }
}

impl SegInfo {
    /// Writes the entry into `to`, [`INFO_BYTES`] long.
    pub fn encode(&self, to: &mut [u8]) {
        put(to, 0, &self.seq.bits().to_le_bytes());
        put(to, 8, &self.live.to_le_bytes());
        put(to, 12, &[self.state as u8, self.age]);
        let marks = u16::from(self.shared) | u16::from(self.listed) << 1;
        put(to, 14, &marks.to_le_bytes());
    }

    /// Reads an entry from `from`, [`INFO_BYTES`] long.
    ///
    /// # Errors
    /// If the state is none.
    pub fn decode(from: &[u8]) -> Result<Self, Malformed> {
        let marks = u16_at(from, 14);
        if marks > 3 {
            return Err(Malformed("an unknown mark of a segment"));
        }
        Ok(Self {
            seq: Seq::from_bits(u64_at(from, 0)),
            live: u32_at(from, 8),
            state: SegState::from_byte(from[12])?,
            age: from[13],
            shared: marks & 1 != 0,
            listed: marks & 2 != 0,
        })
    }
}
