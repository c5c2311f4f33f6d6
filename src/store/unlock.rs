//! Opens what is encrypted: the key slots, and the keys of all mounts.

use std::sync::Arc;

use super::error::StoreError;
use super::format::Malformed;
use super::format::root::Root;
use super::format::superblock::Superblock;
use crate::backend::{Backend, Checked};
use crate::base::{Buf, Extent};
use crate::codec::{
    AREA_BYTES, Cipher, Credential, KeyError, KeySlots, Keyring, MOUNT_SALT_BYTES, OtherCopy,
    Sealer, Secret, Unlocked,
};
use crate::env;

/// Where the two copies of the key slots begin, in bytes.
const COPIES: [u64; 2] = [1 << 20, (1 << 20) + (64 << 10)];

/// What opens the store that `superblock` belongs to, and its key slots if they are to be written
/// again, because a change of the master key was interrupted. A store that is not encrypted takes
/// no key.
///
/// # Errors
/// `Locked` if a key is missing, wrong, or not wanted; `Damaged` if the superblock was not written
/// by who has the key.
pub(super) async fn unlock(
    backend: &Checked,
    superblock: &Superblock,
    key: Option<&Credential>,
) -> Result<(Sealer, Option<KeySlots>), StoreError> {
    let (cipher, key) = match (superblock.cipher, key) {
        (None, None) => return Ok((Sealer::new(&superblock.uuid), None)),
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
    let mut slots = read_key_slots(backend, &superblock.uuid).await?;
    let newest = superblock.clone();
    // A passphrase takes a second, in which the disks of this reactor would stand still.
    let (unlocked, slots) = env::blocking(move || {
        let unlocked = slots.unlock_for(&key, &newest)?;
        let settled = slots.settle(unlocked.slot).then_some(slots);
        Ok::<_, StoreError>((unlocked, settled))
    })
    .await?;
    let ring = Keyring::new(cipher, unlocked.master);
    ring.add(superblock.epoch, superblock.salt);
    let sealer = Sealer::with_keys(&superblock.uuid, Arc::new(ring));
    Ok((sealer, slots))
}

impl KeySlots {
    /// The master key of the store whose newest superblock this is, from whichever slot opens with
    /// `key`.
    ///
    /// # Errors
    /// As [`unlock`].
    pub(super) fn unlock_for(
        &self,
        key: &Credential,
        newest: &Superblock,
    ) -> Result<Unlocked, StoreError> {
        let is_the_stores = |master: &Secret| {
            let cipher = newest.cipher.unwrap_or(Cipher::Xts);
            newest.is_signed(&Keyring::new(cipher, Secret::copy_of(master.expose())))
        };
        match self.unlock_if(key, is_the_stores) {
            Err(KeyError::OtherMaster) => {
                let what = "the superblock: it does not bear the mark of the store's key";
                Err(StoreError::Damaged(what.to_owned()))
            }
            unlocked => Ok(unlocked?),
        }
    }
}

/// Makes the keys known that the root names.
///
/// # Errors
/// If it has none and should.
pub(super) fn learn_keys(sealer: &Sealer, root: &Root) -> Result<(), Malformed> {
    let Some(ring) = sealer.keys() else {
        return Ok(());
    };
    let keys = root.keys.as_ref().ok_or(Malformed("it has no keys"))?;
    for (epoch, key) in &keys.mounts {
        ring.learn(*epoch, Secret::copy_of(key.expose()));
    }
    sealer.learn_fingerprints(&keys.fingerprints);
    Ok(())
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
