//! What can be wrong with a LUKS header, or with the key for one.

use std::fmt;

use super::kdf::{ARGON2_KIB_MAX, ARGON2_WORK_KIB_MAX, PBKDF2_ITERATIONS_MAX};

/// How much of a word from a header is shown, in characters.
const SHOWN_MAX: usize = 64;

/// Why a disk is not opened. None of these leaves anything half open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LuksError {
    /// There is no LUKS header at all.
    NotLuks,
    /// A header of a version that is neither 1 nor 2.
    Version(u16),
    /// The header asks for something that is not done here.
    Unsupported {
        /// What kind of thing it is.
        what: &'static str,
        /// What the header says.
        found: String,
        /// What it could say instead.
        known: &'static str,
    },
    /// What cannot be: somebody or something has changed the header.
    Damaged(&'static str),
    /// A key slot wants more memory or time than any honest one.
    TooCostly,
    /// No memory for Argon2; this many KiB were wanted.
    Memory(u32),
    /// No key slot is in use.
    NoSlots,
    /// No key slot opens with the passphrase or key file.
    WrongKey,
    /// The same, but there is a key slot that cannot be tried, because of this.
    WrongKeyOr(Box<LuksError>),
    /// A passphrase or key file without a byte.
    EmptyKey,
    /// The disk ends before what the header says of it, or has no room for a header.
    TooSmall,
}

impl LuksError {
    /// That a header says `found` where only `known` is known. Keeps a part of it that can be
    /// shown on a line.
    pub(super) fn unsupported(what: &'static str, found: &str, known: &'static str) -> Self {
        let shown: String = found.chars().take(SHOWN_MAX).collect();
        Self::Unsupported {
            what,
            found: format!("{shown:?}"),
            known,
        }
    }
}

impl fmt::Display for LuksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLuks => f.write_str("it has no LUKS header, so it takes no key"),
            Self::Version(version) => {
                write!(f, "its LUKS header has version {version}, not 1 or 2")
            }
            Self::Unsupported { what, found, known } => {
                write!(f, "its LUKS header names the {what} {found}, not {known}")
            }
            Self::Damaged(what) => write!(f, "its LUKS header is damaged: {what}"),
            Self::TooCostly => write!(
                f,
                "a LUKS key slot asks for more than {PBKDF2_ITERATIONS_MAX} iterations, {} GiB of \
                 memory or {} GiB to go over",
                ARGON2_KIB_MAX >> 20,
                ARGON2_WORK_KIB_MAX >> 20
            ),
            Self::Memory(kib) => write!(
                f,
                "no {} MiB of memory to derive the key from the passphrase",
                kib >> 10
            ),
            Self::NoSlots => f.write_str("no LUKS key slot is in use, so nothing opens it"),
            Self::WrongKey => {
                f.write_str("no LUKS key slot opens with this passphrase or key file")
            }
            Self::WrongKeyOr(error) => write!(f, "{}; and {error}", Self::WrongKey),
            Self::EmptyKey => f.write_str("the passphrase or key file is empty"),
            Self::TooSmall => f.write_str("it is too small for what its LUKS header says"),
        }
    }
}

impl std::error::Error for LuksError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_short_line_whatever_the_header_says() {
        let errors = [
            LuksError::NotLuks,
            LuksError::Version(3),
            LuksError::unsupported("cipher", &"evil\n\x1b[2J".repeat(1000), "aes"),
            LuksError::Damaged("a checksum"),
            LuksError::TooCostly,
            LuksError::Memory(1 << 20),
            LuksError::NoSlots,
            LuksError::WrongKey,
            LuksError::WrongKeyOr(Box::new(LuksError::TooCostly)),
            LuksError::EmptyKey,
            LuksError::TooSmall,
        ];
        for error in errors {
            let text = error.to_string();
            assert!(!text.chars().any(char::is_control), "{text}");
            assert!(text.len() < 500 && !text.ends_with('.'), "{text}");
        }
    }
}
