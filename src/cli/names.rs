//! Stores, volumes, snapshots and bitmaps, as people name them.

use std::fmt;

use crate::backend::Location;
use crate::control::StoreName;
use crate::store::{BitmapName, TreeName};

/// A bitmap of a volume: `STORE/VOL:NAME`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct BitmapPath {
    pub(super) store: StoreName,
    pub(super) bitmap: BitmapName,
}

impl BitmapPath {
    /// Reads `STORE/VOL:NAME`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (store, bitmap) = text
            .split_once('/')
            .ok_or_else(|| format!("'{text}' names no store; write STORE/VOL:NAME"))?;
        let bitmap = BitmapName::parse(bitmap).map_err(|error| error.to_string())?;
        Ok(Self {
            store: StoreName::new(store)?,
            bitmap,
        })
    }
}

impl fmt::Display for BitmapPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.store, self.bitmap)
    }
}

/// Reads the name that a bitmap is to get.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub(super) fn parse_new_bitmap(text: &str) -> Result<String, String> {
    match BitmapName::new("volume", text) {
        Ok(name) => Ok(name.bitmap_name().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Reads the name that a volume is to get.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub(super) fn parse_new_name(text: &str) -> Result<String, String> {
    match TreeName::volume(text) {
        Ok(name) => Ok(name.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// Reads `NAME=URL`, a store and where it is.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub(super) fn parse_store(text: &str) -> Result<(StoreName, Location), String> {
    let (name, url) = text
        .split_once('=')
        .ok_or_else(|| format!("'{text}' is not NAME=URL"))?;
    Ok((StoreName::new(name)?, parse_url(url)?))
}

/// Reads a backend URL.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub(super) fn parse_url(text: &str) -> Result<Location, String> {
    Location::parse(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bitmap_is_of_a_volume() {
        let path = BitmapPath::parse("main/vm1:daily").expect("a bitmap");
        assert_eq!(path.to_string(), "main/vm1:daily");
        assert!(parse_new_bitmap("daily").is_ok());
        for text in ["main/vm1", "vm1:daily", "main/vm1@a:daily"] {
            assert!(BitmapPath::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["main", "=x", "main=", "main=gopher:/x"] {
            assert!(parse_store(text).is_err(), "{text}");
        }
        assert!(parse_new_name("main/vm2").is_err());
    }
}
