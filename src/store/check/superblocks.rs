//! Reads the superblocks and proves that the newest is the newest (I1).

use super::report::Findings;
use crate::backend::{Backend, Checked};
use crate::base::{Buf, Extent};
use crate::store::StoreError;
use crate::store::format::superblock::{self, SLOTS, Superblock, Unusable};

/// What each slot holds.
pub(in crate::store) type Slots = [Result<Superblock, Unusable>; SLOTS];

/// Reads all slots.
///
/// # Errors
/// If one cannot be read, since it may be the newest.
pub(in crate::store) async fn read_slots(backend: &Checked) -> Result<Slots, StoreError> {
    let geometry = backend.geometry();
    let mut slots = [const { Err(Unusable::Foreign) }; SLOTS];
    for (slot, found) in slots.iter_mut().enumerate() {
        let start = Superblock::slot_offset(slot);
        let at = Extent::between(start, start + superblock::BYTES as u64);
        if !at.fits(geometry.size) {
            return Err(StoreError::NotAStore);
        }
        let at = at.grow(geometry.block);
        let bytes = backend.read(at, Buf::new(at.len())).await?;
        *found = Superblock::decode(slot, &bytes);
    }
    Ok(slots)
}

/// The superblock that counts.
///
/// # Errors
/// If there is none, or if one is of a newer version: it may be newer in time, too.
pub(in crate::store) fn newest(slots: &Slots) -> Result<&Superblock, StoreError> {
    let mut reason = StoreError::NotAStore;
    for slot in slots {
        match slot {
            Err(Unusable::Newer(what)) => return Err(StoreError::Newer(*what)),
            Err(Unusable::Damaged(why)) => {
                reason = StoreError::Damaged(format!("every superblock: {why}"));
            }
            Ok(_) | Err(Unusable::Foreign) => {}
        }
    }
    let valid = slots.iter().flatten();
    valid.max_by_key(|read| read.generation).ok_or(reason)
}

/// Proves that the slots hold the superblocks that were written before `newest`.
pub(super) fn prove(
    slots: &Slots,
    newest: &Superblock,
    backend_bytes: u64,
    findings: &mut Findings,
) {
    if newest.shape.bytes() > backend_bytes {
        let (ends, needed) = (backend_bytes, newest.shape.bytes());
        let what = format!("it ends at byte {ends}, the store at byte {needed}");
        findings.add("I1", "the backend", what);
    }
    if newest.log.seq.epoch() > newest.epoch || newest.root.seq.epoch() > newest.epoch {
        let place = place(newest.slot());
        findings.add("I1", place, "it leads into segments of a mount to come");
    }
    for back in 1..SLOTS as u64 {
        // The first that is written is generation 1.
        let generation = match newest.generation.checked_sub(back) {
            None | Some(0) => continue,
            Some(generation) => generation,
        };
        #[expect(clippy::cast_possible_truncation, reason = "below four")]
        let slot = (generation % SLOTS as u64) as usize;
        // The slot that is written next may hold what a power loss left of it.
        let is_next = back == SLOTS as u64 - 1;
        match &slots[slot] {
            Ok(older) => {
                if let Err(what) = precedes(older, newest, generation) {
                    findings.add("I1", place(slot), what);
                }
            }
            Err(_) if is_next => {}
            Err(why) => findings.add("I1", place(slot), damage(*why)),
        }
    }
}

/// Why `older` is not the superblock of `generation` that was written before `newest`.
fn precedes(older: &Superblock, newest: &Superblock, generation: u64) -> Result<(), String> {
    if older.generation != generation {
        let found = older.generation;
        return Err(format!("generation {found} where {generation} was written"));
    }
    if older.uuid != newest.uuid {
        return Err("it belongs to another store".to_owned());
    }
    if older.epoch > newest.epoch {
        let (then, now) = (older.epoch, newest.epoch);
        return Err(format!("epoch {then}, and {now} in the one behind it"));
    }
    let (then, now) = (older.shape, newest.shape);
    let divided = (then.seg_shift(), then.block_shift()) == (now.seg_shift(), now.block_shift());
    if !divided || then.segs() > now.segs() {
        return Err("it divides the store in another way".to_owned());
    }
    if older.log.number > newest.log.number || older.next_counter > newest.next_counter {
        return Err("it is further on than the one behind it".to_owned());
    }
    Ok(())
}

fn place(slot: usize) -> String {
    format!("superblock slot {slot}")
}

/// What `why` means to a person.
pub(in crate::store) fn damage(why: Unusable) -> String {
    match why {
        Unusable::Foreign => "there is no superblock".to_owned(),
        Unusable::Newer(what) => format!("it needs version or feature {what} of the format"),
        Unusable::Damaged(why) => why.to_owned(),
    }
}
