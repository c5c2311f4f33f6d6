//! What people call volumes, snapshots and bitmaps.

use std::fmt;

use super::error::StoreError;
use super::format::root::NAME_BYTES_MAX;

/// The name of a volume, or of a snapshot of one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TreeName {
    volume: String,
    snapshot: Option<String>,
}

impl TreeName {
    /// Reads `VOLUME` or `VOLUME@SNAPSHOT`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the name.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        match text.split_once('@') {
            None => Self::volume(text),
            Some((volume, snapshot)) => Self::snapshot(volume, snapshot),
        }
    }

    /// The volume `name`.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn volume(name: &str) -> Result<Self, StoreError> {
        Ok(Self {
            volume: checked(name)?,
            snapshot: None,
        })
    }

    /// The snapshot `name` of `volume`.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn snapshot(volume: &str, name: &str) -> Result<Self, StoreError> {
        Ok(Self {
            volume: checked(volume)?,
            snapshot: Some(checked(name)?),
        })
    }

    /// The volume, or the one that it is a snapshot of.
    pub fn volume_name(&self) -> &str {
        &self.volume
    }

    /// The snapshot, if it is one.
    pub fn snapshot_name(&self) -> Option<&str> {
        self.snapshot.as_deref()
    }
}

/// The name of a dirty bitmap of a volume.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct BitmapName {
    volume: String,
    bitmap: String,
}

impl BitmapName {
    /// Reads `VOLUME:BITMAP`. What is behind the last colon is the bitmap.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the name.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let why = || StoreError::Invalid(format!("'{text}' names no bitmap; write VOLUME:BITMAP"));
        let (volume, bitmap) = text.rsplit_once(':').ok_or_else(why)?;
        Self::new(volume, bitmap)
    }

    /// The bitmap `name` of `volume`.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn new(volume: &str, name: &str) -> Result<Self, StoreError> {
        if name.contains(':') {
            let why = format!("the name '{name}' of a bitmap has a colon");
            return Err(StoreError::Invalid(why));
        }
        Ok(Self {
            volume: checked(volume)?,
            bitmap: checked(name)?,
        })
    }

    /// The volume that it is of.
    pub fn volume_name(&self) -> &str {
        &self.volume
    }

    /// The bitmap, among those of its volume.
    pub fn bitmap_name(&self) -> &str {
        &self.bitmap
    }
}

impl fmt::Display for BitmapName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.volume, self.bitmap)
    }
}

impl fmt::Display for TreeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.volume)?;
        match &self.snapshot {
            Some(snapshot) => write!(f, "@{snapshot}"),
            None => Ok(()),
        }
    }
}

/// A name is what can stand in a command line, a URI and a path without quoting.
fn checked(name: &str) -> Result<String, StoreError> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.:+".contains(c);
    let refuse = |why: &str| Err(StoreError::Invalid(format!("the name '{name}' {why}")));
    if name.is_empty() {
        return refuse("is empty");
    }
    if name.len() > NAME_BYTES_MAX {
        return refuse("is longer than 255 bytes");
    }
    if !name.chars().all(good) {
        return refuse("has other characters than letters, digits and -_.:+");
    }
    if name.starts_with(['-', '.']) {
        return refuse("begins with a dash or a dot");
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_shown() {
        for text in ["vm1", "vm-1.root", "vm1@monday", "a:b@c+d"] {
            assert_eq!(TreeName::parse(text).expect(text).to_string(), text);
        }
    }

    #[test]
    fn a_bitmap_is_behind_the_last_colon() {
        let name = BitmapName::parse("a:b:daily").expect("a bitmap");
        assert_eq!((name.volume_name(), name.bitmap_name()), ("a:b", "daily"));
        assert_eq!(name.to_string(), "a:b:daily");
        assert!(BitmapName::new("a", "b:c").is_err());
        for text in ["a", "a:", ":b", "a@b:c", "a:b@c"] {
            assert!(BitmapName::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_would_need_quoting_is_refused() {
        for text in ["", "@", "a@", "@b", "a/b", "a b", "a@b@c", "-a", ".a", "ä"] {
            assert!(TreeName::parse(text).is_err(), "{text}");
        }
        assert!(TreeName::parse(&"x".repeat(256)).is_err());
    }
}
