//! AES-256-XTS in safe Rust: slower than AWS-LC, and what its answers are checked against.

use std::fmt;

use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes256, Block};

use super::key_error::KeyError;
use super::secret::Secret;
use super::xts::{TWEAK_BYTES, XTS_KEY_BYTES, check_unit, halves};

/// How long a block of AES is, in bytes.
const BLOCK: usize = 16;

/// How many blocks are given to the processor at a time, so that it works on them side by side.
const BATCH: usize = 32;

/// A key for AES-256-XTS, prepared for safe Rust.
pub struct PortableXts {
    data: Aes256,
    tweak: Aes256,
}

impl PortableXts {
    /// Prepares a key of 64 bytes: 32 for the data, then 32 for the tweaks.
    ///
    /// # Errors
    /// [`KeyError::Length`] for another length, [`KeyError::EqualHalves`] if both halves are equal.
    pub fn new(key: &Secret) -> Result<Self, KeyError> {
        let (data, tweak) = halves(key.expose_exactly::<XTS_KEY_BYTES>()?)?;
        Ok(Self {
            data: Aes256::new(data.into()),
            tweak: Aes256::new(tweak.into()),
        })
    }

    /// Encrypts `unit` in place.
    ///
    /// # Panics
    /// If `unit` is shorter than a block or longer than 16 MiB.
    pub fn encrypt(&self, tweak: &[u8; TWEAK_BYTES], unit: &mut [u8]) {
        check_unit(unit);
        let mut mask = self.first_mask(tweak);
        let (whole, rest) = unit.as_chunks_mut::<BLOCK>();
        let encrypt = |blocks: &mut [Block]| self.data.encrypt_blocks(blocks);
        masked(&mut mask, whole, encrypt);
        if let (Some(last), false) = (whole.last_mut(), rest.is_empty()) {
            // The last block lends its end to the rest, and takes the place before it.
            last[..rest.len()].swap_with_slice(rest);
            masked(&mut mask, std::slice::from_mut(last), encrypt);
        }
    }

    /// Decrypts `unit` in place.
    ///
    /// # Panics
    /// If `unit` is shorter than a block or longer than 16 MiB.
    pub fn decrypt(&self, tweak: &[u8; TWEAK_BYTES], unit: &mut [u8]) {
        check_unit(unit);
        let mut mask = self.first_mask(tweak);
        let (whole, rest) = unit.as_chunks_mut::<BLOCK>();
        let decrypt = |blocks: &mut [Block]| self.data.decrypt_blocks(blocks);
        if rest.is_empty() {
            masked(&mut mask, whole, decrypt);
            return;
        }
        let (last, whole) = whole.split_last_mut().expect("a unit has a block");
        masked(&mut mask, whole, decrypt);
        masked(&mut double(mask), std::slice::from_mut(last), decrypt);
        last[..rest.len()].swap_with_slice(rest);
        masked(&mut mask, std::slice::from_mut(last), decrypt);
    }

    fn first_mask(&self, tweak: &[u8; TWEAK_BYTES]) -> u128 {
        let mut block = Block::from(*tweak);
        self.tweak.encrypt_block(&mut block);
        u128::from_le_bytes(block.0)
    }
}

impl fmt::Debug for PortableXts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PortableXts(..)")
    }
}

/// Runs `cipher` over `bytes` between two additions of the masks, of which `mask` is the first; it
/// is then the one for what follows.
fn masked(mask: &mut u128, bytes: &mut [[u8; BLOCK]], cipher: impl Fn(&mut [Block])) {
    let mut masks = [0; BATCH];
    let mut blocks = [Block::default(); BATCH];
    for batch in bytes.chunks_mut(BATCH) {
        let blocks = &mut blocks[..batch.len()];
        for ((bytes, block), used) in batch.iter().zip(&mut *blocks).zip(&mut masks) {
            *used = *mask;
            *block = (u128::from_le_bytes(*bytes) ^ *mask).to_le_bytes().into();
            *mask = double(*mask);
        }
        cipher(blocks);
        for ((bytes, block), used) in batch.iter_mut().zip(&*blocks).zip(&masks) {
            *bytes = (u128::from_le_bytes(block.0) ^ used).to_le_bytes();
        }
    }
}

/// Twice `mask` in the field of 2^128 elements that XTS is defined over. Takes the same time for
/// every mask.
const fn double(mask: u128) -> u128 {
    const POLYNOMIAL: u128 = 0x87;
    (mask << 1) ^ ((mask >> 127).wrapping_neg() & POLYNOMIAL)
}
