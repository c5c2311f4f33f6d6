//! Whatever the server answers, a client reads just that.

#![no_main]

use arbitrary::Arbitrary;
use bedplate::base::{Buf, Error, Fault, Status, StatusRun};
use bedplate::frontend::nbd::proto::{
    Context, Contexts, Framing, NbdError, Outbox, ReplyKind, ReplyPayload, ReplyTo, decode_reply,
};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    framing: u8,
    cookie: u64,
    offset: u64,
    answer: Answer,
}

#[derive(Arbitrary, Debug)]
enum Answer {
    Done,
    Error(i32),
    Data(Vec<Piece>),
    SparseData(Vec<Piece>),
    Status(Vec<(u64, u8)>),
}

/// A run of equal bytes, as long as a few blocks at most.
#[derive(Arbitrary, Debug)]
struct Piece {
    bytes: u16,
    value: u8,
}

/// What a client has understood.
#[derive(PartialEq, Eq, Default, Debug)]
struct Read {
    error: u32,
    data: Vec<u8>,
    runs: Vec<(u64, u64)>,
}

fuzz_target!(|input: Input| {
    let to = ReplyTo {
        framing: match input.framing % 3 {
            0 => Framing::Simple,
            1 => Framing::Structured,
            _ => Framing::Extended,
        },
        cookie: input.cookie,
        offset: input.offset >> 1,
    };
    let mut outbox = Outbox::new();
    let Some(expected) = encode(to, &input.answer, &mut outbox) else {
        return;
    };
    assert_eq!(decode(to, &outbox, expected.data.len()), expected);
});

fn encode(to: ReplyTo, answer: &Answer, out: &mut Outbox) -> Option<Read> {
    let mut read = Read::default();
    match answer {
        Answer::Done => to.done(out),
        Answer::Error(errno) => {
            let fault = Fault {
                during: "fuzz",
                errno: *errno,
            };
            let error = NbdError::from(Error::Failed(fault));
            to.error(error, out);
            read.error = error.number();
        }
        Answer::Data(pieces) => {
            read.data = join(pieces)?;
            to.data(Buf::from(&read.data[..]), out);
        }
        Answer::SparseData(pieces) => {
            read.data = join(pieces)?;
            to.sparse_data(Buf::from(&read.data[..]), out);
        }
        Answer::Status(runs) => {
            let runs: Vec<StatusRun> = runs.iter().filter_map(run).collect();
            if runs.is_empty() || to.framing == Framing::Simple {
                return None;
            }
            read.runs = expected_runs(to.framing, &runs);
            to.status(Contexts::ALLOCATION, &[runs], out);
        }
    }
    Some(read)
}

/// The data, unless there is none.
fn join(pieces: &[Piece]) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    for piece in pieces.iter().take(64) {
        data.resize(data.len() + usize::from(piece.bytes), piece.value);
    }
    (!data.is_empty()).then_some(data)
}

fn run(run: &(u64, u8)) -> Option<StatusRun> {
    let status = match run.1 % 3 {
        0 => Status::Data,
        1 => Status::AllocatedZero,
        _ => Status::Hole,
    };
    (run.0 > 0).then_some(StatusRun {
        bytes: run.0,
        status,
    })
}

/// What is left of `runs` where lengths have 32 bits.
fn expected_runs(framing: Framing, runs: &[StatusRun]) -> Vec<(u64, u64)> {
    let mut expected = Vec::new();
    for run in runs {
        let flags = match run.status {
            Status::Data | Status::Clean => 0,
            Status::Dirty => 1,
            Status::AllocatedZero => 2,
            Status::Hole => 3,
            Status::Depth(depth) => u64::from(depth),
        };
        if framing == Framing::Structured && run.bytes > u64::from(u32::MAX) {
            expected.push((0xffff_f000, flags));
            break;
        }
        expected.push((run.bytes, flags));
    }
    expected
}

fn decode(to: ReplyTo, outbox: &Outbox, data_bytes: usize) -> Read {
    let sent = outbox.pieces().collect::<Vec<_>>().concat();
    assert_eq!(sent.len(), outbox.bytes());
    let mut rest = &sent[..];
    let mut read = Read::default();
    loop {
        let head = decode_reply(to.framing, rest)
            .expect("a right reply")
            .expect("a whole one");
        assert_eq!(head.cookie, to.cookie);
        let (payload, after) = rest[head.head_bytes..].split_at(head.payload_bytes);
        let here = to.offset + u64::try_from(read.data.len()).expect("it fits");
        match head.payload(payload).expect("a right payload") {
            ReplyPayload::None => {}
            ReplyPayload::Data { offset, data } => {
                assert_eq!(offset, here);
                read.data.extend_from_slice(data);
            }
            ReplyPayload::Hole { offset, bytes } => {
                assert_eq!((offset, offset % 4096, bytes % 4096), (here, 0, 0));
                let bytes = usize::try_from(bytes).expect("it fits");
                read.data.resize(read.data.len() + bytes, 0);
            }
            ReplyPayload::Status { id, runs } => {
                assert_eq!(id, Context::Allocation.id());
                read.runs = runs;
            }
            ReplyPayload::Error(number) => read.error = number,
        }
        rest = after;
        if head.kind == ReplyKind::Simple(0) {
            assert_eq!(rest.len(), data_bytes);
            read.data = rest.to_vec();
            rest = &[];
        }
        if head.done {
            assert!(rest.is_empty());
            return read;
        }
    }
}
