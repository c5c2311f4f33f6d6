//! The JSON of a LUKS2 header (LUKS2 On-Disk Format 1.1.0, section 3): what one segment, its digest
//! and its key slots say. Of everything else, such as tokens, nothing is needed.
//!
//! Numbers of 64 bits are strings there, and bytes are Base64.

use std::collections::BTreeMap;

use argon2::Algorithm;
use base64ct::{Base64, Encoding};
use serde::Deserialize;
use serde_json::Value;

use super::error::LuksError;
use super::hash::Hash;
use super::header::{AREA_BYTES, CIPHER, CIPHER_AND_KEY, Header, KeyDigest, Payload, Slot};
use super::kdf::Kdf;
use super::sectors::KEY_BYTES;
use super::stripes::STRIPES;
use crate::base::Extent;

/// How many key slots there are (section 3.2).
const SLOTS_MAX: usize = 32;

#[derive(Deserialize)]
struct Root {
    keyslots: BTreeMap<u32, Value>,
    segments: BTreeMap<u32, Segment>,
    digests: BTreeMap<u32, Digest>,
    config: Config,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    requirements: Requirements,
}

#[derive(Deserialize, Default)]
struct Requirements {
    #[serde(default)]
    mandatory: Vec<String>,
}

#[derive(Deserialize)]
struct Segment {
    r#type: String,
    offset: String,
    size: Option<String>,
    iv_tweak: Option<String>,
    encryption: Option<String>,
    sector_size: Option<u32>,
    integrity: Option<Value>,
}

#[derive(Deserialize)]
struct Digest {
    r#type: String,
    keyslots: Vec<String>,
    segments: Vec<String>,
    hash: String,
    iterations: u32,
    salt: String,
    digest: String,
}

#[derive(Deserialize)]
struct Keyslot {
    r#type: String,
    key_size: u32,
    area: Area,
    kdf: FileKdf,
    af: Splitter,
    priority: Option<u32>,
}

#[derive(Deserialize)]
struct Area {
    r#type: String,
    offset: String,
    size: String,
    encryption: String,
    key_size: u32,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum FileKdf {
    #[serde(rename = "pbkdf2")]
    Pbkdf2 {
        hash: String,
        iterations: u32,
        salt: String,
    },
    #[serde(rename = "argon2i")]
    Argon2i(Argon2Cost),
    #[serde(rename = "argon2id")]
    Argon2id(Argon2Cost),
}

#[derive(Deserialize)]
struct Argon2Cost {
    time: u32,
    memory: u32,
    cpus: u32,
    salt: String,
}

#[derive(Deserialize)]
struct Splitter {
    r#type: String,
    stripes: u32,
    hash: String,
}

/// What `json` says of a disk of `disk_bytes` bytes, of which the copies of the header take those
/// before `headers_end`.
///
/// # Errors
/// If it makes no sense, or asks for what is not known here.
pub(super) fn decode(json: &[u8], headers_end: u64, disk_bytes: u64) -> Result<Header, LuksError> {
    let damaged = |_| LuksError::Damaged("its JSON is not that of a header");
    let root: Root = serde_json::from_slice(json).map_err(damaged)?;
    if let Some(wanted) = root.config.requirements.mandatory.first() {
        let known = "none; finish with cryptsetup what was begun";
        return Err(LuksError::unsupported("requirement", wanted, known));
    }
    let mut segments = root.segments.iter();
    let (Some((segment_number, segment)), None) = (segments.next(), segments.next()) else {
        let count = root.segments.len().to_string();
        return Err(LuksError::unsupported("number of segments", &count, "one"));
    };
    let payload = segment.payload(headers_end, disk_bytes)?;
    let segment_number = segment_number.to_string();
    let mut digests = root.digests.values();
    let digest = digests
        .find(|digest| digest.segments.contains(&segment_number))
        .ok_or(LuksError::Damaged("its segment has no digest"))?;
    if root.keyslots.len() > SLOTS_MAX {
        return Err(LuksError::Damaged("it has more than 32 key slots"));
    }
    let within = Extent::between(headers_end, payload.at.offset());
    let mut slots = Vec::new();
    for (number, slot) in root.keyslots {
        if digest.keyslots.contains(&number.to_string()) {
            let slot = decode_slot(slot, within).transpose();
            slots.extend(slot.map(|slot| (number, slot)));
        }
    }
    Ok(Header {
        version: 2,
        payload,
        digest: digest.decode()?,
        slots,
    })
}

impl Segment {
    fn payload(&self, headers_end: u64, disk_bytes: u64) -> Result<Payload, LuksError> {
        if self.r#type != "crypt" {
            return Err(LuksError::unsupported("segment", &self.r#type, "crypt"));
        }
        if self.integrity.is_some() {
            return Err(LuksError::unsupported("feature", "integrity", "none"));
        }
        let cipher = self.encryption.as_deref().unwrap_or_default();
        if cipher != CIPHER {
            return Err(LuksError::unsupported("cipher", cipher, CIPHER_AND_KEY));
        }
        let offset = number(&self.offset)?;
        let bytes = match self.size.as_deref() {
            None | Some("dynamic") => None,
            Some(size) => Some(number(size)?),
        };
        let first_tweak = self.iv_tweak.as_deref().map_or(Ok(0), number)?;
        let sector_bytes = match self.sector_size.unwrap_or(512) {
            bytes @ (512 | 1024 | 2048 | 4096) => bytes as usize,
            bytes => {
                let (bytes, known) = (bytes.to_string(), "512, 1024, 2048 or 4096");
                return Err(LuksError::unsupported("sector size", &bytes, known));
            }
        };
        if offset < headers_end || !offset.is_multiple_of(512) {
            return Err(LuksError::Damaged("its data lies where it cannot"));
        }
        Payload::new(offset, bytes, disk_bytes, sector_bytes, first_tweak)
    }
}

impl Digest {
    fn decode(&self) -> Result<KeyDigest, LuksError> {
        if self.r#type != "pbkdf2" {
            return Err(LuksError::unsupported("digest", &self.r#type, "pbkdf2"));
        }
        let hash = Hash::named(&self.hash)?;
        let (salt, digest) = (bytes(&self.salt)?, bytes(&self.digest)?);
        KeyDigest::new(hash, self.iterations, &salt, &digest)
    }
}

/// A key slot, unless it wants to be left alone: priority 0 is for slots that are named only.
fn decode_slot(slot: Value, within: Extent) -> Result<Option<Slot>, LuksError> {
    let damaged = |_| LuksError::Damaged("a key slot in its JSON is of no known kind");
    let slot: Keyslot = serde_json::from_value(slot).map_err(damaged)?;
    if slot.priority == Some(0) {
        return Ok(None);
    }
    let (area, af) = (&slot.area, &slot.af);
    for (what, found, known) in [
        ("key slot", slot.r#type.as_str(), "luks2"),
        ("area", area.r#type.as_str(), "raw"),
        ("cipher of a key slot", area.encryption.as_str(), CIPHER),
        ("splitter", af.r#type.as_str(), "luks1"),
    ] {
        if found != known {
            return Err(LuksError::unsupported(what, found, known));
        }
    }
    for key_size in [slot.key_size, area.key_size] {
        if key_size as usize != KEY_BYTES {
            let found = format!("{CIPHER} with a key of {key_size} bytes");
            return Err(LuksError::unsupported("cipher", &found, CIPHER_AND_KEY));
        }
    }
    if af.stripes as usize != STRIPES {
        return Err(LuksError::Damaged("a key slot has not 4000 stripes"));
    }
    let start = number(&area.offset)?;
    let misplaced = || LuksError::Damaged("a key slot lies where it cannot");
    let stripes = Extent::new(start, AREA_BYTES as u64).ok_or_else(misplaced)?;
    let is_room = number(&area.size)? >= stripes.bytes() && start.is_multiple_of(512);
    if !is_room || start < within.offset() || stripes.end() > within.end() {
        return Err(misplaced());
    }
    Ok(Some(Slot {
        kdf: slot.kdf.decode()?,
        hash: Hash::named(&af.hash)?,
        area: stripes,
    }))
}

impl FileKdf {
    fn decode(&self) -> Result<Kdf, LuksError> {
        let (algorithm, cost) = match self {
            Self::Pbkdf2 {
                hash,
                iterations,
                salt,
            } => return Kdf::pbkdf2(Hash::named(hash)?, *iterations, &bytes(salt)?),
            Self::Argon2i(cost) => (Algorithm::Argon2i, cost),
            Self::Argon2id(cost) => (Algorithm::Argon2id, cost),
        };
        let salt = bytes(&cost.salt)?;
        Kdf::argon2(algorithm, cost.memory, cost.time, cost.cpus, &salt)
    }
}

fn number(text: &str) -> Result<u64, LuksError> {
    let damaged = |_| LuksError::Damaged("a number in its JSON is none");
    text.parse().map_err(damaged)
}

fn bytes(text: &str) -> Result<Vec<u8>, LuksError> {
    let damaged = |_| LuksError::Damaged("a salt or digest in its JSON is no Base64");
    Base64::decode_vec(text).map_err(damaged)
}
