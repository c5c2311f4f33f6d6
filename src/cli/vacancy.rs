//! Places to make something on: files that are made for it, and what may already be there.

use std::fs::{self, File};
use std::path::Path;

use crate::backend::{Backend, Checked, Location};
use crate::base::{Buf, Extent, OpenError};

/// How much of what is there is looked at before something is made over it, in bytes: file
/// systems, partition tables and volume managers show themselves in less.
const LOOK_BYTES: u64 = 1 << 20;

/// What shows what is on a disk: at an offset, these bytes, so this.
const MARKS: &[(usize, &[u8], &str)] = &[
    (0, b"BEDPLATE", "a store"),
    (0, b"LUKS\xba\xbe", "a LUKS header"),
    (0, b"QFI\xfb", "a qcow2 image"),
    (0, b"XFSB", "an XFS file system"),
    (512, b"LABELONE", "an LVM volume"),
    (512, b"EFI PART", "a partition table"),
    (1080, b"\x53\xef", "an ext2, ext3 or ext4 file system"),
    (4086, b"SWAPSPACE2", "swap space"),
    (65600, b"_BHRfS_M", "a Btrfs file system"),
    (510, b"\x55\xaa", "a partition table or a boot sector"),
];

/// Whether a file was made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    /// It was there before.
    Before,
    /// It was made just now.
    Here,
}

/// Makes the file at `path` with `size` bytes, all holes, if there is none.
pub(super) fn make_file(path: &Path, size: Option<u64>) -> Result<Made, OpenError> {
    let what = path.display().to_string();
    let refused = |error| OpenError::new(&what, error, "name a place that can be written");
    if path.try_exists().map_err(refused)? {
        return Ok(Made::Before);
    }
    let Some(size) = size else {
        let remedy = "say how large with --size SIZE, and it is made";
        return Err(OpenError::new(&what, "there is no such file", remedy));
    };
    let file = File::create_new(path).map_err(refused)?;
    if let Err(error) = file.set_len(size) {
        let _ = fs::remove_file(path);
        return Err(OpenError::new(&what, error, "name a smaller --size"));
    }
    Ok(Made::Here)
}

/// Refuses memory, where nothing that is made lasts.
pub(super) fn demand_lasting(url: &Location) -> Result<&Path, OpenError> {
    match url {
        Location::File(path) => Ok(path),
        Location::Mem(_) | Location::Null(_) => {
            let why = "what is written there is gone when this command ends";
            let remedy = "name a file or a block device";
            Err(OpenError::new(url.to_string(), why, remedy))
        }
    }
}

/// Refuses a backend that holds anything, so that a wrong name costs nobody a disk.
pub(super) async fn demand_nothing(backend: &Checked, url: &Location) -> Result<(), OpenError> {
    let start = Extent::between(0, LOOK_BYTES.min(backend.geometry().size));
    let read = backend.read(start, Buf::new(start.len())).await;
    let unread = |error| OpenError::new(url.to_string(), error, "check the disk beneath it");
    match what_is(&read.map_err(unread)?) {
        None => Ok(()),
        Some(what) => Err(occupied(url, format!("there is data there, {what}"))),
    }
}

pub(super) fn occupied(url: &Location, why: impl std::fmt::Display) -> OpenError {
    let remedy = "if it is not needed any more, --force overwrites it";
    OpenError::new(url.to_string(), why, remedy)
}

/// What a disk that begins with `start` seems to hold, unless that is only zeroes.
fn what_is(start: &[u8]) -> Option<&'static str> {
    if start.iter().all(|byte| *byte == 0) {
        return None;
    }
    let mut marks = MARKS.iter();
    let known = marks.find(|(at, mark, _)| {
        let there = start.get(*at..at + mark.len());
        there == Some(mark)
    });
    Some(known.map_or("of no known kind", |(_, _, what)| what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_named() {
        let mut disk = vec![0; 1 << 20];
        assert_eq!(what_is(&disk), None);
        assert_eq!(what_is(&[]), None);
        disk[70_000] = 1;
        assert_eq!(what_is(&disk), Some("of no known kind"));
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(what_is(&disk), Some("a partition table or a boot sector"));
        disk[512..520].copy_from_slice(b"EFI PART");
        assert_eq!(what_is(&disk), Some("a partition table"));
        disk[..6].copy_from_slice(b"LUKS\xba\xbe");
        assert_eq!(what_is(&disk), Some("a LUKS header"));
        assert_eq!(what_is(&disk[..6]), Some("a LUKS header"));
    }
}
