//! What a LUKS header says, whichever version it has, and how a passphrase becomes the key of the
//! disk.

use std::num::NonZeroU32;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use zeroize::Zeroizing;

use super::error::LuksError;
use super::hash::Hash;
use super::kdf::{Kdf, PBKDF2_ITERATIONS_MAX};
use super::sectors::{KEY_BYTES, SectorCipher};
use super::stripes::{STRIPES, merge};
use crate::base::Extent;
use crate::codec::Secret;

/// The one cipher that is known, as LUKS2 writes it.
pub(super) const CIPHER: &str = "aes-xts-plain64";

/// The same with the length of the key, as it is said to people.
pub(super) const CIPHER_AND_KEY: &str = "aes-xts-plain64 with a key of 64 bytes";

/// How long the stripes of a key slot are, in bytes: whole sectors.
pub(super) const AREA_BYTES: usize = KEY_BYTES * STRIPES;

const _: () = assert!(AREA_BYTES.is_multiple_of(AREA_SECTOR_BYTES));

/// What the area of a key slot is encrypted by.
pub(super) const AREA_SECTOR_BYTES: usize = 512;

/// A header that makes sense.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// The version of the format, 1 or 2.
    pub version: u16,
    /// Where the encrypted disk lies.
    pub payload: Payload,
    pub(super) digest: KeyDigest,
    /// By number, those in use.
    pub(super) slots: Vec<(u32, Result<Slot, LuksError>)>,
}

/// Where the encrypted disk lies, and how its sectors are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Payload {
    /// The bytes of it: whole sectors, at least one.
    pub at: Extent,
    /// How long a sector is, in bytes: a power of two, 512 to 4096.
    pub sector_bytes: usize,
    /// The tweak of the first sector.
    pub first_tweak: u64,
}

/// A key slot: the key of the disk, for one passphrase.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slot {
    pub(super) kdf: Kdf,
    /// Merges the stripes.
    pub(super) hash: Hash,
    /// The stripes, encrypted.
    pub(super) area: Extent,
}

/// What tells the key of the disk from other keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct KeyDigest {
    pub(super) hash: Hash,
    pub(super) iterations: NonZeroU32,
    pub(super) salt: Vec<u8>,
    pub(super) digest: Vec<u8>,
}

impl Header {
    /// The key slots that are in use, by number. One that makes no sense does not keep the others
    /// from being tried; it is to be reported.
    pub fn slots(&self) -> impl Iterator<Item = (u32, Result<&Slot, &LuksError>)> {
        self.slots
            .iter()
            .map(|(number, slot)| (*number, slot.as_ref()))
    }

    /// What encrypts the payload, if `secret` opens `slot`, whose stripes are `area`; `None` if it
    /// does not.
    ///
    /// # Errors
    /// If memory is short, or no honest program made that key.
    ///
    /// # Panics
    /// If `area` is not as long as [`Slot::area`].
    pub fn unlock(
        &self,
        slot: &Slot,
        secret: &Secret,
        area: &[u8],
    ) -> Result<Option<SectorCipher>, LuksError> {
        let key = slot.unlock(secret, area)?;
        if !self.digest.is_of(&key) {
            return Ok(None);
        }
        let Payload {
            sector_bytes,
            first_tweak,
            ..
        } = self.payload;
        SectorCipher::new(&key, sector_bytes, first_tweak).map(Some)
    }
}

impl Payload {
    /// From `offset` on, `bytes` bytes or all that a disk of `disk_bytes` bytes has.
    ///
    /// # Errors
    /// If there is not a single sector, or the disk ends before.
    pub(super) fn new(
        offset: u64,
        bytes: Option<u64>,
        disk_bytes: u64,
        sector_bytes: usize,
        first_tweak: u64,
    ) -> Result<Self, LuksError> {
        let rest = disk_bytes.checked_sub(offset).ok_or(LuksError::TooSmall)?;
        let bytes = bytes.unwrap_or(rest);
        // A last sector that is not whole belongs to nobody, as with dm-crypt.
        let whole = bytes - bytes % sector_bytes as u64;
        if bytes > rest || whole == 0 {
            return Err(LuksError::TooSmall);
        }
        Ok(Self {
            at: Extent::between(offset, offset + whole),
            sector_bytes,
            first_tweak,
        })
    }
}

impl Slot {
    /// Where its stripes are.
    pub fn area(&self) -> Extent {
        self.area
    }

    /// What the stripes come to for `secret`, right or wrong.
    fn unlock(&self, secret: &Secret, area: &[u8]) -> Result<Secret, LuksError> {
        assert_eq!(area.len(), AREA_BYTES, "all stripes of a key");
        let key = self.kdf.derive(secret.expose(), KEY_BYTES)?;
        let mut stripes = Zeroizing::new(area.to_vec());
        SectorCipher::new(&key, AREA_SECTOR_BYTES, 0)?.decrypt(0, &mut stripes);
        Ok(merge(self.hash, KEY_BYTES, &stripes))
    }
}

impl KeyDigest {
    pub(super) fn new(
        hash: Hash,
        iterations: u32,
        salt: &[u8],
        digest: &[u8],
    ) -> Result<Self, LuksError> {
        let none = LuksError::Damaged("the digest of its key has no iterations");
        let iterations = NonZeroU32::new(iterations).ok_or(none)?;
        if iterations.get() > PBKDF2_ITERATIONS_MAX {
            return Err(LuksError::TooCostly);
        }
        // With fewer bytes of digest a wrong key would pass for the right one.
        if !(16..=64).contains(&digest.len()) || salt.len() > 128 {
            return Err(LuksError::Damaged("the digest of its key"));
        }
        Ok(Self {
            hash,
            iterations,
            salt: salt.to_vec(),
            digest: digest.to_vec(),
        })
    }

    fn is_of(&self, key: &Secret) -> bool {
        let mut digest = vec![0; self.digest.len()];
        let hash = self.hash;
        hash.stretch(key.expose(), &self.salt, self.iterations, &mut digest);
        verify_slices_are_equal(&digest, &self.digest).is_ok()
    }
}
