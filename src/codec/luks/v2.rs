//! The two copies of a LUKS2 header (LUKS2 On-Disk Format 1.1.0, section 2): which of them counts.
//!
//! The first copy begins the disk, the second follows it. A copy is as long as it says, 16 KiB to
//! 4 MiB, and the second one lies where it says, so that it is found without the first. All numbers
//! are big-endian:
//!
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! | 0 | 6 | magic: `LUKS` 0xba 0xbe, of the second copy `SKUL` 0xba 0xbe |
//! | 6 | 2 | version, 2 |
//! | 8 | 8 | how long the copy is |
//! | 16 | 8 | sequence number: how often the header was written |
//! | 24 | 48 | label |
//! | 72 | 32 | name of the hash of the checksum |
//! | 104 | 64 | salt, different in each copy |
//! | 168 | 40 | uuid, as text |
//! | 208 | 48 | subsystem |
//! | 256 | 8 | where the copy lies |
//! | 448 | 64 | checksum of the whole copy, with zeroes here |
//! | 4096 | | JSON, ends with a zero |

use super::error::LuksError;
use super::hash::Hash;
use super::header::Header;
use super::{LOOK_BYTES, MAGIC, v2_json};

/// How long a copy can be, and so where the second one can begin, in bytes.
pub const SECOND_COPIES: [u64; 9] = [
    16 << 10,
    32 << 10,
    64 << 10,
    128 << 10,
    256 << 10,
    512 << 10,
    1 << 20,
    2 << 20,
    4 << 20,
];

const SECOND_MAGIC: &[u8; 6] = b"SKUL\xba\xbe";
const CHECKSUM_NAME_AT: usize = 72;
const CHECKSUM_NAME_BYTES: usize = 32;
const CHECKSUM_AT: usize = 448;
const CHECKSUM_BYTES: usize = 64;

/// A copy whose checksum is right.
struct Whole<'a> {
    sequence: u64,
    bytes: u64,
    json: &'a [u8],
}

/// How long the copy at `offset` is, in bytes, if one begins there with `start`.
pub fn copy_bytes(start: &[u8], offset: u64) -> Option<usize> {
    let magic = match offset {
        0 => MAGIC,
        _ => SECOND_MAGIC,
    };
    let is_one = start.len() >= LOOK_BYTES && start.starts_with(magic) && start[6..8] == [0, 2];
    let bytes = is_one.then(|| u64_at(start, 8))?;
    let fits = SECOND_COPIES.contains(&bytes) && [0, bytes].contains(&offset);
    let is_here = u64_at(start, 256) == offset;
    (fits && is_here).then(|| usize::try_from(bytes).expect("at most 4 MiB"))
}

/// What the newer of two copies says, of which each may not be there, and what is to be reported
/// of the other one, if anything. The disk has `disk_bytes` bytes.
///
/// # Errors
/// If neither copy is whole, or if what counts makes no sense: an older copy is no way round that.
pub fn newest(
    first: Option<&[u8]>,
    second: Option<&[u8]>,
    disk_bytes: u64,
) -> Result<(Header, Option<&'static str>), LuksError> {
    let damaged = LuksError::Damaged("no copy of it has a right checksum");
    let (copy, other) = match (first.map(whole), second.map(whole)) {
        (None, None) => return Err(LuksError::NotLuks),
        (Some(Some(first)), Some(Some(second))) if first.sequence < second.sequence => {
            (second, Some("the first copy is older"))
        }
        (Some(Some(first)), Some(Some(second))) if second.sequence < first.sequence => {
            (first, Some("the second copy is older"))
        }
        (Some(Some(first)), Some(Some(_))) => (first, None),
        (Some(Some(first)), _) => (first, Some("the second copy is damaged or not there")),
        (_, Some(Some(second))) => (second, Some("the first copy is damaged or not there")),
        (_, _) => return Err(damaged),
    };
    let header = v2_json::decode(copy.json, 2 * copy.bytes, disk_bytes)?;
    Ok((header, other))
}

/// The copy in `bytes`, as long as it says, if its checksum is right.
fn whole(bytes: &[u8]) -> Option<Whole<'_>> {
    let (start, json) = bytes.split_at_checked(LOOK_BYTES)?;
    let name = &start[CHECKSUM_NAME_AT..CHECKSUM_NAME_AT + CHECKSUM_NAME_BYTES];
    let name = name.split(|byte| *byte == 0).next()?;
    let hash = Hash::named(std::str::from_utf8(name).ok()?).ok()?;
    let (before, rest) = bytes.split_at(CHECKSUM_AT);
    let (checksum, after) = rest.split_at(CHECKSUM_BYTES);
    let found = hash.of(&[before, &[0; CHECKSUM_BYTES], after]);
    let is_right = checksum.starts_with(found.as_ref());
    is_right.then(|| Whole {
        sequence: u64_at(start, 16),
        bytes: bytes.len() as u64,
        json: json.split(|byte| *byte == 0).next().unwrap_or_default(),
    })
}

fn u64_at(from: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(*from[at..].first_chunk().expect("inside the header"))
}
