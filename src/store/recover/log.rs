//! Reads the log that a store is recovered from, and changes nothing.

use std::collections::VecDeque;

use crate::backend::Checked;
use crate::base::Buf;
use crate::codec::{Place, Sealer, TAG_BYTES};
use crate::env;
use crate::store::error::StoreError;
use crate::store::format::batch::{At, HEADER_BYTES, Header, Logged, RECORD_BYTES, Successor};
use crate::store::format::trailer::{FOOTER_BYTES, Trailer};
use crate::store::format::{Malformed, Seq, Shape};
use crate::store::shell::{read_chunk, read_trailer};

/// Segments whose outlines are read at once, and are then kept until their turn. One after the
/// other they would cost three answers of the backend each. Of the usual size they take 800 KiB,
/// half of it while they are read.
const OUTLINES_AT_ONCE: usize = 8;

/// The log on a backend.
#[derive(Debug)]
pub(super) struct LogReader<'a> {
    pub(super) backend: &'a Checked,
    pub(super) sealer: &'a Sealer,
    pub(super) shape: Shape,
    /// Every batch with a lower number was durable, as the log itself says.
    pub(super) flushed: u64,
}

/// Where the log goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) seg: u32,
    pub(super) seq: Seq,
    pub(super) offset: u32,
    pub(super) number: u64,
    pub(super) next: Successor,
}

/// What a segment says where it begins and where it ends.
#[derive(Debug, Default)]
pub(super) struct Outline {
    /// The number of its first batch, if all of that is there.
    pub(super) first: Option<u64>,
    /// Its trailer, if it has one, and a first batch.
    pub(super) trailer: Option<Trailer>,
}

/// The outlines of segments that are likely to come next, read several at a time.
#[derive(Debug)]
pub(super) struct Ahead {
    chain: VecDeque<Successor>,
    /// Those of the segments that were taken off the chain last. That one of them could not be read
    /// is an error when its turn comes.
    read: VecDeque<(Successor, Result<Outline, StoreError>)>,
}

impl Head {
    pub(super) fn place(&self) -> Successor {
        Successor {
            seg: self.seg,
            seq: self.seq,
        }
    }
}

impl Ahead {
    pub(super) fn new(chain: VecDeque<Successor>) -> Self {
        Self {
            chain,
            read: VecDeque::new(),
        }
    }

    /// The outline of `segment`.
    pub(super) async fn outline(
        &mut self,
        log: &LogReader<'_>,
        segment: Successor,
    ) -> Result<Outline, StoreError> {
        if self.read.is_empty() {
            let count = self.chain.len().min(OUTLINES_AT_ONCE);
            let some: Vec<Successor> = self.chain.drain(..count).collect();
            let read = env::all(some.iter().map(|segment| log.outline(*segment))).await;
            self.read = some.into_iter().zip(read).collect();
        }
        match self.read.pop_front() {
            Some((of, outline)) if of == segment => outline,
            // Where a batch does not open the chain may go on behind it, and the log does not.
            _ => log.outline(segment).await,
        }
    }
}

impl LogReader<'_> {
    /// Finds out up to where the log says that it was durable: any batch or trailer on the chain
    /// may say it, whatever is missing before it. So a durable batch that cannot be read is damage,
    /// not the end of the log. Gives the segments of the chain behind the first.
    pub(super) async fn find_flushed(
        &mut self,
        mut head: Head,
    ) -> Result<VecDeque<Successor>, StoreError> {
        let mut chain = VecDeque::new();
        let mut claims = self.claims(head).await?.unwrap_or((0, head.next));
        loop {
            let (flushed, next) = claims;
            self.flushed = self.flushed.max(flushed);
            if !self.is_place(next.seg) || next.seq.counter() <= head.seq.counter() {
                return Ok(chain);
            }
            chain.push_back(next);
            (head.seg, head.seq, head.offset) = (next.seg, next.seq, 0);
            match self.claims(head).await? {
                Some(more) => claims = more,
                None => return Ok(chain),
            }
        }
    }

    /// What a segment says, from `head` on, of what was durable and where the log goes on: its
    /// trailer, or all batches in it, also those behind one that does not open.
    async fn claims(&self, head: Head) -> Result<Option<(u64, Successor)>, StoreError> {
        let seg_bytes = self.shape.seg_bytes();
        let footer = u32::try_from(FOOTER_BYTES).expect("small");
        let end = self
            .read(head.seg, seg_bytes - footer, FOOTER_BYTES)
            .await?;
        if let Ok(said) = Trailer::decode_footer(self.sealer, head.seq, seg_bytes, &end) {
            return Ok(Some(said));
        }
        let segment = self.read_segment(head.seg).await?;
        let mut claims = None;
        for offset in (head.offset..self.shape.seg_bytes()).step_by(self.shape.block() as usize) {
            if let Ok(header) = self.header(Head { offset, ..head }, &segment) {
                let before = claims.map_or(0, |(flushed, _)| flushed);
                claims = Some((header.flushed.max(before), header.next));
            }
        }
        Ok(claims)
    }

    /// The outline of `segment`; nothing if no batch begins there.
    async fn outline(&self, segment: Successor) -> Result<Outline, StoreError> {
        let first = match self.is_place(segment.seg) {
            true => self.first_batch(segment).await?,
            false => None,
        };
        let trailer = match first {
            Some(_) => self.trailer(segment).await?,
            None => None,
        };
        Ok(Outline { first, trailer })
    }

    /// The number of the first batch of `segment`, if all of it is there.
    async fn first_batch(&self, segment: Successor) -> Result<Option<u64>, StoreError> {
        let Successor { seg, seq } = segment;
        let head = |number| Head {
            seg,
            seq,
            offset: 0,
            number,
            next: segment,
        };
        let start = self.read(seg, 0, HEADER_BYTES).await?;
        let Ok(header) = self.header(head(0), &start) else {
            return Ok(None);
        };
        let number = header.number;
        if number < self.flushed && header.records > 0 {
            // Its chunks are known to be there.
            let from = u32::try_from(header.records_at()).expect("inside a segment");
            let len = usize::from(header.records) * RECORD_BYTES;
            let hidden = self.read(seg, from, len).await?;
            let records = header.decode_records_apart(self.sealer, &start, &hidden);
            return Ok(records.is_ok().then_some(number));
        }
        let whole = self.read(seg, 0, header.bytes as usize).await?;
        Ok(self.batch(head(number), &whole).map(|_| number))
    }

    /// The batch at `head`, if it is the one that is to come and all of it is there.
    pub(super) fn batch(&self, head: Head, segment: &[u8]) -> Option<(Header, Vec<Logged>)> {
        let header = self.header(head, segment).ok()?;
        if header.number != head.number {
            return None;
        }
        let whole = &segment[head.offset as usize..];
        let logged = header.decode_records(self.sealer, whole).ok()?;
        let is_known = header.number < self.flushed;
        let opens = |logged: &Logged| match logged.at {
            Some(At::Chunk { offset, len, .. }) => {
                let from = offset as usize;
                let place = Place {
                    seq: head.seq.bits(),
                    offset,
                };
                let chunk = segment.get(from..from + len + TAG_BYTES);
                chunk.is_some_and(|chunk| self.sealer.open(place, chunk).is_ok())
            }
            _ => true,
        };
        (is_known || logged.iter().all(opens)).then_some((header, logged))
    }

    fn header(&self, head: Head, from: &[u8]) -> Result<Header, Malformed> {
        let bytes = from.get(head.offset as usize..).unwrap_or(&[]);
        Header::decode(
            self.sealer,
            head.seq,
            head.offset,
            self.shape.seg_bytes(),
            bytes,
        )
    }

    /// The trailer of a segment of the log, if it has one.
    pub(super) async fn trailer(&self, segment: Successor) -> Result<Option<Trailer>, StoreError> {
        let place = (segment.seg, segment.seq);
        Ok(read_trailer(self.backend, self.sealer, self.shape, place).await?)
    }

    pub(super) fn is_place(&self, seg: u32) -> bool {
        (self.shape.first_seg()..self.shape.segs()).contains(&seg)
    }

    pub(super) async fn read_segment(&self, seg: u32) -> Result<Buf, StoreError> {
        self.read(seg, 0, self.shape.seg_bytes() as usize).await
    }

    async fn read(&self, seg: u32, offset: u32, len: usize) -> Result<Buf, StoreError> {
        Ok(read_chunk(self.backend, self.shape, (seg, offset), len).await?)
    }
}
