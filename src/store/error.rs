//! What can go wrong with a store as a whole, as against one request.

use std::fmt;

use super::format::Malformed;
use super::format::superblock::Unusable;
use crate::base::{Error, OpenError};
use crate::codec::KeyError;

/// Why something was not done with a store, its volumes or its snapshots.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreError {
    /// The backend failed.
    Io(Error),
    /// There is no store there.
    NotAStore,
    /// There is one already.
    AlreadyAStore,
    /// It was written by a newer version, or needs something that this one does not know.
    Newer(u32),
    /// A structure of it is damaged: which one, where, and how.
    Damaged(String),
    /// It does not open with the key that was given, or without one: why.
    Locked(String),
    /// What was asked for makes no sense: a name, a size.
    Invalid(String),
    /// There is no volume or snapshot of this name.
    NotFound(String),
    /// There is a volume or snapshot of this name already.
    Exists(String),
    /// It is in the way of something: a snapshot of a volume to be deleted, for example.
    Busy(String),
    /// Somebody uses it: who.
    InUse(String),
    /// What takes long has ended too early: why.
    Unfinished(String),
    /// There is no space left.
    NoSpace,
    /// The store is closed.
    Closed,
}

impl StoreError {
    /// The error with the name of the store that it befell and a remedy.
    pub fn of(self, what: &str) -> OpenError {
        let remedy = match &self {
            Self::NotAStore => "make one with 'bedplate store create'",
            Self::AlreadyAStore => "remove it first if it is not needed any more",
            Self::Newer(_) => "use the version of bedplate that wrote it, or a newer one",
            Self::Locked(_) => "see --key-file and --passphrase-file",
            Self::Damaged(_) => "nothing was written to it; see 'bedplate store check'",
            Self::Io(_) => "check the disk beneath it",
            Self::NoSpace => "delete what is not needed, or grow the store",
            Self::NotFound(_) => "see 'bedplate volume list'",
            Self::Unfinished(_) => "nothing is lost; see 'bedplate store check' and begin it again",
            Self::InUse(_) => "end that first; see 'bedplate status'",
            Self::Invalid(_) | Self::Exists(_) | Self::Busy(_) | Self::Closed => "",
        };
        OpenError::new(what, self, remedy)
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::NotAStore => f.write_str("there is no store there"),
            Self::AlreadyAStore => f.write_str("there is a store already"),
            Self::Newer(what) => write!(f, "it needs version or feature {what} of the format"),
            Self::Damaged(what) => write!(f, "damaged: {what}"),
            Self::Locked(what) | Self::Invalid(what) => f.write_str(what),
            Self::NotFound(name) => write!(f, "there is no {name}"),
            Self::Exists(name) => write!(f, "there is a {name} already"),
            Self::Busy(why) | Self::InUse(why) | Self::Unfinished(why) => f.write_str(why),
            Self::NoSpace => f.write_str("no space left in the store"),
            Self::Closed => f.write_str("the store is closed"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<KeyError> for StoreError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Damaged(_) | KeyError::NotKeySlots | KeyError::OtherStore => {
                Self::Damaged(format!("both copies of the key slots: {error}"))
            }
            KeyError::Version(version) => Self::Newer(version),
            error => Self::Locked(error.to_string()),
        }
    }
}

impl From<(usize, Unusable)> for StoreError {
    fn from((slot, why): (usize, Unusable)) -> Self {
        match why {
            Unusable::Foreign => Self::NotAStore,
            Unusable::Newer(what) => Self::Newer(what),
            Unusable::Damaged(why) => damaged(format!("superblock slot {slot}"), Malformed(why)),
        }
    }
}

/// `what` at its place is not what it should be.
pub(super) fn damaged(what: impl fmt::Display, Malformed(why): Malformed) -> StoreError {
    StoreError::Damaged(format!("{what}: {why}"))
}
