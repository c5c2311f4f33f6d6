//! Makes a LUKS1 header that `qemu-img` and `cryptsetup` open.
//!
//! | bytes from | what |
//! |-----------:|------|
//! | 0 | header |
//! | 4 KiB | stripes of key slot 0; of the others every 252 KiB |
//! | 2 MiB | payload, where `cryptsetup` puts it too |

use std::num::NonZeroU32;

use super::LOOK_BYTES;
use super::error::LuksError;
use super::hash::Hash;
use super::header::{AREA_BYTES, AREA_SECTOR_BYTES};
use super::kdf::Kdf;
use super::sectors::{KEY_BYTES, SectorCipher};
use super::stripes::split;
use super::v1::{DIGEST_BYTES, Fields, SALT_BYTES, SECTOR, encode};
use crate::codec::Secret;

/// Where the payload begins, in bytes.
pub const PAYLOAD_OFFSET: u64 = 2 << 20;

/// What trying one passphrase takes, in iterations of PBKDF2 with SHA-256: about half a second here
/// and a second in QEMU or cryptsetup. OWASP asks for 600,000 (Password Storage, 2023).
pub const ITERATIONS: u32 = 1_000_000;

/// The least that the specification allows (section 5). The key of the disk is drawn at random, so
/// nobody guesses it, however fast a guess is.
const DIGEST_ITERATIONS: u32 = 1000;

const HASH: (&str, Hash) = ("sha256", Hash::Sha256);

/// Where the stripes of the first slot begin, in bytes.
const AREA_OFFSET: u64 = 4096;

/// How far the stripes of slots are apart, in bytes.
const AREA_STEP: u64 = (AREA_BYTES as u64).next_multiple_of(4096);

const _: () = assert!(AREA_OFFSET + 8 * AREA_STEP <= PAYLOAD_OFFSET);

/// What is to be written.
pub struct Made {
    /// The first bytes of the disk. Written last, they make the rest count.
    pub header: Box<[u8; LOOK_BYTES]>,
    /// What goes to [`area_offset`](Self::area_offset) before.
    pub area: Vec<u8>,
}

impl Made {
    /// Where the area goes, in bytes.
    pub const fn area_offset(&self) -> u64 {
        AREA_OFFSET
    }
}

/// A header whose only key slot opens with `secret`, at the price of `iterations` of PBKDF2. `fill`
/// fills what it is given with random bytes: the key of the disk and all else that nobody may
/// foresee.
///
/// # Errors
/// If `secret` is empty, or `iterations` are none or too many.
pub fn make(
    secret: &Secret,
    iterations: u32,
    mut fill: impl FnMut(&mut [u8]),
) -> Result<Made, LuksError> {
    if secret.expose().is_empty() {
        return Err(LuksError::EmptyKey);
    }
    let mut key = vec![0; KEY_BYTES];
    fill(&mut key);
    let key = Secret::new(key);
    let (mut salt, mut digest_salt, mut uuid) = ([0; SALT_BYTES], [0; SALT_BYTES], [0; 16]);
    fill(&mut salt);
    fill(&mut digest_salt);
    fill(&mut uuid);
    let (name, hash) = HASH;

    let slot_key = Kdf::pbkdf2(hash, iterations, &salt)?.derive(secret.expose(), KEY_BYTES)?;
    let stripes = split(hash, key.expose(), &mut fill);
    let mut area = stripes.expose().to_vec();
    SectorCipher::new(&slot_key, AREA_SECTOR_BYTES, 0)?.encrypt(0, &mut area);

    let mut digest = [0; DIGEST_BYTES];
    let digest_iterations = NonZeroU32::new(DIGEST_ITERATIONS).expect("not zero");
    hash.stretch(key.expose(), &digest_salt, digest_iterations, &mut digest);
    let sectors = |bytes: u64| u32::try_from(bytes / SECTOR).expect("small");
    let header = encode(&Fields {
        hash: name,
        payload_sector: sectors(PAYLOAD_OFFSET),
        digest,
        digest_salt,
        digest_iterations: DIGEST_ITERATIONS,
        uuid: &uuid_text(uuid),
        iterations,
        salt,
        area_sector: sectors(AREA_OFFSET),
        area_step: sectors(AREA_STEP),
    });
    Ok(Made {
        header: Box::new(header),
        area,
    })
}

/// Random bytes as a UUID of version 4 (RFC 9562, section 5.4).
fn uuid_text(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if [4, 6, 8, 10].contains(&at) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}
