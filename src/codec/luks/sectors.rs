//! AES-256-XTS over whole sectors, with `plain64` tweaks.

use std::fmt;

use super::error::LuksError;
use crate::codec::{Numbering, Secret, XTS_KEY_BYTES, Xts};

/// What sectors are counted in, whatever their size, in bytes. Not with sectors of 4096 bytes
/// either: dm-crypt does so only when told to (`iv_large_sectors`), and LUKS2 does not tell it.
const COUNTED_BYTES: u64 = 512;

/// How long the key of a disk is, in bytes.
pub(super) const KEY_BYTES: usize = XTS_KEY_BYTES;

/// Encrypts and decrypts the sectors of a disk, from any thread.
pub struct SectorCipher {
    xts: Xts,
    sector_bytes: usize,
    /// The tweak of the first sector.
    first: u64,
}

impl SectorCipher {
    /// For sectors of `sector_bytes` bytes, a multiple of 512, of which the first has the tweak
    /// `first`.
    pub(super) fn new(key: &Secret, sector_bytes: usize, first: u64) -> Result<Self, LuksError> {
        let unsafe_key = |_| LuksError::Damaged("its key is none for AES-256-XTS");
        Ok(Self {
            xts: Xts::new(key).map_err(unsafe_key)?,
            sector_bytes,
            first,
        })
    }

    /// How long a sector is, in bytes: a power of two, 512 to 4096.
    pub fn sector_bytes(&self) -> u64 {
        self.sector_bytes as u64
    }

    /// Encrypts `bytes`, whole sectors that lie at `offset`, in place.
    ///
    /// # Panics
    /// If these are not whole sectors.
    pub fn encrypt(&self, offset: u64, bytes: &mut [u8]) {
        self.xts
            .encrypt_sectors(self.numbering(offset, bytes), bytes);
    }

    /// Decrypts `bytes`, whole sectors that lie at `offset`, in place.
    ///
    /// # Panics
    /// If these are not whole sectors.
    pub fn decrypt(&self, offset: u64, bytes: &mut [u8]) {
        self.xts
            .decrypt_sectors(self.numbering(offset, bytes), bytes);
    }

    fn numbering(&self, offset: u64, bytes: &[u8]) -> Numbering {
        let (sector, len) = (self.sector_bytes(), bytes.len() as u64);
        assert!(
            offset.is_multiple_of(sector) && len.is_multiple_of(sector),
            "{len} bytes at {offset} are not sectors of {sector}"
        );
        Numbering {
            first: self.first.wrapping_add(offset / COUNTED_BYTES),
            step: sector / COUNTED_BYTES,
            sector_bytes: self.sector_bytes,
        }
    }
}

impl fmt::Debug for SectorCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SectorCipher({} bytes, ..)", self.sector_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Secret {
        Secret::new((0..64).collect())
    }

    fn cipher(sector_bytes: usize, first: u64) -> SectorCipher {
        SectorCipher::new(&key(), sector_bytes, first).expect("a good key")
    }

    #[test]
    fn a_sector_is_counted_in_units_of_512_bytes() {
        let plain = [5; 8192];
        let mut whole = plain;
        cipher(4096, 3).encrypt(4096, &mut whole);
        let mut alone = plain[4096..].to_vec();
        let xts = Xts::new(&key()).expect("a good key");
        xts.encrypt(&crate::codec::sector_tweak(3 + 16), &mut alone);
        assert_eq!(whole[4096..], alone);
        cipher(4096, 3).decrypt(4096, &mut whole);
        assert_eq!(whole, plain);
    }

    #[test]
    fn where_a_request_begins_makes_no_difference() {
        let mut whole = [9; 4096];
        cipher(512, u64::MAX - 3).encrypt(0, &mut whole);
        for sector in 0..8 {
            let mut part = [9; 512];
            cipher(512, u64::MAX - 3).encrypt(sector * 512, &mut part);
            let from = usize::try_from(sector).expect("small") * 512;
            assert_eq!(whole[from..from + 512], part);
        }
    }

    #[test]
    #[should_panic(expected = "are not sectors of 512")]
    fn only_whole_sectors_are_taken() {
        cipher(512, 0).encrypt(512, &mut [0; 513]);
    }

    #[test]
    fn equal_halves_are_no_key() {
        assert!(SectorCipher::new(&Secret::new(vec![1; 64]), 512, 0).is_err());
        assert_eq!(
            format!("{:?}", cipher(512, 0)),
            "SectorCipher(512 bytes, ..)"
        );
    }
}
