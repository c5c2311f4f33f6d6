//! Names of exports, as people give them and as URIs carry them.

use std::fmt;

use crate::base::limits::NAME_BYTES_MAX;

/// The name of an export: not empty, printable, no longer than the NBD protocol allows.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ExportName(String);

impl ExportName {
    /// Checks `name`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn new(name: &str) -> Result<Self, String> {
        if name.is_empty() {
            return Err("an export needs a name".to_owned());
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(format!(
                "an export name is longer than {NAME_BYTES_MAX} bytes"
            ));
        }
        if name.chars().any(char::is_control) {
            return Err(format!("the export name {name:?} has control characters"));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ExportName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `text` as part of a URI: everything but unreserved characters and slashes percent-encoded
/// (RFC 3986, section 2).
pub(super) fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_client_could_not_say_are_refused() {
        assert!(ExportName::new("vms/disk@snap 1").is_ok());
        for name in ["", "a\nb", "a\0b", &"x".repeat(NAME_BYTES_MAX + 1)] {
            assert!(ExportName::new(name).is_err());
        }
    }

    #[test]
    fn a_name_survives_in_a_uri() {
        assert_eq!(percent_encode("a/b@c d?é"), "a/b%40c%20d%3F%C3%A9");
    }
}
