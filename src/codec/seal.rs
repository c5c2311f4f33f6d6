//! Seals: 16 bytes beside everything that a store writes, which tie it to its place.
//!
//! The seal of plain (not encrypted) bytes is their XXH3-128, seeded with the place at which they
//! lie and with the store that they belong to. A place is the sequence number of a segment, which
//! is never used twice, and an offset in it, which is written once while the segment has that
//! number. So a flipped bit does not open, and neither do bytes that are in order but belong
//! elsewhere: a stale block, a misdirected write, another store's segment.
//!
//! In an encrypted store the bytes and their seal are encrypted together, or the cipher's own tag
//! is the seal. What has to stay readable is marked with a keyed hash.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use twox_hash::XxHash3_128;

use super::fingerprint::Fingerprinter;
use super::keyring::{Keyring, Opened};
use super::secret::{Secret, derive};

/// How long a seal is, in bytes.
pub const TAG_BYTES: usize = 16;

/// What a place multiplies by: 2^64 divided by the golden ratio, so that near places get far seeds.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// Where the epoch begins in a sequence number, in bits.
const EPOCH_SHIFT: u32 = 40;

const FINGERPRINT_CONTEXT: &str = "bedplate 2026-11 fingerprints of a store";

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

/// Seals and opens the bytes of one store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sealer {
    salt: u64,
    ring: Option<Arc<Keyring>>,
    fingerprinter: Arc<OnceLock<Fingerprinter>>,
}

impl Place {
    /// The mount that took the segment.
    pub(super) const fn epoch(self) -> u32 {
        (self.seq >> EPOCH_SHIFT) as u32
    }
}

impl Sealer {
    /// The sealer of the store with this identity, which is not encrypted.
    pub fn new(uuid: &[u8; 16]) -> Self {
        let mut salt = [0; 8];
        salt.copy_from_slice(&XxHash3_128::oneshot(uuid).to_le_bytes()[..8]);
        let key = derive(&Secret::copy_of(uuid), FINGERPRINT_CONTEXT, &[]);
        Self {
            salt: u64::from_le_bytes(salt),
            ring: None,
            fingerprinter: Arc::new(OnceLock::from(Fingerprinter::new(&key))),
        }
    }

    /// The same for a store that is encrypted with the keys of this ring.
    pub fn with_keys(uuid: &[u8; 16], ring: Arc<Keyring>) -> Self {
        Self {
            fingerprinter: Arc::default(),
            ring: Some(ring),
            ..Self::new(uuid)
        }
    }

    /// Makes the key known that fingerprints are made with in a store that is encrypted, 32 bytes.
    pub fn learn_fingerprints(&self, key: &Secret) {
        self.fingerprinter.get_or_init(|| Fingerprinter::new(key));
    }

    /// The keys, if the store is encrypted.
    pub fn keys(&self) -> Option<&Keyring> {
        self.ring.as_deref()
    }

    /// What tells which blocks of the store are the same.
    ///
    /// # Panics
    /// If the store is encrypted and its key for this was not made known.
    pub fn fingerprinter(&self) -> &Fingerprinter {
        self.fingerprinter.get().expect("the root was read")
    }

    /// The seal of `bytes` at `place`, which stay as they are.
    pub fn tag(&self, place: Place, bytes: &[u8]) -> [u8; TAG_BYTES] {
        let marked = self
            .ring
            .as_ref()
            .and_then(|ring| ring.mark_at(place, bytes));
        marked.unwrap_or_else(|| self.checksum(place, bytes))
    }

    /// Whether `sealed`, bytes that stayed as they are with their [`tag`](Self::tag) behind them,
    /// were sealed at `place`; gives the bytes alone.
    ///
    /// # Errors
    /// [`Broken`] if they were not, or are shorter than a seal.
    pub fn verify<'a>(&self, place: Place, sealed: &'a [u8]) -> Result<&'a [u8], Broken> {
        let (bytes, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(Broken)?;
        match self.tag(place, bytes) == *tag {
            true => Ok(bytes),
            false => Err(Broken),
        }
    }

    /// Writes the [`tag`](Self::tag) of all but the last 16 bytes of `room` into these.
    ///
    /// # Panics
    /// If `room` is shorter than a seal.
    pub fn mark(&self, place: Place, room: &mut [u8]) {
        let (bytes, tag) = room
            .split_last_chunk_mut::<TAG_BYTES>()
            .expect("room for a seal");
        *tag = self.tag(place, bytes);
    }

    /// Encrypts `bytes`, if the store is encrypted; gives their seal, which is to be kept apart.
    pub fn hide(&self, place: Place, bytes: &mut [u8]) -> [u8; TAG_BYTES] {
        match &self.ring {
            Some(ring) => ring.hide(place, bytes),
            None => self.checksum(place, bytes),
        }
    }

    /// The bytes that were [hidden](Self::hide) as `bytes` with this seal.
    ///
    /// # Errors
    /// [`Broken`] if that was not so, or elsewhere.
    pub fn reveal<'a>(
        &self,
        place: Place,
        bytes: &'a [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<Cow<'a, [u8]>, Broken> {
        if let Some(ring) = &self.ring {
            let mut plain = bytes.to_vec();
            ring.reveal(place, &mut plain, tag)?;
            return Ok(Cow::Owned(plain));
        }
        match self.checksum(place, bytes) == *tag {
            true => Ok(Cow::Borrowed(bytes)),
            false => Err(Broken),
        }
    }

    /// Whether `bytes`, with their seal behind them, were [closed](Self::close) at `place`; gives
    /// the bytes alone, decrypted.
    ///
    /// # Errors
    /// [`Broken`] if they were not, or are shorter than a seal.
    pub fn open<'a>(&self, place: Place, sealed: &'a [u8]) -> Result<Cow<'a, [u8]>, Broken> {
        if self.ring.is_none() {
            return self.checked(place, sealed).map(Cow::Borrowed);
        }
        let mut plain = sealed.to_vec();
        let len = self.open_in_place(place, &mut plain)?.len();
        plain.truncate(len);
        Ok(Cow::Owned(plain))
    }

    /// The same, decrypted where it is. What does not open is worth nothing afterwards.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_in_place<'a>(
        &self,
        place: Place,
        sealed: &'a mut [u8],
    ) -> Result<&'a [u8], Broken> {
        let opened = match &self.ring {
            Some(ring) => ring.open(place, sealed)?,
            None => Opened::ToBeChecked,
        };
        match opened {
            Opened::Authentic => Ok(&sealed[..sealed.len() - TAG_BYTES]),
            Opened::ToBeChecked => self.checked(place, sealed),
        }
    }

    /// The bytes before the checksum, if that is theirs at this place.
    fn checked<'a>(&self, place: Place, sealed: &'a [u8]) -> Result<&'a [u8], Broken> {
        let (bytes, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(Broken)?;
        match self.checksum(place, bytes) == *tag {
            true => Ok(bytes),
            false => Err(Broken),
        }
    }

    /// Writes the seal of all but the last 16 bytes of `room` into these, and encrypts it all if
    /// the store is encrypted.
    ///
    /// # Panics
    /// If `room` is shorter than a seal.
    pub fn close(&self, place: Place, room: &mut [u8]) {
        let (bytes, tag) = room
            .split_last_chunk_mut::<TAG_BYTES>()
            .expect("room for a seal");
        let checksum = self.checksum(place, bytes);
        match &self.ring {
            Some(ring) => ring.close(place, room, checksum),
            None => *tag = checksum,
        }
    }

    fn checksum(&self, place: Place, bytes: &[u8]) -> [u8; TAG_BYTES] {
        let seed = self
            .salt
            .wrapping_add(place.seq)
            .wrapping_mul(SPREAD)
            .wrapping_add(u64::from(place.offset));
        XxHash3_128::oneshot_with_seed(seed, bytes).to_le_bytes()
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
    use super::super::keyring::Cipher;
    use super::*;

    const HERE: Place = Place {
        seq: 3 << 40 | 7,
        offset: 64,
    };

    /// Sealers of the same store: one that does not encrypt, and one with each cipher.
    fn sealers(uuid: u8) -> Vec<Sealer> {
        let mut sealers = vec![Sealer::new(&[uuid; 16])];
        for cipher in Cipher::ALL {
            let ring = Keyring::new(cipher, Secret::copy_of(&[uuid; 32]));
            ring.add(3, [1; 16]);
            ring.add(4, [2; 16]);
            sealers.push(Sealer::with_keys(&[uuid; 16], Arc::new(ring)));
        }
        sealers
    }

    #[test]
    fn what_was_sealed_opens_only_at_its_place_and_in_its_store() {
        for (sealer, other) in sealers(1).iter().zip(sealers(2)) {
            let mut bytes = vec![5; 100];
            sealer.close(HERE, &mut bytes);
            assert_eq!(sealer.open(HERE, &bytes).as_deref(), Ok(&[5; 84][..]));
            let elsewhere = [
                Place {
                    seq: HERE.seq + 1,
                    ..HERE
                },
                Place {
                    seq: HERE.seq + (1 << 40),
                    ..HERE
                },
                Place {
                    seq: HERE.seq + (2 << 40),
                    ..HERE
                },
                Place { offset: 80, ..HERE },
            ];
            for place in elsewhere {
                assert_eq!(sealer.open(place, &bytes), Err(Broken));
            }
            assert_eq!(other.open(HERE, &bytes), Err(Broken));
        }
    }

    #[test]
    fn every_flipped_bit_breaks_the_seal() {
        for sealer in sealers(1) {
            let mut bytes = vec![0; 64];
            sealer.close(HERE, &mut bytes);
            let mut marked = vec![0; 64];
            sealer.mark(HERE, &mut marked);
            let mut hidden = vec![0; 64];
            let tag = sealer.hide(HERE, &mut hidden);
            for bit in 0..64 * 8 {
                for bytes in [&mut bytes, &mut marked, &mut hidden] {
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
                assert_eq!(sealer.open(HERE, &bytes), Err(Broken), "bit {bit}");
                assert_eq!(sealer.verify(HERE, &marked), Err(Broken), "bit {bit}");
                assert_eq!(sealer.reveal(HERE, &hidden, &tag), Err(Broken), "bit {bit}");
                for bytes in [&mut bytes, &mut marked, &mut hidden] {
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
            }
            assert_eq!(sealer.open(HERE, &bytes[..8]), Err(Broken));
            assert_eq!(
                sealer.reveal(HERE, &hidden, &tag).as_deref(),
                Ok(&[0; 64][..])
            );
            assert_eq!(sealer.verify(HERE, &marked), Ok(&[0; 48][..]));
        }
    }

    #[test]
    fn what_is_encrypted_shows_nothing_of_what_it_was() {
        for sealer in &sealers(1)[1..] {
            let mut bytes = b"plaintext".repeat(8);
            sealer.close(HERE, &mut bytes);
            let mut hidden = b"plaintext".repeat(8);
            sealer.hide(HERE, &mut hidden);
            for bytes in [&bytes, &hidden] {
                assert!(
                    bytes
                        .windows(4)
                        .all(|some| !b"plaintextplaintext".windows(4).any(|part| part == some))
                );
            }
        }
    }
}
