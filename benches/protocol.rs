//! What the protocol and the buffers cost by themselves, per request of 4 KiB.
//!
//! `cargo bench` compares with the last run. A change of a few per cent between runs means little
//! on a shared machine; `scripts/bench` measures the server as a whole, beside its peers.

use std::hint::black_box;

use bedplate::base::Buf;
use bedplate::frontend::nbd::proto::{
    Agreed, Contexts, ExportInfo, Framing, Header, Outbox, ReplyTo, encode_request,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const BLOCK: usize = 4096;

fn agreed(framing: Framing) -> Agreed {
    Agreed {
        export: ExportInfo {
            name: "disk".to_owned(),
            description: String::new(),
            size: 1 << 40,
            read_only: false,
            preferred_block: 4096,
            can_fast_zero: true,
            has_depth: false,
            bitmaps: Vec::new(),
        },
        framing,
        contexts: Contexts::NONE,
    }
}

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request");
    group.throughput(Throughput::Elements(1));
    for framing in [Framing::Simple, Framing::Extended] {
        let agreed = agreed(framing);
        let mut bytes = Vec::new();
        encode_request(framing, 0, 0, 7, 4096, 4096, &mut bytes);
        group.bench_function(format!("decode and check, {framing:?}"), |bencher| {
            bencher.iter(|| {
                let header = Header::decode(framing, black_box(&bytes));
                let header = header.expect("a request").expect("a whole one");
                header.check(&agreed)
            });
        });
    }
    group.finish();
}

fn replies(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reply");
    group.throughput(Throughput::Elements(1));
    let cases = [
        ("data, simple", Framing::Simple, 1_u8),
        ("data, structured", Framing::Structured, 1),
        ("zeroes, structured", Framing::Structured, 0),
    ];
    for (name, framing, byte) in cases {
        let to = ReplyTo {
            framing,
            cookie: 7,
            offset: 4096,
        };
        let mut outbox = Outbox::new();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut data = Buf::new(BLOCK);
                data[..8].fill(byte);
                data[8..].fill(0);
                to.sparse_data(data, &mut outbox);
                black_box(outbox.bytes());
                outbox.clear();
            });
        });
    }
    group.finish();
}

fn buffers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("buffer");
    group.throughput(Throughput::Bytes(BLOCK as u64));
    group.bench_function("take and give back", |bencher| {
        bencher.iter(|| black_box(Buf::new(BLOCK)).len());
    });
    let data = vec![7; BLOCK];
    group.bench_function("copy into", |bencher| {
        bencher.iter(|| Buf::from(black_box(&data[..])));
    });
    group.finish();
}

criterion_group!(benches, requests, replies, buffers);
criterion_main!(benches);
