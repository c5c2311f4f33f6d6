//! The hash functions that a LUKS header can name.

use std::num::NonZeroU32;

use aws_lc_rs::digest;
use aws_lc_rs::pbkdf2;

use super::error::LuksError;

/// A hash function, for PBKDF2 and for the stripes of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hash {
    /// What old headers have. As used here it is not broken.
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    const ALL: [(&'static str, Self); 4] = [
        ("sha1", Self::Sha1),
        ("sha256", Self::Sha256),
        ("sha384", Self::Sha384),
        ("sha512", Self::Sha512),
    ];

    pub(super) fn named(name: &str) -> Result<Self, LuksError> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        let known = "sha1, sha256, sha384 or sha512";
        let found = found.ok_or_else(|| LuksError::unsupported("hash", name, known))?;
        Ok(found.1)
    }

    /// How long what it gives is, in bytes.
    pub(super) fn bytes(self) -> usize {
        self.algorithm().output_len()
    }

    /// The hash of `parts`, one after the other.
    pub(super) fn of(self, parts: &[&[u8]]) -> digest::Digest {
        let mut context = digest::Context::new(self.algorithm());
        for part in parts {
            context.update(part);
        }
        context.finish()
    }

    /// Fills `key` by PBKDF2 (RFC 8018, section 5.2) with HMAC over this hash.
    pub(super) fn stretch(self, secret: &[u8], salt: &[u8], times: NonZeroU32, key: &mut [u8]) {
        let algorithm = match self {
            Self::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha384 => pbkdf2::PBKDF2_HMAC_SHA384,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        };
        pbkdf2::derive(algorithm, times, salt, secret, key);
    }

    fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::hex::hex;
    use super::*;

    #[test]
    fn pbkdf2_is_that_of_rfc_6070() {
        let mut key = [0; 20];
        let times = NonZeroU32::new(4096).expect("not zero");
        Hash::Sha1.stretch(b"password", b"salt", times, &mut key);
        assert_eq!(key[..], hex("4b007901b765489abead49d926f721d065a429c1"));
    }

    #[test]
    fn parts_are_hashed_as_one() {
        let whole = Hash::Sha256.of(&[b"abc"]);
        let published = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(whole.as_ref(), hex(published));
        assert_eq!(
            whole.as_ref(),
            Hash::Sha256.of(&[b"a", b"", b"bc"]).as_ref()
        );
        assert!(Hash::named("whirlpool").is_err());
    }
}
