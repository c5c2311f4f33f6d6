//! The SCSI commands that are used, as bytes: SPC-4, SBC-3. No I/O.

use std::fmt;

/// A command descriptor block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Cdb {
    bytes: [u8; 16],
    len: u8,
}

impl Cdb {
    fn new(bytes: &[u8]) -> Self {
        let mut all = [0; 16];
        all[..bytes.len()].copy_from_slice(bytes);
        let len = u8::try_from(bytes.len()).expect("16 at most");
        Self { bytes: all, len }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len.into()]
    }

    /// 16 bytes: operation code, flags, LBA, number of blocks.
    fn of_blocks(operation: u8, flags: u8, lba: u64, blocks: u32) -> Self {
        let mut bytes = [0; 16];
        (bytes[0], bytes[1]) = (operation, flags);
        bytes[2..10].copy_from_slice(&lba.to_be_bytes());
        bytes[10..14].copy_from_slice(&blocks.to_be_bytes());
        Self::new(&bytes)
    }
}

impl fmt::Debug for Cdb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x?}", self.bytes())
    }
}

/// TEST UNIT READY.
pub(super) fn test_unit_ready() -> Cdb {
    Cdb::new(&[0; 6])
}

/// INQUIRY for the standard data, of at most `room` bytes.
pub(super) fn inquiry(room: u16) -> Cdb {
    let [high, low] = room.to_be_bytes();
    Cdb::new(&[0x12, 0, 0, high, low, 0])
}

/// INQUIRY for a page of vital product data.
pub(super) fn inquiry_page(page: u8, room: u16) -> Cdb {
    let [high, low] = room.to_be_bytes();
    Cdb::new(&[0x12, 1, page, high, low, 0])
}

/// MODE SENSE(6) for the current values of a page, without block descriptors.
pub(super) fn mode_sense(page: u8, room: u8) -> Cdb {
    Cdb::new(&[0x1a, 8, page, 0, room, 0])
}

/// READ CAPACITY(16).
pub(super) fn read_capacity(room: u32) -> Cdb {
    Cdb::of_blocks(0x9e, 0x10, 0, room)
}

/// GET LBA STATUS from `lba` on.
pub(super) fn get_lba_status(lba: u64, room: u32) -> Cdb {
    Cdb::of_blocks(0x9e, 0x12, lba, room)
}

/// READ(16).
pub(super) fn read(lba: u64, blocks: u32) -> Cdb {
    Cdb::of_blocks(0x88, 0, lba, blocks)
}

/// WRITE(16).
pub(super) fn write(lba: u64, blocks: u32) -> Cdb {
    Cdb::of_blocks(0x8a, 0, lba, blocks)
}

/// SYNCHRONIZE CACHE(16) of the whole disk.
pub(super) fn synchronize_cache() -> Cdb {
    Cdb::of_blocks(0x91, 0, 0, 0)
}

/// WRITE SAME(16), which may unmap instead where that reads the same.
pub(super) fn write_same(lba: u64, blocks: u32, may_unmap: bool) -> Cdb {
    Cdb::of_blocks(0x93, if may_unmap { 8 } else { 0 }, lba, blocks)
}

/// UNMAP, with `len` bytes of [`unmap_list`].
pub(super) fn unmap(len: u16) -> Cdb {
    let [high, low] = len.to_be_bytes();
    Cdb::new(&[0x42, 0, 0, 0, 0, 0, 0, high, low, 0])
}

/// The parameter list of UNMAP for `pieces`: first block and number of blocks each.
pub(super) fn unmap_list(pieces: &[(u64, u32)]) -> Vec<u8> {
    let descriptors = u16::try_from(16 * pieces.len()).expect("few pieces");
    let mut list = Vec::with_capacity(8 + usize::from(descriptors));
    list.extend((descriptors + 6).to_be_bytes());
    list.extend(descriptors.to_be_bytes());
    list.extend([0; 4]);
    for (lba, blocks) in pieces {
        list.extend(lba.to_be_bytes());
        list.extend(blocks.to_be_bytes());
        list.extend([0; 4]);
    }
    list
}

/// What PERSISTENT RESERVE IN tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ReserveIn {
    Keys = 0,
    Reservation = 1,
    Capabilities = 2,
}

/// PERSISTENT RESERVE IN.
pub(super) fn reserve_in(what: ReserveIn, room: u16) -> Cdb {
    let [high, low] = room.to_be_bytes();
    Cdb::new(&[0x5e, what as u8, 0, 0, 0, 0, 0, high, low, 0])
}

/// What PERSISTENT RESERVE OUT does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ReserveOut {
    Register = 0,
    Reserve = 1,
    Preempt = 4,
    PreemptAndAbort = 5,
    RegisterAndIgnore = 6,
}

/// The length of the parameter list of PERSISTENT RESERVE OUT, in bytes.
pub(super) const RESERVE_OUT_BYTES: usize = 24;

/// PERSISTENT RESERVE OUT for the whole disk, of the type "write exclusive, registrants only".
pub(super) fn reserve_out(what: ReserveOut) -> Cdb {
    let len = u8::try_from(RESERVE_OUT_BYTES).expect("24");
    Cdb::new(&[0x5f, what as u8, 5, 0, 0, 0, 0, 0, len, 0])
}

/// The parameter list of PERSISTENT RESERVE OUT: the caller's key, the other key that it is about,
/// and whether this is to survive a loss of power at the target.
pub(super) fn reserve_list(key: u64, other: u64, survives: bool) -> [u8; RESERVE_OUT_BYTES] {
    let mut list = [0; RESERVE_OUT_BYTES];
    list[..8].copy_from_slice(&key.to_be_bytes());
    list[8..16].copy_from_slice(&other.to_be_bytes());
    list[20] = u8::from(survives);
    list
}

/// Why a command was not done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Sense {
    pub(super) key: u8,
    /// Additional sense code and its qualifier.
    pub(super) code: u16,
    /// It is about an earlier command that was said to be done.
    pub(super) deferred: bool,
}

impl fmt::Debug for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sense {:x}/{:04x}", self.key, self.code)
    }
}

/// What to make of a sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Meaning {
    /// Nothing was done, try again.
    Again,
    /// Something happened to the disk or the reservation: look at both again before going on.
    LookAgain,
    /// The disk does not know such a command.
    Unsupported,
    /// Nothing was done, with this error number.
    Refused(i32),
    /// Something may have been done, with this error number.
    Failed(i32),
}

impl Sense {
    /// What it means (SPC-4, sense keys, and additional sense codes).
    pub(super) fn meaning(self) -> Meaning {
        match (self.key, self.code) {
            _ if self.deferred => Meaning::Again,
            // A reset, reservations preempted or released, registrations preempted, inquiry data or
            // LUNs changed.
            (6, 0x2900..=0x29ff | 0x2a03..=0x2a05 | 0x3f03 | 0x3f0e) => Meaning::LookAgain,
            // Not ready, unit attention, aborted command.
            (2 | 6 | 0xb, _) => Meaning::Again,
            (5, 0x2000) => Meaning::Unsupported,
            (5, 0x2100) => Meaning::Refused(libc::ENXIO),
            (5, _) => Meaning::Refused(libc::EINVAL),
            (7, 0x2707) => Meaning::Refused(libc::ENOSPC),
            (7, _) => Meaning::Refused(libc::EROFS),
            _ => Meaning::Failed(libc::EIO),
        }
    }
}

/// Numbers of 2, 4 and 8 bytes in an answer, zero where it is too short.
pub(super) fn number(answer: &[u8], from: usize, bytes: usize) -> u64 {
    let found = answer.get(from..from + bytes).unwrap_or(&[]);
    found
        .iter()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// The keys in an answer of PERSISTENT RESERVE IN, READ KEYS.
pub(super) fn keys(answer: &[u8]) -> Vec<u64> {
    let bytes = usize::try_from(number(answer, 4, 4)).expect("32 bits");
    let list = answer.get(8..).unwrap_or(&[]);
    let list = &list[..bytes.min(list.len())];
    list.chunks_exact(8).map(|key| number(key, 0, 8)).collect()
}

/// The key of whoever holds a reservation, of an answer of PERSISTENT RESERVE IN, READ RESERVATION.
pub(super) fn holder(answer: &[u8]) -> Option<u64> {
    (number(answer, 4, 4) >= 16).then(|| number(answer, 8, 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_as_the_standards_say() {
        let shown = |cdb: Cdb| format!("{cdb:?}").replace(['[', ']', ','], "");
        for (cdb, bytes) in [
            (test_unit_ready(), "00 00 00 00 00 00"),
            (inquiry(0x1fc), "12 00 00 01 fc 00"),
            (inquiry_page(0xb0, 64), "12 01 b0 00 40 00"),
            (mode_sense(8, 192), "1a 08 08 00 c0 00"),
            (
                read_capacity(32),
                "9e 10 00 00 00 00 00 00 00 00 00 00 00 20 00 00",
            ),
            (
                get_lba_status(0x1_0203_0405, 0x208),
                "9e 12 00 00 00 01 02 03 04 05 00 00 02 08 00 00",
            ),
            (
                read(0x0102_0304_0506_0708, 0x0a0b_0c0d),
                "88 00 01 02 03 04 05 06 07 08 0a 0b 0c 0d 00 00",
            ),
            (
                write(8, 1),
                "8a 00 00 00 00 00 00 00 00 08 00 00 00 01 00 00",
            ),
            (
                write_same(8, 1, true),
                "93 08 00 00 00 00 00 00 00 08 00 00 00 01 00 00",
            ),
            (
                synchronize_cache(),
                "91 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00",
            ),
            (unmap(40), "42 00 00 00 00 00 00 00 28 00"),
            (
                reserve_in(ReserveIn::Reservation, 0x118),
                "5e 01 00 00 00 00 00 01 18 00",
            ),
            (
                reserve_out(ReserveOut::PreemptAndAbort),
                "5f 05 05 00 00 00 00 00 18 00",
            ),
        ] {
            assert_eq!(shown(cdb), bytes);
        }
    }

    #[test]
    fn lists_are_as_the_standards_say() {
        let list = unmap_list(&[(1, 2), (0x10, 0x20)]);
        assert_eq!(list[..8], [0, 38, 0, 32, 0, 0, 0, 0]);
        assert_eq!(
            list[8..24],
            [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0]
        );
        assert_eq!((list.len(), list[31], list[35]), (40, 0x10, 0x20));
        let list = reserve_list(0x0102, 0x0304, true);
        assert_eq!((list[6], list[7], list[14], list[15]), (1, 2, 3, 4));
        assert_eq!((list[20], list.len()), (1, 24));
    }

    #[test]
    fn keys_and_holders_are_read_from_whatever_comes() {
        let mut answer = vec![0, 0, 0, 9, 0, 0, 0, 16];
        answer.extend(7_u64.to_be_bytes());
        answer.extend(8_u64.to_be_bytes());
        assert_eq!(keys(&answer), [7, 8]);
        assert_eq!(keys(&answer[..17]), [7]);
        assert!(keys(&answer[..5]).is_empty());
        assert_eq!(holder(&answer), Some(7));
        assert_eq!(holder(&[0, 0, 0, 9, 0, 0, 0, 0]), None);
        assert_eq!(holder(&[]), None);
    }

    #[test]
    fn senses_have_meanings() {
        let meaning = |key, code| {
            let deferred = false;
            Sense {
                key,
                code,
                deferred,
            }
            .meaning()
        };
        assert_eq!(meaning(6, 0x2900), Meaning::LookAgain);
        assert_eq!(meaning(6, 0x2a03), Meaning::LookAgain);
        assert_eq!(meaning(6, 0x2a09), Meaning::Again);
        assert_eq!(meaning(2, 0x0401), Meaning::Again);
        assert_eq!(meaning(5, 0x2000), Meaning::Unsupported);
        assert_eq!(meaning(7, 0x2707), Meaning::Refused(libc::ENOSPC));
        assert_eq!(meaning(3, 0x1100), Meaning::Failed(libc::EIO));
        let deferred = Sense {
            key: 3,
            code: 0x0c00,
            deferred: true,
        };
        assert_eq!(deferred.meaning(), Meaning::Again);
    }
}
