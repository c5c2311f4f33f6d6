//! Names of stores, which the operator gives: they are in no store.

use std::fmt;

use crate::store::TreeName;

/// The name of a store: what can be the name of a volume.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StoreName(String);

impl StoreName {
    /// Checks `name`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn new(name: &str) -> Result<Self, String> {
        match TreeName::volume(name) {
            Ok(_) => Ok(Self(name.to_owned())),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_called_as_a_volume_could_be() {
        assert!(StoreName::new("main-2.eu").is_ok());
        for name in ["", "a/b", "a@b", "a b", "-a"] {
            assert!(StoreName::new(name).is_err(), "{name}");
        }
    }
}
