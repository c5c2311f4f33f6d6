//! How a passphrase becomes the key of a key slot, within bounds: what it costs is written in the
//! header, and anybody can have written the header.

use std::num::NonZeroU32;

use argon2::{Algorithm, Params};

use super::error::LuksError;
use super::hash::Hash;
use crate::codec::Secret;
use crate::codec::credential::argon2;
use crate::codec::key_error::KeyError;

/// The most iterations of PBKDF2, about half a minute of SHA-256 on a slow core. Who formats a disk
/// spends two seconds, which are some ten million on the fastest there are.
pub const PBKDF2_ITERATIONS_MAX: u32 = 1 << 26;

/// The most memory for Argon2, in KiB: 4 GiB, as cryptsetup's own limit.
pub(super) const ARGON2_KIB_MAX: u32 = 4 << 20;

/// The most memory that Argon2 goes over in all its passes together, in KiB: 128 GiB, about two
/// minutes of one core.
pub(super) const ARGON2_WORK_KIB_MAX: u64 = 128 << 20;

const LANES_MAX: u32 = 16;

/// Salts in bytes: Argon2 takes none below 8, and headers have 32 or 64.
const SALT_BYTES: std::ops::RangeInclusive<usize> = 8..=128;

/// A function from passphrases to keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Kdf {
    way: Way,
    salt: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Way {
    Pbkdf2(Hash, NonZeroU32),
    Argon2(Algorithm, Params),
}

impl Kdf {
    /// PBKDF2.
    ///
    /// # Errors
    /// If it costs nothing or too much, or has no salt.
    pub(super) fn pbkdf2(hash: Hash, iterations: u32, salt: &[u8]) -> Result<Self, LuksError> {
        let none = LuksError::Damaged("a key slot has no iterations");
        let iterations = NonZeroU32::new(iterations).ok_or(none)?;
        if iterations.get() > PBKDF2_ITERATIONS_MAX {
            return Err(LuksError::TooCostly);
        }
        Self::new(Way::Pbkdf2(hash, iterations), salt)
    }

    /// Argon2, with so much memory, so many passes and so many lanes.
    ///
    /// # Errors
    /// As [`pbkdf2`](Self::pbkdf2).
    pub(super) fn argon2(
        algorithm: Algorithm,
        memory_kib: u32,
        passes: u32,
        lanes: u32,
        salt: &[u8],
    ) -> Result<Self, LuksError> {
        let work = u64::from(memory_kib) * u64::from(passes);
        if memory_kib > ARGON2_KIB_MAX || work > ARGON2_WORK_KIB_MAX || lanes > LANES_MAX {
            return Err(LuksError::TooCostly);
        }
        let params = Params::new(memory_kib, passes, lanes, None);
        let params = params.map_err(|_| LuksError::Damaged("a key slot's Argon2 parameters"))?;
        Self::new(Way::Argon2(algorithm, params), salt)
    }

    fn new(way: Way, salt: &[u8]) -> Result<Self, LuksError> {
        match SALT_BYTES.contains(&salt.len()) {
            true => Ok(Self {
                way,
                salt: salt.to_vec(),
            }),
            false => Err(LuksError::Damaged("a salt is too short or too long")),
        }
    }

    /// The key of `bytes` bytes for `secret`.
    ///
    /// # Errors
    /// If memory is short.
    pub(super) fn derive(&self, secret: &[u8], bytes: usize) -> Result<Secret, LuksError> {
        match &self.way {
            Way::Pbkdf2(hash, iterations) => {
                let mut key = vec![0; bytes];
                hash.stretch(secret, &self.salt, *iterations, &mut key);
                Ok(Secret::new(key))
            }
            Way::Argon2(algorithm, params) => {
                let made = argon2(*algorithm, params.clone(), secret, &self.salt, bytes);
                made.map_err(|error| match error {
                    KeyError::Memory(kib) => LuksError::Memory(kib),
                    _ => LuksError::TooCostly,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_header_can_ask_for_all_memory_or_for_hours() {
        let pbkdf2 = |iterations| Kdf::pbkdf2(Hash::Sha256, iterations, &[0; 32]);
        let argon2 = |memory, passes, lanes| {
            let id = Algorithm::Argon2id;
            Kdf::argon2(id, memory, passes, lanes, &[0; 32])
        };
        assert!(pbkdf2(PBKDF2_ITERATIONS_MAX).is_ok());
        assert!(argon2(4 << 20, 32, 4).is_ok());
        let costly = Some(LuksError::TooCostly);
        assert_eq!(pbkdf2(PBKDF2_ITERATIONS_MAX + 1).err(), costly);
        assert_eq!(argon2((4 << 20) + 1, 1, 4).err(), costly);
        assert_eq!(argon2(4 << 20, 33, 4).err(), costly);
        assert_eq!(argon2(32, u32::MAX, 1).err(), costly);
        assert_eq!(argon2(1 << 20, 4, 17).err(), costly);
    }

    #[test]
    fn what_makes_no_sense_is_damage() {
        let damaged = |kdf: Result<Kdf, LuksError>| {
            assert!(matches!(kdf, Err(LuksError::Damaged(_))), "{kdf:?}");
        };
        damaged(Kdf::pbkdf2(Hash::Sha1, 0, &[0; 32]));
        damaged(Kdf::pbkdf2(Hash::Sha1, 1, &[]));
        damaged(Kdf::argon2(Algorithm::Argon2i, 1 << 10, 0, 1, &[0; 32]));
        damaged(Kdf::argon2(Algorithm::Argon2i, 1 << 10, 1, 0, &[0; 32]));
        damaged(Kdf::argon2(Algorithm::Argon2i, 8, 1, 4, &[0; 32]));
        damaged(Kdf::argon2(Algorithm::Argon2i, 1 << 10, 1, 1, &[0; 7]));
        damaged(Kdf::argon2(Algorithm::Argon2i, 1 << 10, 1, 1, &[0; 129]));
    }
}
