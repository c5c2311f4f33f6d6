//! Trailers: what a full segment says about itself in one place.
//!
//! A trailer ends with its segment. It repeats the records of a log segment, so that replaying one
//! takes a read instead of a walk, and it keeps the fingerprint of every chunk.

use super::batch::{self, RECORD_BYTES, Record, Successor, decode_ref};
use super::fields::{bytes, put, u32_at, u64_at};
use super::{Codec, Malformed, Ptr, Seq};
use crate::codec::{FINGERPRINT_BYTES, Fingerprint, Place, Sealer, TAG_BYTES};

/// An entry, in bytes.
pub const ENTRY_BYTES: usize = 40;

/// What stands behind the entries, seal included, in bytes.
pub const FOOTER_BYTES: usize = 96;

const MAGIC: u32 = u32::from_le_bytes(*b"bTrl");

/// What a trailer says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trailer {
    /// Whose it is.
    pub kind: Kind,
    /// The sequence number of the segment.
    pub seq: Seq,
    /// Where the last batch or chunk ends, in bytes.
    pub written: u32,
    /// Where the log goes on; nothing for a segment of garbage collection.
    pub next: Successor,
    /// The number of the last batch; 0 for a segment of garbage collection.
    pub last: u64,
    /// Every batch with a lower number was known to be durable when the trailer was written.
    pub flushed: u64,
    /// What is in the segment, in its order.
    pub entries: Vec<Entry>,
}

/// Which kind of segment a trailer ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The log.
    Log,
    /// The output of garbage collection.
    Gc,
}

/// One record of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The record. In a segment of garbage collection its volume and block are 0.
    pub record: Record,
    /// Where its chunk begins in the segment, in bytes; 0 if it has none.
    pub offset: u32,
    /// The fingerprint of its block, zero if it has none; of a reference, where it points, as in
    /// the room behind its record.
    pub content: [u8; FINGERPRINT_BYTES],
}

/// How long a trailer of `entries` entries is, in bytes.
pub const fn bytes_for(entries: usize) -> usize {
    entries * ENTRY_BYTES + FOOTER_BYTES
}

impl Trailer {
    /// The trailer as it ends a segment of `seg_bytes` bytes.
    pub fn encode(&self, sealer: &Sealer, seg_bytes: u32) -> Vec<u8> {
        let entries = self.entries.len();
        let mut to = vec![0; bytes_for(entries)];
        for (entry, to) in self.entries.iter().zip(to.chunks_mut(ENTRY_BYTES)) {
            entry.record.encode(&mut to[..RECORD_BYTES]);
            put(to, 16, &entry.offset.to_le_bytes());
            put(to, 24, &entry.content);
        }
        let (listed, footer) = to.split_at_mut(entries * ENTRY_BYTES);
        let entries_seal = sealer.hide(entries_place(self.seq, seg_bytes, entries), listed);
        put(footer, 0, &MAGIC.to_le_bytes());
        put(footer, 4, &(self.kind as u32).to_le_bytes());
        put(footer, 8, &self.seq.bits().to_le_bytes());
        #[expect(
            clippy::cast_possible_truncation,
            reason = "fewer than bytes in a segment"
        )]
        put(footer, 16, &(entries as u32).to_le_bytes());
        put(footer, 20, &self.written.to_le_bytes());
        put(footer, 24, &self.next.seq.bits().to_le_bytes());
        put(footer, 32, &self.next.seg.to_le_bytes());
        put(footer, 40, &self.last.to_le_bytes());
        put(footer, 48, &self.flushed.to_le_bytes());
        put(footer, 56, &entries_seal);
        sealer.mark(footer_place(self.seq, seg_bytes), footer);
        to
    }

    /// How long the trailer of the segment numbered `seq` is whose last [`FOOTER_BYTES`] bytes are
    /// `footer`, if it has one.
    pub fn peek(seq: Seq, seg_bytes: u32, footer: &[u8]) -> Option<usize> {
        if footer.len() != FOOTER_BYTES {
            return None;
        }
        let mine = u32_at(footer, 0) == MAGIC && u64_at(footer, 8) == seq.bits();
        let bytes = bytes_for(u32_at(footer, 16) as usize);
        (mine && bytes <= seg_bytes as usize).then_some(bytes)
    }

    /// What the footer of a trailer says alone: what was durable, and where the log goes on.
    ///
    /// # Errors
    /// If it is none, or another's.
    pub fn decode_footer(
        sealer: &Sealer,
        seq: Seq,
        seg_bytes: u32,
        footer: &[u8],
    ) -> Result<(u64, Successor), Malformed> {
        if Self::peek(seq, seg_bytes, footer).is_none() {
            return Err(Malformed("no trailer ends here"));
        }
        sealer
            .verify(footer_place(seq, seg_bytes), footer)
            .map_err(|_| Malformed("a trailer does not open"))?;
        Ok((u64_at(footer, 48), successor(footer)))
    }

    /// Reads the trailer that `from` is, up to the end of a segment of `seg_bytes` bytes numbered
    /// `seq`.
    ///
    /// # Errors
    /// If it is none, or another's.
    pub fn decode(
        sealer: &Sealer,
        seq: Seq,
        seg_bytes: u32,
        from: &[u8],
    ) -> Result<Self, Malformed> {
        let footer_at = from
            .len()
            .checked_sub(FOOTER_BYTES)
            .ok_or(Malformed("no room for a trailer"))?;
        let footer = &from[footer_at..];
        if Self::peek(seq, seg_bytes, footer) != Some(from.len()) {
            return Err(Malformed("no trailer ends here"));
        }
        let entries = footer_at / ENTRY_BYTES;
        sealer
            .verify(footer_place(seq, seg_bytes), footer)
            .map_err(|_| Malformed("a trailer does not open"))?;
        let place = entries_place(seq, seg_bytes, entries);
        let listed = sealer
            .reveal(place, &from[..footer_at], &bytes(footer, 56))
            .map_err(|_| Malformed("the entries of a trailer do not open"))?;
        let kind = match u32_at(footer, 4) {
            0 => Kind::Log,
            1 => Kind::Gc,
            _ => return Err(Malformed("a trailer of an unknown kind")),
        };
        let entries = listed.chunks(ENTRY_BYTES).map(Entry::decode);
        Ok(Self {
            kind,
            seq,
            written: u32_at(footer, 20),
            next: successor(footer),
            last: u64_at(footer, 40),
            flushed: u64_at(footer, 48),
            entries: entries.collect::<Result<_, _>>()?,
        })
    }
}

fn successor(footer: &[u8]) -> Successor {
    Successor {
        seg: u32_at(footer, 32),
        seq: Seq::from_bits(u64_at(footer, 24)),
    }
}

impl Entry {
    /// Where its block lies if it is a reference, and the sequence number of the segment there.
    pub fn target(&self) -> (Ptr, Seq) {
        decode_ref(&self.content)
    }

    /// Its chunk's length, without its seal, and how it was made, if it has one.
    pub fn chunk(&self) -> Option<(usize, Codec)> {
        match self.record.kind {
            batch::Kind::Data { len, codec } => Some((usize::from(len), codec)),
            batch::Kind::Zero(_) | batch::Kind::Ref => None,
        }
    }

    /// The fingerprint of its block, if it has a chunk and that has one.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.chunk()?;
        Fingerprint::from_bytes(self.content)
    }

    fn decode(from: &[u8]) -> Result<Self, Malformed> {
        Ok(Self {
            record: Record::decode(&from[..RECORD_BYTES])?,
            offset: u32_at(from, 16),
            content: bytes(from, 24),
        })
    }
}

/// The footer is sealed as what begins where it begins.
fn footer_place(seq: Seq, seg_bytes: u32) -> Place {
    Place {
        seq: seq.bits(),
        offset: seg_bytes - u32::try_from(FOOTER_BYTES).expect("small"),
    }
}

/// The entries are sealed as what begins one byte behind where they begin, where nothing does: if
/// there are none, that is the place of the footer.
fn entries_place(seq: Seq, seg_bytes: u32, entries: usize) -> Place {
    #[expect(clippy::cast_possible_truncation, reason = "shorter than a segment")]
    Place {
        seq: seq.bits(),
        offset: seg_bytes - bytes_for(entries) as u32 + 1,
    }
}

const _: () = assert!(FOOTER_BYTES - TAG_BYTES >= 72);
