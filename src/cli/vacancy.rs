//! Whether a place is free to make something on.

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
