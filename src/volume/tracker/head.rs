//! The head of a tracker's file: which bitmaps there are, and since when.
//!
//! Two slots of [`HEAD_BYTES`], written in turns; the one with the higher generation counts, if its
//! checksum is right. All numbers are little-endian.
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 8 | `BPCHANGE` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | bytes of a region, 65536 |
//! | 16 | 8 | generation, counted from 1 |
//! | 24 | 8 | size of the disk, in bytes |
//! | 32 | 4 | era |
//! | 36 | 4 | number of bitmaps, at most 32 |
//! | 40 | | each bitmap: era (4), since, in seconds since 1970 (8), length of the name (2), name |
//! | 16368 | 16 | XXH3-128 of all before, seed 0 |

use twox_hash::XxHash3_128;

use super::REGION_BYTES;
use crate::base::limits::BITMAPS_MAX;
use crate::store::BitmapName;

/// What a slot takes, in bytes.
pub(super) const HEAD_BYTES: usize = 16 << 10;

/// What a head begins with.
pub(super) const MAGIC: &[u8; 8] = b"BPCHANGE";
const VERSION: u32 = 1;
const SUM_BYTES: usize = 16;
const BITMAPS_AT: usize = 40;

/// What is known beside the regions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Head {
    pub(super) generation: u64,
    pub(super) disk_bytes: u64,
    /// What is written now is written in this era.
    pub(super) era: u32,
    pub(super) bitmaps: Vec<TrackedBitmap>,
}

/// A bitmap of a disk that is not of a store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrackedBitmap {
    /// What it is called.
    pub name: String,
    /// It tells what was written in this era or later.
    pub era: u32,
    /// When that began, in seconds since 1970.
    pub since: u64,
}

/// Why a slot says nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BadHead {
    /// Nothing was ever written there.
    Blank,
    /// It was written by a newer version.
    Newer,
    /// It is something else, or damaged.
    Other,
}

impl Head {
    /// The bytes of a slot.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        let region = u32::try_from(REGION_BYTES).expect("64 KiB");
        bytes.extend_from_slice(&region.to_le_bytes());
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        bytes.extend_from_slice(&self.disk_bytes.to_le_bytes());
        bytes.extend_from_slice(&self.era.to_le_bytes());
        let count = u32::try_from(self.bitmaps.len()).expect("few");
        bytes.extend_from_slice(&count.to_le_bytes());
        for bitmap in &self.bitmaps {
            bytes.extend_from_slice(&bitmap.era.to_le_bytes());
            bytes.extend_from_slice(&bitmap.since.to_le_bytes());
            let length = u16::try_from(bitmap.name.len()).expect("names are short");
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(bitmap.name.as_bytes());
        }
        bytes.resize(HEAD_BYTES - SUM_BYTES, 0);
        let sum = XxHash3_128::oneshot(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads a slot.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadHead> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(BadHead::Blank);
        }
        let (body, sum) = bytes
            .split_at_checked(HEAD_BYTES - SUM_BYTES)
            .ok_or(BadHead::Other)?;
        if !body.starts_with(MAGIC) || XxHash3_128::oneshot(body).to_le_bytes() != *sum {
            return Err(BadHead::Other);
        }
        let mut from = &body[MAGIC.len()..];
        let version = u32::from_le_bytes(take(&mut from)?);
        let region = u32::from_le_bytes(take(&mut from)?);
        if version != VERSION || u64::from(region) != REGION_BYTES {
            return Err(BadHead::Newer);
        }
        let mut head = Self {
            generation: u64::from_le_bytes(take(&mut from)?),
            disk_bytes: u64::from_le_bytes(take(&mut from)?),
            era: u32::from_le_bytes(take(&mut from)?),
            bitmaps: Vec::new(),
        };
        let count = u32::from_le_bytes(take(&mut from)?);
        debug_assert_eq!(body.len() - from.len(), BITMAPS_AT);
        if usize::try_from(count).map_or(true, |count| count > BITMAPS_MAX) {
            return Err(BadHead::Other);
        }
        for _ in 0..count {
            let era = u32::from_le_bytes(take(&mut from)?);
            let since = u64::from_le_bytes(take(&mut from)?);
            let length = usize::from(u16::from_le_bytes(take(&mut from)?));
            let (name, rest) = from.split_at_checked(length).ok_or(BadHead::Other)?;
            let name = str::from_utf8(name).map_err(|_| BadHead::Other)?;
            BitmapName::new("disk", name).map_err(|_| BadHead::Other)?;
            from = rest;
            let name = name.to_owned();
            head.bitmaps.push(TrackedBitmap { name, era, since });
        }
        Ok(head)
    }
}

fn take<const N: usize>(from: &mut &[u8]) -> Result<[u8; N], BadHead> {
    let (taken, rest) = from.split_first_chunk().ok_or(BadHead::Other)?;
    *from = rest;
    Ok(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(bitmaps: usize, name: &str) -> Head {
        let bitmap = |index: usize| TrackedBitmap {
            name: format!("{name}{index:02}"),
            era: u32::try_from(index).expect("few"),
            since: 1_700_000_000,
        };
        Head {
            generation: 7,
            disk_bytes: 1 << 40,
            era: 40,
            bitmaps: (0..bitmaps).map(bitmap).collect(),
        }
    }

    #[test]
    fn what_was_written_is_read_also_where_it_is_most() {
        for head in [
            Head::default(),
            head(1, "daily"),
            head(BITMAPS_MAX, &"x".repeat(253)),
        ] {
            let bytes = head.encode();
            assert_eq!(bytes.len(), HEAD_BYTES);
            assert_eq!(Head::decode(&bytes), Ok(head));
        }
    }

    #[test]
    fn what_is_wrong_is_told_from_what_is_not_there() {
        assert_eq!(Head::decode(&[0; HEAD_BYTES]), Err(BadHead::Blank));
        assert_eq!(Head::decode(&[1; HEAD_BYTES]), Err(BadHead::Other));
        assert_eq!(Head::decode(&[1]), Err(BadHead::Other));
        let good = head(3, "daily").encode();
        for at in [0, 9, 20, 45, 5000, HEAD_BYTES - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(Head::decode(&bad), Err(BadHead::Other), "{at}");
        }
    }
}
