//! Follows the log from batch to batch.

use std::fmt;

use super::source::{Source, Unread};
use crate::base::Buf;
use crate::store::format::batch::{HEADER_BYTES, Header, Logged, Successor};
use crate::store::format::superblock::{LogPosition, Superblock};
use crate::store::format::{Malformed, Seq};

/// A batch that opens, its records too.
#[derive(Debug)]
pub(in crate::store) struct Batch {
    /// The segment that it lies in.
    pub(in crate::store) seg: u32,
    /// Its header.
    pub(in crate::store) header: Header,
    /// What it says.
    pub(in crate::store) records: Vec<Logged>,
    /// All of it.
    pub(in crate::store) bytes: Buf,
}

/// Why there is no batch at a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::store) enum NoBatch {
    /// It could not be read.
    Unread(Unread),
    /// What is there is something else.
    Other(&'static str),
    /// There is a batch, but of this number.
    Number(u64),
}

/// A walk along the log, one batch after the other.
#[derive(Debug)]
pub(in crate::store) struct Follow<'a> {
    source: Source<'a>,
    /// Where the next batch is, if it is in the same segment as the last.
    at: LogPosition,
    /// Where it is otherwise.
    next: Option<Successor>,
}

impl<'a> Follow<'a> {
    /// A walk over the log behind the checkpoint that `superblock` leads to.
    pub(in crate::store) fn new(source: Source<'a>, superblock: &Superblock) -> Self {
        let mut follow = Self {
            source,
            at: superblock.log,
            next: None,
        };
        follow.next = follow.usable(superblock.next);
        follow
    }

    /// Where the next batch is looked for first.
    pub(in crate::store) fn position(&self) -> LogPosition {
        self.at
    }

    /// The segment that the log goes on in, as far as it was announced.
    pub(in crate::store) fn announced(&self) -> Option<Successor> {
        self.next
    }

    /// The next batch: right behind the last one, else at the start of the announced segment.
    ///
    /// # Errors
    /// Why there is none right behind the last one.
    pub(in crate::store) async fn next(&mut self) -> Result<Batch, NoBatch> {
        let number = self.at.number;
        let batch = match read_batch(self.source, self.at).await {
            Ok(batch) => batch,
            Err(why) => {
                let Successor { seg, seq } = self.next.ok_or(why)?;
                let start = LogPosition {
                    seg,
                    seq,
                    offset: 0,
                    number,
                };
                match read_batch(self.source, start).await {
                    Ok(batch) => batch,
                    // A place that cannot be read may hold it, which is worse than the reason why
                    // it is not here.
                    Err(NoBatch::Unread(Unread::Io(error))) => {
                        return Err(NoBatch::Unread(Unread::Io(error)));
                    }
                    Err(_) => return Err(why),
                }
            }
        };
        let header = &batch.header;
        self.at = LogPosition {
            seg: batch.seg,
            seq: header.seq,
            offset: behind(self.source, header),
            number: number + 1,
        };
        self.next = self.usable(header.next);
        Ok(batch)
    }

    fn usable(&self, next: Successor) -> Option<Successor> {
        let shape = self.source.shape();
        let inside = (shape.first_seg()..shape.segs()).contains(&next.seg);
        inside.then_some(next)
    }
}

/// Where the batch behind the one of this header begins.
fn behind(source: Source<'_>, header: &Header) -> u32 {
    // Both are at most a segment.
    source.shape().round_up(header.offset + header.bytes)
}

/// Reads the batch of the number that `at` says, at the place that it says.
async fn read_batch(source: Source<'_>, at: LogPosition) -> Result<Batch, NoBatch> {
    let header = read_header(source, at.seg, at.seq, at.offset).await?;
    if header.number != at.number {
        return Err(NoBatch::Number(header.number));
    }
    let bytes = source.read(at.seg, at.offset, header.bytes as usize).await;
    let bytes = bytes.map_err(NoBatch::Unread)?;
    let records = header.decode_records(source.sealer(), &bytes)?;
    Ok(Batch {
        seg: at.seg,
        header,
        records,
        bytes,
    })
}

async fn read_header(
    source: Source<'_>,
    seg: u32,
    seq: Seq,
    offset: u32,
) -> Result<Header, NoBatch> {
    let shape = source.shape();
    if !offset.is_multiple_of(shape.block()) {
        return Err(NoBatch::Other("no batch begins within a block"));
    }
    if offset as usize + HEADER_BYTES > shape.seg_bytes() as usize {
        return Err(NoBatch::Other("the segment ends here"));
    }
    let bytes = source.read(seg, offset, HEADER_BYTES).await;
    let bytes = bytes.map_err(NoBatch::Unread)?;
    let header = Header::decode(source.sealer(), seq, offset, shape.seg_bytes(), &bytes)?;
    Ok(header)
}

impl From<Malformed> for NoBatch {
    fn from(Malformed(why): Malformed) -> Self {
        Self::Other(why)
    }
}

impl fmt::Display for NoBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unread(why) => why.fmt(f),
            Self::Other(why) => f.write_str(why),
            Self::Number(number) => write!(f, "batch {number} is there"),
        }
    }
}
