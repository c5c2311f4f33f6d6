//! A store in a simulation: what is written is read, also after a crash, and space comes back.

use std::collections::BTreeMap;

use bedplate::backend::{Checked, Faulty, Medium};
use bedplate::base::{Buf, Durability, Error, Refusal, Status};
use bedplate::env::sim;
use bedplate::store::{Compression, Creation, Disk, Properties, Store, TreeName, Tuning, create};

const SEGMENT: u32 = 128 << 10;
pub(crate) const BLOCK: usize = 4096;

pub(crate) fn disk_of(segments: u64) -> Faulty {
    Faulty::new((2 << 20) + segments * u64::from(SEGMENT), 512)
}

pub(crate) fn backend(disk: &Faulty) -> Checked {
    Checked::new(Medium::Faulty(disk.clone()))
}

pub(crate) fn tiny() -> Tuning {
    Tuning {
        leaf_cache: 64 * BLOCK,
        block_cache: 0,
        checkpoint_bytes: 4 * u64::from(SEGMENT),
        batch_bytes: 32 << 10,
        ..Tuning::default()
    }
}

pub(crate) async fn made(disk: &Faulty) {
    let creation = Creation {
        segment_bytes: Some(SEGMENT),
        ..Creation::default()
    };
    create(backend(disk), creation).await.expect("a store");
}

pub(crate) fn name(text: &str) -> TreeName {
    TreeName::parse(text).expect("a name")
}

pub(crate) fn block(fill: u64) -> Buf {
    let mut buf = Buf::new(BLOCK);
    for (index, word) in buf.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&(fill * 1_000_003 + index as u64 + 1).to_le_bytes());
    }
    buf
}

async fn check(disk: &Disk, model: &BTreeMap<u64, u64>, blocks: u64) {
    for lba in 0..blocks {
        let read = disk.read(lba, 1).await.expect("a read");
        match model.get(&lba) {
            Some(fill) => assert!(read[..] == block(*fill)[..], "block {lba}"),
            None => assert!(read.iter().all(|byte| *byte == 0), "block {lba} is a hole"),
        }
    }
}

#[test]
fn what_is_written_is_read_also_after_it_was_opened_again() {
    sim::run(1, async {
        let disk = disk_of(64);
        made(&disk).await;
        let mut model = BTreeMap::new();
        {
            let store = Store::open(backend(&disk), tiny(), None)
                .await
                .expect("it opens");
            let made = store.create_volume("v", 64 << 20, Properties::default());
            made.await.expect("a volume");
            let volume = store.disk(&name("v")).expect("it is there");
            for fill in 0..200 {
                let lba = sim::below(300);
                let written = volume.write(lba, block(fill), Durability::Cached);
                written.await.expect("a write");
                model.insert(lba, fill);
            }
            volume
                .zero(10, 20, Durability::Cached)
                .await
                .expect("zeroes");
            model.retain(|lba, _| !(10..30).contains(lba));
            check(&volume, &model, 300).await;
            store.close().await.expect("closed");
        }
        let store = Store::open(backend(&disk), tiny(), None)
            .await
            .expect("it opens");
        let volume = store.disk(&name("v")).expect("it is there");
        check(&volume, &model, 300).await;
        let runs = volume.status(10, 20, 10).await.expect("a status");
        assert_eq!((runs.len(), runs[0].status), (1, Status::Hole));
    });
}

#[test]
fn what_was_flushed_survives_a_crash_and_snapshots_do_not_change() {
    for seed in 0..20 {
        let disk = disk_of(64);
        let (flushed, snapped) = {
            let disk = disk.clone();
            sim::run(seed, async move {
                made(&disk).await;
                let store = Store::open(backend(&disk), tiny(), None)
                    .await
                    .expect("it opens");
                let made = store.create_volume("v", 2 << 30, Properties::default());
                made.await.expect("a volume");
                let volume = store.disk(&name("v")).expect("it is there");
                let mut model = BTreeMap::new();
                for fill in 0..100 {
                    let lba = sim::below(200);
                    let written = volume.write(lba, block(fill), Durability::Cached);
                    written.await.expect("a write");
                    model.insert(lba, fill);
                }
                store.snapshot(&[name("v@s")]).await.expect("a snapshot");
                let snapped = model.clone();
                for fill in 100..200 {
                    let lba = sim::below(200);
                    let written = volume.write(lba, block(fill), Durability::Cached);
                    written.await.expect("a write");
                    model.insert(lba, fill);
                }
                volume.flush().await.expect("a flush");
                (model, snapped)
            })
        };
        let mut random = seed;
        disk.crash(&mut |bound| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) % bound
        });
        sim::run(seed, async move {
            let store = Store::open(backend(&disk), tiny(), None)
                .await
                .expect("it opens");
            check(&store.disk(&name("v")).expect("there"), &flushed, 200).await;
            check(&store.disk(&name("v@s")).expect("there"), &snapped, 200).await;
        });
    }
}

#[test]
fn overwriting_goes_on_for_ever_in_little_space() {
    for seed in 0..10 {
        sim::run(seed, async move {
            let disk = disk_of(48);
            made(&disk).await;
            let store = Store::open(backend(&disk), tiny(), None)
                .await
                .expect("it opens");
            let made = store.create_volume("v", 64 << 20, Properties::default());
            made.await.expect("a volume");
            let volume = store.disk(&name("v")).expect("it is there");
            let mut model = BTreeMap::new();
            // Forty segments hold 1200 blocks; 600 of them live.
            for fill in 0..8000 {
                let lba = sim::below(600);
                let written = volume.write(lba, block(fill), Durability::Cached);
                written
                    .await
                    .unwrap_or_else(|error| panic!("seed {seed}, {fill}: {error}"));
                model.insert(lba, fill);
            }
            check(&volume, &model, 600).await;
            store.close().await.expect("closed");
            let store = Store::open(backend(&disk), tiny(), None)
                .await
                .expect("it opens");
            check(&store.disk(&name("v")).expect("there"), &model, 600).await;
        });
    }
}

/// Whoever uses a volume while it is rolled back to a smaller size knows the larger one. What lies
/// behind the new end must not be written to the log, nor to the block that has its place in a map
/// with fewer levels.
#[test]
fn a_volume_that_became_smaller_refuses_what_lies_behind_its_end() {
    sim::run(1, async {
        let disk = disk_of(48);
        made(&disk).await;
        let store = Store::open(backend(&disk), tiny(), None)
            .await
            .expect("it opens");
        let made = store.create_volume("v", 512 * BLOCK as u64, Properties::default());
        made.await.expect("a volume");
        let small = store.disk(&name("v")).expect("it is there");
        let written = small.write(0, block(1), Durability::Cached);
        written.await.expect("written");
        store.snapshot(&[name("v@s")]).await.expect("a snapshot");
        let grown = store.resize("v", 1024 * BLOCK as u64);
        grown.await.expect("it grows");
        let large = store.disk(&name("v")).expect("it is there");
        let written = large.write(512, block(2), Durability::Cached);
        written.await.expect("the new part");
        store.rollback(&name("v@s")).await.expect("rolled back");

        let invalid = Error::Refused(Refusal::Invalid);
        let written = large.write(512, block(3), Durability::Cached).await;
        assert_eq!(written, Err(invalid));
        let zeroed = large.zero(511, 2, Durability::Cached).await;
        assert_eq!(zeroed, Err(invalid));
        assert_eq!(large.read(512, 1).await.map(|_| ()), Err(invalid));
        assert_eq!(large.status(0, 513, 9).await, Err(invalid));
        check(&small, &BTreeMap::from([(0, 1)]), 512).await;
    });
}

/// Bytes of sixteen kinds in no order: LZ4 finds nothing in them, Zstandard halves them.
fn sparse_block(fill: u64) -> Buf {
    let mut buf = block(fill);
    let mut state = fill;
    for byte in &mut buf[..] {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        *byte = state.to_be_bytes()[0] & 15;
    }
    buf
}

#[test]
fn what_is_cold_is_packed_unless_its_volume_does_not_want_that() {
    for compression in [Compression::Adaptive, Compression::Off] {
        sim::run(1, async move {
            let disk = disk_of(64);
            made(&disk).await;
            let store = Store::open(backend(&disk), tiny(), None)
                .await
                .expect("it opens");
            let properties = Properties {
                compression,
                ..Properties::default()
            };
            let made = store.create_volume("v", 64 << 20, properties);
            made.await.expect("a volume");
            let volume = store.disk(&name("v")).expect("it is there");
            // What is cold lies among what is hot, so that it is moved.
            for fill in 0..8000 {
                let (lba, data) = match fill < 1000 {
                    true => (fill, sparse_block(fill)),
                    false => (2 * sim::below(500), block(fill)),
                };
                let written = volume.write(lba, data, Durability::Cached);
                written.await.expect("a write");
            }
            for lba in (1..1000).step_by(2) {
                let read = volume.read(lba, 1).await.expect("a read");
                assert!(read[..] == sparse_block(lba)[..], "block {lba}");
            }
            let repacked = store.traffic().repacked;
            assert_eq!(repacked > 0, compression == Compression::Adaptive);
        });
    }
}
