//! Secrets: bytes that are overwritten when they are dropped, and keys derived from them.
//!
//! The master key of a store encrypts nothing itself. Every use has a key of its own, which
//! [`derive()`] makes from the master key, the name of the use, and a salt. Nothing can be computed
//! back from a derived key: neither the master key nor another derived key.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use zeroize::{Zeroize, Zeroizing};

use super::key_error::KeyError;

/// How long the master key of a store is, and every key for one AES-256, in bytes.
pub const KEY_BYTES: usize = 32;

/// Bytes that nobody may see: overwritten when dropped, never printed, compared in constant time.
///
/// There is no `Clone`, so that every copy stands in the code as one.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes `bytes` over, with no copy left behind.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A copy of `bytes`. Overwriting the original is up to the caller.
    pub fn copy_of(bytes: &[u8]) -> Self {
        Self::new(bytes.to_vec())
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, if there are exactly `N`.
    ///
    /// # Errors
    /// [`KeyError::Length`] if there are fewer or more.
    pub fn expose_exactly<const N: usize>(&self) -> Result<&[u8; N], KeyError> {
        let wrong = |_| KeyError::Length {
            want: N,
            have: self.0.len(),
        };
        self.expose().try_into().map_err(wrong)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl PartialEq for Secret {
    /// Takes as long for different bytes as for equal ones; only the lengths may show.
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(self.expose(), other.expose()).is_ok()
    }
}

impl Eq for Secret {}

/// The key of [`KEY_BYTES`] for one use of `master`. See [`derive_long`].
pub fn derive(master: &Secret, context: &str, salt: &[u8]) -> Secret {
    derive_long(master, context, salt, KEY_BYTES)
}

/// A key of `len` bytes for one use of `master`.
///
/// `context` names the use: a constant of the program, with the program's name in it, and never
/// anything read from outside. `salt` tells apart keys for the same use, and need not be secret.
///
/// This is BLAKE3 in its mode for key derivation, with `context`. The key material is the length of
/// `master` in 64 bits, little-endian, then `master`, then `salt`; so no two pairs of a master key
/// and a salt read the same. A longer key begins with the bytes of a shorter one.
pub fn derive_long(master: &Secret, context: &str, salt: &[u8], len: usize) -> Secret {
    let master = master.expose();
    let master_len = u64::try_from(master.len()).expect("a length fits 64 bits");
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(&master_len.to_le_bytes());
    hasher.update(master);
    hasher.update(salt);
    let mut output = hasher.finalize_xof();
    let mut key = vec![0; len];
    output.fill(&mut key);
    output.zeroize();
    hasher.zeroize();
    Secret::new(key)
}

#[cfg(test)]
mod tests {
    use super::super::hex::hex;
    use super::*;

    const USE: &str = "bedplate test 2026";

    #[test]
    fn a_secret_shows_nothing() {
        let secret = Secret::new(vec![65; 32]);
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(format!("{:?}", Some(secret)), "Some(Secret(..))");
    }

    #[test]
    fn secrets_are_equal_if_their_bytes_are() {
        let secret = Secret::copy_of(&[1, 2, 3]);
        assert_eq!(secret, Secret::new(vec![1, 2, 3]));
        assert_ne!(secret, Secret::new(vec![1, 2, 4]));
        assert_ne!(secret, Secret::new(vec![1, 2]));
    }

    #[test]
    fn a_key_has_the_length_that_is_asked_for() {
        let secret = Secret::new(vec![7; 32]);
        assert_eq!(secret.expose_exactly::<32>(), Ok(&[7; 32]));
        let wrong = KeyError::Length { want: 64, have: 32 };
        assert_eq!(secret.expose_exactly::<64>(), Err(wrong));
    }

    #[test]
    fn a_derived_key_stays_the_same() {
        // Computed apart from this program. No store opens if it ever changes.
        let key = derive(&Secret::new((0..32).collect()), USE, b"salt");
        assert_eq!(
            key.expose(),
            hex("381bee9019af0d0fefe5a043ac52c4a2790d5a8a023d9d8e692091802c8f54a8")
        );
    }

    #[test]
    fn every_part_of_a_derivation_counts() {
        let master = Secret::new(vec![1; 32]);
        let key = derive(&master, USE, b"salt");
        assert_eq!(key, derive(&master, USE, b"salt"));
        assert_ne!(key, derive(&Secret::new(vec![2; 32]), USE, b"salt"));
        assert_ne!(key, derive(&master, "bedplate other 2026", b"salt"));
        assert_ne!(key, derive(&master, USE, b"Salt"));
        // The border between a master key and a salt counts too.
        assert_ne!(
            key,
            derive(
                &Secret::new([[1; 32].as_slice(), b"s"].concat()),
                USE,
                b"alt"
            )
        );
    }

    #[test]
    fn a_longer_key_begins_with_the_shorter() {
        let master = Secret::new(vec![1; 32]);
        let long = derive_long(&master, USE, b"", 100);
        assert_eq!(long.expose().len(), 100);
        assert_eq!(long.expose()[..32], *derive(&master, USE, b"").expose());
    }
}
