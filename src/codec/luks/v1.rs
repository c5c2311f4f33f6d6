//! The header of LUKS1 (LUKS1 On-Disk Format 1.2.3, section 3), 592 bytes. All numbers are
//! big-endian; what is text ends with a zero.
//!
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! | 0 | 6 | magic, `LUKS` 0xba 0xbe |
//! | 6 | 2 | version, 1 |
//! | 8 | 32 | cipher, `aes` |
//! | 40 | 32 | mode of the cipher, `xts-plain64` |
//! | 72 | 32 | hash: of PBKDF2, and of the splitter |
//! | 104 | 4 | where the payload begins, in sectors of 512 bytes |
//! | 108 | 4 | how long the key is, in bytes |
//! | 112 | 20 | digest of the key, by PBKDF2 |
//! | 132 | 32 | salt of the digest |
//! | 164 | 4 | iterations of the digest |
//! | 168 | 40 | uuid, as text |
//! | 208 | 8 × 48 | key slots |
//!
//! A key slot:
//!
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! | 0 | 4 | 0x00ac71f3 in use, 0x0000dead not |
//! | 4 | 4 | iterations of PBKDF2 |
//! | 8 | 32 | salt |
//! | 40 | 4 | where the stripes begin, in sectors of 512 bytes |
//! | 44 | 4 | how many stripes there are, 4000 |

use super::error::LuksError;
use super::hash::Hash;
use super::header::{AREA_BYTES, CIPHER_AND_KEY, Header, KeyDigest, Payload, Slot};
use super::kdf::Kdf;
use super::sectors::KEY_BYTES;
use super::stripes::STRIPES;
use super::{LOOK_BYTES, MAGIC};
use crate::base::Extent;

/// What offsets are counted in, in bytes.
pub(super) const SECTOR: u64 = 512;

/// How long the header is, in bytes.
const HEADER_BYTES: u64 = 592;

const SLOTS: usize = 8;
const SLOTS_AT: usize = 208;
const SLOT_BYTES: usize = 48;
const IN_USE: u32 = 0x00ac_71f3;
const NOT_IN_USE: u32 = 0x0000_dead;
const TEXT_BYTES: usize = 32;
pub(super) const DIGEST_BYTES: usize = 20;
pub(super) const SALT_BYTES: usize = 32;

/// What the header of a disk of `disk_bytes` bytes says.
///
/// # Errors
/// If it makes no sense, or asks for what is not known here.
pub(super) fn decode(from: &[u8; LOOK_BYTES], disk_bytes: u64) -> Result<Header, LuksError> {
    let (cipher, mode) = (text_at(from, 8)?, text_at(from, 40)?);
    let key_bytes = u32_at(from, 108);
    if (cipher, mode) != ("aes", "xts-plain64") || key_bytes as usize != KEY_BYTES {
        let found = format!("{cipher}-{mode} with a key of {key_bytes} bytes");
        return Err(LuksError::unsupported("cipher", &found, CIPHER_AND_KEY));
    }
    let hash = Hash::named(text_at(from, 72)?)?;
    let offset = u64::from(u32_at(from, 104)) * SECTOR;
    if offset == 0 {
        let why = "it names no place for data, so it is one of another disk (a detached header)";
        return Err(LuksError::Damaged(why));
    }
    let digest: [u8; DIGEST_BYTES] = array_at(from, 112);
    let salt: [u8; SALT_BYTES] = array_at(from, 132);
    let (slots, _) = from[SLOTS_AT..].as_chunks::<SLOT_BYTES>();
    let slots = (0..).zip(&slots[..SLOTS]);
    Ok(Header {
        version: 1,
        payload: Payload::new(offset, None, disk_bytes, 512, 0)?,
        digest: KeyDigest::new(hash, u32_at(from, 164), &salt, &digest)?,
        slots: slots
            .filter(|(_, slot)| u32_at(*slot, 0) != NOT_IN_USE)
            .map(|(number, from)| (number, decode_slot(from, hash, offset)))
            .collect(),
    })
}

/// A key slot that is not marked as not in use.
fn decode_slot(from: &[u8; SLOT_BYTES], hash: Hash, payload: u64) -> Result<Slot, LuksError> {
    if u32_at(from, 0) != IN_USE {
        return Err(LuksError::Damaged("a key slot is neither in use nor not"));
    }
    if u32_at(from, 44) as usize != STRIPES {
        return Err(LuksError::Damaged("a key slot has not 4000 stripes"));
    }
    let start = u64::from(u32_at(from, 40)) * SECTOR;
    let area = Extent::between(start, start + AREA_BYTES as u64);
    if area.offset() < HEADER_BYTES || area.end() > payload {
        return Err(LuksError::Damaged("a key slot lies where it cannot"));
    }
    let salt: [u8; SALT_BYTES] = array_at(from, 8);
    Ok(Slot {
        kdf: Kdf::pbkdf2(hash, u32_at(from, 4), &salt)?,
        hash,
        area,
    })
}

/// What there is to write into a new header.
pub(super) struct Fields<'a> {
    pub(super) hash: &'static str,
    pub(super) payload_sector: u32,
    pub(super) digest: [u8; DIGEST_BYTES],
    pub(super) digest_salt: [u8; SALT_BYTES],
    pub(super) digest_iterations: u32,
    pub(super) uuid: &'a str,
    /// Of the first slot, the only one in use.
    pub(super) iterations: u32,
    pub(super) salt: [u8; SALT_BYTES],
    /// Where the stripes of the first slot begin, and how far apart slots are, in sectors.
    pub(super) area_sector: u32,
    pub(super) area_step: u32,
}

/// The header with these fields.
pub(super) fn encode(fields: &Fields<'_>) -> [u8; LOOK_BYTES] {
    let mut to = [0; LOOK_BYTES];
    put(&mut to, 0, MAGIC);
    put(&mut to, 6, &1_u16.to_be_bytes());
    put(&mut to, 8, b"aes");
    put(&mut to, 40, b"xts-plain64");
    put(&mut to, 72, fields.hash.as_bytes());
    put(&mut to, 104, &fields.payload_sector.to_be_bytes());
    let key_bytes = u32::try_from(KEY_BYTES).expect("small");
    put(&mut to, 108, &key_bytes.to_be_bytes());
    put(&mut to, 112, &fields.digest);
    put(&mut to, 132, &fields.digest_salt);
    put(&mut to, 164, &fields.digest_iterations.to_be_bytes());
    put(&mut to, 168, fields.uuid.as_bytes());
    let (slots, _) = to[SLOTS_AT..].as_chunks_mut::<SLOT_BYTES>();
    for (number, slot) in (0..).zip(&mut slots[..SLOTS]) {
        let stripes = u32::try_from(STRIPES).expect("small");
        let area = fields.area_sector + number * fields.area_step;
        put(slot, 0, &NOT_IN_USE.to_be_bytes());
        put(slot, 40, &area.to_be_bytes());
        put(slot, 44, &stripes.to_be_bytes());
    }
    let first = &mut slots[0];
    put(first, 0, &IN_USE.to_be_bytes());
    put(first, 4, &fields.iterations.to_be_bytes());
    put(first, 8, &fields.salt);
    to
}

fn text_at(from: &[u8], at: usize) -> Result<&str, LuksError> {
    let field = &from[at..at + TEXT_BYTES];
    let end = field.iter().position(|byte| *byte == 0);
    let text = end.and_then(|end| std::str::from_utf8(&field[..end]).ok());
    text.ok_or(LuksError::Damaged("a name in it is no text"))
}

fn array_at<const N: usize>(from: &[u8], at: usize) -> [u8; N] {
    *from[at..].first_chunk().expect("inside the header")
}

fn u32_at(from: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array_at(from, at))
}

fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    to[at..at + bytes.len()].copy_from_slice(bytes);
}
