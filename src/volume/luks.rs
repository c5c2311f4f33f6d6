//! Opens and makes raw disks that begin with a LUKS header. What is in one is
//! [`codec::luks`](crate::codec::luks)'s to know; here it is read and written.

use std::fmt;

use super::encrypted::EncryptedDisk;
use super::raw::RawDisk;
use crate::base::{Buf, Durability, Error, Extent};
use crate::codec::luks::{self, Header, LOOK_BYTES, Look, LuksError, SectorCipher, Slot};
use crate::codec::{Credential, Secret};
use crate::env;

/// Why a disk could not be opened or made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LuksFailure {
    /// The header, or the key for it.
    Header(LuksError),
    /// The disk beneath.
    Io(Error),
}

/// What is on `disk` behind its LUKS header, for who has its key.
///
/// Damage that does not keep it from being opened is logged under `name`.
///
/// # Errors
/// If there is no header, if it makes no sense, or if the key does not open it. Nothing was
/// written.
pub async fn open_luks(
    disk: RawDisk,
    key: &Credential,
    name: &str,
) -> Result<EncryptedDisk, LuksFailure> {
    let secret = secret(key);
    if secret.expose().is_empty() {
        return Err(LuksError::EmptyKey.into());
    }
    let header = read_header(&disk, name).await?;
    let mut is_wrong = false;
    let mut unusable = Vec::new();
    for (number, slot) in header.slots() {
        match try_slot(&disk, &header, slot, secret).await {
            Ok(Some(cipher)) => {
                for (slot, error) in unusable {
                    tracing::warn!(disk = name, slot, %error, "a LUKS key slot cannot be used");
                }
                return Ok(EncryptedDisk::new(disk, header.payload.at, cipher));
            }
            Ok(None) => is_wrong = true,
            Err(LuksFailure::Header(error)) => unusable.push((number, error)),
            Err(error) => return Err(error),
        }
    }
    let refused = match (is_wrong, unusable.pop()) {
        (false, None) => LuksError::NoSlots,
        (true, None) => LuksError::WrongKey,
        (false, Some((_, error))) => error,
        (true, Some((_, error))) => LuksError::WrongKeyOr(Box::new(error)),
    };
    Err(refused.into())
}

/// What encrypts the payload, if `secret` opens `slot`.
async fn try_slot(
    disk: &RawDisk,
    header: &Header,
    slot: Result<&Slot, &LuksError>,
    secret: &Secret,
) -> Result<Option<SectorCipher>, LuksFailure> {
    let slot = slot.map_err(LuksError::clone)?;
    let area = disk.read(slot.area()).await?;
    Ok(header.unlock(slot, secret, &area)?)
}

/// Makes `disk` one that `key` opens, with a header of version 1: QEMU knows no other. `iterations`
/// is what trying one passphrase takes.
///
/// A stop before the end leaves a disk without a header:
///
/// 1. The room of the header is zeroed: nothing of an older one opens. Flush.
/// 2. The key of the disk is written, encrypted. Flush.
/// 3. The header is written. Flush.
///
/// # Errors
/// If it is too small, or cannot be written.
pub async fn make_luks(
    disk: &RawDisk,
    key: &Credential,
    iterations: u32,
) -> Result<(), LuksFailure> {
    if disk.size() <= luks::PAYLOAD_OFFSET {
        return Err(LuksError::TooSmall.into());
    }
    let made = luks::make(secret(key), iterations, fill)?;
    let room = Extent::between(0, luks::PAYLOAD_OFFSET);
    let durable = Durability::Durable;
    disk.write(0, Buf::zeroed(room.len()), durable).await?;
    let area = Buf::from(&made.area[..]);
    disk.write(made.area_offset(), area, durable).await?;
    disk.write(0, Buf::from(&made.header[..]), durable).await?;
    Ok(())
}

/// LUKS makes no difference: the bytes of a key file are a passphrase like any other.
fn secret(key: &Credential) -> &Secret {
    match key {
        Credential::Passphrase(secret) | Credential::KeyFile(secret) => secret,
    }
}

fn fill(bytes: &mut [u8]) {
    for some in bytes.chunks_mut(8) {
        some.copy_from_slice(&env::random_u64().to_le_bytes()[..some.len()]);
    }
}

async fn read_header(disk: &RawDisk, name: &str) -> Result<Header, LuksFailure> {
    let Some(start) = read(disk, 0, LOOK_BYTES).await? else {
        return Err(LuksError::NotLuks.into());
    };
    let look = *start.first_chunk().expect("as long as was asked for");
    let (mut first, mut known) = (None, None);
    match luks::look(&look, disk.size())? {
        Look::One(header) => return Ok(*header),
        Look::Two => {
            first = read_copy(disk, 0).await?;
            known = first.as_ref().map(|copy| copy.len() as u64);
            // Without a length to trust, what there is of it shows at least that it was one.
            first = first.or(Some(start));
        }
        Look::Nothing => {}
    }
    let mut second = None;
    for offset in luks::SECOND_COPIES {
        // A first copy says where the second one is. Where it does not, any place will do.
        if second.is_none() && known.is_none_or(|known| known == offset) {
            second = read_copy(disk, offset).await?;
        }
    }
    let (header, trouble) = luks::newest(first.as_deref(), second.as_deref(), disk.size())?;
    if let Some(trouble) = trouble {
        tracing::warn!(
            disk = name,
            trouble,
            "the other copy of the LUKS header is used"
        );
    }
    Ok(header)
}

/// The copy of a header of version 2 that begins at `offset`, if one does.
async fn read_copy(disk: &RawDisk, offset: u64) -> Result<Option<Buf>, Error> {
    let Some(start) = read(disk, offset, LOOK_BYTES).await? else {
        return Ok(None);
    };
    match luks::copy_bytes(&start, offset) {
        Some(bytes) => read(disk, offset, bytes).await,
        None => Ok(None),
    }
}

/// So many bytes, if the disk has them.
async fn read(disk: &RawDisk, offset: u64, bytes: usize) -> Result<Option<Buf>, Error> {
    let at = Extent::between(offset, offset + bytes as u64);
    match at.fits(disk.size()) {
        true => disk.read(at).await.map(Some),
        false => Ok(None),
    }
}

impl LuksFailure {
    /// What a person could do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Header(LuksError::WrongKey | LuksError::EmptyKey) => {
                "name the file that holds the right one"
            }
            Self::Header(LuksError::NotLuks) => {
                "leave out the key, or make a header with: bedplate raw format"
            }
            Self::Header(LuksError::TooSmall) => "a disk needs 2 MiB for its header and some more",
            Self::Header(LuksError::Unsupported { .. } | LuksError::Version(_)) => {
                "use a program that knows it"
            }
            Self::Header(LuksError::Memory(_)) => "free some memory",
            Self::Header(_) => "put back a copy of its header, if there is one",
            Self::Io(_) => "check the disk beneath it",
        }
    }
}

impl From<LuksError> for LuksFailure {
    fn from(error: LuksError) -> Self {
        Self::Header(error)
    }
}

impl From<Error> for LuksFailure {
    fn from(error: Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for LuksFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LuksFailure {}
