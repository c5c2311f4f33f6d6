//! Batches: what the log is made of, and what one backend write makes durable.

use super::fields::{bytes, put, u16_at, u32_at, u64_at};
use super::{BLOCK, CHUNK_ALIGN, Codec, Malformed, Ptr, Seq};
use crate::codec::{Place, Sealer, TAG_BYTES};

/// The header of a batch, in bytes. Behind it lie the chunks, behind these the records: so a chunk
/// has its place before it is known how many others there will be.
pub const HEADER_BYTES: usize = 96;

/// A record, in bytes.
pub const RECORD_BYTES: usize = 16;

/// Records of a batch at most.
pub const RECORDS_MAX: usize = 1024;

const MAGIC: u32 = u32::from_le_bytes(*b"bBat");
const LBA_MAX: u64 = (1 << 48) - 1;

/// What is said about a batch as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Batches are numbered through the life of a store. The successor of a batch is the one with
    /// the next number, which lies right behind it or at the start of the next segment.
    pub number: u64,
    /// How many records there are; the room behind a reference counts as one.
    pub records: u16,
    /// The sequence number of the segment.
    pub seq: Seq,
    /// Where the batch begins in the segment, in bytes.
    pub offset: u32,
    /// How long the batch is in bytes, header included, padding not.
    pub bytes: u32,
    /// The key that sealed the batch; 0 without encryption.
    pub key: u32,
    /// Where the log goes on when this segment is full.
    pub next: Successor,
    /// Every batch with a lower number is known to be durable.
    pub flushed: u64,
}

/// The segment that comes next in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Successor {
    /// The segment.
    pub seg: u32,
    /// The sequence number that it will have.
    pub seq: Seq,
}

/// What a batch says happened to a volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// The volume.
    pub volume: u32,
    /// The first block that it is about, in units of 4 KiB; 48 bits.
    pub lba: u64,
    /// What happened.
    pub kind: Kind,
}

/// What happened to a volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A block was written; its chunk of `len` bytes, made by `codec`, is in this batch.
    Data {
        /// The length of the chunk without its seal.
        len: u16,
        /// How it was made, if it is shorter than a block.
        codec: Codec,
    },
    /// This many blocks read as zeroes now.
    Zero(u32),
    /// A block was written that exists already; the next record's room says where.
    Ref,
}

impl Header {
    /// How long a batch with this many bytes of chunks and this many records is, without padding.
    pub const fn bytes_for(chunks: usize, records: usize) -> usize {
        HEADER_BYTES + chunks + records * RECORD_BYTES
    }

    /// Where the records begin in the batch, in bytes.
    pub const fn records_at(&self) -> usize {
        self.bytes as usize - self.records as usize * RECORD_BYTES
    }

    /// Writes the header into the batch `to`, whose records and chunks are in place, and seals
    /// records and header.
    pub fn encode(&self, sealer: &Sealer, to: &mut [u8]) {
        let records = &mut to[self.records_at()..self.bytes as usize];
        let records_seal = sealer.hide(self.records_place(), records);
        put(to, 0, &MAGIC.to_le_bytes());
        put(to, 4, &self.records.to_le_bytes());
        put(to, 6, &[0; 2]);
        put(to, 8, &self.seq.bits().to_le_bytes());
        put(to, 16, &self.offset.to_le_bytes());
        put(to, 20, &self.bytes.to_le_bytes());
        put(to, 24, &self.next.seg.to_le_bytes());
        put(to, 28, &self.key.to_le_bytes());
        put(to, 32, &self.next.seq.bits().to_le_bytes());
        put(to, 40, &self.flushed.to_le_bytes());
        put(to, 48, &self.number.to_le_bytes());
        put(to, 56, &[0; 8]);
        put(to, 64, &records_seal);
        sealer.mark(self.place(), &mut to[..HEADER_BYTES]);
    }

    /// Reads the header at the start of `from`, at least [`HEADER_BYTES`] long, which lies at
    /// `offset` of a segment of `seg_bytes` bytes that is numbered `seq`.
    ///
    /// # Errors
    /// If there is none, or it is another's.
    pub fn decode(
        sealer: &Sealer,
        seq: Seq,
        offset: u32,
        seg_bytes: u32,
        from: &[u8],
    ) -> Result<Self, Malformed> {
        if from.len() < HEADER_BYTES || u32_at(from, 0) != MAGIC {
            return Err(Malformed("no batch begins here"));
        }
        let read = Self {
            records: u16_at(from, 4),
            seq: Seq::from_bits(u64_at(from, 8)),
            offset: u32_at(from, 16),
            bytes: u32_at(from, 20),
            key: u32_at(from, 28),
            next: Successor {
                seg: u32_at(from, 24),
                seq: Seq::from_bits(u64_at(from, 32)),
            },
            flushed: u64_at(from, 40),
            number: u64_at(from, 48),
        };
        if (read.seq, read.offset) != (seq, offset) {
            return Err(Malformed("a batch that belongs elsewhere"));
        }
        sealer
            .verify(read.place(), &from[..HEADER_BYTES])
            .map_err(|_| Malformed("the header of a batch does not open"))?;
        let records = usize::from(read.records);
        let end = u64::from(offset) + u64::from(read.bytes);
        if (read.bytes as usize) < Self::bytes_for(0, records) || end > u64::from(seg_bytes) {
            return Err(Malformed("a batch that does not fit its segment"));
        }
        Ok(read)
    }

    /// The records of the batch `from`, whose header this is, each with what lies in the room
    /// behind it if it is a reference.
    ///
    /// # Errors
    /// If they are not what was written with the header, or say what no record says.
    pub fn decode_records(&self, sealer: &Sealer, from: &[u8]) -> Result<Vec<Logged>, Malformed> {
        let whole = from
            .get(..self.bytes as usize)
            .ok_or(Malformed("a batch that is cut off"))?;
        self.decode_records_apart(sealer, whole, &whole[self.records_at()..])
    }

    /// The same, of the batch's `hidden` records, which begin at [`Self::records_at`], and of its
    /// header, with which `from` begins.
    ///
    /// # Errors
    /// As [`decode_records`](Self::decode_records).
    pub fn decode_records_apart(
        &self,
        sealer: &Sealer,
        from: &[u8],
        hidden: &[u8],
    ) -> Result<Vec<Logged>, Malformed> {
        let records = sealer
            .reveal(self.records_place(), hidden, &bytes(from, 64))
            .map_err(|_| Malformed("the records of a batch do not open"))?;
        let mut logged = Vec::with_capacity(usize::from(self.records));
        let mut chunk_at = HEADER_BYTES;
        let mut rest = records.chunks_exact(RECORD_BYTES);
        while let Some(bytes) = rest.next() {
            let record = Record::decode(bytes)?;
            let at = match record.kind {
                Kind::Data { len, codec } => {
                    let len = usize::from(len);
                    #[expect(clippy::cast_possible_truncation, reason = "inside a batch")]
                    let offset = self.offset + chunk_at as u32;
                    chunk_at += chunk_room(len);
                    Some(At::Chunk { offset, len, codec })
                }
                Kind::Zero(_) => None,
                Kind::Ref => {
                    let room = rest.next().ok_or(Malformed("a reference to nowhere"))?;
                    let (ptr, seq) = decode_ref(room);
                    Some(At::Elsewhere { ptr, seq })
                }
            };
            logged.push(Logged { record, at });
        }
        match chunk_at <= self.records_at() {
            true => Ok(logged),
            false => Err(Malformed("a batch whose chunks reach into its records")),
        }
    }

    const fn place(&self) -> Place {
        Place {
            seq: self.seq.bits(),
            offset: self.offset,
        }
    }

    /// Records are sealed as what lies one byte behind the header's place, where nothing begins.
    const fn records_place(&self) -> Place {
        Place {
            seq: self.seq.bits(),
            offset: self.offset + 1,
        }
    }
}

/// A record as it was found in a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Logged {
    /// The record.
    pub record: Record,
    /// Where its block lies, unless it has none.
    pub at: Option<At>,
}

/// Where the block of a record lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum At {
    /// In the segment of the batch.
    Chunk {
        /// Where in the segment, in bytes.
        offset: u32,
        /// How long it is without its seal.
        len: usize,
        /// How it was made.
        codec: Codec,
    },
    /// Anywhere.
    Elsewhere {
        /// Where.
        ptr: Ptr,
        /// The sequence number of the segment there.
        seq: Seq,
    },
}

impl Record {
    /// Writes the record into `to`, [`RECORD_BYTES`] long.
    ///
    /// # Panics
    /// If the block lies beyond 2^48.
    pub fn encode(&self, to: &mut [u8]) {
        assert!(self.lba <= LBA_MAX, "block {}", self.lba);
        let (kind, codec, argument) = match self.kind {
            Kind::Data { len, codec } => (0_u8, codec as u8, u32::from(len)),
            Kind::Zero(blocks) => (1, 0, blocks),
            Kind::Ref => (2, 0, 0),
        };
        put(to, 0, &self.volume.to_le_bytes());
        put(to, 4, &self.lba.to_le_bytes()[..6]);
        put(to, 10, &[kind, codec]);
        put(to, 12, &argument.to_le_bytes());
    }

    /// Reads the record in `from`, [`RECORD_BYTES`] long.
    ///
    /// # Errors
    /// If it says what no record says.
    pub fn decode(from: &[u8]) -> Result<Self, Malformed> {
        let mut lba = [0; 8];
        lba[..6].copy_from_slice(&bytes::<6>(from, 4));
        let argument = u32_at(from, 12);
        let kind = match (from[10], from[11]) {
            (0, codec @ 0..=1) => Kind::Data {
                len: u16::try_from(argument)
                    .ok()
                    .filter(|len| (1..=BLOCK).contains(&usize::from(*len)))
                    .ok_or(Malformed("a record of a chunk with an impossible length"))?,
                codec: match codec {
                    0 => Codec::Lz4,
                    _ => Codec::Zstd,
                },
            },
            (1, 0) if argument > 0 => Kind::Zero(argument),
            (2, 0) if argument == 0 => Kind::Ref,
            _ => return Err(Malformed("a record of an unknown kind")),
        };
        Ok(Self {
            volume: u32_at(from, 0),
            lba: u64::from_le_bytes(lba),
            kind,
        })
    }
}

/// Where a [`Ref`](Kind::Ref) points, as it stands in the room of the record behind it.
pub fn encode_ref(ptr: Ptr, seq: Seq) -> [u8; RECORD_BYTES] {
    let mut to = [0; RECORD_BYTES];
    put(&mut to, 0, &ptr.bits().to_le_bytes());
    put(&mut to, 8, &seq.bits().to_le_bytes());
    to
}

/// Reads where a [`Ref`](Kind::Ref) points, and the sequence number of the segment there.
pub fn decode_ref(from: &[u8]) -> (Ptr, Seq) {
    (
        Ptr::from_bits(u64_at(from, 0)),
        Seq::from_bits(u64_at(from, 8)),
    )
}

/// What a chunk of `len` bytes takes up with its seal: a multiple of 16 bytes.
pub const fn chunk_room(len: usize) -> usize {
    (len + TAG_BYTES).next_multiple_of(CHUNK_ALIGN)
}
