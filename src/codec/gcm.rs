//! AES-256-GCM: what it sealed does not open if anybody changed it.
//!
//! The bytes are encrypted in place, the tag is apart. The nonce comes from the caller, who must
//! never seal twice with the same nonce and key: two such ciphertexts give away both plaintexts and
//! the means to forge tags. A store uses the place of the bytes, which is written once.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::key_error::KeyError;
use super::seal::Broken;
use super::secret::{KEY_BYTES, Secret};

/// How long a nonce is, in bytes.
pub const NONCE_BYTES: usize = 12;

/// How long the tag is, in bytes.
pub const GCM_TAG_BYTES: usize = 16;

/// A key for AES-256-GCM, ready to use from any thread.
pub struct Gcm(LessSafeKey);

impl Gcm {
    /// Prepares a key of 32 bytes.
    ///
    /// # Errors
    /// [`KeyError::Length`] for a key of another length.
    pub fn new(key: &Secret) -> Result<Self, KeyError> {
        let key = key.expose_exactly::<KEY_BYTES>()?;
        let key = UnboundKey::new(&AES_256_GCM, key).expect("AES-256 takes every 32 bytes");
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Encrypts `bytes` in place and gives the tag over them and over `with`, which stays plain.
    ///
    /// # Panics
    /// If `bytes` are longer than the 64 GiB that one nonce is good for.
    pub fn seal(
        &self,
        nonce: [u8; NONCE_BYTES],
        with: &[u8],
        bytes: &mut [u8],
    ) -> [u8; GCM_TAG_BYTES] {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(with), bytes)
            .expect("less than 64 GiB to seal");
        tag.as_ref().try_into().expect("a tag has 16 bytes")
    }

    /// Decrypts `bytes` in place if they, and `with`, are what was sealed with `nonce`.
    ///
    /// # Errors
    /// [`Broken`] if they are not. What is in `bytes` then is of no use.
    pub fn open(
        &self,
        nonce: [u8; NONCE_BYTES],
        with: &[u8],
        bytes: &mut [u8],
        tag: &[u8; GCM_TAG_BYTES],
    ) -> Result<(), Broken> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        match self
            .0
            .open_in_place_separate_tag(nonce, Aad::from(with), tag, bytes)
        {
            Ok(_) => Ok(()),
            Err(_) => Err(Broken),
        }
    }
}

impl fmt::Debug for Gcm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gcm(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::super::hex::hex;
    use super::*;

    /// Key, nonce, what stays plain, plaintext, ciphertext, tag.
    type Vector = [&'static str; 6];

    const ZERO_KEY: &str = "0000000000000000000000000000000000000000000000000000000000000000";
    const ZERO_NONCE: &str = "000000000000000000000000";
    const KEY: &str = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
    const NONCE: &str = "cafebabefacedbaddecaf888";

    /// The test cases 13 to 16 of McGrew and Viega, "The Galois/Counter Mode of Operation".
    const VECTORS: [Vector; 4] = [
        [
            ZERO_KEY,
            ZERO_NONCE,
            "",
            "",
            "",
            "530f8afbc74536b9a963b4f1c4cb738b",
        ],
        [
            ZERO_KEY,
            ZERO_NONCE,
            "",
            "00000000000000000000000000000000",
            "cea7403d4d606b6e074ec5d3baf39d18",
            "d0d1c8a799996bf0265b98b5d48ab919",
        ],
        [
            KEY,
            NONCE,
            "",
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
             1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad",
            "b094dac5d93471bdec1a502270e3cc6c",
        ],
        [
            KEY,
            NONCE,
            "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
             1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
            "76fc6ece0f4e1768cddf8853bb2d551b",
        ],
    ];

    #[test]
    fn published_vectors_come_out() {
        for [key, nonce, with, plain, sealed, tag] in VECTORS {
            let gcm = Gcm::new(&Secret::new(hex(key))).expect("a key of 32 bytes");
            let nonce = hex(nonce).try_into().expect("a nonce of 12 bytes");
            let (with, mut bytes) = (hex(with), hex(plain));
            let made = gcm.seal(nonce, &with, &mut bytes);
            assert_eq!((bytes.clone(), &made[..]), (hex(sealed), &hex(tag)[..]));
            assert_eq!(gcm.open(nonce, &with, &mut bytes, &made), Ok(()));
            assert_eq!(bytes, hex(plain));
        }
    }

    #[test]
    fn what_was_changed_does_not_open() {
        let gcm = Gcm::new(&Secret::new(vec![3; 32])).expect("a key of 32 bytes");
        let nonce = [9; NONCE_BYTES];
        let mut sealed = *b"forty bytes, which are two and a half bl";
        let tag = gcm.seal(nonce, b"with", &mut sealed);
        let opens = |nonce, with: &[u8], mut bytes: [u8; 40], tag| {
            gcm.open(nonce, with, &mut bytes, &tag).is_ok()
        };
        assert!(opens(nonce, b"with", sealed, tag));
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!opens(nonce, b"with", changed, tag), "bit {bit}");
        }
        for bit in 0..GCM_TAG_BYTES * 8 {
            let mut changed = tag;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(
                !opens(nonce, b"with", sealed, changed),
                "bit {bit} of the tag"
            );
        }
        assert!(!opens([8; NONCE_BYTES], b"with", sealed, tag));
        assert!(!opens(nonce, b"wits", sealed, tag));
    }

    #[test]
    fn only_a_key_of_32_bytes_is_taken() {
        let wrong = |len| Gcm::new(&Secret::new(vec![1; len])).err();
        assert_eq!(wrong(32), None);
        assert_eq!(wrong(16), Some(KeyError::Length { want: 32, have: 16 }));
        assert_eq!(wrong(64), Some(KeyError::Length { want: 32, have: 64 }));
    }
}
