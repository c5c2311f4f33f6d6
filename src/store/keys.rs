//! The key slots of a store that nobody serves: what `bedplate key` does.

use super::error::StoreError;
use super::find::{newest_superblock, read_slots};
use super::unlock::{random_bytes, read_key_slots, write_key_slots};
use crate::backend::Checked;
use crate::codec::{Cipher, Cost, Credential, KeySlots, SlotInfo};

/// What the key slots of a store are, and how it is encrypted.
///
/// # Errors
/// If it is not encrypted, or neither copy of the slots is in order.
pub async fn list_keys(backend: &Checked) -> Result<(Cipher, Vec<SlotInfo>), StoreError> {
    let (cipher, slots) = slots_of(backend).await?;
    Ok((cipher, slots.list()))
}

/// Puts `new` into a free slot; gives which.
///
/// # Errors
/// If `known` does not open the store, or no slot is free.
pub async fn add_key(
    backend: &Checked,
    known: &Credential,
    new: &Credential,
    label: &str,
    cost: Cost,
) -> Result<usize, StoreError> {
    let (_, mut slots) = slots_of(backend).await?;
    let master = slots.unlock(known)?;
    let slot = slots.add(&master, new, label, cost, random_bytes())?;
    write_key_slots(backend, &slots).await?;
    Ok(slot)
}

/// Empties a slot. What was in it opens the store no more; who has seen the master key still can
/// read what there is.
///
/// # Errors
/// If `known` does not open the store, if there is nothing in the slot, or if it is the last one.
pub async fn remove_key(
    backend: &Checked,
    known: &Credential,
    slot: usize,
) -> Result<(), StoreError> {
    let (_, mut slots) = slots_of(backend).await?;
    slots.unlock(known)?;
    slots.remove(slot)?;
    write_key_slots(backend, &slots).await
}

/// The slot that a key opens.
///
/// # Errors
/// If it opens none.
pub async fn slot_of_key(backend: &Checked, known: &Credential) -> Result<usize, StoreError> {
    let (_, slots) = slots_of(backend).await?;
    Ok(slots.unlock_slot(known)?.0)
}

/// Empties all slots: nobody can ever read the store again.
///
/// # Errors
/// If `known` does not open the store: only who could read it may do that here.
pub async fn destroy_keys(backend: &Checked, known: &Credential) -> Result<(), StoreError> {
    let (_, mut slots) = slots_of(backend).await?;
    slots.unlock(known)?;
    slots.destroy();
    write_key_slots(backend, &slots).await
}

async fn slots_of(backend: &Checked) -> Result<(Cipher, KeySlots), StoreError> {
    let slots = read_slots(backend).await?;
    let superblock = newest_superblock(&slots)?;
    let Some(cipher) = superblock.cipher else {
        let why = "it is not encrypted, so it has no keys";
        return Err(StoreError::Invalid(why.to_owned()));
    };
    let slots = read_key_slots(backend, &superblock.uuid).await?;
    Ok((cipher, slots))
}
