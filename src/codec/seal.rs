//! Seals: 16 bytes beside everything that a store writes, which tie it to its place.
//!
//! The seal of plain (not encrypted) bytes is their XXH3-128, seeded with the place at which they
//! lie and with the store that they belong to. A place is the sequence number of a segment, which
//! is never used twice, and an offset in it, which is written once while the segment has that
//! number. So a flipped bit does not open, and neither do bytes that are in order but belong
//! elsewhere: a stale block, a misdirected write, another store's segment.

use std::fmt;

use twox_hash::XxHash3_128;

/// How long a seal is, in bytes.
pub const TAG_BYTES: usize = 16;

/// What a place multiplies by: 2^64 divided by the golden ratio, so that near places get far seeds.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// Where sealed bytes lie.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Place {
    /// The sequence number of the segment.
    pub seq: u64,
    /// The offset in the segment, in bytes.
    pub offset: u32,
}

/// Bytes that are not what was sealed at their place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broken;

/// Seals and opens the bytes of one store.
#[derive(Clone, Copy, Debug)]
pub struct Sealer {
    salt: u64,
}

impl Sealer {
    /// The sealer of the store with this identity.
    pub fn new(uuid: &[u8; 16]) -> Self {
        let mut salt = [0; 8];
        salt.copy_from_slice(&XxHash3_128::oneshot(uuid).to_le_bytes()[..8]);
        Self {
            salt: u64::from_le_bytes(salt),
        }
    }

    /// The seal of `bytes` at `place`.
    pub fn tag(self, place: Place, bytes: &[u8]) -> [u8; TAG_BYTES] {
        let seed = self
            .salt
            .wrapping_add(place.seq)
            .wrapping_mul(SPREAD)
            .wrapping_add(u64::from(place.offset));
        XxHash3_128::oneshot_with_seed(seed, bytes).to_le_bytes()
    }

    /// Whether `bytes`, with their seal behind them, were sealed at `place`; gives the bytes alone.
    ///
    /// # Errors
    /// [`Broken`] if they were not, or are shorter than a seal.
    pub fn open(self, place: Place, sealed: &[u8]) -> Result<&[u8], Broken> {
        let (bytes, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(Broken)?;
        match self.tag(place, bytes) == *tag {
            true => Ok(bytes),
            false => Err(Broken),
        }
    }

    /// Writes the seal of all but the last 16 bytes of `room` into these.
    ///
    /// # Panics
    /// If `room` is shorter than a seal.
    pub fn close(self, place: Place, room: &mut [u8]) {
        let (bytes, tag) = room
            .split_last_chunk_mut::<TAG_BYTES>()
            .expect("room for a seal");
        *tag = self.tag(place, bytes);
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it does not open: its seal is not the one of these bytes at this place")
    }
}

impl std::error::Error for Broken {}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Place = Place { seq: 7, offset: 64 };

    #[test]
    fn what_was_sealed_opens_only_at_its_place_and_in_its_store() {
        let sealer = Sealer::new(&[1; 16]);
        let mut bytes = vec![5; 100];
        sealer.close(HERE, &mut bytes);
        assert_eq!(sealer.open(HERE, &bytes), Ok(&[5; 84][..]));
        let elsewhere = [
            Place { seq: 8, ..HERE },
            Place { offset: 80, ..HERE },
            Place { seq: 6, offset: 0 },
        ];
        for place in elsewhere {
            assert_eq!(sealer.open(place, &bytes), Err(Broken));
        }
        assert_eq!(Sealer::new(&[2; 16]).open(HERE, &bytes), Err(Broken));
    }

    #[test]
    fn every_flipped_bit_breaks_the_seal() {
        let sealer = Sealer::new(&[1; 16]);
        let mut bytes = vec![0; 64];
        sealer.close(HERE, &mut bytes);
        for bit in 0..64 * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(sealer.open(HERE, &bytes), Err(Broken), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(sealer.open(HERE, &bytes[..8]), Err(Broken));
    }
}
