//! What opens a key slot, a passphrase or a key file, and the key that it is turned into.

use std::fmt;

use aes_kw::{KeyInit, KwAes256};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroizing;

use super::key_error::KeyError;
use super::secret::{KEY_BYTES, Secret, derive};

/// How long the salt of a slot is, in bytes.
pub const SALT_BYTES: usize = 16;

/// How much a key file must hold, in bytes.
pub(super) const KEY_FILE_BYTES_MIN: usize = 32;

/// The bounds that [`Cost::is_allowed`] checks, for messages.
pub(super) const COST_BOUNDS: &str = "8 MiB to 4 GiB, 1 to 64 passes, 1 to 16 lanes";

const KEY_FILE_USE: &str = "bedplate 2026 key slot, key file";

/// What a credential is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Something that a person types.
    Passphrase,
    /// Bytes drawn by a machine, and kept in a file.
    KeyFile,
}

/// What opens a slot.
#[derive(PartialEq, Eq, Debug)]
pub enum Credential {
    /// A passphrase, at least one byte.
    Passphrase(Secret),
    /// The bytes of a key file, at least 32 of them. They are taken for random as they are.
    KeyFile(Secret),
}

/// What Argon2id spends on a passphrase, and with it everybody who tries one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cost {
    /// How much memory, in KiB: 8 MiB to 4 GiB.
    pub memory_kib: u32,
    /// How often the memory is gone over: 1 to 64.
    pub passes: u32,
    /// How many parts of the memory could be computed side by side: 1 to 16.
    pub lanes: u32,
}

impl Credential {
    /// One more copy of it, for another thread.
    #[must_use]
    pub fn copy(&self) -> Self {
        let copy = |secret: &Secret| Secret::new(secret.expose().to_vec());
        match self {
            Self::Passphrase(secret) => Self::Passphrase(copy(secret)),
            Self::KeyFile(secret) => Self::KeyFile(copy(secret)),
        }
    }

    /// What it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Passphrase(_) => Kind::Passphrase,
            Self::KeyFile(_) => Kind::KeyFile,
        }
    }

    /// Refuses what is too short to be one: of a key file, what a person could have thought up.
    ///
    /// # Errors
    /// [`KeyError::EmptyPassphrase`] or [`KeyError::ShortKeyFile`].
    pub fn check(&self) -> Result<(), KeyError> {
        match self {
            Self::Passphrase(bytes) if bytes.expose().is_empty() => Err(KeyError::EmptyPassphrase),
            Self::KeyFile(bytes) if bytes.expose().len() < KEY_FILE_BYTES_MIN => {
                Err(KeyError::ShortKeyFile(bytes.expose().len()))
            }
            _ => Ok(()),
        }
    }
}

impl Cost {
    /// Whether a slot may have it: an area must not be able to take all memory, or hours.
    pub fn is_allowed(self) -> bool {
        (8 << 10..=4 << 20).contains(&self.memory_kib)
            && (1..=64).contains(&self.passes)
            && (1..=16).contains(&self.lanes)
    }
}

impl Default for Cost {
    /// 256 MiB, 3 passes, 1 lane: most of a second.
    fn default() -> Self {
        Self {
            memory_kib: 256 << 10,
            passes: 3,
            lanes: 1,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passphrase => "passphrase",
            Self::KeyFile => "key file",
        })
    }
}

/// The key that wraps a master key for `credential`; `cost` is that of a passphrase.
pub(super) fn wrapping(
    credential: &Credential,
    cost: Option<Cost>,
    salt: &[u8; SALT_BYTES],
) -> Result<KwAes256, KeyError> {
    credential.check()?;
    let key = match credential {
        Credential::Passphrase(passphrase) => {
            stretched(passphrase, cost.unwrap_or_default(), salt)?
        }
        Credential::KeyFile(bytes) => derive(bytes, KEY_FILE_USE, salt),
    };
    let key = key.expose_exactly::<KEY_BYTES>()?;
    Ok(KwAes256::new(key.into()))
}

/// The 32 bytes that Argon2id makes of a passphrase.
fn stretched(passphrase: &Secret, cost: Cost, salt: &[u8; SALT_BYTES]) -> Result<Secret, KeyError> {
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(KEY_BYTES));
    let params = params.map_err(|_| KeyError::Cost)?;
    argon2(
        Algorithm::Argon2id,
        params,
        passphrase.expose(),
        salt,
        KEY_BYTES,
    )
}

/// The `bytes` bytes that Argon2 makes of `secret`. Demands a salt of 8 bytes or more.
pub(super) fn argon2(
    algorithm: Algorithm,
    params: Params,
    secret: &[u8],
    salt: &[u8],
    bytes: usize,
) -> Result<Secret, KeyError> {
    let short = KeyError::Memory(params.m_cost());
    let mut memory = Zeroizing::new(Vec::new());
    let blocks = params.block_count();
    memory.try_reserve_exact(blocks).map_err(|_| short)?;
    memory.resize(blocks, Block::new());
    let mut key = vec![0; bytes];
    Argon2::new(algorithm, Version::V0x13, params)
        .hash_password_into_with_memory(secret, salt, &mut key, memory.as_mut_slice())
        .expect("the lengths are right, and there is the memory");
    Ok(Secret::new(key))
}

#[cfg(test)]
mod tests {
    use super::super::hex::hex;
    use super::*;

    #[test]
    fn passphrases_are_stretched_by_argon2id() {
        // Computed with OpenSSL.
        let salt = std::array::from_fn(|at| u8::try_from(at).expect("at most 15"));
        let passphrase = Secret::copy_of(b"correct horse");
        let stretch = |passes, lanes| {
            let cost = Cost {
                memory_kib: 8 << 10,
                passes,
                lanes,
            };
            stretched(&passphrase, cost, &salt).expect("8 MiB of memory")
        };
        let two_passes = "5d6feb78fec962f9fe4465119605b64a5dbce8acde9e8ae0c8b3d4c2f518c9a4";
        assert_eq!(stretch(2, 1).expose(), hex(two_passes));
        let four_lanes = "a2ab54b0a71809f82eb3fa0a15922bdc0d72aac746146df7aa4e1efedcce4e65";
        assert_eq!(stretch(1, 4).expose(), hex(four_lanes));
    }

    #[test]
    fn the_default_cost_is_allowed() {
        assert!(Cost::default().is_allowed());
    }
}
