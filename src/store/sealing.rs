//! A batch of the log whose places are given out, and the bytes that it becomes.

use super::format::batch::{self, Header, RECORD_BYTES, chunk_room};
use super::format::{Ptr, Shape};
use super::payload::Payload;
use crate::base::Buf;
use crate::codec::{Place, Sealer, TAG_BYTES};

/// A block in a batch, with its place in the segment.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) offset: u32,
    pub(super) payload: Payload,
}

/// A batch whose places are given out.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) header: Header,
    pub(super) seg: u32,
    /// The records as they are written.
    pub(super) records: Vec<[u8; RECORD_BYTES]>,
    /// The chunks, in order.
    pub(super) chunks: Vec<Chunk>,
}

impl Batch {
    pub(super) fn has(&self, ptr: Ptr) -> bool {
        let from = self.header.offset;
        ptr.seg() == self.seg && (from..from + self.header.bytes).contains(&ptr.offset())
    }

    /// The batch as it is written, padded to the backend's block.
    pub(super) fn seal(&self, sealer: &Sealer, shape: Shape) -> Buf {
        let bytes = self.header.bytes as usize;
        let mut buf = Buf::new(shape.round_up(self.header.bytes) as usize);
        buf[bytes..].fill(0);
        let mut at = batch::HEADER_BYTES;
        for Chunk { offset, payload } in &self.chunks {
            let chunk = payload.bytes();
            let sealed = chunk.len() + TAG_BYTES;
            let room = &mut buf[at..at + chunk_room(chunk.len())];
            room[..chunk.len()].copy_from_slice(chunk);
            room[sealed..].fill(0);
            let place = Place {
                seq: self.header.seq.bits(),
                offset: *offset,
            };
            sealer.close(place, &mut room[..sealed]);
            at += room.len();
        }
        buf[at..bytes].copy_from_slice(self.records.as_flattened());
        self.header.encode(sealer, &mut buf[..bytes]);
        buf
    }
}
