//! What a segment says about itself: its trailer, or its batches one by one.

use std::ops::Range;

use super::source::{Source, Unread};
use crate::base::{Buf, Error};
use crate::codec::{Place, TAG_BYTES, unpack};
use crate::store::format::batch::{At, HEADER_BYTES, Header, Record, Successor, encode_ref};
use crate::store::format::trailer::{Entry, FOOTER_BYTES, Trailer};
use crate::store::format::{BLOCK, Codec, Malformed, Ptr, Seq};

/// What stands at the end of a segment.
#[derive(Debug)]
pub(in crate::store) enum TrailerFound {
    /// Its trailer.
    Whole(Trailer),
    /// Something that begins as its trailer does and does not open.
    Torn(Malformed),
    /// No trailer of it.
    None,
}

/// A part of a segment in memory, with gaps where the backend failed.
pub(super) struct Image {
    bytes: Buf,
    /// Where the first byte lies in the segment.
    from: u32,
    gaps: Vec<(Range<u32>, Error)>,
}

/// The batches of a segment, from its start up to where none follows.
#[derive(Debug, Default)]
pub(in crate::store) struct Batches {
    /// Their headers.
    pub(in crate::store) headers: Vec<Header>,
    /// Their records, as a trailer lists them; the fingerprints are not known.
    pub(in crate::store) entries: Vec<Entry>,
    /// Where the last one ends, in bytes.
    pub(in crate::store) written: u32,
}

/// What is found of batches in a part of a segment where none should be.
#[derive(Debug, Default)]
pub(super) struct Swept {
    /// The highest number that one of them calls durable up to.
    pub(super) flushed: u64,
    /// The segments that they announce.
    pub(super) next: Vec<Successor>,
    /// Why not all was looked at, if it was not.
    pub(super) unread: Option<Unread>,
}

/// Reads the trailer of segment `seg`, numbered `seq`.
///
/// # Errors
/// If the end of the segment cannot be read.
pub(in crate::store) async fn read_trailer(
    source: Source<'_>,
    seg: u32,
    seq: Seq,
) -> Result<TrailerFound, Unread> {
    let seg_bytes = source.shape().seg_bytes();
    let footer_at = seg_bytes - u32::try_from(FOOTER_BYTES).expect("a few bytes");
    let footer = source.read(seg, footer_at, FOOTER_BYTES).await?;
    let Some(len) = Trailer::peek(seq, seg_bytes, &footer) else {
        return Ok(TrailerFound::None);
    };
    let at = seg_bytes - u32::try_from(len).expect("within a segment");
    let bytes = source.read(seg, at, len).await?;
    match Trailer::decode(source.sealer(), seq, seg_bytes, &bytes) {
        Ok(trailer) => Ok(TrailerFound::Whole(trailer)),
        Err(why) => Ok(TrailerFound::Torn(why)),
    }
}

/// Reads the batches of segment `seg`, numbered `seq`.
///
/// # Errors
/// If the segment lies outside the backend.
pub(in crate::store) async fn batches(
    source: Source<'_>,
    seg: u32,
    seq: Seq,
) -> Result<Batches, Unread> {
    let image = Image::read(source, seg, 0..source.shape().seg_bytes()).await?;
    Ok(image.batches(source, seq))
}

/// Looks for batches, and for a trailer, from `offset` to the end of segment `seg`, numbered `seq`.
pub(super) async fn sweep(source: Source<'_>, seg: u32, seq: Seq, offset: u32) -> Swept {
    let mut swept = Swept::default();
    match read_trailer(source, seg, seq).await {
        Ok(TrailerFound::Whole(trailer)) => {
            swept.flushed = trailer.flushed;
            swept.next.push(trailer.next);
        }
        Ok(TrailerFound::Torn(_) | TrailerFound::None) => {}
        Err(why) => swept.unread = Some(why),
    }
    let seg_bytes = source.shape().seg_bytes();
    if offset >= seg_bytes {
        return swept;
    }
    let image = match Image::read(source, seg, offset..seg_bytes).await {
        Ok(image) => image,
        Err(why) => {
            swept.unread = Some(why);
            return swept;
        }
    };
    if let Some((_, error)) = image.gaps.first() {
        swept.unread = Some(Unread::Io(*error));
    }
    let block = source.shape().block();
    let mut at = offset.next_multiple_of(block);
    while let Some(header) = image.header_room(at) {
        if let Ok(header) = Header::decode(source.sealer(), seq, at, seg_bytes, header) {
            swept.flushed = swept.flushed.max(header.flushed.min(header.number));
            swept.next.push(header.next);
        }
        at += block;
    }
    swept.next.dedup();
    swept
}

impl Image {
    /// Reads `span` of segment `seg`, which is not empty.
    ///
    /// # Errors
    /// If it lies outside the backend.
    pub(super) async fn read(
        source: Source<'_>,
        seg: u32,
        span: Range<u32>,
    ) -> Result<Self, Unread> {
        /// How much is given up where one read fails, in bytes.
        const GAP_BYTES: u32 = 4096;

        let len = (span.end - span.start) as usize;
        match source.read(seg, span.start, len).await {
            Ok(bytes) => {
                return Ok(Self {
                    bytes,
                    from: span.start,
                    gaps: Vec::new(),
                });
            }
            Err(Unread::Io(_)) => {}
            Err(why) => return Err(why),
        }
        // Some of it cannot be read. What can be is worth having.
        let mut image = Self {
            bytes: Buf::zeroed(len),
            from: span.start,
            gaps: Vec::new(),
        };
        let mut at = span.start;
        while at < span.end {
            let piece = at..span.end.min(at + GAP_BYTES);
            let len = (piece.end - piece.start) as usize;
            match source.read(seg, piece.start, len).await {
                Ok(bytes) => {
                    let to = (piece.start - span.start) as usize;
                    image.bytes[to..to + len].copy_from_slice(&bytes);
                }
                Err(Unread::Io(error)) => image.gaps.push((piece.clone(), error)),
                Err(why) => return Err(why),
            }
            at = piece.end;
        }
        Ok(image)
    }

    /// The block that the chunk at `ptr` holds, of a segment numbered `seq`.
    pub(super) fn open(
        &self,
        source: Source<'_>,
        seq: Seq,
        ptr: Ptr,
    ) -> Result<[u8; BLOCK], Unread> {
        let (from, to) = (u64::from(ptr.offset()), ptr.end());
        let missing = |(gap, _): &&(Range<u32>, Error)| {
            u64::from(gap.start) < to && from < u64::from(gap.end)
        };
        if let Some((_, error)) = self.gaps.iter().find(missing) {
            return Err(Unread::Io(*error));
        }
        let begin = ptr.offset().checked_sub(self.from).ok_or(Unread::Outside)? as usize;
        let sealed = self.bytes.get(begin..begin + ptr.sealed_len());
        let place = Place {
            seq: seq.bits(),
            offset: ptr.offset(),
        };
        let bytes = source
            .sealer()
            .open(place, sealed.ok_or(Unread::Outside)?)?;
        let mut block = [0; BLOCK];
        match ptr.is_raw() {
            true => block.copy_from_slice(&bytes),
            false => unpack(ptr.codec(), &bytes, &mut block).map_err(|_| Unread::NoBlock)?,
        }
        Ok(block)
    }

    /// The batches from the start of the segment, which the image begins with.
    pub(super) fn batches(&self, source: Source<'_>, seq: Seq) -> Batches {
        let shape = source.shape();
        let mut found = Batches::default();
        let mut at = 0;
        while let Some(room) = self.header_room(at) {
            let header = Header::decode(source.sealer(), seq, at, shape.seg_bytes(), room);
            let Ok(header) = header else {
                break;
            };
            let follows = |last: &Header| last.number + 1 == header.number;
            if found.headers.last().is_some_and(|last| !follows(last)) {
                break;
            }
            let bytes = &self.bytes[(at - self.from) as usize..];
            let Ok(records) = header.decode_records(source.sealer(), bytes) else {
                break;
            };
            let entry = |record: Record, at: Option<At>| {
                let (offset, content) = match at {
                    Some(At::Chunk { offset, .. }) => (offset, [0; 16]),
                    Some(At::Elsewhere { ptr, seq }) => (0, encode_ref(ptr, seq)),
                    None => (0, [0; 16]),
                };
                Entry {
                    record,
                    offset,
                    content,
                }
            };
            let records = records.into_iter();
            found
                .entries
                .extend(records.map(|logged| entry(logged.record, logged.at)));
            found.written = at + header.bytes;
            found.headers.push(header);
            at = shape.round_up(found.written);
        }
        found
    }

    /// Room for a header at `at`, if the image has it.
    fn header_room(&self, at: u32) -> Option<&[u8]> {
        let begin = (at - self.from) as usize;
        self.bytes.get(begin..begin + HEADER_BYTES)
    }
}

/// The chunk of an entry of a trailer, if it has one: where it begins, its length, how it was made.
pub(super) fn chunk_of(entry: &Entry) -> Option<(u32, usize, Codec)> {
    let (len, codec) = entry.chunk()?;
    Some((entry.offset, len, codec))
}

/// Where a chunk of `len` bytes at `offset` ends with its seal.
pub(super) fn chunk_end(offset: u32, len: usize) -> u64 {
    u64::from(offset) + (len + TAG_BYTES) as u64
}
