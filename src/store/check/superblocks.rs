//! Proves of the superblocks that the newest is the newest (I1).

use super::report::Findings;
use crate::store::format::superblock::{Slots, Superblock, Unusable};

/// Proves that the slots hold `newest`, and the superblock that was written before it.
pub(super) fn prove(
    slots: &Slots,
    newest: &Superblock,
    backend_bytes: u64,
    findings: &mut Findings,
) {
    let [first, second] = Superblock::slots(newest.generation);
    if newest.shape.bytes() > backend_bytes {
        let (ends, needed) = (backend_bytes, newest.shape.bytes());
        let what = format!("it ends at byte {ends}, the store at byte {needed}");
        findings.add("I1", "the backend", what);
    }
    if newest.log.seq.epoch() > newest.epoch || newest.root.seq.epoch() > newest.epoch {
        findings.add(
            "I1",
            place(first),
            "it leads into segments of a mount to come",
        );
    }
    // A power loss may have come between the copies: then one of them is two generations older.
    for slot in [first, second] {
        let older = newest.generation.saturating_sub(2);
        let is_cut_off = match &slots[slot] {
            Ok(copy) if copy == newest => continue,
            Ok(copy) => precedes(copy, newest, older),
            Err(Unusable::Foreign) if older == 0 => Ok(()),
            Err(why) => Err(damage(*why)),
        };
        if let Err(what) = is_cut_off {
            findings.add("I1", place(slot), what);
        }
    }
    // The first that is written is generation 1.
    if newest.generation > 1 {
        let before = newest.generation - 1;
        for slot in Superblock::slots(before) {
            match &slots[slot] {
                Ok(older) => {
                    if let Err(what) = precedes(older, newest, before) {
                        findings.add("I1", place(slot), what);
                    }
                }
                Err(why) => findings.add("I1", place(slot), damage(*why)),
            }
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
