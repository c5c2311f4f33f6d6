//! Renewal of a store that is open: under another master key, or packed as its volumes want it now.

use super::Store;
use super::core::{Core, Ended, NewMaster};
use super::error::StoreError;
use super::keys::no_keys;
use super::unlock::{random_bytes, read_key_slots, write_key_slots};
use crate::base::{Error, Refusal};
use crate::codec::{Credential, KEY_BYTES, KeySlots, Secret};
use crate::env;

/// How far the renewal of a store is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RenewalProgress {
    /// Bytes of segments that were to be written again when it began, or when the store was opened.
    pub of: u64,
    /// How many of them are done.
    pub done: u64,
}

impl Store {
    /// Replaces the master key of the store by a new one, for the key that is `known`, and begins
    /// to write everything again under it; gives the number of that [renewal](Self::renewed).
    ///
    /// From the return on nothing is written with the old key, and no other key slot opens the
    /// store. What was read from it before, and what still lies where segments were freed, the old
    /// key opens as ever.
    ///
    /// # Errors
    /// `Locked` if what is known does not open the store. `Invalid` if there are other keys, which
    /// would be lost, unless they may be `dropped`. If no key slot is free, or no space.
    pub async fn renew_master(
        &self,
        known: &Credential,
        may_drop_others: bool,
    ) -> Result<u64, StoreError> {
        let backend = &self.shell.backend;
        let newest = self.shell.core().superblock.clone();
        if newest.cipher.is_none() {
            return Err(no_keys());
        }
        let mut slots = read_key_slots(backend, &newest.uuid).await?;
        let known = known.copy();
        let key = Secret::new(random_bytes::<KEY_BYTES>().to_vec());
        // A passphrase takes a second, in which the disks of this reactor would stand still.
        let (mut slots, added, key) = env::blocking(move || {
            let opened = slots.unlock_for(&known, &newest)?.slot;
            slots.settle(opened);
            if !may_drop_others {
                refuse_others(&slots, opened)?;
            }
            let added = slots.add_successor(opened, &key, &known, random_bytes())?;
            Ok::<_, StoreError>((slots, added, key))
        })
        .await?;
        // A stop from here on leaves both keys in slots, and the superblock says which counts.
        write_key_slots(backend, &slots).await?;
        let salt = random_bytes();
        let master = NewMaster { key, salt };
        let number = self.shell.core().replace_master(master);
        let number = number.map_err(begun_error)?;
        self.wait_checkpoint(number).await?;
        slots.settle(added);
        write_key_slots(backend, &slots).await?;
        self.begin_renewal(|core| core.begin_renewal(false))
    }

    /// Begins to write everything again, packed as its volumes want it now, and will not forget
    /// that; gives the number of that [renewal](Self::renewed).
    ///
    /// # Errors
    /// If there is no space.
    pub async fn repack(&self) -> Result<u64, StoreError> {
        let number = self.begin_renewal(|core| core.begin_renewal(true))?;
        self.checkpoint().await?;
        Ok(number)
    }

    /// How far the renewal is that is under way, if one is. One that a crash interrupted goes on by
    /// itself.
    pub fn renewal(&self) -> Option<RenewalProgress> {
        let core = self.shell.core();
        let (of, left) = core.renewal()?;
        let bytes = |segs: u32| u64::from(segs) * u64::from(core.shape().seg_bytes());
        Some(RenewalProgress {
            of: bytes(of.max(left)),
            done: bytes(of.saturating_sub(left)),
        })
    }

    /// Returns when renewal `number` has ended, and that is durable.
    ///
    /// # Errors
    /// `Unfinished` if it was [stopped](Self::stop_renewal), or segments could not be emptied.
    pub async fn renewed(&self, number: u64) -> Result<(), StoreError> {
        let look = || {
            let core = self.shell.core();
            match core.renewals.end_of(number) {
                Some(end) => Some(Ok(end)),
                None => core.check_health().err().map(Err),
            }
        };
        match self.shell.changed.wait_for(look).await? {
            Ended::Well => self.checkpoint().await,
            Ended::Stopped => Err(StoreError::Unfinished("somebody stopped it".to_owned())),
            Ended::Stuck(segments) => Err(StoreError::Unfinished(format!(
                "{segments} segments could not be emptied, for want of space or because blocks in \
                 them are damaged"
            ))),
        }
    }

    /// Ends the renewal that is under way. What is written again stays so, and so does the rest.
    pub fn stop_renewal(&self) {
        self.shell.core().stop_renewal();
        self.shell.changed.wake_all();
    }

    fn begin_renewal(
        &self,
        begin: impl FnOnce(&mut Core) -> Result<u64, Error>,
    ) -> Result<u64, StoreError> {
        let number = {
            let mut core = self.shell.core();
            core.check_health()?;
            begin(&mut core)
        };
        // What the log leaves behind is to be written.
        self.shell.pump();
        self.shell.chores.wake_all();
        number.map_err(begun_error)
    }
}

/// Why a renewal did not begin.
fn begun_error(error: Error) -> StoreError {
    match error {
        Error::Refused(Refusal::NoSpace) => StoreError::NoSpace,
        error => error.into(),
    }
}

/// Refuses slots that would be lost beside the one that was `opened`.
fn refuse_others(slots: &KeySlots, opened: usize) -> Result<(), StoreError> {
    let others = slots.list().into_iter().filter(|info| info.slot != opened);
    let others: Vec<String> = others.map(|info| info.slot.to_string()).collect();
    match others.is_empty() {
        true => Ok(()),
        false => Err(StoreError::Invalid(format!(
            "these other keys would not open it any more: {}",
            others.join(", ")
        ))),
    }
}
