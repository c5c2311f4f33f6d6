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

    /// What another process has said, in one line.
    pub fn relayed(line: &str) -> Self {
        Self {
            what: String::new(),
            why: line.to_owned(),
            remedy: "",
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.what.is_empty() {
            write!(f, "{}: ", self.what)?;
        }
        f.write_str(&self.why)?;
        if self.remedy.is_empty() {
            return Ok(());
        }
        write!(f, "; {}", self.remedy)
    }
}

impl std::error::Error for OpenError {}
