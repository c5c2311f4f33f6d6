//! Takes replies from what was received, whatever the framing.
//!
//! Data is shown where it lies, in the pieces in which it arrived; only a head or a small payload
//! that arrived in part waits, in front of the buffer, for the rest.

use super::error::BenchError;
use crate::frontend::nbd::proto::Framing;
use crate::frontend::nbd::proto::ReplyError;
use crate::frontend::nbd::proto::ReplyHead;
use crate::frontend::nbd::proto::ReplyKind;
use crate::frontend::nbd::proto::ReplyPayload;
use crate::frontend::nbd::proto::decode_reply;
use crate::frontend::nbd::proto::wire::chunk;

/// The longest payload that is not data, in bytes: errors with their text.
const SMALL_BYTES_MAX: usize = 64 << 10;
/// What stands before the data in its chunk: where it belongs, in bytes.
const DATA_OFFSET_BYTES: usize = 8;

/// Hears what the replies say. An error that it returns ends the connection.
pub(super) trait Hear {
    /// How much data follows a simple reply without an error, in bytes.
    fn data_bytes(&mut self, cookie: u64) -> Result<usize, BenchError>;
    /// Data from byte `at` of the export on.
    fn data(&mut self, cookie: u64, at: DataAt, data: &[u8]) -> Result<(), BenchError>;
    /// So many zeroes from byte `at` of the export on.
    fn hole(&mut self, cookie: u64, at: u64, bytes: u64) -> Result<(), BenchError>;
    /// It failed, with this number; more may follow.
    fn failed(&mut self, cookie: u64, number: u32) -> Result<(), BenchError>;
    /// That was all.
    fn done(&mut self, cookie: u64) -> Result<(), BenchError>;
}

/// Where data belongs, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum DataAt {
    /// From the begin of the request on.
    Request(u64),
    /// From the begin of the export on.
    Export(u64),
}

impl DataAt {
    const fn plus(self, bytes: usize) -> Self {
        match self {
            Self::Request(at) => Self::Request(at + bytes as u64),
            // A server may say anything; what lies nowhere is refused by who hears it.
            Self::Export(at) => Self::Export(at.wrapping_add(bytes as u64)),
        }
    }
}

/// Where a connection is in the stream of replies.
#[derive(Debug)]
pub(super) struct Replies {
    framing: Framing,
    flow: Option<Flow>,
}

/// Data under way.
#[derive(Clone, Copy, Debug)]
struct Flow {
    cookie: u64,
    at: DataAt,
    left: usize,
    done: bool,
}

impl Replies {
    pub(super) const fn new(framing: Framing) -> Self {
        Self {
            framing,
            flow: None,
        }
    }

    /// Takes what it can from the front of `input` and says how much that was, in bytes. The rest,
    /// less than [`SMALL_BYTES_MAX`] and a head, has to be there again next time.
    pub(super) fn take<H: Hear>(
        &mut self,
        input: &[u8],
        hear: &mut H,
    ) -> Result<usize, BenchError> {
        let mut taken = 0;
        loop {
            if let Some(flow) = self.flow {
                taken += self.flow_on(flow, &input[taken..], hear)?;
                if self.flow.is_some() {
                    return Ok(taken);
                }
            }
            let rest = &input[taken..];
            let Some(head) = decode_reply(self.framing, rest)? else {
                return Ok(taken);
            };
            match self.take_reply(head, rest, hear)? {
                Some(bytes) => taken += bytes,
                None => return Ok(taken),
            }
        }
    }

    /// Shows the data under way as far as it is there.
    fn flow_on<H: Hear>(
        &mut self,
        flow: Flow,
        input: &[u8],
        hear: &mut H,
    ) -> Result<usize, BenchError> {
        let count = flow.left.min(input.len());
        if count > 0 {
            hear.data(flow.cookie, flow.at, &input[..count])?;
        }
        self.flow = (count < flow.left).then(|| Flow {
            at: flow.at.plus(count),
            left: flow.left - count,
            ..flow
        });
        if self.flow.is_none() && flow.done {
            hear.done(flow.cookie)?;
        }
        Ok(count)
    }

    /// Takes one reply or chunk, of data the head only; `None` where it is not all there yet.
    fn take_reply<H: Hear>(
        &mut self,
        head: ReplyHead,
        input: &[u8],
        hear: &mut H,
    ) -> Result<Option<usize>, BenchError> {
        match head.kind {
            ReplyKind::Simple(0) => {
                self.flow = Some(Flow {
                    cookie: head.cookie,
                    at: DataAt::Request(0),
                    left: hear.data_bytes(head.cookie)?,
                    done: true,
                });
                Ok(Some(head.head_bytes))
            }
            ReplyKind::Simple(number) => {
                hear.failed(head.cookie, number)?;
                hear.done(head.cookie)?;
                Ok(Some(head.head_bytes))
            }
            ReplyKind::Chunk(chunk::OFFSET_DATA) => self.take_data_head(head, input),
            ReplyKind::Chunk(_) => take_small(head, input, hear),
        }
    }

    fn take_data_head(
        &mut self,
        head: ReplyHead,
        input: &[u8],
    ) -> Result<Option<usize>, BenchError> {
        let Some(left) = head
            .payload_bytes
            .checked_sub(DATA_OFFSET_BYTES)
            .filter(|n| *n > 0)
        else {
            return Err(ReplyError::Malformed.into());
        };
        let Some(at) = input[head.head_bytes..].first_chunk::<DATA_OFFSET_BYTES>() else {
            return Ok(None);
        };
        self.flow = Some(Flow {
            cookie: head.cookie,
            at: DataAt::Export(u64::from_be_bytes(*at)),
            left,
            done: head.done,
        });
        Ok(Some(head.head_bytes + DATA_OFFSET_BYTES))
    }
}

/// Takes a chunk without data; `None` where it is not all there yet.
fn take_small<H: Hear>(
    head: ReplyHead,
    input: &[u8],
    hear: &mut H,
) -> Result<Option<usize>, BenchError> {
    if head.payload_bytes > SMALL_BYTES_MAX {
        return Err(ReplyError::TooLong(head.payload_bytes as u64).into());
    }
    let bytes = head.head_bytes + head.payload_bytes;
    let Some(payload) = input.get(head.head_bytes..bytes) else {
        return Ok(None);
    };
    match head.payload(payload)? {
        ReplyPayload::Hole { offset, bytes } => hear.hole(head.cookie, offset, bytes.into())?,
        ReplyPayload::Error(number) => hear.failed(head.cookie, number)?,
        ReplyPayload::None | ReplyPayload::Data { .. } | ReplyPayload::Status { .. } => {}
    }
    if head.done {
        hear.done(head.cookie)?;
    }
    Ok(Some(bytes))
}
