//! What is done to the bytes of a block costs this much, for each block of 4 KiB: the parts that
//! the CPU time of a store's writes and reads is made of (`scripts/bench` measures the whole).
//!
//! `cargo bench --bench codec` compares with the last run. Blocks come from more memory than the
//! first caches hold, as those of a server do.

use std::hint::black_box;
use std::sync::Arc;

use bedplate::codec::{
    BLOCK, Cipher, Codec, Fingerprinter, Keyring, Place, Sealer, Secret, TAG_BYTES, pack, unpack,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Blocks that are gone through: 4 MiB.
const BLOCKS: usize = 1024;

/// Noise, but for the end of each block, which repeats: `noise` bytes of 4096 do not compress.
fn blocks(noise: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut bytes = vec![0; BLOCKS * BLOCK];
    for block in bytes.chunks_exact_mut(BLOCK) {
        for byte in &mut block[..noise] {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state.to_be_bytes()[3];
        }
        block[noise..].fill(7);
    }
    bytes
}

fn fingerprints(criterion: &mut Criterion) {
    let bytes = blocks(BLOCK);
    let all: Vec<&[u8]> = bytes.chunks_exact(BLOCK).collect();
    let fingerprinter = Fingerprinter::new(&Secret::copy_of(&[1; 32]));
    let mut group = criterion.benchmark_group("fingerprint");
    // How many arrive together is what a client's queue depth makes of it.
    for together in [1, 2, 3, 4, 6, 8, 12, 16, 23, 31, 64] {
        group.throughput(Throughput::Elements(together));
        let id = BenchmarkId::new("together", together);
        let together = usize::try_from(together).expect("small");
        let mut turn = all.chunks_exact(together).cycle();
        group.bench_function(id, |bencher| {
            bencher.iter(|| fingerprinter.of(black_box(turn.next().expect("endless"))));
        });
    }
    group.finish();
}

fn packing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pack");
    group.throughput(Throughput::Elements(1));
    for (what, noise) in [("to 1/1.8", BLOCK * 5 / 9), ("in vain", BLOCK)] {
        let bytes = blocks(noise);
        for codec in [Codec::Lz4, Codec::Zstd] {
            let mut turn = bytes.chunks_exact(BLOCK).cycle();
            group.bench_function(format!("{codec:?}, {what}"), |bencher| {
                bencher.iter(|| pack(codec, black_box(turn.next().expect("endless"))));
            });
        }
    }
    let bytes = blocks(BLOCK * 5 / 9);
    for codec in [Codec::Lz4, Codec::Zstd] {
        let packed: Vec<_> = bytes
            .chunks_exact(BLOCK)
            .map(|block| pack(codec, block).expect("it shrinks"))
            .collect();
        let mut turn = packed.iter().cycle();
        let mut block = vec![0; BLOCK];
        group.bench_function(format!("{codec:?}, back"), |bencher| {
            bencher.iter(|| unpack(codec, turn.next().expect("endless"), black_box(&mut block)));
        });
    }
    group.finish();
}

fn seals(criterion: &mut Criterion) {
    let ring = |cipher| {
        let ring = Keyring::new(cipher, Secret::copy_of(&[2; 32]));
        ring.add(1, [3; 16]);
        Sealer::with_keys(&[4; 16], Arc::new(ring))
    };
    let mut group = criterion.benchmark_group("seal");
    group.throughput(Throughput::Elements(1));
    for (name, sealer) in [
        ("XXH3", Sealer::new(&[4; 16])),
        ("XXH3 and AES-256-XTS", ring(Cipher::Xts)),
        ("AES-256-GCM", ring(Cipher::Gcm)),
    ] {
        let mut room = vec![5; BLOCKS * (BLOCK + TAG_BYTES)];
        let mut turn = 0;
        let mut next = |room: &mut Vec<u8>, work: &mut dyn FnMut(Place, &mut [u8])| {
            turn = (turn + 1) % BLOCKS;
            let place = Place {
                seq: 1 << 40 | 1,
                offset: u32::try_from(turn * 16).expect("small"),
            };
            let from = turn * (BLOCK + TAG_BYTES);
            work(place, &mut room[from..from + BLOCK + TAG_BYTES]);
        };
        group.bench_function(name, |bencher| {
            bencher.iter(|| next(&mut room, &mut |place, room| sealer.close(place, room)));
        });
        group.bench_function(format!("{name}, checked"), |bencher| {
            // What was opened once is closed again, so both are timed, and the first is known.
            bencher.iter(|| {
                next(&mut room, &mut |place, room| {
                    sealer.close(place, room);
                    sealer.open_in_place(place, room).expect("just closed");
                });
            });
        });
    }
    group.finish();
}

fn copies(criterion: &mut Criterion) {
    let from = blocks(BLOCK);
    let mut to = vec![0; BLOCKS * BLOCK];
    let mut turn = 0;
    let mut group = criterion.benchmark_group("copy");
    group.throughput(Throughput::Elements(1));
    group.bench_function("a block", |bencher| {
        bencher.iter(|| {
            turn = (turn + 1) % BLOCKS;
            let at = turn * BLOCK..(turn + 1) * BLOCK;
            to[at.clone()].copy_from_slice(black_box(&from[at]));
        });
    });
    group.finish();
}

criterion_group!(benches, fingerprints, packing, seals, copies);
criterion_main!(benches);
