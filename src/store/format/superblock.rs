//! The superblock: where everything else is found.

use super::batch::Successor;
use super::fields::{bytes, put, u32_at, u64_at};
use super::{BLOCK, Malformed, Seq, Shape};
use crate::codec::{Cipher, Keyring, Place, Sealer, TAG_BYTES};

/// How large a superblock is, in bytes: a sector, which is written as a whole or not at all, so
/// that one which does not open is damaged and was not cut off by a power loss.
pub const BYTES: usize = 512;

/// How many bytes are read and written for it: behind it there are zeroes.
pub const ROOM: usize = BLOCK;

/// How many slots there are: two copies of the newest superblock, and two of the one before.
pub const SLOTS: usize = 4;

/// How far apart the slots begin, in bytes.
pub const SLOT_STRIDE: u64 = 64 << 10;

/// The version of the format that this code reads and writes.
pub const VERSION: u32 = 1;

/// Where the mark is, in bytes: all before it is marked.
const MARK_AT: usize = 184;

const MAGIC: &[u8; 8] = b"BEDPLATE";

/// Where the log goes on: the batch of this number, if there is one, begins here or at the start of
/// the segment that follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogPosition {
    /// The sequence number of the segment.
    pub seq: Seq,
    /// The offset in the segment, in bytes.
    pub offset: u32,
    /// The segment.
    pub seg: u32,
    /// The number of the batch.
    pub number: u64,
}

/// Where the root blob lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RootRef {
    /// The sequence number of its segment.
    pub seq: Seq,
    /// Its segment.
    pub seg: u32,
    /// Its offset in the segment, in bytes.
    pub offset: u32,
    /// Its length without the seal, in bytes.
    pub len: u32,
    /// The key that sealed it; 0 without encryption.
    pub key: u32,
}

/// The superblock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Superblock {
    /// The identity of the store, drawn when it was made.
    pub uuid: [u8; 16],
    /// How many superblocks were written before this one. The newest valid slot counts.
    pub generation: u64,
    /// How the store is divided.
    pub shape: Shape,
    /// Which mount wrote it.
    pub epoch: u32,
    /// Drawn by that mount, so that two which took the same epoch can be told apart.
    pub owner: [u8; 16],
    /// The root blob.
    pub root: RootRef,
    /// The salt of the data key of this mount; zero without encryption.
    pub salt: [u8; 16],
    /// Where the part of the log begins that the root does not cover.
    pub log: LogPosition,
    /// The segment in which the log goes on after the one that it is in there.
    pub next: Successor,
    /// The counter of the next segment that is taken, at least.
    pub next_counter: u64,
    /// Where the search for a free segment goes on.
    pub cursor: u32,
    /// When the store was made, in seconds since 1970.
    pub created: u64,
    /// How the store is encrypted, if it is.
    pub cipher: Option<Cipher>,
    /// What only who has the master key could write here; zero without encryption.
    pub mark: [u8; TAG_BYTES],
}

/// Why a slot holds no superblock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unusable {
    /// It does not begin as a superblock does.
    Foreign,
    /// It is of this version, which is newer, or needs this feature that is not known.
    Newer(u32),
    /// It is damaged.
    Damaged(&'static str),
}

/// What each slot holds.
pub type Slots = [Result<Superblock, Unusable>; SLOTS];

/// Slots that hold nothing.
pub const NOTHING: Slots = [const { Err(Unusable::Foreign) }; SLOTS];

/// The superblock that counts.
///
/// # Errors
/// The slot and what is wrong with it: where there is none, where one is of a newer version, which
/// may be newer in time too, and where both copies are lost of one that may have been newer.
pub fn choose(slots: &Slots) -> Result<&Superblock, (usize, Unusable)> {
    let mut reason = (0, Unusable::Foreign);
    for (slot, found) in slots.iter().enumerate() {
        match found {
            Err(why @ Unusable::Newer(_)) => return Err((slot, *why)),
            Err(why @ Unusable::Damaged(_)) => reason = (slot, *why),
            Ok(_) | Err(Unusable::Foreign) => {}
        }
    }
    let newest = slots.iter().flatten().max_by_key(|read| read.generation);
    let newest = newest.ok_or(reason)?;
    let others = Superblock::slots(newest.generation.wrapping_add(1));
    let unusable = others.map(|slot| slots[slot].as_ref().err().copied());
    match unusable {
        [Some(Unusable::Foreign), Some(Unusable::Foreign)] if newest.generation == 1 => Ok(newest),
        [Some(Unusable::Damaged(why)), Some(_)] => Err((others[0], Unusable::Damaged(why))),
        [Some(_), Some(_)] => Err((others[0], Unusable::Damaged("it and its copy are gone"))),
        _ => Ok(newest),
    }
}

impl Superblock {
    /// Where slot `slot` begins, in bytes.
    pub const fn slot_offset(slot: usize) -> u64 {
        slot as u64 * SLOT_STRIDE
    }

    /// The slots of the superblock of a generation. Once it counts it is in both, and a power loss
    /// while it is written never damages the generation before.
    pub const fn slots(generation: u64) -> [usize; 2] {
        let first = (generation % 2) as usize;
        [first, first + 2]
    }

    /// Writes the superblock as it lies in `slot` into `to`, [`BYTES`] or more of it.
    pub fn encode(&self, slot: usize, to: &mut [u8]) {
        debug_assert!(Self::slots(self.generation).contains(&slot));
        to.fill(0);
        put(to, 0, MAGIC);
        put(to, 8, &VERSION.to_le_bytes());
        put(to, 20, &[self.shape.seg_shift(), self.shape.block_shift()]);
        put(to, 22, &[self.cipher.map_or(0, |cipher| cipher as u8)]);
        put(to, 24, &self.uuid);
        put(to, 40, &self.generation.to_le_bytes());
        put(to, 48, &u64::from(self.shape.segs()).to_le_bytes());
        put(to, 56, &self.epoch.to_le_bytes());
        put(to, 64, &self.owner);
        put(to, 80, &self.root.seg.to_le_bytes());
        put(to, 84, &self.root.offset.to_le_bytes());
        put(to, 88, &self.root.len.to_le_bytes());
        put(to, 92, &self.root.key.to_le_bytes());
        put(to, 96, &self.root.seq.bits().to_le_bytes());
        put(to, 104, &self.salt);
        put(to, 120, &self.log.seq.bits().to_le_bytes());
        put(to, 128, &self.log.seg.to_le_bytes());
        put(to, 132, &self.log.offset.to_le_bytes());
        put(to, 136, &self.next_counter.to_le_bytes());
        put(to, 144, &self.cursor.to_le_bytes());
        put(to, 160, &self.log.number.to_le_bytes());
        put(to, 168, &self.next.seq.bits().to_le_bytes());
        put(to, 176, &self.next.seg.to_le_bytes());
        put(to, 152, &self.created.to_le_bytes());
        put(to, MARK_AT, &self.mark);
        Sealer::new(&self.uuid).close(place(slot), &mut to[..BYTES]);
    }

    /// Writes the mark of these keys.
    pub fn sign(&mut self, keys: &Keyring) {
        self.mark = keys.mark(&self.marked());
    }

    /// Whether it bears the mark of these keys.
    pub fn is_signed(&self, keys: &Keyring) -> bool {
        self.mark == keys.mark(&self.marked())
    }

    fn marked(&self) -> [u8; MARK_AT] {
        let mut bytes = [0; BYTES];
        self.encode(Self::slots(self.generation)[0], &mut bytes);
        let mut marked = [0; MARK_AT];
        marked.copy_from_slice(&bytes[..MARK_AT]);
        marked
    }

    /// Reads the superblock in `from`, at least [`BYTES`] long, which was found in `slot`.
    ///
    /// # Errors
    /// Why it is none.
    pub fn decode(slot: usize, from: &[u8]) -> Result<Self, Unusable> {
        if from.len() < BYTES {
            return Err(Unusable::Damaged("it is cut off"));
        }
        if from[..8] != *MAGIC {
            return Err(Unusable::Foreign);
        }
        let uuid = bytes(from, 24);
        if Sealer::new(&uuid)
            .open(place(slot), &from[..BYTES])
            .is_err()
        {
            return Err(Unusable::Damaged("its checksum is wrong"));
        }
        // What is not understood is named only once it is known to be what was written.
        match (u32_at(from, 8), u32_at(from, 12)) {
            (VERSION, 0) => {}
            (VERSION, flags) => return Err(Unusable::Newer(flags)),
            (version, _) => return Err(Unusable::Newer(version)),
        }
        let cipher = match from[22] {
            0 => None,
            number => {
                let known = Cipher::ALL.into_iter().find(|one| *one as u8 == number);
                Some(known.ok_or_else(|| Unusable::Newer(u32::from(number)))?)
            }
        };
        let read = Self {
            uuid,
            generation: u64_at(from, 40),
            shape: shape(from).map_err(|Malformed(why)| Unusable::Damaged(why))?,
            epoch: u32_at(from, 56),
            owner: bytes(from, 64),
            root: RootRef {
                seg: u32_at(from, 80),
                offset: u32_at(from, 84),
                len: u32_at(from, 88),
                key: u32_at(from, 92),
                seq: Seq::from_bits(u64_at(from, 96)),
            },
            salt: bytes(from, 104),
            log: LogPosition {
                seq: Seq::from_bits(u64_at(from, 120)),
                seg: u32_at(from, 128),
                offset: u32_at(from, 132),
                number: u64_at(from, 160),
            },
            next: Successor {
                seq: Seq::from_bits(u64_at(from, 168)),
                seg: u32_at(from, 176),
            },
            next_counter: u64_at(from, 136),
            cursor: u32_at(from, 144),
            created: u64_at(from, 152),
            cipher,
            mark: bytes(from, MARK_AT),
        };
        if !Self::slots(read.generation).contains(&slot) {
            return Err(Unusable::Damaged("it belongs into another slot"));
        }
        read.check_numbers()?;
        read.check_places()?;
        Ok(read)
    }

    /// Sequence numbers are made of these, so they must leave room for one more.
    fn check_numbers(&self) -> Result<(), Unusable> {
        if self.epoch >= Seq::EPOCHS || self.next_counter > Seq::COUNTERS {
            return Err(Unusable::Damaged(
                "more mounts or segments than there are numbers for",
            ));
        }
        Ok(())
    }

    /// Places outside the store would be followed, so they are refused here.
    fn check_places(&self) -> Result<(), Unusable> {
        let inside = |seg: u32, end: u64| {
            (self.shape.first_seg()..self.shape.segs()).contains(&seg)
                && end <= u64::from(self.shape.seg_bytes())
        };
        let root_end = u64::from(self.root.offset) + u64::from(self.root.len) + TAG_BYTES as u64;
        if !inside(self.root.seg, root_end) {
            return Err(Unusable::Damaged("its root lies outside the store"));
        }
        let log_end = u64::from(self.log.offset);
        if !inside(self.log.seg, log_end) || !inside(self.next.seg, 0) {
            return Err(Unusable::Damaged("its log lies outside the store"));
        }
        Ok(())
    }
}

fn shape(from: &[u8]) -> Result<Shape, Malformed> {
    let segs = u64_at(from, 48);
    let (seg_shift, block_shift) = (from[20], from[21]);
    if segs > u64::from(Shape::SEGS_MAX) || seg_shift > Shape::SEG_SHIFT_MAX {
        return Err(Malformed("more or larger segments than there can be"));
    }
    Shape::new(segs << seg_shift, seg_shift, block_shift)
}

/// Superblocks are sealed by their slot: nothing else lies at sequence number 0.
fn place(slot: usize) -> Place {
    #[expect(clippy::cast_possible_truncation, reason = "at most 192 KiB")]
    Place {
        seq: 0,
        offset: Superblock::slot_offset(slot) as u32,
    }
}
