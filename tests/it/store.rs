//! A store in a simulation: what is written is read, also after a crash, and space comes back.

use std::collections::BTreeMap;
use std::sync::Arc;

use bedplate::backend::{Fault, Faulty, Kind};
use bedplate::base::limits::SPACE_TIMEOUT;
use bedplate::base::{Buf, Durability, Error, Refusal, Status};
use bedplate::env::{self, sim};
use bedplate::store::{Compression, Dedup, Disk, Properties, Store, Tuning};

use crate::store_kit::{BLOCK, backend, block, crash, disk_of, made, name, tiny};

/// A new store with a volume of `size` bytes.
async fn with_volume(disk: &Faulty, size: u64) -> (Arc<Store>, Disk) {
    made(disk).await;
    let store = opened(disk).await;
    let made = store.create_volume("v", size, Properties::default());
    made.await.expect("a volume");
    let volume = store.disk(&name("v")).expect("it is there");
    (store, volume)
}

async fn opened(disk: &Faulty) -> Arc<Store> {
    let store = Store::open(backend(disk), tiny(), None).await;
    store.expect("it opens")
}

/// Writes the blocks that `fills` give to some of the first `blocks`.
async fn fill(
    disk: &Disk,
    model: &mut BTreeMap<u64, u64>,
    fills: std::ops::Range<u64>,
    blocks: u64,
) -> Result<(), Error> {
    for fill in fills {
        let lba = sim::below(blocks);
        disk.write(lba, block(fill), Durability::Cached).await?;
        model.insert(lba, fill);
    }
    Ok(())
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
        let mut model = BTreeMap::new();
        {
            let (store, volume) = with_volume(&disk, 64 << 20).await;
            let written = fill(&volume, &mut model, 0..200, 300);
            written.await.expect("writes");
            volume
                .zero(10, 20, Durability::Cached)
                .await
                .expect("zeroes");
            model.retain(|lba, _| !(10..30).contains(lba));
            check(&volume, &model, 300).await;
            store.close().await.expect("closed");
        }
        let store = opened(&disk).await;
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
                let (store, volume) = with_volume(&disk, 2 << 30).await;
                let mut model = BTreeMap::new();
                let written = fill(&volume, &mut model, 0..100, 200);
                written.await.expect("writes");
                store.snapshot(&[name("v@s")]).await.expect("a snapshot");
                let snapped = model.clone();
                let written = fill(&volume, &mut model, 100..200, 200);
                written.await.expect("writes");
                volume.flush().await.expect("a flush");
                (model, snapped)
            })
        };
        crash(&disk, seed);
        sim::run(seed, async move {
            let store = opened(&disk).await;
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
            let (store, volume) = with_volume(&disk, 64 << 20).await;
            let mut model = BTreeMap::new();
            // Forty segments hold 1200 blocks; 600 of them live.
            let written = fill(&volume, &mut model, 0..8000, 600).await;
            written.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            check(&volume, &model, 600).await;
            store.close().await.expect("closed");
            let store = opened(&disk).await;
            check(&store.disk(&name("v")).expect("there"), &model, 600).await;
        });
    }
}

/// Images and files are often thin: what is beneath them runs out of space before the store does.
#[test]
fn a_disk_without_space_is_waited_for_and_not_for_ever() {
    for (refusals, is_enough) in [(30, true), (10_000, false)] {
        sim::run(1, async move {
            let disk = disk_of(48);
            let (store, volume) = with_volume(&disk, 64 << 20).await;
            for _ in 0..refusals {
                disk.plan(Kind::Write, 0, Fault::NoSpace);
            }
            let began = env::now();
            let mut model = BTreeMap::new();
            let filled = fill(&volume, &mut model, 0..40, 100).await;
            filled.expect("they are in memory");
            let flushed = volume.flush().await;
            if is_enough {
                flushed.expect("there is space again");
                check(&volume, &model, 100).await;
                store.close().await.expect("closed");
            } else {
                assert_eq!(flushed, Err(Error::Poisoned));
                let waited = env::now() - began;
                assert!(waited >= SPACE_TIMEOUT && waited < 2 * SPACE_TIMEOUT);
            }
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
        let (store, small) = with_volume(&disk, 512 * BLOCK as u64).await;
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

/// In a store of many segments a checkpoint takes several, also between moving blocks and making
/// their new places known. It must not take what the second needs.
#[test]
fn overwriting_goes_on_where_checkpoints_are_large() {
    const SPREAD: u64 = 8;
    sim::run(70, async {
        let disk = disk_of(520);
        made(&disk).await;
        let tuning = Tuning {
            leaf_cache: 64 << 20,
            checkpoint_bytes: 1 << 30,
            ..tiny()
        };
        let store = Store::open(backend(&disk), tuning, None).await;
        let store = store.expect("it opens");
        let properties = Properties {
            compression: Compression::Off,
            dedup: Dedup::Off,
            ..Properties::default()
        };
        let made = store.create_volume("v", 1 << 30, properties);
        made.await.expect("a volume");
        let volume = store.disk(&name("v")).expect("it is there");
        let usage = store.usage();
        let room = (usage.physical - usage.reserve) / (128 << 10) * 31;
        let blocks = room * 70 / 100;
        for fill in 0..5 * blocks {
            let lba = match fill < blocks {
                true => fill,
                false => sim::below(blocks),
            };
            // Spread out, so that there are many leaves.
            let written = volume.write(SPREAD * lba, block(fill), Durability::Cached);
            let written = written.await;
            written.unwrap_or_else(|error| panic!("{fill} of {}: {error}", 5 * blocks));
        }
    });
}
