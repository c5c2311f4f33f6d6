//! The client's side of requests and replies: encodes the ones, decodes the others.

use std::fmt;

use super::agreed::Framing;
use super::bytes::Reader;
use super::bytes::put_u16;
use super::bytes::put_u32;
use super::bytes::put_u64;
use super::wire::chunk;
use super::wire::magic;
use crate::base::limits::OPTION_BYTES_MAX;
use crate::base::limits::PAYLOAD_BYTES_MAX;

/// A simple reply, in bytes, without data.
const SIMPLE_BYTES: usize = 16;
/// The head of a structured reply chunk, in bytes.
const STRUCTURED_BYTES: usize = 20;
/// The head of a reply chunk with extended headers, in bytes.
const EXTENDED_BYTES: usize = 32;

/// The longest chunk, in bytes: the largest payload and whatever describes it.
const CHUNK_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + OPTION_BYTES_MAX;

/// Appends a request. Payload, if it has one, is to follow.
///
/// # Panics
/// If the length does not fit a compact request: 4 GiB or more.
pub fn encode_request(
    framing: Framing,
    flags: u16,
    command: u16,
    cookie: u64,
    offset: u64,
    length: u64,
    out: &mut Vec<u8>,
) {
    put_u32(out, framing.request_magic());
    put_u16(out, flags);
    put_u16(out, command);
    put_u64(out, cookie);
    put_u64(out, offset);
    if framing == Framing::Extended {
        put_u64(out, length);
    } else {
        put_u32(
            out,
            u32::try_from(length).expect("compact requests are shorter than 4 GiB"),
        );
    }
}

/// Why a reply cannot be understood. Where the next one begins cannot be known, so the connection
/// has to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplyError {
    /// It begins with something else than a reply of this framing.
    BadMagic(u32),
    /// A chunk of a type that this client does not know.
    UnknownChunk(u16),
    /// A chunk with so many bytes.
    TooLong(u64),
    /// A chunk whose payload is not what its type says.
    Malformed,
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadMagic(magic) => write!(f, "not a reply: it begins with {magic:#010x}"),
            Self::UnknownChunk(kind) => write!(f, "a reply chunk of unknown type {kind}"),
            Self::TooLong(bytes) => write!(f, "a reply chunk of {bytes} bytes"),
            Self::Malformed => f.write_str("a malformed reply chunk"),
        }
    }
}

impl std::error::Error for ReplyError {}

/// The head of a reply or of one chunk of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyHead {
    /// What the client calls the request.
    pub cookie: u64,
    /// What it is.
    pub kind: ReplyKind,
    /// Whether it is the last of its reply.
    pub done: bool,
    /// How long the head is, in bytes.
    pub head_bytes: usize,
    /// How much follows that belongs to it, in bytes. After a simple reply without an error, the
    /// data of a read follows besides, and only the client knows how much it asked for.
    pub payload_bytes: usize,
}

/// What a reply or a chunk of it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplyKind {
    /// A simple reply with its error number, 0 for success.
    Simple(u32),
    /// A chunk of this type (proto.md, "Structured reply types").
    Chunk(u16),
}

/// What the payload of a chunk says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReplyPayload<'a> {
    /// Nothing.
    None,
    /// Data that was read.
    Data {
        /// Where it lies on the disk, in bytes.
        offset: u64,
        /// The data; not empty.
        data: &'a [u8],
    },
    /// Zeroes that were read.
    Hole {
        /// Where they lie on the disk, in bytes.
        offset: u64,
        /// How many; not zero.
        bytes: u32,
    },
    /// Runs of bytes, each with its length and its flags, in the context called `id`.
    Status {
        /// What the handshake called the context.
        id: u32,
        /// Length in bytes, not zero, and flags.
        runs: Vec<(u64, u64)>,
    },
    /// It failed, with this number.
    Error(u32),
}

/// The head of a reply at the front of `input`, or `None` where it is not all there yet.
pub fn decode_reply(framing: Framing, input: &[u8]) -> Result<Option<ReplyHead>, ReplyError> {
    let mut reader = Reader::new(input);
    let Some(magic) = reader.u32() else {
        return Ok(None);
    };
    match (magic, framing) {
        (magic::SIMPLE_REPLY, Framing::Simple | Framing::Structured) => Ok(decode_simple(reader)),
        (magic::STRUCTURED_REPLY, Framing::Structured)
        | (magic::EXTENDED_REPLY, Framing::Extended) => decode_chunk(framing, reader),
        _ => Err(ReplyError::BadMagic(magic)),
    }
}

fn decode_simple(mut reader: Reader<'_>) -> Option<ReplyHead> {
    let error = reader.u32()?;
    Some(ReplyHead {
        cookie: reader.u64()?,
        kind: ReplyKind::Simple(error),
        done: true,
        head_bytes: SIMPLE_BYTES,
        payload_bytes: 0,
    })
}

fn decode_chunk(framing: Framing, reader: Reader<'_>) -> Result<Option<ReplyHead>, ReplyError> {
    let Some((flags, kind, cookie, length)) = chunk_fields(framing, reader) else {
        return Ok(None);
    };
    if !is_known(framing, kind) {
        return Err(ReplyError::UnknownChunk(kind));
    }
    let payload_bytes = usize::try_from(length)
        .ok()
        .filter(|bytes| *bytes <= CHUNK_BYTES_MAX)
        .ok_or(ReplyError::TooLong(length))?;
    Ok(Some(ReplyHead {
        cookie,
        kind: ReplyKind::Chunk(kind),
        done: flags & chunk::DONE != 0,
        head_bytes: match framing {
            Framing::Simple | Framing::Structured => STRUCTURED_BYTES,
            Framing::Extended => EXTENDED_BYTES,
        },
        payload_bytes,
    }))
}

/// Flags, type, cookie and payload length.
fn chunk_fields(framing: Framing, mut reader: Reader<'_>) -> Option<(u16, u16, u64, u64)> {
    let (flags, kind, cookie) = (reader.u16()?, reader.u16()?, reader.u64()?);
    let length = if framing == Framing::Extended {
        // The offset, which the cookie makes redundant.
        reader.u64()?;
        reader.u64()?
    } else {
        u64::from(reader.u32()?)
    };
    Some((flags, kind, cookie, length))
}

/// Whether a chunk may come in this framing. Errors may be of any type (proto.md, "Structured
/// reply types").
fn is_known(framing: Framing, kind: u16) -> bool {
    match kind {
        chunk::NONE | chunk::OFFSET_DATA | chunk::OFFSET_HOLE => true,
        chunk::BLOCK_STATUS => framing != Framing::Extended,
        chunk::BLOCK_STATUS_EXT => framing == Framing::Extended,
        _ => kind & chunk::ERROR_BIT != 0,
    }
}

impl ReplyHead {
    /// What `payload`, the [`payload_bytes`](Self::payload_bytes) after the head, says.
    pub fn payload<'a>(&self, payload: &'a [u8]) -> Result<ReplyPayload<'a>, ReplyError> {
        let kind = match self.kind {
            ReplyKind::Simple(0) => return Ok(ReplyPayload::None),
            ReplyKind::Simple(error) => return Ok(ReplyPayload::Error(error)),
            ReplyKind::Chunk(kind) => kind,
        };
        let reader = Reader::new(payload);
        let said = match kind {
            chunk::NONE => payload.is_empty().then_some(ReplyPayload::None),
            chunk::OFFSET_DATA => data(reader),
            chunk::OFFSET_HOLE => hole(reader),
            chunk::BLOCK_STATUS => short_runs(reader),
            chunk::BLOCK_STATUS_EXT => long_runs(reader),
            _ => error(reader),
        };
        said.ok_or(ReplyError::Malformed)
    }
}

fn data(mut reader: Reader<'_>) -> Option<ReplyPayload<'_>> {
    let offset = reader.u64()?;
    let data = reader.rest();
    (!data.is_empty()).then_some(ReplyPayload::Data { offset, data })
}

fn hole(mut reader: Reader<'_>) -> Option<ReplyPayload<'_>> {
    let (offset, bytes) = (reader.u64()?, reader.u32()?);
    let whole = bytes > 0 && reader.rest().is_empty();
    whole.then_some(ReplyPayload::Hole { offset, bytes })
}

fn short_runs(mut reader: Reader<'_>) -> Option<ReplyPayload<'_>> {
    let id = reader.u32()?;
    let (words, []) = reader.rest().as_chunks::<4>() else {
        return None;
    };
    let words: Vec<u64> = words
        .iter()
        .map(|word| u64::from(u32::from_be_bytes(*word)))
        .collect();
    status(id, &words)
}

fn long_runs(mut reader: Reader<'_>) -> Option<ReplyPayload<'_>> {
    let (id, count) = (reader.u32()?, reader.u32()?);
    let (words, []) = reader.rest().as_chunks::<8>() else {
        return None;
    };
    let words: Vec<u64> = words.iter().map(|word| u64::from_be_bytes(*word)).collect();
    if words.len() / 2 != usize::try_from(count).ok()? {
        return None;
    }
    status(id, &words)
}

fn status(id: u32, words: &[u64]) -> Option<ReplyPayload<'static>> {
    let (pairs, []) = words.as_chunks::<2>() else {
        return None;
    };
    let runs: Vec<(u64, u64)> = pairs
        .iter()
        .map(|[bytes, flags]| (*bytes, *flags))
        .collect();
    let describes = !runs.is_empty() && runs.iter().all(|(bytes, _)| *bytes > 0);
    describes.then_some(ReplyPayload::Status { id, runs })
}

/// The number, the length of a message and the message; more may follow, by type.
fn error(mut reader: Reader<'_>) -> Option<ReplyPayload<'_>> {
    let (number, message_bytes) = (reader.u32()?, reader.u16()?);
    let whole = reader.rest().len() >= usize::from(message_bytes);
    (whole && number != 0).then_some(ReplyPayload::Error(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_whole_or_not_there() {
        let simple = [
            &magic::SIMPLE_REPLY.to_be_bytes()[..],
            &[0, 0, 0, 5],
            &[7; 8],
        ]
        .concat();
        for bytes in 0..SIMPLE_BYTES {
            assert_eq!(decode_reply(Framing::Simple, &simple[..bytes]), Ok(None));
        }
        let head = decode_reply(Framing::Structured, &simple).unwrap().unwrap();
        assert_eq!((head.kind, head.done), (ReplyKind::Simple(5), true));
        assert_eq!(head.payload(&[]), Ok(ReplyPayload::Error(5)));
    }

    #[test]
    fn a_reply_of_another_framing_is_refused() {
        let cases = [
            (Framing::Extended, magic::SIMPLE_REPLY),
            (Framing::Extended, magic::STRUCTURED_REPLY),
            (Framing::Structured, magic::EXTENDED_REPLY),
            (Framing::Simple, magic::STRUCTURED_REPLY),
            (Framing::Simple, 0),
        ];
        for (framing, magic) in cases {
            let reply = decode_reply(framing, &magic.to_be_bytes());
            assert_eq!(reply, Err(ReplyError::BadMagic(magic)), "{framing:?}");
        }
    }

    fn chunk_head(framing: Framing, kind: u16, length: u32) -> Result<ReplyHead, ReplyError> {
        let mut bytes = Vec::new();
        if framing == Framing::Extended {
            put_u32(&mut bytes, magic::EXTENDED_REPLY);
        } else {
            put_u32(&mut bytes, magic::STRUCTURED_REPLY);
        }
        put_u16(&mut bytes, 0);
        put_u16(&mut bytes, kind);
        put_u64(&mut bytes, 1);
        if framing == Framing::Extended {
            bytes.extend_from_slice(&[0; 12]);
        }
        put_u32(&mut bytes, length);
        decode_reply(framing, &bytes).map(|head| head.expect("it is all there"))
    }

    #[test]
    fn chunks_that_cannot_be_are_refused() {
        let (structured, extended) = (Framing::Structured, Framing::Extended);
        let unknown = [
            (structured, 3),
            (structured, 6),
            (extended, 5),
            (extended, 7),
        ];
        for (framing, kind) in unknown {
            assert_eq!(
                chunk_head(framing, kind, 0),
                Err(ReplyError::UnknownChunk(kind))
            );
        }
        for framing in [structured, extended] {
            let head = chunk_head(framing, chunk::OFFSET_DATA, u32::MAX);
            assert_eq!(head, Err(ReplyError::TooLong(u64::from(u32::MAX))));
        }
    }

    #[test]
    fn payloads_that_do_not_add_up_are_refused() {
        let cases: [(u16, &[u8]); 13] = [
            (chunk::NONE, &[0]),
            (chunk::OFFSET_DATA, &[0; 7]),
            (chunk::OFFSET_DATA, &[0; 8]),
            (chunk::OFFSET_HOLE, &[1; 11]),
            (chunk::OFFSET_HOLE, &[0; 12]),
            (chunk::OFFSET_HOLE, &[1; 13]),
            (chunk::BLOCK_STATUS, &[1; 4]),
            (chunk::BLOCK_STATUS, &[1; 8]),
            (chunk::BLOCK_STATUS, &[1; 13]),
            (chunk::BLOCK_STATUS, &[0; 12]),
            (chunk::ERROR, &[0, 0, 0, 5, 0]),
            (chunk::ERROR, &[0, 0, 0, 0, 0, 0]),
            (chunk::ERROR, &[0, 0, 0, 5, 0, 2, b'x']),
        ];
        for (kind, payload) in cases {
            let bytes = u32::try_from(payload.len()).unwrap();
            let head = chunk_head(Framing::Structured, kind, bytes).unwrap();
            assert_eq!(
                head.payload(payload),
                Err(ReplyError::Malformed),
                "{kind} {payload:?}"
            );
        }
        let head = chunk_head(Framing::Extended, chunk::BLOCK_STATUS_EXT, 24).unwrap();
        for count in [0, 2] {
            let mut payload = vec![0, 0, 0, 1, 0, 0, 0, count];
            payload.extend_from_slice(&[1; 16]);
            assert_eq!(head.payload(&payload), Err(ReplyError::Malformed));
        }
    }

    #[test]
    fn errors_of_unknown_type_are_errors() {
        let head = chunk_head(Framing::Structured, chunk::ERROR_BIT + 99, 8).unwrap();
        let payload = [0, 0, 0, 28, 0, 1, b'x', 1];
        assert_eq!(head.payload(&payload), Ok(ReplyPayload::Error(28)));
    }
}
