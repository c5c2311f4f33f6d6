//! Volumes, snapshots and bitmaps, as people name them.

use std::fmt;

use super::{ExportName, StoreName};
use crate::store::{BitmapName, TreeName};

/// A volume or snapshot of a store: `STORE/VOL` or `STORE/VOL@SNAP`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TreePath {
    /// The store.
    pub store: StoreName,
    /// The volume or snapshot in it.
    pub tree: TreeName,
}

impl TreePath {
    /// Reads `STORE/VOL` or `STORE/VOL@SNAP`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (store, tree) = text
            .split_once('/')
            .ok_or_else(|| format!("'{text}' names no store; write STORE/VOL"))?;
        let tree = TreeName::parse(tree).map_err(|error| error.to_string())?;
        Ok(Self {
            store: StoreName::new(store)?,
            tree,
        })
    }

    /// Reads `STORE/VOL`.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_volume(text: &str) -> Result<Self, String> {
        match Self::parse(text)? {
            path if path.tree.snapshot_name().is_none() => Ok(path),
            _ => Err(format!("'{text}' is a snapshot; name a volume: STORE/VOL")),
        }
    }

    /// Reads `STORE/VOL@SNAP`.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_snapshot(text: &str) -> Result<Self, String> {
        match Self::parse(text)? {
            path if path.tree.snapshot_name().is_some() => Ok(path),
            _ => Err(format!(
                "'{text}' is a volume; name a snapshot: STORE/VOL@SNAP"
            )),
        }
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.store, self.tree)
    }
}

/// A bitmap of a volume: `STORE/VOL:NAME`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BitmapPath {
    /// The store.
    pub store: StoreName,
    /// The bitmap, and its volume.
    pub bitmap: BitmapName,
}

impl BitmapPath {
    /// Reads `STORE/VOL:NAME`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
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

/// Something that has bitmaps, or one of them, as people name it: of a volume, or of a raw disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BitmapTarget {
    /// The store of the volume; `None` for a raw disk.
    pub store: Option<StoreName>,
    text: String,
}

impl BitmapTarget {
    /// Reads `STORE/VOL:NAME`, or `EXPORT:NAME` of a raw disk.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let of_volume = match BitmapPath::parse(text) {
            Ok(path) => return Ok(Self::new(Some(path.store), text)),
            Err(why) => why,
        };
        let (export, bitmap) = text.rsplit_once(':').ok_or(of_volume)?;
        ExportName::new(export)?;
        let checked = BitmapName::new("disk", bitmap);
        checked.map_err(|error| error.to_string())?;
        Ok(Self::new(None, text))
    }

    /// Reads `STORE/VOL`, or the name of a raw disk.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse_volume(text: &str) -> Result<Self, String> {
        match TreePath::parse_volume(text) {
            Ok(path) => Ok(Self::new(Some(path.store), text)),
            Err(_) => ExportName::new(text).map(|_| Self::new(None, text)),
        }
    }

    fn new(store: Option<StoreName>, text: &str) -> Self {
        let text = text.to_owned();
        Self { store, text }
    }
}

impl fmt::Display for BitmapTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_and_snapshots_are_told_apart() {
        let path = TreePath::parse("main/vm1@monday").expect("a snapshot");
        assert_eq!(path.store.as_str(), "main");
        assert_eq!(path.tree.volume_name(), "vm1");
        assert_eq!(path.to_string(), "main/vm1@monday");
        assert!(TreePath::parse_snapshot("main/vm1@monday").is_ok());
        assert!(TreePath::parse_snapshot("main/vm1").is_err());
        assert!(TreePath::parse_volume("main/vm1").is_ok());
        assert!(TreePath::parse_volume("main/vm1@monday").is_err());
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", "vm1", "/vm1", "main/", "main/a/b", "main/a@", "ma in/a"] {
            assert!(TreePath::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_bitmap_is_of_a_volume() {
        let path = BitmapPath::parse("main/vm1:daily").expect("a bitmap");
        assert_eq!(path.to_string(), "main/vm1:daily");
        for text in ["main/vm1", "vm1:daily", "main/vm1@a:daily"] {
            assert!(BitmapPath::parse(text).is_err(), "{text}");
        }
    }
}
