//! Key slots: the master key of a store, wrapped once for each passphrase or key file.
//!
//! The area is kept twice. It holds nothing that has to stay secret, so it is not encrypted; but
//! who can read it can try passphrases, as fast as Argon2id lets them. Overwriting both copies
//! makes the store unreadable for good. Who kept a copy from before a slot was removed still gets
//! the master key from it with the old passphrase: only a new master key ends that.
//!
//! While the master key is being replaced there are slots for the old one and slots for its
//! successor. Which of them the store has can be seen from its superblock, which bears the mark of
//! one; so a change that was interrupted [is brought to an end](KeySlots::settle) by the next who
//! opens the store.
//!
//! One copy of the area, all numbers little-endian, what is not named is zero:
//!
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! | 0 | 8 | magic, `BEDPKEYS` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | zero |
//! | 16 | 16 | uuid of the store |
//! | 32 | 8 | generation: how often the slots were changed |
//! | 40 | 24 | zero |
//! | 64 | 8 × 128 | slots |
//! | 1088 | 2992 | zero |
//! | 4080 | 16 | XXH3-128 of all before it, as the seal of the store's place (2^64 - 1, 0) |
//!
//! A slot that is empty is all zeroes. Else:
//!
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! | 0 | 1 | kind: 1 passphrase, 2 key file |
//! | 1 | 1 | length of the label |
//! | 2 | 1 | 1: what it holds is the successor of the other slots' master key |
//! | 3 | 1 | zero |
//! | 4 | 4 | memory for Argon2id in KiB; for a key file zero, as the next two |
//! | 8 | 4 | passes of Argon2id |
//! | 12 | 4 | lanes of Argon2id |
//! | 16 | 16 | salt |
//! | 32 | 32 | label, UTF-8 |
//! | 64 | 40 | master key, wrapped as in RFC 3394 |
//! | 104 | 24 | zero |
//!
//! The key that wraps is, for a passphrase, the 32 bytes that Argon2id (version 0x13, no secret, no
//! associated data) makes of it; for a key file, the key derived from all of its bytes and the salt
//! by [`derive`](super::derive()) under the name `bedplate 2026 key slot, key file`.
//!
//! The seal of the area is not a protection from people: it tells damage from a wrong passphrase.
//! The key wrap has a check of its own, which is what says whether a credential is right.

use zeroize::Zeroizing;

use super::credential::{Cost, Credential, Kind, SALT_BYTES, wrapping};
use super::key_error::KeyError;
use super::seal::{Place, Sealer, TAG_BYTES};
use super::secret::{KEY_BYTES, Secret};

/// How large one copy of the area is, in bytes.
pub const AREA_BYTES: usize = 4096;

/// How many slots there are.
pub const KEY_SLOTS: usize = 8;

/// How long a label may be, in bytes.
pub const LABEL_BYTES_MAX: usize = 32;

const MAGIC: &[u8; 8] = b"BEDPKEYS";
const VERSION: u32 = 1;
const SLOTS_AT: usize = 64;
const SLOT_BYTES: usize = 128;
const LABEL_AT: usize = 32;
const WRAPPED_AT: usize = 64;
const WRAPPED_BYTES: usize = KEY_BYTES + 8;

/// Where the seal says that the area lies: in no segment.
const PLACE: Place = Place {
    seq: u64::MAX,
    offset: 0,
};

/// What can be said about a slot without opening it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotInfo {
    /// The number of the slot.
    pub slot: usize,
    /// What opens it.
    pub kind: Kind,
    /// What it was called when it was added.
    pub label: String,
    /// What opening it costs, if a passphrase does.
    pub cost: Option<Cost>,
}

/// The key slots of one store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeySlots {
    uuid: [u8; 16],
    generation: u64,
    slots: [Option<Slot>; KEY_SLOTS],
}

/// What two copies of an area come to.
#[derive(PartialEq, Eq, Debug)]
pub struct Newest {
    /// The slots that count.
    pub slots: KeySlots,
    /// Which copy they are from, 0 or 1.
    pub copy: usize,
    /// What is in the other copy.
    pub other: OtherCopy,
}

/// What is in the copy that does not count. Unless it is the same, it should be written again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OtherCopy {
    /// The same.
    Same,
    /// Slots that do not count (any more): what was removed since may still open there.
    Stale,
    /// Nothing of use, because of this.
    Damaged(KeyError),
}

/// What a credential has opened.
#[derive(Debug)]
pub struct Unlocked {
    /// The slot.
    pub slot: usize,
    /// What is in it.
    pub master: Secret,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Slot {
    /// Whether it holds the master key that is to come.
    is_successor: bool,
    /// `None` for a key file.
    cost: Option<Cost>,
    label: String,
    salt: [u8; SALT_BYTES],
    wrapped: [u8; WRAPPED_BYTES],
}

impl KeySlots {
    /// Slots of which none is taken, for the store with this identity.
    pub const fn new(uuid: [u8; 16]) -> Self {
        Self {
            uuid,
            generation: 0,
            slots: [const { None }; KEY_SLOTS],
        }
    }

    /// How often the slots were changed.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Puts `master`, wrapped for `credential`, into a free slot, and gives its number.
    ///
    /// `salt` is random, and new for each slot. `cost` is for passphrases; a key file has none.
    /// Nothing here can tell whether `master` is the key that the other slots hold.
    ///
    /// # Errors
    /// Says what is wrong with an argument; or that every slot is taken, or memory is short.
    pub fn add(
        &mut self,
        master: &Secret,
        credential: &Credential,
        label: &str,
        cost: Cost,
        salt: [u8; SALT_BYTES],
    ) -> Result<usize, KeyError> {
        let master = master.expose_exactly::<KEY_BYTES>()?;
        if !label_is_allowed(label) {
            return Err(KeyError::Label);
        }
        let cost = match credential.kind() {
            Kind::Passphrase if !cost.is_allowed() => return Err(KeyError::Cost),
            Kind::Passphrase => Some(cost),
            Kind::KeyFile => None,
        };
        let free = self.slots.iter().position(Option::is_none);
        let free = free.ok_or(KeyError::Full)?;
        let mut wrapped = [0; WRAPPED_BYTES];
        wrapping(credential, cost, &salt)?
            .wrap_key(master, &mut wrapped)
            .expect("a key of 32 bytes wraps into 40");
        self.slots[free] = Some(Slot {
            is_successor: false,
            cost,
            label: label.to_owned(),
            salt,
            wrapped,
        });
        self.generation = self.generation.saturating_add(1);
        Ok(free)
    }

    /// Puts `master`, which is to replace the master key, beside the slot `of` of the credential
    /// that opens that, under the same label and at the same cost; gives its number.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn add_successor(
        &mut self,
        of: usize,
        master: &Secret,
        credential: &Credential,
        salt: [u8; SALT_BYTES],
    ) -> Result<usize, KeyError> {
        let old = self.slots.get(of).and_then(Option::as_ref);
        let old = old.ok_or(KeyError::NoSuchSlot(of))?;
        let (label, cost) = (old.label.clone(), old.cost.unwrap_or_default());
        let added = self.add(master, credential, &label, cost, salt)?;
        let slot = self.slots[added].as_mut().expect("just added");
        slot.is_successor = true;
        Ok(added)
    }

    /// Ends a change of the master key, one way or the other: what is left is what belongs to the
    /// master key of the slot `opened`, which the store has now. Whether that changes anything.
    pub fn settle(&mut self, opened: usize) -> bool {
        let all = self.slots.iter().flatten();
        if !all.clone().any(|slot| slot.is_successor) {
            return false;
        }
        let opened = self.slots.get(opened).and_then(Option::as_ref);
        let wins = opened.is_some_and(|slot| slot.is_successor);
        for slot in &mut self.slots {
            *slot = slot.take().filter(|slot| slot.is_successor == wins);
            if let Some(slot) = slot {
                slot.is_successor = false;
            }
        }
        self.generation = self.generation.saturating_add(1);
        true
    }

    /// Empties a slot: its credential opens the store no more, once both copies are written.
    ///
    /// # Errors
    /// [`KeyError::NoSuchSlot`] for an empty one, [`KeyError::LastSlot`] for the only one left,
    /// which [`Self::destroy`] removes.
    pub fn remove(&mut self, slot: usize) -> Result<(), KeyError> {
        if self.slots.get(slot).is_none_or(Option::is_none) {
            return Err(KeyError::NoSuchSlot(slot));
        }
        if self.slots.iter().flatten().count() == 1 {
            return Err(KeyError::LastSlot);
        }
        self.slots[slot] = None;
        self.generation = self.generation.saturating_add(1);
        Ok(())
    }

    /// Empties every slot: nobody can read the store ever again, once both copies are written.
    pub fn destroy(&mut self) {
        self.slots = [const { None }; KEY_SLOTS];
        self.generation = self.generation.saturating_add(1);
    }

    /// The master key, from whichever slot `credential` opens.
    ///
    /// # Errors
    /// [`KeyError::WrongKey`] if it opens none; else says why none could be tried.
    pub fn unlock(&self, credential: &Credential) -> Result<Secret, KeyError> {
        let unlocked = self.unlock_if(credential, |_| true);
        unlocked.map(|unlocked| unlocked.master)
    }

    /// The same, passing over slots that the credential opens, but to another master key than the
    /// store has.
    ///
    /// # Errors
    /// As [`unlock`](Self::unlock); [`KeyError::OtherMaster`] if it opens only such slots.
    pub fn unlock_if(
        &self,
        credential: &Credential,
        is_the_stores: impl Fn(&Secret) -> bool,
    ) -> Result<Unlocked, KeyError> {
        credential.check()?;
        let mut refused = KeyError::NoSlotFor(credential.kind());
        for (index, slot) in self.slots.iter().enumerate() {
            let Some(slot) = slot else { continue };
            if slot.kind() != credential.kind() {
                continue;
            }
            let mut master = Zeroizing::new([0; KEY_BYTES]);
            let wrapping = wrapping(credential, slot.cost, &slot.salt)?;
            match wrapping.unwrap_key(&slot.wrapped, &mut *master) {
                Ok(master) => {
                    let (slot, master) = (index, Secret::copy_of(master));
                    if is_the_stores(&master) {
                        return Ok(Unlocked { slot, master });
                    }
                    refused = KeyError::OtherMaster;
                }
                Err(_) if refused == KeyError::OtherMaster => {}
                Err(_) => refused = KeyError::WrongKey,
            }
        }
        Err(refused)
    }

    /// The slots that are taken, but for those of a master key that is to come.
    pub fn list(&self) -> Vec<SlotInfo> {
        let taken = self.slots.iter().enumerate();
        let info = |(slot, taken): (usize, &Option<Slot>)| {
            let taken = taken.as_ref().filter(|slot| !slot.is_successor)?;
            Some(SlotInfo {
                slot,
                kind: taken.kind(),
                label: taken.label.clone(),
                cost: taken.cost,
            })
        };
        taken.filter_map(info).collect()
    }

    /// The bytes of one copy, [`AREA_BYTES`] of them.
    pub fn encode(&self) -> Vec<u8> {
        let mut to = vec![0; AREA_BYTES];
        put(&mut to, 0, MAGIC);
        put(&mut to, 8, &VERSION.to_le_bytes());
        put(&mut to, 16, &self.uuid);
        put(&mut to, 32, &self.generation.to_le_bytes());
        let (slots, _) = to[SLOTS_AT..].as_chunks_mut::<SLOT_BYTES>();
        for (to, slot) in slots.iter_mut().zip(&self.slots) {
            if let Some(slot) = slot {
                slot.encode(to);
            }
        }
        Sealer::new(&self.uuid).close(PLACE, &mut to);
        to
    }

    /// The slots of the store with this identity, from the bytes of one copy.
    ///
    /// # Errors
    /// Says what is wrong with the bytes. Nothing of a copy that has a mistake is used.
    pub fn decode(uuid: &[u8; 16], from: &[u8]) -> Result<Self, KeyError> {
        if from.len() != AREA_BYTES || !from.starts_with(MAGIC) {
            return Err(KeyError::NotKeySlots);
        }
        let found: [u8; 16] = array_at(from, 16);
        if Sealer::new(&found).open(PLACE, from).is_err() {
            return Err(KeyError::Damaged("their seal does not open"));
        }
        let version = u32_at(from, 8);
        if version != VERSION {
            return Err(KeyError::Version(version));
        }
        if found != *uuid {
            return Err(KeyError::OtherStore);
        }
        let mut slots = Self {
            generation: u64::from_le_bytes(array_at(from, 32)),
            ..Self::new(found)
        };
        let (encoded, _) = from[SLOTS_AT..].as_chunks::<SLOT_BYTES>();
        for (slot, from) in slots.slots.iter_mut().zip(encoded) {
            *slot = Slot::decode(from)?;
        }
        // What has no field is zero, so that a later version can give it a meaning.
        match slots.encode() == from {
            true => Ok(slots),
            false => Err(KeyError::Damaged("there is something where zeroes belong")),
        }
    }

    /// The slots from the newer of two copies that are in order, and what the other copy holds.
    ///
    /// # Errors
    /// What is wrong with the first copy, if both are of no use.
    pub fn newest(uuid: &[u8; 16], copies: [&[u8]; 2]) -> Result<Newest, KeyError> {
        let [first, second] = copies.map(|copy| Self::decode(uuid, copy));
        let (slots, copy, other) = match (first, second) {
            (Err(error), Err(_)) => return Err(error),
            (Ok(slots), Err(error)) => (slots, 0, OtherCopy::Damaged(error)),
            (Err(error), Ok(slots)) => (slots, 1, OtherCopy::Damaged(error)),
            (Ok(first), Ok(second)) if first == second => (first, 0, OtherCopy::Same),
            (Ok(first), Ok(second)) if first.generation < second.generation => {
                (second, 1, OtherCopy::Stale)
            }
            (Ok(first), Ok(_)) => (first, 0, OtherCopy::Stale),
        };
        Ok(Newest { slots, copy, other })
    }
}

impl Slot {
    const fn kind(&self) -> Kind {
        match self.cost {
            Some(_) => Kind::Passphrase,
            None => Kind::KeyFile,
        }
    }

    fn encode(&self, to: &mut [u8; SLOT_BYTES]) {
        to[0] = match self.kind() {
            Kind::Passphrase => 1,
            Kind::KeyFile => 2,
        };
        to[1] = u8::try_from(self.label.len()).expect("a label is short");
        to[2] = u8::from(self.is_successor);
        if let Some(cost) = self.cost {
            put(to, 4, &cost.memory_kib.to_le_bytes());
            put(to, 8, &cost.passes.to_le_bytes());
            put(to, 12, &cost.lanes.to_le_bytes());
        }
        put(to, 16, &self.salt);
        put(to, LABEL_AT, self.label.as_bytes());
        put(to, WRAPPED_AT, &self.wrapped);
    }

    fn decode(from: &[u8; SLOT_BYTES]) -> Result<Option<Self>, KeyError> {
        let cost = match from[0] {
            0 => return Ok(None),
            1 => Some(Cost {
                memory_kib: u32_at(from, 4),
                passes: u32_at(from, 8),
                lanes: u32_at(from, 12),
            }),
            2 => None,
            _ => return Err(KeyError::Damaged("a slot of a kind that does not exist")),
        };
        if !cost.is_none_or(Cost::is_allowed) {
            return Err(KeyError::Cost);
        }
        let label = &from[LABEL_AT..][..LABEL_BYTES_MAX];
        let label = label.get(..usize::from(from[1]));
        let label = label.and_then(|label| str::from_utf8(label).ok());
        let label = label.filter(|label| label_is_allowed(label));
        Ok(Some(Self {
            is_successor: from[2] == 1,
            cost,
            label: label.ok_or(KeyError::Label)?.to_owned(),
            salt: array_at(from, 16),
            wrapped: array_at(from, WRAPPED_AT),
        }))
    }
}

fn label_is_allowed(label: &str) -> bool {
    label.len() <= LABEL_BYTES_MAX && !label.contains(char::is_control)
}

fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    to[at..at + bytes.len()].copy_from_slice(bytes);
}

fn array_at<const N: usize>(from: &[u8], at: usize) -> [u8; N] {
    *from[at..].first_chunk().expect("a field lies in the area")
}

fn u32_at(from: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(from, at))
}

const _: () = assert!(SLOTS_AT + KEY_SLOTS * SLOT_BYTES <= AREA_BYTES - TAG_BYTES);
const _: () = assert!(WRAPPED_AT + WRAPPED_BYTES <= SLOT_BYTES);

#[cfg(test)]
mod tests {
    use aes_kw::{KeyInit, KwAes256};

    use super::super::hex::hex;
    use super::*;

    const UUID: [u8; 16] = *b"a store's number";
    const CHEAP: Cost = Cost {
        memory_kib: 8 << 10,
        passes: 1,
        lanes: 1,
    };

    fn master() -> Secret {
        Secret::new((100..132).collect())
    }

    fn phrase(text: &str) -> Credential {
        Credential::Passphrase(Secret::copy_of(text.as_bytes()))
    }

    fn file(byte: u8) -> Credential {
        Credential::KeyFile(Secret::new(vec![byte; 40]))
    }

    /// A passphrase, "open sesame", in slot 0, and a key file in slot 1.
    fn two() -> KeySlots {
        let mut slots = KeySlots::new(UUID);
        let key = master();
        let added = slots.add(&key, &phrase("open sesame"), "me", CHEAP, [1; 16]);
        assert_eq!(added, Ok(0));
        let added = slots.add(&key, &file(7), "rack 4, für alle", CHEAP, [2; 16]);
        assert_eq!(added, Ok(1));
        slots
    }

    /// The bytes of `slots` after `change`, sealed as if they were meant to be so.
    fn resealed(slots: &KeySlots, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut bytes = slots.encode();
        change(&mut bytes);
        Sealer::new(&array_at(&bytes, 16)).close(PLACE, &mut bytes);
        bytes
    }

    #[test]
    fn slots_come_back_from_their_bytes() {
        let slots = two();
        let bytes = slots.encode();
        assert_eq!(bytes.len(), AREA_BYTES);
        let back = KeySlots::decode(&UUID, &bytes).expect("what was encoded");
        assert_eq!((back.generation(), &back), (2, &slots));
        let info = |slot, kind, label: &str, cost| SlotInfo {
            slot,
            kind,
            label: label.to_owned(),
            cost,
        };
        let listed = [
            info(0, Kind::Passphrase, "me", Some(CHEAP)),
            info(1, Kind::KeyFile, "rack 4, für alle", None),
        ];
        assert_eq!(back.list(), listed);
        assert_eq!(back.unlock(&phrase("open sesame")), Ok(master()));
        assert_eq!(back.unlock(&file(7)), Ok(master()));
    }

    #[test]
    fn a_wrong_credential_opens_nothing() {
        let mut slots = two();
        let wrong = Err(KeyError::WrongKey);
        assert_eq!(slots.unlock(&phrase("open sesam")), wrong);
        assert_eq!(slots.unlock(&file(8)), wrong);
        // A key file with a passphrase's bytes is not the passphrase.
        let same = Credential::KeyFile(Secret::new(b"open sesame".repeat(4)));
        assert_eq!(slots.unlock(&same), wrong);
        assert_eq!(slots.unlock(&phrase("")), Err(KeyError::EmptyPassphrase));
        slots.remove(0).expect("there is another slot");
        let none = KeyError::NoSlotFor(Kind::Passphrase);
        assert_eq!(slots.unlock(&phrase("open sesame")), Err(none));
    }

    #[test]
    fn each_of_several_passphrases_opens() {
        let mut slots = KeySlots::new(UUID);
        for number in 0..3 {
            let text = format!("number {number}");
            let added = slots.add(&master(), &phrase(&text), &text, CHEAP, [number; 16]);
            assert_eq!(added, Ok(usize::from(number)));
        }
        for number in 0..3 {
            let opened = slots.unlock(&phrase(&format!("number {number}")));
            assert_eq!(opened, Ok(master()));
        }
    }

    #[test]
    fn a_removed_slot_opens_no_more_and_is_used_again() {
        let mut slots = two();
        assert_eq!(slots.remove(2), Err(KeyError::NoSuchSlot(2)));
        assert_eq!(slots.remove(99), Err(KeyError::NoSuchSlot(99)));
        assert_eq!(slots.remove(0), Ok(()));
        assert_eq!(slots.generation(), 3);
        assert_eq!(slots.encode()[SLOTS_AT..][..SLOT_BYTES], [0; SLOT_BYTES]);
        assert_eq!(slots.remove(1), Err(KeyError::LastSlot));
        let again = slots.add(&master(), &file(9), "", CHEAP, [3; 16]);
        assert_eq!(again, Ok(0));
        assert_eq!(slots.unlock(&file(9)), Ok(master()));
        slots.destroy();
        assert_eq!(slots.list(), []);
        let back = KeySlots::decode(&UUID, &slots.encode());
        let none = KeyError::NoSlotFor(Kind::KeyFile);
        assert_eq!(back.map(|back| back.unlock(&file(9))), Ok(Err(none)));
    }

    #[test]
    fn what_cannot_be_a_slot_is_not_added() {
        let mut slots = KeySlots::new(UUID);
        let mut add = |master: &Secret, credential: &Credential, label: &str, cost| {
            slots.add(master, credential, label, cost, [0; 16])
        };
        let (key, good) = (master(), file(1));
        let length = KeyError::Length { want: 32, have: 64 };
        assert_eq!(
            add(&Secret::new(vec![0; 64]), &good, "", CHEAP),
            Err(length)
        );
        assert_eq!(
            add(&key, &phrase(""), "", CHEAP),
            Err(KeyError::EmptyPassphrase)
        );
        let short = Credential::KeyFile(Secret::new(vec![1; 31]));
        assert_eq!(
            add(&key, &short, "", CHEAP),
            Err(KeyError::ShortKeyFile(31))
        );
        assert_eq!(
            add(&key, &good, &"ü".repeat(17), CHEAP),
            Err(KeyError::Label)
        );
        assert_eq!(add(&key, &good, "two\nlines", CHEAP), Err(KeyError::Label));
        let low = Cost { passes: 0, ..CHEAP };
        assert_eq!(add(&key, &phrase("x"), "", low), Err(KeyError::Cost));
        for slot in 0..KEY_SLOTS {
            assert_eq!(add(&key, &good, &"ü".repeat(16), CHEAP), Ok(slot));
        }
        assert_eq!(add(&key, &good, "", CHEAP), Err(KeyError::Full));
    }

    #[test]
    fn every_flipped_bit_is_detected() {
        let mut bytes = two().encode();
        for bit in 0..AREA_BYTES * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(KeySlots::decode(&UUID, &bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        let decode = |bytes| KeySlots::decode(&UUID, bytes);
        assert_eq!(decode(&bytes), Ok(two()));
        assert_eq!(decode(&bytes[1..]), Err(KeyError::NotKeySlots));
        assert_eq!(decode(&[0; AREA_BYTES]), Err(KeyError::NotKeySlots));
        assert_eq!(
            KeySlots::decode(&[0; 16], &bytes),
            Err(KeyError::OtherStore)
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_behind_a_good_seal() {
        let slots = two();
        let refused = |at: usize, field: &[u8]| {
            let bytes = resealed(&slots, |bytes| put(bytes, at, field));
            KeySlots::decode(&UUID, &bytes).expect_err("it makes no sense")
        };
        let number = |number: u32| number.to_le_bytes();
        assert_eq!(refused(8, &number(2)), KeyError::Version(2));
        for (at, low, high) in [(4, (8 << 10) - 1, (4 << 20) + 1), (8, 0, 65), (12, 0, 17)] {
            assert_eq!(refused(SLOTS_AT + at, &number(low)), KeyError::Cost);
            assert_eq!(refused(SLOTS_AT + at, &number(high)), KeyError::Cost);
        }
        assert_eq!(refused(SLOTS_AT + 1, &[33]), KeyError::Label);
        assert_eq!(refused(SLOTS_AT + LABEL_AT, &[0xff]), KeyError::Label);
        assert_eq!(refused(SLOTS_AT + LABEL_AT, b"\n"), KeyError::Label);
        // A kind; a cost for a key file; and all that is zero: an empty slot's too.
        let key_file = SLOTS_AT + SLOT_BYTES;
        let empty = key_file + SLOT_BYTES;
        for at in [SLOTS_AT, 12, 40, SLOTS_AT + 2, SLOTS_AT + 127, key_file + 4] {
            let error = refused(at, &[3]);
            assert!(matches!(error, KeyError::Damaged(_)), "{at}: {error}");
        }
        for at in [empty + 16, AREA_BYTES - TAG_BYTES - 1] {
            let error = refused(at, &[3]);
            assert!(matches!(error, KeyError::Damaged(_)), "{at}: {error}");
        }
    }

    #[test]
    fn the_newer_copy_counts_and_a_damaged_one_does_not() {
        let old = two();
        let mut new = old.clone();
        new.remove(0).expect("there is another slot");
        let (old_bytes, new_bytes) = (old.encode(), new.encode());
        let mut broken = new_bytes.clone();
        broken[100] ^= 1;
        let damaged = KeyError::Damaged("their seal does not open");
        let (old, new) = (&old, &new);
        let cases = [
            ([&old_bytes, &old_bytes], old, 0, OtherCopy::Same),
            ([&new_bytes, &old_bytes], new, 0, OtherCopy::Stale),
            ([&old_bytes, &new_bytes], new, 1, OtherCopy::Stale),
            ([&broken, &old_bytes], old, 1, OtherCopy::Damaged(damaged)),
            ([&old_bytes, &broken], old, 0, OtherCopy::Damaged(damaged)),
        ];
        for (copies, slots, copy, other) in cases {
            let slots = slots.clone();
            let want = Newest { slots, copy, other };
            let found = KeySlots::newest(&UUID, copies.map(Vec::as_slice));
            assert_eq!(found, Ok(want));
        }
        let both = KeySlots::newest(&UUID, [&broken, &broken]);
        assert_eq!(both, Err(damaged));
    }

    #[test]
    fn key_wrap_is_that_of_rfc_3394() {
        // Section 4.6: 256 bits of key data with a 256-bit key.
        let key: [u8; 32] = std::array::from_fn(|at| u8::try_from(at).expect("at most 31"));
        let data = hex("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f");
        let mut wrapped = [0; WRAPPED_BYTES];
        let wrapping = KwAes256::new(&key.into());
        assert!(wrapping.wrap_key(&data, &mut wrapped).is_ok());
        let published = "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326\
                         cbc7f0e71a99f43bfb988b9b7a02dd21";
        assert_eq!(wrapped[..], hex(published));
        let mut back = [0; KEY_BYTES];
        assert_eq!(wrapping.unwrap_key(&wrapped, &mut back), Ok(&data[..]));
    }
}
