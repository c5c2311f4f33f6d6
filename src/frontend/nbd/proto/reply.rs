//! Encodes what a client is told, in whichever framing was agreed on.
//!
//! proto.md, "Simple reply message", "Structured reply chunk message" and, in the branch
//! `extension-ext-header`, "Extended reply chunk message". With chunks, every answer is made of
//! them, also where a simple reply would still be allowed: one shape, and the same for both
//! chunked framings.

use std::ops::Range;

use super::agreed::Framing;
use super::bytes::put_u16;
use super::bytes::put_u32;
use super::bytes::put_u64;
use super::contexts::Context;
use super::contexts::Contexts;
use super::error::NbdError;
use super::outbox::Outbox;
use super::request::Header;
use super::sparse;
use super::wire::chunk;
use super::wire::magic;
use crate::base::Buf;
use crate::base::StatusRun;

/// The holes of one reply at most. Alternating blocks of zeroes and data could otherwise cut one
/// read into eight thousand pieces; from this many holes on, zeroes are sent as they are.
const HOLES_MAX: usize = 128;

/// The longest run that a 32-bit block status describes, in bytes: what is left of 4 GiB at a
/// block boundary.
const COMPACT_RUN_BYTES_MAX: u32 = !4095;

/// What an answer has to repeat of its request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyTo {
    /// The framing of the connection.
    pub framing: Framing,
    /// What the client calls the request.
    pub cookie: u64,
    /// The offset of the request, in bytes.
    pub offset: u64,
}

impl ReplyTo {
    /// For the answer to the request with `header`.
    pub const fn new(framing: Framing, header: &Header) -> Self {
        Self {
            framing,
            cookie: header.cookie,
            offset: header.offset,
        }
    }

    /// It is done, and there is nothing more to say.
    pub fn done(self, out: &mut Outbox) {
        out.write_head(|head| match self.framing {
            Framing::Simple => self.put_simple(head, 0),
            Framing::Structured | Framing::Extended => {
                self.put_chunk(head, chunk::NONE, chunk::DONE, 0);
            }
        });
    }

    /// It was not done.
    pub fn error(self, error: NbdError, out: &mut Outbox) {
        out.write_head(|head| match self.framing {
            Framing::Simple => self.put_simple(head, error.number()),
            Framing::Structured | Framing::Extended => {
                self.put_chunk(head, chunk::ERROR, chunk::DONE, 6);
                put_u32(head, error.number());
                // No message: the number says it, and the full story is in the server's log.
                put_u16(head, 0);
            }
        });
    }

    /// All that was to be read, in one piece.
    ///
    /// # Panics
    /// If there is no data.
    pub fn data(self, data: Buf, out: &mut Outbox) {
        assert!(!data.is_empty(), "a read asks for at least one byte");
        if self.framing == Framing::Simple {
            out.write_head(|head| self.put_simple(head, 0));
        } else {
            self.data_head(0..data.len(), chunk::DONE, out);
        }
        out.push_data(data);
    }

    /// All that was to be read, with zeroes told and not sent. For reads that may be answered in
    /// several chunks; a simple reply sends everything.
    ///
    /// # Panics
    /// If there is no data.
    pub fn sparse_data(self, data: Buf, out: &mut Outbox) {
        if self.framing == Framing::Simple {
            return self.data(data, out);
        }
        let holes = sparse::holes(&data, self.offset, HOLES_MAX);
        if holes.is_empty() {
            return self.data(data, out);
        }
        let len = data.len();
        let done_at_end = |range: &Range<usize>| if range.end == len { chunk::DONE } else { 0 };
        let kept = out.keep(data);
        let put_data = |range: Range<usize>, out: &mut Outbox| {
            if !range.is_empty() {
                self.data_head(range.clone(), done_at_end(&range), out);
                out.push_kept(kept, range);
            }
        };
        let mut from = 0;
        for hole in holes {
            put_data(from..hole.start, out);
            from = hole.end;
            self.hole(hole.clone(), done_at_end(&hole), out);
        }
        put_data(from..len, out);
    }

    /// The status from the offset of the request on: one chunk per context of `contexts`, each with
    /// all of its `runs`, which are in the same order, that its framing can say.
    ///
    /// # Panics
    /// If the framing has no chunks, or there is no context, or of one no runs, or an empty one.
    pub fn status(self, contexts: Contexts, runs: &[Vec<StatusRun>], out: &mut Outbox) {
        assert!(self.framing != Framing::Simple, "status comes in chunks");
        assert!(!contexts.is_empty(), "status is told in some context");
        assert_eq!(contexts.len(), runs.len(), "each context has its runs");
        let last = contexts.iter().last();
        for (context, runs) in contexts.iter().zip(runs) {
            assert!(
                !runs.is_empty() && runs.iter().all(|run| run.bytes > 0),
                "every reply and every run describes something"
            );
            let flags = if Some(context) == last {
                chunk::DONE
            } else {
                0
            };
            let mut payload = Vec::new();
            let kind = if self.framing == Framing::Extended {
                put_long_runs(&mut payload, context, runs);
                chunk::BLOCK_STATUS_EXT
            } else {
                put_short_runs(&mut payload, context, runs);
                chunk::BLOCK_STATUS
            };
            out.write_head(|head| self.put_chunk(head, kind, flags, payload.len()));
            out.push_head(&payload);
        }
    }

    /// The head of a chunk with the bytes `range` of what was read.
    fn data_head(self, range: Range<usize>, flags: u16, out: &mut Outbox) {
        out.write_head(|head| {
            self.put_chunk(head, chunk::OFFSET_DATA, flags, 8 + range.len());
            put_u64(head, self.offset + wide(range.start));
        });
    }

    fn hole(self, range: Range<usize>, flags: u16, out: &mut Outbox) {
        out.write_head(|head| {
            self.put_chunk(head, chunk::OFFSET_HOLE, flags, 12);
            put_u64(head, self.offset + wide(range.start));
            put_u32(head, narrow(range.len()));
        });
    }

    fn put_simple(self, head: &mut Vec<u8>, error: u32) {
        put_u32(head, magic::SIMPLE_REPLY);
        put_u32(head, error);
        put_u64(head, self.cookie);
    }

    fn put_chunk(self, head: &mut Vec<u8>, kind: u16, flags: u16, payload_bytes: usize) {
        if self.framing == Framing::Extended {
            put_u32(head, magic::EXTENDED_REPLY);
            put_u16(head, flags);
            put_u16(head, kind);
            put_u64(head, self.cookie);
            put_u64(head, self.offset);
            put_u64(head, wide(payload_bytes));
        } else {
            put_u32(head, magic::STRUCTURED_REPLY);
            put_u16(head, flags);
            put_u16(head, kind);
            put_u64(head, self.cookie);
            put_u32(head, narrow(payload_bytes));
        }
    }
}

/// The payload of `NBD_REPLY_TYPE_BLOCK_STATUS`. A run that is too long for it ends the reply;
/// the client asks again from there.
fn put_short_runs(payload: &mut Vec<u8>, context: Context, runs: &[StatusRun]) {
    put_u32(payload, context.id());
    for run in runs {
        let bytes = u32::try_from(run.bytes);
        put_u32(payload, bytes.unwrap_or(COMPACT_RUN_BYTES_MAX));
        put_u32(payload, Context::flags(run.status));
        if bytes.is_err() {
            return;
        }
    }
}

/// The payload of `NBD_REPLY_TYPE_BLOCK_STATUS_EXT`.
fn put_long_runs(payload: &mut Vec<u8>, context: Context, runs: &[StatusRun]) {
    put_u32(payload, context.id());
    put_u32(payload, narrow(runs.len()));
    for run in runs {
        put_u64(payload, run.bytes);
        put_u64(payload, u64::from(Context::flags(run.status)));
    }
}

fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("no address space is wider")
}

fn narrow(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a reply carries at most limits::PAYLOAD_BYTES_MAX")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::client_reply::ReplyHead;
    use super::super::client_reply::ReplyKind;
    use super::super::client_reply::ReplyPayload;
    use super::super::client_reply::decode_reply;
    use super::*;
    use crate::base::Status;

    const BLOCK: usize = sparse::HOLE_BYTES_MIN;
    const CHUNKED: [Framing; 2] = [Framing::Structured, Framing::Extended];

    fn to(framing: Framing, offset: u64) -> ReplyTo {
        ReplyTo {
            framing,
            cookie: 0x1122_3344_5566_7788,
            offset,
        }
    }

    fn sent(encode: impl FnOnce(&mut Outbox)) -> Vec<u8> {
        let mut outbox = Outbox::new();
        encode(&mut outbox);
        let bytes = outbox.pieces().collect::<Vec<_>>().concat();
        assert_eq!(bytes.len(), outbox.bytes());
        bytes
    }

    /// Calls `each` with the chunks of one whole reply.
    fn chunks(
        framing: Framing,
        mut bytes: &[u8],
        mut each: impl FnMut(ReplyHead, ReplyPayload<'_>),
    ) {
        loop {
            let head = decode_reply(framing, bytes)
                .unwrap()
                .expect("a whole reply");
            let (payload, rest) = bytes[head.head_bytes..].split_at(head.payload_bytes);
            assert_eq!(head.cookie, 0x1122_3344_5566_7788);
            each(head, head.payload(payload).unwrap());
            bytes = rest;
            if head.done {
                return assert!(bytes.is_empty());
            }
        }
    }

    #[test]
    fn the_smallest_replies_are_exact() {
        let simple = "67446698 00000000 1122334455667788";
        let structured = "668e33ef 0001 0000 1122334455667788 00000000";
        let extended = "6e8a278c 0001 0000 1122334455667788 0000000000000200 0000000000000000";
        for (framing, hex) in [
            (Framing::Simple, simple),
            (Framing::Structured, structured),
            (Framing::Extended, extended),
        ] {
            let bytes = sent(|out| to(framing, 512).done(out));
            let said: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(said, hex.replace(' ', ""));
        }
    }

    #[test]
    fn errors_carry_their_number() {
        let simple = sent(|out| to(Framing::Simple, 0).error(NbdError::NOSPC, out));
        let head = decode_reply(Framing::Simple, &simple).unwrap().unwrap();
        assert_eq!((head.kind, simple.len()), (ReplyKind::Simple(28), 16));
        for framing in CHUNKED {
            let bytes = sent(|out| to(framing, 0).error(NbdError::NOSPC, out));
            chunks(framing, &bytes, |_, payload| {
                assert_eq!(payload, ReplyPayload::Error(28));
            });
        }
    }

    #[test]
    fn data_is_sent_where_it_lies() {
        let data = [1, 2, 3];
        for framing in [Framing::Simple, Framing::Structured, Framing::Extended] {
            let mut outbox = Outbox::new();
            let buf = Buf::from(&data[..]);
            let memory = buf.as_ptr();
            to(framing, 5).data(buf, &mut outbox);
            assert_eq!(outbox.pieces().last().unwrap().as_ptr(), memory);
            let bytes = outbox.pieces().collect::<Vec<_>>().concat();
            if framing == Framing::Simple {
                assert_eq!(bytes[16..], data);
                continue;
            }
            chunks(framing, &bytes, |_, payload| {
                assert_eq!(
                    payload,
                    ReplyPayload::Data {
                        offset: 5,
                        data: &data
                    }
                );
            });
        }
    }

    /// Reads back a sparse reply: the data, and how many chunks and how many bytes of holes.
    fn reassemble(framing: Framing, bytes: &[u8], start: u64) -> (Vec<u8>, usize, usize) {
        let (mut read, mut count, mut hole_bytes) = (Vec::new(), 0, 0);
        chunks(framing, bytes, |_, payload| {
            count += 1;
            let here = start + wide(read.len());
            match payload {
                ReplyPayload::Data { offset, data } => {
                    assert_eq!(offset, here);
                    read.extend_from_slice(data);
                }
                ReplyPayload::Hole { offset, bytes } => {
                    assert_eq!((offset, bytes % 4096, offset % 4096), (here, 0, 0));
                    let bytes = usize::try_from(bytes).unwrap();
                    hole_bytes += bytes;
                    read.resize(read.len() + bytes, 0);
                }
                other => panic!("{other:?}"),
            }
        });
        (read, count, hole_bytes)
    }

    fn check_sparse(offset: u64, data: &[u8], chunks: usize, hole_bytes: usize) {
        for framing in CHUNKED {
            let bytes = sent(|out| to(framing, offset).sparse_data(Buf::from(data), out));
            let expected = (data.to_vec(), chunks, hole_bytes);
            assert!(
                reassemble(framing, &bytes, offset) == expected,
                "{framing:?} {offset}"
            );
        }
    }

    #[test]
    fn zeroes_are_told_and_not_sent() {
        let (zero, full) = (vec![0; BLOCK], vec![1; BLOCK]);
        let join = |blocks: &[&Vec<u8>]| {
            blocks
                .iter()
                .flat_map(|block| block.to_vec())
                .collect::<Vec<u8>>()
        };
        check_sparse(0, &zero, 1, BLOCK);
        check_sparse(0, &full, 1, 0);
        check_sparse(8192, &join(&[&zero, &full]), 2, BLOCK);
        check_sparse(0, &join(&[&full, &zero]), 2, BLOCK);
        check_sparse(0, &join(&[&zero, &zero, &full, &zero]), 3, 3 * BLOCK);
        check_sparse(1, &join(&[&zero, &zero]), 3, BLOCK);
        check_sparse(1, &zero, 1, 0);
        check_sparse(0, &zero[1..], 1, 0);
        check_sparse(4095, &[0], 1, 0);
    }

    #[test]
    fn a_reply_has_a_bounded_number_of_chunks() {
        let mut data = vec![0; 1000 * BLOCK];
        data.iter_mut()
            .step_by(2 * BLOCK)
            .for_each(|byte| *byte = 1);
        check_sparse(0, &data, 2 * HOLES_MAX + 1, HOLES_MAX * BLOCK);
    }

    #[test]
    fn a_simple_reply_sends_zeroes() {
        let bytes = sent(|out| to(Framing::Simple, 0).sparse_data(Buf::zeroed(BLOCK), out));
        assert_eq!(bytes.len(), 16 + BLOCK);
    }

    fn runs(framing: Framing, runs: &[(u64, Status)]) -> Vec<(u64, u64)> {
        let runs: Vec<StatusRun> = runs
            .iter()
            .map(|(bytes, status)| StatusRun {
                bytes: *bytes,
                status: *status,
            })
            .collect();
        let bytes = sent(|out| to(framing, 0).status(Contexts::ALLOCATION, &[runs], out));
        let mut said = Vec::new();
        chunks(framing, &bytes, |_, payload| match payload {
            ReplyPayload::Status { id: 1, runs } => said = runs,
            other => panic!("{other:?}"),
        });
        said
    }

    #[test]
    fn status_is_told_in_flags() {
        for framing in CHUNKED {
            let all = [
                (1, Status::Data),
                (4096, Status::Hole),
                (7, Status::AllocatedZero),
            ];
            assert_eq!(runs(framing, &all), [(1, 0), (4096, 3), (7, 2)]);
        }
    }

    #[test]
    fn each_context_tells_its_own_runs() {
        let run = |bytes, status| StatusRun { bytes, status };
        let contexts = Contexts::ALLOCATION
            .with(Context::Depth)
            .with(Context::Bitmap(3));
        let all = [
            vec![run(8192, Status::Data)],
            vec![run(4096, Status::Depth(1)), run(4096, Status::Depth(2))],
            vec![run(4096, Status::Clean), run(1, Status::Dirty)],
        ];
        for framing in CHUNKED {
            let bytes = sent(|out| to(framing, 0).status(contexts, &all, out));
            let mut said = Vec::new();
            chunks(framing, &bytes, |_, payload| match payload {
                ReplyPayload::Status { id, runs } => said.push((id, runs)),
                other => panic!("{other:?}"),
            });
            let expected = [
                (1, vec![(8192, 0)]),
                (2, vec![(4096, 1), (4096, 2)]),
                (6, vec![(4096, 0), (1, 1)]),
            ];
            assert_eq!(said, expected);
        }
    }

    #[test]
    fn a_run_too_long_for_32_bits_ends_the_reply() {
        let long = [(1 << 32, Status::Hole), (1, Status::Data)];
        assert_eq!(runs(Framing::Structured, &long), [(0xffff_f000, 3)]);
        assert_eq!(runs(Framing::Extended, &long), [(1 << 32, 3), (1, 0)]);
        let longest = [(0xffff_ffff, Status::Hole), (1, Status::Data)];
        assert_eq!(
            runs(Framing::Structured, &longest),
            [(0xffff_ffff, 3), (1, 0)]
        );
    }

    proptest! {
        #[test]
        fn sparse_data_is_what_was_read(
            offset in 0..20_000_u64,
            pieces in prop::collection::vec((any::<bool>(), 1..10_000_usize), 1..12),
        ) {
            let mut data = Vec::new();
            for (full, bytes) in pieces {
                data.resize(data.len() + bytes, u8::from(full));
            }
            for framing in CHUNKED {
                let bytes = sent(|out| to(framing, offset).sparse_data(Buf::from(&data[..]), out));
                prop_assert!(reassemble(framing, &bytes, offset).0 == data);
            }
        }
    }
}
