//! What can be wrong with a key, or with the slots that hold it.

use std::fmt;

use super::credential::{COST_BOUNDS, KEY_FILE_BYTES_MIN, Kind};
use super::keyslots::{AREA_BYTES, KEY_SLOTS, LABEL_BYTES_MAX};

/// Why a key cannot be used, kept or found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyError {
    /// A key of another length than its cipher takes.
    Length {
        /// How many bytes the cipher takes.
        want: usize,
        /// How many bytes there are.
        have: usize,
    },
    /// Both halves of a key for AES-XTS are the same, which gives parts of the key away.
    EqualHalves,
    /// A passphrase without a byte.
    EmptyPassphrase,
    /// A key file with too little in it; this many bytes.
    ShortKeyFile(usize),
    /// A label that is too long, or that would not print as one line.
    Label,
    /// Parameters for Argon2id outside of their bounds.
    Cost,
    /// No memory for Argon2id; this many KiB were wanted.
    Memory(u32),
    /// Every slot is taken.
    Full,
    /// No key is in this slot.
    NoSuchSlot(usize),
    /// The only key slot that is left was to be removed.
    LastSlot,
    /// No slot is for this kind of credential.
    NoSlotFor(Kind),
    /// No slot opens with the credential. Does not say which slots were tried.
    WrongKey,
    /// A slot opens with the credential, but the store bears the mark of another master key.
    OtherMaster,
    /// Bytes that are not a key slot area at all; for example, zeroes.
    NotKeySlots,
    /// An area whose seal does not open, or that makes no sense behind its seal.
    Damaged(&'static str),
    /// An area of a later version of the format.
    Version(u32),
    /// An area that belongs to another store.
    OtherStore,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { want, have } => {
                write!(f, "the key has {have} bytes, but its cipher takes {want}")
            }
            Self::EqualHalves => f.write_str(
                "both halves of the AES-XTS key are the same, which is not safe: take another key",
            ),
            Self::EmptyPassphrase => f.write_str("the passphrase is empty"),
            Self::ShortKeyFile(have) => write!(
                f,
                "the key file has {have} bytes, at least {KEY_FILE_BYTES_MIN} are needed"
            ),
            Self::Label => write!(
                f,
                "a label has at most {LABEL_BYTES_MAX} bytes and no control characters"
            ),
            Self::Cost => write!(f, "the Argon2id parameters are not within {COST_BOUNDS}"),
            Self::Memory(kib) => write!(
                f,
                "no {} MiB of memory to derive the key from the passphrase",
                kib >> 10
            ),
            Self::Full => write!(f, "all {KEY_SLOTS} key slots are taken, remove one first"),
            Self::NoSuchSlot(slot) => write!(f, "key slot {slot} is empty"),
            Self::LastSlot => f.write_str(
                "this is the last key slot: without it nobody can read the store ever again",
            ),
            Self::NoSlotFor(kind) => write!(f, "no key slot is for a {kind}"),
            Self::WrongKey => f.write_str("no key slot opens with this passphrase or key file"),
            Self::OtherMaster => f.write_str("what the key opens is not the store's master key"),
            Self::NotKeySlots => write!(f, "these are not the {AREA_BYTES} bytes of key slots"),
            Self::Damaged(what) => write!(f, "the key slots are damaged: {what}"),
            Self::Version(version) => write!(
                f,
                "the key slots have version {version}, which needs a newer program"
            ),
            Self::OtherStore => f.write_str("the key slots are those of another store"),
        }
    }
}

impl std::error::Error for KeyError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_line_without_a_full_stop() {
        let errors = [
            KeyError::Length { want: 32, have: 1 },
            KeyError::EqualHalves,
            KeyError::EmptyPassphrase,
            KeyError::ShortKeyFile(3),
            KeyError::Label,
            KeyError::Cost,
            KeyError::Memory(1 << 20),
            KeyError::Full,
            KeyError::NoSuchSlot(3),
            KeyError::LastSlot,
            KeyError::NoSlotFor(Kind::Passphrase),
            KeyError::WrongKey,
            KeyError::OtherMaster,
            KeyError::NotKeySlots,
            KeyError::Damaged("its seal does not open"),
            KeyError::Version(9),
            KeyError::OtherStore,
        ];
        for error in errors {
            let text = error.to_string();
            assert!(!text.contains('\n') && !text.ends_with('.'), "{text}");
        }
    }
}
