//! The log: one open segment, and batches that are gathered, written and known durable in order.
//!
//! What is appended gets its place at once, before anything is written: the map can point to it,
//! and a read of it is served from the batch until the backend has it. There is one order, that of
//! the places, and everything else follows it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::dedup::Known;
use super::format::batch::{
    self, Header, Kind, RECORD_BYTES, RECORDS_MAX, Record, Successor, chunk_room, encode_ref,
};
use super::format::superblock::LogPosition;
use super::format::trailer::{self, Entry, Trailer};
use super::format::{BLOCK, Ptr, SEALED_BLOCK, SegState, Seq, Shape};
use super::payload::{Payload, Piece};
use super::sealing::{Batch, Chunk};
use super::table::Table;
use crate::codec::{FINGERPRINT_BYTES, Fingerprint, TAG_BYTES};

/// Flushes in a segment from which on the next one is zeroed before it is used.
const FLUSHES_TO_ZERO: u32 = 8;

/// Records of an open batch, or blocks that arrived together, from which on that is much.
const HURRIED_RECORDS: usize = 8;

/// A batch of fewer bytes than this is not worth a write of its own while others are under way.
const LITTLE_BYTES: usize = 64 << 10;

/// Bytes of the log that may be written without a flush: what opening a store reads in full, within
/// a second.
const UNFLUSHED_MAX: u64 = 256 << 20;

/// What has to be written for the log.
#[derive(Debug)]
pub(super) enum Job {
    /// A batch; the position is known durable only when it is.
    Batch(Arc<Batch>),
    /// The trailer of a segment that is full.
    Trailer(u32, Trailer),
    /// Zeroes all over a segment that was never used, before the log reaches it.
    Zero(u32),
}

/// The log.
#[derive(Debug)]
pub(super) struct Log {
    shape: Shape,
    batch_bytes: u32,
    seg: u32,
    seq: Seq,
    /// Where the open batch begins, or the next one.
    offset: u32,
    next: Successor,
    /// The number of the open batch, or the next one.
    number: u64,
    /// The records of the open batch, as they are written.
    open: Vec<[u8; RECORD_BYTES]>,
    chunks: Vec<Chunk>,
    /// How long the chunks of the open batch are, seals included.
    chunk_bytes: usize,
    /// What the trailer of the open segment will say.
    entries: Vec<Entry>,
    jobs: VecDeque<Job>,
    /// Batches that are not written yet, in order.
    unwritten: VecDeque<Arc<Batch>>,
    unwritten_bytes: u64,
    /// Jobs that are being written.
    in_flight: usize,
    /// The segment that is being zeroed.
    zeroing: Option<u32>,
    /// Batches of the open segment that were closed by a flush.
    flushes: u32,
    /// Whether somebody will start to write at the end of a turn.
    pump_claimed: bool,
    /// Whether somebody waits until the open batch is written.
    is_waited_for: bool,
    /// Every batch with a lower number is written.
    written: u64,
    /// Every batch with a lower number is durable.
    durable: u64,
    /// Bytes written that no flush has covered.
    unflushed: u64,
    /// Bytes of segments used since the last checkpoint began.
    grown: u64,
    /// Segments taken since the store was opened.
    segments_used: u64,
}

impl Log {
    /// A log whose next batch has this `number`, in two segments taken from `table`; nothing if
    /// there are none.
    pub(super) fn begin(table: &mut Table, number: u64, batch_bytes: u32) -> Option<Self> {
        let (seg, seq) = table.take(SegState::Log, 0)?;
        let (next_seg, next_seq) = table.take(SegState::Log, 0)?;
        Some(Self {
            shape: table.shape(),
            batch_bytes,
            seg,
            seq,
            offset: 0,
            next: Successor {
                seg: next_seg,
                seq: next_seq,
            },
            number,
            open: Vec::new(),
            chunks: Vec::new(),
            chunk_bytes: 0,
            entries: Vec::new(),
            jobs: VecDeque::new(),
            unwritten: VecDeque::new(),
            unwritten_bytes: 0,
            in_flight: 0,
            zeroing: None,
            flushes: 0,
            pump_claimed: false,
            is_waited_for: false,
            written: number,
            durable: number,
            unflushed: 0,
            grown: 0,
            segments_used: 2,
        })
    }

    /// Where the next batch begins, once the open one is closed.
    pub(super) fn position(&self) -> LogPosition {
        debug_assert!(self.open.is_empty(), "the open batch was closed");
        LogPosition {
            seq: self.seq,
            offset: self.offset,
            seg: self.seg,
            number: self.number,
        }
    }

    /// Where the log goes on when the open segment is full.
    pub(super) fn successor(&self) -> Successor {
        self.next
    }

    /// The segments that the log uses now: the open one and its successor.
    pub(super) fn segs(&self) -> [u32; 2] {
        [self.seg, self.next.seg]
    }

    /// The number of the batch that everything appended so far is in or before.
    pub(super) fn end(&self) -> u64 {
        match self.open.is_empty() {
            true => self.number - 1,
            false => self.number,
        }
    }

    /// Every batch with a lower number is written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Every batch with a lower number is durable.
    pub(super) fn durable(&self) -> u64 {
        self.durable
    }

    /// Bytes that are gathered or being written.
    pub(super) fn backlog(&self) -> u64 {
        self.unwritten_bytes + self.chunk_bytes as u64
    }

    /// Bytes of segments used since [`mark`](Self::mark).
    pub(super) fn grown(&self) -> u64 {
        self.grown
    }

    /// Segments that the log has taken since the store was opened.
    pub(super) fn segments_used(&self) -> u64 {
        self.segments_used
    }

    /// Begins to count [`grown`](Self::grown) again.
    pub(super) fn mark(&mut self) {
        self.grown = 0;
    }

    /// Segments that appending this many blocks and records may take at most.
    pub(super) fn segments_for(&self, blocks: usize, records: usize) -> u32 {
        // Each block as if it were a batch of its own, with its padding.
        let alone = Header::bytes_for(SEALED_BLOCK, 1).next_multiple_of(BLOCK);
        let block = (alone + trailer::ENTRY_BYTES) as u64;
        let record = (trailer::ENTRY_BYTES + RECORD_BYTES) as u64;
        let overhead = (batch::HEADER_BYTES + trailer::FOOTER_BYTES + 2 * BLOCK) as u64;
        let room = u64::from(self.shape.seg_bytes()) - overhead - block;
        let bytes = blocks as u64 * block + records as u64 * record;
        let used = self.shape.round_up(self.offset + self.open_bytes(0, 0));
        let used = u64::from(used) + (self.entries.len() * trailer::ENTRY_BYTES) as u64;
        if used + bytes <= room {
            return 0;
        }
        u32::try_from(bytes / room + 1).expect("a request is smaller than a disk")
    }

    /// Appends a block that was written, and gives where it lies. The caller has seen to it that
    /// `table` has [`segments_for`](Self::segments_for) it.
    pub(super) fn append_block(
        &mut self,
        table: &mut Table,
        volume: u32,
        lba: u64,
        payload: Payload,
    ) -> Ptr {
        let (len, codec) = (payload.bytes().len(), payload.codec());
        self.make_room(table, chunk_room(len), 1);
        let within = batch::HEADER_BYTES + self.chunk_bytes;
        let offset = self.offset + u32::try_from(within).expect("inside a batch");
        self.chunk_bytes += chunk_room(len);
        let print = payload.print.map_or([0; 16], Fingerprint::bytes);
        self.chunks.push(Chunk { offset, payload });
        let kind = Kind::Data {
            len: u16::try_from(len).expect("at most 4096"),
            codec,
        };
        self.append(Record { volume, lba, kind }, offset, print);
        Ptr::new(self.seg, offset, len, codec)
    }

    /// Appends that a block was written which lies somewhere already. As for a block.
    pub(super) fn append_known(&mut self, table: &mut Table, volume: u32, lba: u64, known: Known) {
        self.make_room(table, 0, 2);
        let (kind, target) = (Kind::Ref, encode_ref(known.ptr, known.seq));
        self.append(Record { volume, lba, kind }, 0, target);
        self.open.push(target);
    }

    /// Appends that `count` blocks from `lba` on read as zeroes. As for a block.
    pub(super) fn append_zero(&mut self, table: &mut Table, volume: u32, lba: u64, count: u32) {
        self.make_room(table, 0, 1);
        let kind = Kind::Zero(count);
        self.append(Record { volume, lba, kind }, 0, [0; 16]);
    }

    /// Closes the open batch because somebody waits for it; gives the number of the last batch.
    pub(super) fn close_for_flush(&mut self) -> u64 {
        self.flushes += u32::from(!self.open.is_empty());
        self.close();
        self.end()
    }

    /// Closes the open batch, so that it is written as it is.
    pub(super) fn close(&mut self) {
        if !self.open.is_empty() {
            self.end_batch();
        }
    }

    /// Goes on in a segment taken from now on. The caller has seen to it that `table` has two.
    ///
    /// The open segment is ended, and its successor, which has been announced: where the log goes
    /// on is what its batches say. So a segment without any gets one without records.
    pub(super) fn begin_anew(&mut self, table: &mut Table) {
        for _ in 0..2 {
            self.close();
            if self.offset == 0 {
                self.end_batch();
            }
            self.advance(table);
        }
    }

    /// Closes the open batch, whatever is in it.
    fn end_batch(&mut self) {
        let bytes = self.open_bytes(0, 0);
        let records = std::mem::take(&mut self.open);
        self.is_waited_for = false;
        let header = Header {
            number: self.number,
            records: u16::try_from(records.len()).expect("bounded"),
            seq: self.seq,
            offset: self.offset,
            bytes,
            key: 0,
            next: self.next,
            flushed: self.durable,
        };
        let batch = Arc::new(Batch {
            header,
            seg: self.seg,
            records,
            chunks: std::mem::take(&mut self.chunks),
        });
        self.chunk_bytes = 0;
        self.unwritten_bytes += u64::from(bytes);
        self.unwritten.push_back(Arc::clone(&batch));
        self.jobs.push_back(Job::Batch(batch));
        self.number += 1;
        self.offset = self.shape.round_up(self.offset + bytes);
    }

    /// The next thing to write, while fewer than `limit` are being written. Closes the open batch
    /// if nothing else waits.
    pub(super) fn next_job(&mut self, limit: usize) -> Option<Job> {
        if self.in_flight >= limit {
            return None;
        }
        if self.jobs.is_empty() {
            self.close();
        }
        match self.jobs.front()? {
            Job::Batch(batch) if self.zeroing == Some(batch.seg) => return None,
            Job::Zero(_) if self.zeroing.is_some() => return None,
            Job::Zero(seg) => self.zeroing = Some(*seg),
            Job::Batch(_) | Job::Trailer(..) => {}
        }
        self.in_flight += 1;
        self.jobs.pop_front()
    }

    /// Whether there is something to write and a hand free for it.
    pub(super) fn has_job(&self, limit: usize) -> bool {
        self.in_flight < limit && !(self.jobs.is_empty() && self.open.is_empty())
    }

    /// Whether the caller is the one to start writing at the end of the turn.
    pub(super) fn claim_pump(&mut self) -> bool {
        !std::mem::replace(&mut self.pump_claimed, true)
    }

    /// The turn has ended; whether to write what it has gathered.
    ///
    /// A little waits while something else is being written, unless it is waited for: whoever
    /// writes that goes on with it. Each write costs a disk of a virtual machine an exit to its
    /// host, and written 16 blocks at a time that was a tenth of all that a write takes.
    pub(super) fn release_pump(&mut self) -> bool {
        self.pump_claimed = false;
        let is_little = self.jobs.is_empty() && self.chunk_bytes < LITTLE_BYTES;
        self.is_waited_for || self.in_flight == 0 || !is_little
    }

    /// Notes that somebody waits until the open batch is written.
    pub(super) fn wait_for_batch(&mut self) {
        self.is_waited_for = !self.open.is_empty();
    }

    /// Notes that a job is written.
    pub(super) fn job_written(&mut self, job: &Job) {
        self.in_flight -= 1;
        let batch = match job {
            Job::Batch(batch) => batch,
            Job::Zero(_) => {
                self.zeroing = None;
                return;
            }
            Job::Trailer(..) => return,
        };
        let number = batch.header.number;
        let at = self
            .unwritten
            .iter()
            .position(|other| other.header.number == number);
        let batch = self.unwritten.remove(at.expect("it was not written yet"));
        let bytes = u64::from(batch.expect("found").header.bytes);
        self.unwritten_bytes -= bytes;
        self.unflushed += bytes;
        self.written = match self.unwritten.front() {
            Some(first) => first.header.number,
            None => self.number,
        };
    }

    /// Notes that a flush of the backend has ended well which began when every batch below
    /// `number` was written.
    pub(super) fn flushed(&mut self, number: u64) {
        if number > self.durable {
            self.durable = number;
            self.unflushed = 0;
        }
    }

    /// Whether so much was written since the last flush that it is time for one, though nobody asks
    /// for it: what was not flushed has to be read in full when the store is opened.
    pub(super) fn wants_flush(&self) -> bool {
        self.unflushed >= UNFLUSHED_MAX
    }

    /// The bytes at `ptr` if they are not written yet.
    pub(super) fn unwritten(&self, ptr: Ptr) -> Option<Piece> {
        let chunks = match ptr.seg() == self.seg && ptr.offset() >= self.offset {
            true => &self.chunks,
            false => &self.unwritten.iter().find(|batch| batch.has(ptr))?.chunks,
        };
        let found = chunks.binary_search_by_key(&ptr.offset(), |chunk| chunk.offset);
        found.ok().map(|index| chunks[index].payload.block.clone())
    }

    /// Whether there is less to write than could be, although much has gathered, or so many blocks
    /// have arrived together: then time is short, and not the backend.
    pub(super) fn is_hurried(&self, arrived: usize, limit: usize) -> bool {
        self.open.len().max(arrived) >= HURRIED_RECORDS && self.in_flight < limit / 2
    }

    /// How long the open batch would be with this much more, in bytes of chunks and in records.
    fn open_bytes(&self, chunks: usize, records: usize) -> u32 {
        let chunks = self.chunk_bytes + chunks;
        let bytes = Header::bytes_for(chunks, self.open.len() + records);
        u32::try_from(bytes).expect("bounded by the limits of a batch")
    }

    /// Sees to it that this many records, with a chunk of this many bytes, fit the open batch; goes
    /// to the next segment if they fit this one no more.
    fn make_room(&mut self, table: &mut Table, chunk: usize, records: usize) {
        let most = (self.batch_bytes as usize).max(SEALED_BLOCK);
        if self.open.len() + records > RECORDS_MAX || self.chunk_bytes + chunk > most {
            self.close();
        }
        if self.fits(chunk, records) {
            return;
        }
        self.close();
        if !self.fits(chunk, records) {
            self.advance(table);
        }
    }

    /// Whether so many records more, with a chunk of this many bytes, leave room for the trailer.
    fn fits(&self, chunk: usize, records: usize) -> bool {
        let end = self
            .shape
            .round_up(self.offset + self.open_bytes(chunk, records));
        let trailer = trailer::bytes_for(self.entries.len() + 1);
        let trailer = self
            .shape
            .round_up(u32::try_from(trailer).expect("below a segment"));
        end + trailer <= self.shape.seg_bytes()
    }

    fn append(&mut self, record: Record, offset: u32, content: [u8; FINGERPRINT_BYTES]) {
        let mut bytes = [0; RECORD_BYTES];
        record.encode(&mut bytes);
        self.open.push(bytes);
        self.entries.push(Entry {
            record,
            offset,
            content,
        });
    }

    /// Seals the open segment and goes on in its successor.
    fn advance(&mut self, table: &mut Table) {
        let trailer = Trailer {
            kind: trailer::Kind::Log,
            seq: self.seq,
            written: self.offset,
            next: self.next,
            last: self.number - 1,
            flushed: self.durable,
            entries: std::mem::take(&mut self.entries),
        };
        self.jobs.push_back(Job::Trailer(self.seg, trailer));
        table.list(self.seg);
        self.grown += u64::from(self.shape.seg_bytes());
        self.segments_used += 1;
        (self.seg, self.seq, self.offset) = (self.next.seg, self.next.seq, 0);
        let is_virgin = table.peek().is_some_and(|seg| table.is_virgin(seg));
        let (seg, seq) = table.take(SegState::Log, 0).expect("admitted before");
        self.next = Successor { seg, seq };
        // A flush after a write to blocks that a file system has not allocated yet, or not
        // written yet, takes several times as long, since it has to note that they are. Where
        // segments are full of small flushes, zeroing the next one costs little beside them.
        if is_virgin && self.flushes >= FLUSHES_TO_ZERO {
            self.jobs.push_back(Job::Zero(seg));
        }
        self.flushes = 0;
    }
}

const _: () = assert!(chunk_room(BLOCK) == BLOCK + TAG_BYTES);
