//! The one line that a person reads when something could not be opened or set up.

use std::fmt;

/// Something named by a person could not be used. Shown on one line: what, why, and what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenError {
    what: String,
    why: String,
    remedy: &'static str,
}

impl OpenError {
    /// `what` as the person wrote it, `why` it cannot be used, and the `remedy`, which may be empty
    /// where the cause says it all.
    pub fn new(what: impl Into<String>, why: impl fmt::Display, remedy: &'static str) -> Self {
        Self {
            what: what.into(),
            why: why.to_string(),
            remedy,
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)?;
        if self.remedy.is_empty() {
            return Ok(());
        }
        write!(f, "; {}", self.remedy)
    }
}

impl std::error::Error for OpenError {}
