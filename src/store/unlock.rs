//! Opens what is encrypted: the key slots, and the keys of all mounts.

use std::sync::Arc;

use super::error::StoreError;
use super::format::root::Root;
use super::format::superblock::Superblock;
use crate::backend::{Backend, Checked};
use crate::base::{Buf, Extent};
use crate::codec::{
    AREA_BYTES, Credential, KeySlots, Keyring, MOUNT_SALT_BYTES, OtherCopy, Sealer,
};
use crate::env;

/// Where the two copies of the key slots begin, in bytes.
const COPIES: [u64; 2] = [1 << 20, (1 << 20) + (64 << 10)];

/// What opens the store that `superblock` belongs to. A store that is not encrypted takes no key.
///
/// # Errors
/// `Locked` if a key is missing, wrong, or not wanted; `Damaged` if the superblock was not written
/// by who has the key.
pub(super) async fn unlock(
    backend: &Checked,
    superblock: &Superblock,
    key: Option<&Credential>,
) -> Result<Sealer, StoreError> {
    let (cipher, key) = match (superblock.cipher, key) {
        (None, None) => return Ok(Sealer::new(&superblock.uuid)),
        (None, Some(_)) => {
            let why = "it is not encrypted, but a key was given";
            return Err(StoreError::Locked(why.to_owned()));
        }
        (Some(cipher), None) => {
            let why = format!("it is encrypted with {} and needs its key", cipher.name());
            return Err(StoreError::Locked(why));
        }
        (Some(cipher), Some(key)) => (cipher, key.copy()),
    };
    let slots = read_key_slots(backend, &superblock.uuid).await?;
    // A passphrase takes a second, in which the disks of this reactor would stand still.
    let master = env::blocking(move || slots.unlock(&key)).await?;
    let ring = Keyring::new(cipher, master);
    if !superblock.is_signed(&ring) {
        let what = "the superblock: it does not bear the mark of the store's key";
        return Err(StoreError::Damaged(what.to_owned()));
    }
    ring.add(superblock.epoch, superblock.salt);
    Ok(Sealer::with_keys(&superblock.uuid, Arc::new(ring)))
}

/// Makes the keys of the mounts known that the root names.
pub(super) fn learn_keys(keys: &Keyring, root: &Root) {
    for (epoch, salt) in &root.salts {
        keys.add(*epoch, *salt);
    }
}

/// Draws the salt of mount `epoch` and makes its key known.
pub(super) fn begin_mount(keys: &Keyring, epoch: u32) -> [u8; MOUNT_SALT_BYTES] {
    let salt = random_bytes();
    keys.add(epoch, salt);
    salt
}

/// Bytes that nobody can foresee.
pub(super) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    for some in bytes.chunks_mut(8) {
        some.copy_from_slice(&env::random_u64().to_le_bytes()[..some.len()]);
    }
    bytes
}

/// The key slots of the store with this identity.
///
/// # Errors
/// If neither copy is in order.
pub(super) async fn read_key_slots(
    backend: &Checked,
    uuid: &[u8; 16],
) -> Result<KeySlots, StoreError> {
    let mut copies = Vec::new();
    for start in COPIES {
        let at = Extent::between(start, start + AREA_BYTES as u64);
        copies.push(backend.read(at, Buf::new(AREA_BYTES)).await?);
    }
    let newest = KeySlots::newest(uuid, [&copies[0], &copies[1]])?;
    if newest.other != OtherCopy::Same {
        tracing::warn!(
            copy = 1 - newest.copy,
            "a copy of the key slots is damaged or old; the other one is used"
        );
    }
    Ok(newest.slots)
}

/// Writes both copies of the key slots, one after the other: whenever that is interrupted, one of
/// them is whole.
///
/// # Errors
/// If they cannot be written.
pub(super) async fn write_key_slots(backend: &Checked, slots: &KeySlots) -> Result<(), StoreError> {
    let bytes = slots.encode();
    for start in COPIES {
        backend.write(start, Buf::from(&bytes[..])).await?;
        backend.flush().await?;
    }
    Ok(())
}
