//! The key slots of a store, whether it is open or not: what `bedplate key` does.
//!
//! They lie apart from everything else, and nothing but this writes them after a store was made.
//! Whoever changes them twice at once loses one of the changes: see to it that nobody does.

use super::Store;
use super::error::StoreError;
use super::find::{newest_superblock, read_slots};
use super::format::superblock::Superblock;
use super::unlock::{random_bytes, read_key_slots, write_key_slots};
use crate::backend::Checked;
use crate::codec::{Cipher, Cost, Credential, KeySlots, SlotInfo, Unlocked};
use crate::env;

/// What is to become of the key slots of a store.
#[derive(Debug)]
pub enum KeyChange {
    /// One more key opens it.
    Add(NewKey),
    /// What is in this slot opens it no more. Whoever has seen the master key still can read.
    Remove(usize),
    /// The new key opens it, and the one that was known does not any more.
    Rotate(NewKey),
    /// Nothing opens it any more: nobody can ever read it again.
    Destroy,
}

/// A key for a free slot.
#[derive(Debug)]
pub struct NewKey {
    /// The key.
    pub credential: Credential,
    /// What it is called in lists.
    pub label: String,
    /// What a passphrase costs whoever tries one.
    pub cost: Cost,
}

/// What the key slots of the store on `backend` are, and how it is encrypted.
///
/// # Errors
/// If it is not encrypted, or neither copy of the slots is in order.
pub async fn list_keys(backend: &Checked) -> Result<(Cipher, Vec<SlotInfo>), StoreError> {
    let newest = superblock_of(backend).await?;
    let slots = read_key_slots(backend, &newest.uuid).await?;
    let cipher = newest.cipher.expect("it has keys");
    Ok((cipher, slots.list()))
}

/// Changes the key slots of the store on `backend`, all or nothing; gives the slot of the new key.
///
/// # Errors
/// If `known` does not open the store: only who could read it may do that here. If no slot is free,
/// there is nothing in a slot that is to be emptied, or it is the last one.
pub async fn change_keys(
    backend: &Checked,
    known: &Credential,
    change: KeyChange,
) -> Result<Option<usize>, StoreError> {
    let newest = superblock_of(backend).await?;
    change_slots(backend, newest, known, change).await
}

async fn change_slots(
    backend: &Checked,
    newest: Superblock,
    known: &Credential,
    change: KeyChange,
) -> Result<Option<usize>, StoreError> {
    let mut slots = read_key_slots(backend, &newest.uuid).await?;
    let known = known.copy();
    // A passphrase takes a second, in which the disks of this reactor would stand still.
    let (slots, added) = env::blocking(move || {
        let added = slots.change(&known, &newest, change)?;
        Ok::<_, StoreError>((slots, added))
    })
    .await?;
    write_key_slots(backend, &slots).await?;
    Ok(added)
}

impl Store {
    /// What the key slots of the store are, and how it is encrypted.
    ///
    /// # Errors
    /// As [`list_keys`].
    pub async fn list_keys(&self) -> Result<(Cipher, Vec<SlotInfo>), StoreError> {
        list_keys(&self.shell.backend).await
    }

    /// Changes the key slots of the store. It stays open, whatever opens it later.
    ///
    /// # Errors
    /// As [`change_keys`].
    pub async fn change_keys(
        &self,
        known: &Credential,
        change: KeyChange,
    ) -> Result<Option<usize>, StoreError> {
        let newest = self.shell.core().superblock.clone();
        change_slots(&self.shell.backend, newest, known, change).await
    }
}

impl KeySlots {
    fn change(
        &mut self,
        known: &Credential,
        newest: &Superblock,
        change: KeyChange,
    ) -> Result<Option<usize>, StoreError> {
        let Unlocked { slot: old, master } = self.unlock_for(known, newest)?;
        self.settle(old);
        let add = |slots: &mut Self, new: NewKey| {
            slots.add(
                &master,
                &new.credential,
                &new.label,
                new.cost,
                random_bytes(),
            )
        };
        match change {
            KeyChange::Add(new) => Ok(Some(add(self, new)?)),
            KeyChange::Remove(slot) => {
                self.remove(slot)?;
                Ok(None)
            }
            KeyChange::Rotate(new) => {
                let added = add(self, new)?;
                self.remove(old)?;
                Ok(Some(added))
            }
            KeyChange::Destroy => {
                self.destroy();
                Ok(None)
            }
        }
    }
}

/// The error of whoever asks for keys where there are none.
pub(super) fn no_keys() -> StoreError {
    StoreError::Invalid("it is not encrypted, so it has no keys".to_owned())
}

/// The newest superblock of a store that is encrypted.
async fn superblock_of(backend: &Checked) -> Result<Superblock, StoreError> {
    let slots = read_slots(backend).await?;
    let newest = newest_superblock(&slots)?;
    match newest.cipher {
        Some(_) => Ok(newest.clone()),
        None => Err(no_keys()),
    }
}
