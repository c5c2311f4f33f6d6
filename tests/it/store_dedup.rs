//! Deduplication in a simulation: what is there already is not written again, whoever wrote it and
//! whenever, and stays as long as anybody refers to it.

use std::sync::Arc;

use bedplate::backend::Faulty;
use bedplate::base::Durability;
use bedplate::env::{self, sim};
use bedplate::store::check::{self, Depth};
use bedplate::store::{Dedup, Disk, Properties, Store, Tuning};

use crate::store_kit::{BLOCK, backend, block, disk_of, made, name, tiny};

const BLOCKS: u64 = 400;

fn volume(dedup: Dedup) -> Properties {
    Properties {
        dedup,
        ..Properties::default()
    }
}

fn tuning() -> Tuning {
    Tuning {
        dedup_index: 1 << 20,
        ..tiny()
    }
}

async fn opened(disk: &Faulty) -> Arc<Store> {
    let store = Store::open(backend(disk), tuning(), None).await;
    store.expect("it opens")
}

async fn fill(disk: &Disk, first: u64, contents: std::ops::Range<u64>) {
    for (lba, fill) in (first..).zip(contents) {
        let written = disk.write(lba, block(fill), Durability::Cached);
        written.await.expect("written");
    }
}

async fn holds(disk: &Disk, first: u64, contents: std::ops::Range<u64>) {
    for (lba, fill) in (first..).zip(contents) {
        let read = disk.read(lba, 1).await.expect("read");
        assert!(read[..] == block(fill)[..], "block {lba}");
    }
}

async fn disk_in(store: &Store, volume: &str) -> Disk {
    store.disk(&name(volume)).expect("it is there")
}

#[test]
fn what_another_volume_has_is_not_written_again() {
    for dedup in [Dedup::On, Dedup::Verify] {
        sim::run(1, async move {
            let disk = disk_of(96);
            made(&disk).await;
            let store = opened(&disk).await;
            for volume_name in ["a", "b"] {
                let size = BLOCKS * BLOCK as u64;
                let made = store.create_volume(volume_name, size, volume(dedup));
                made.await.expect("a volume");
            }
            let (a, b) = (disk_in(&store, "a").await, disk_in(&store, "b").await);
            fill(&a, 0, 0..BLOCKS).await;
            assert_eq!(store.traffic().deduplicated, 0);
            // In another order, and at other places.
            fill(&b, 0, 200..BLOCKS).await;
            fill(&b, 200, 0..200).await;
            let traffic = store.traffic();
            assert_eq!(traffic.deduplicated, BLOCKS * BLOCK as u64, "{dedup:?}");
            assert_eq!(traffic.new, BLOCKS * BLOCK as u64);
            holds(&b, 0, 200..BLOCKS).await;
            // Each is changed alone.
            fill(&a, 0, 1000..1100).await;
            holds(&b, 200, 0..200).await;
            holds(&a, 100, 100..BLOCKS).await;
        });
    }
}

#[test]
fn a_volume_that_is_not_deduplicated_neither_looks_nor_is_found() {
    sim::run(1, async {
        let disk = disk_of(96);
        made(&disk).await;
        let store = opened(&disk).await;
        let size = BLOCKS * BLOCK as u64;
        let made = store.create_volume("off", size, volume(Dedup::Off));
        made.await.expect("a volume");
        let made = store.create_volume("on", size, volume(Dedup::On));
        made.await.expect("a volume");
        fill(&disk_in(&store, "off").await, 0, 0..50).await;
        fill(&disk_in(&store, "on").await, 0, 0..50).await;
        fill(&disk_in(&store, "off").await, 100, 0..50).await;
        assert_eq!(store.traffic().deduplicated, 0);
    });
}

#[test]
fn what_was_written_before_a_restart_is_found_again() {
    // Several segments: where the first hook of each is, is chance.
    const MANY: u64 = 3 * BLOCKS;
    for is_crash in [false, true] {
        let disk = disk_of(96);
        let before = disk.clone();
        sim::run(1, async move {
            made(&before).await;
            let store = opened(&before).await;
            let size = 2 * MANY * BLOCK as u64;
            let made = store.create_volume("v", size, volume(Dedup::On));
            made.await.expect("a volume");
            let v = disk_in(&store, "v").await;
            fill(&v, 0, 0..MANY).await;
            v.flush().await.expect("flushed");
            if !is_crash {
                store.close().await.expect("closed");
            }
        });
        disk.crash(&mut |bound| bound / 2);
        sim::run(2, async move {
            let store = opened(&disk).await;
            // The trailers are read beside everything else.
            env::sleep(std::time::Duration::from_secs(1)).await;
            let v = disk_in(&store, "v").await;
            fill(&v, MANY, 0..MANY).await;
            let found = store.traffic().deduplicated / BLOCK as u64;
            // Not what lies in a segment that was not full, nor what came before the first hook.
            assert!(found > MANY / 2, "{found} of {MANY}, crash: {is_crash}");
            holds(&v, 0, 0..MANY).await;
            holds(&v, MANY, 0..MANY).await;
            store.close().await.expect("closed");
            let store = opened(&disk).await;
            let v = disk_in(&store, "v").await;
            holds(&v, MANY, 0..MANY).await;
            store.close().await.expect("closed");
            let report = check::check(&backend(&disk), Depth::Data, None).await;
            let report = report.expect("a report");
            assert_eq!(report.findings, []);
            let space = report.space;
            assert_eq!(space.mapped, 2 * MANY * BLOCK as u64);
            assert_eq!(space.unique, (2 * MANY - found) * BLOCK as u64);
            assert!(space.dedup_ratio() > 1.3, "{space:?}");
        });
    }
}

#[test]
fn space_of_what_nobody_refers_to_any_more_comes_back() {
    for seed in 0..5 {
        sim::run(seed, async move {
            let disk = disk_of(64);
            made(&disk).await;
            let store = opened(&disk).await;
            let size = 8 * BLOCKS * BLOCK as u64;
            let made = store.create_volume("v", size, volume(Dedup::On));
            made.await.expect("a volume");
            let v = disk_in(&store, "v").await;
            // Eight times what is written once, and all of it replaced again and again: more than
            // the store could hold if one of the places that refer to it kept what it was.
            for round in 0..12 {
                let contents = round * 1000..round * 1000 + BLOCKS;
                for copy in 0..8 {
                    fill(&v, copy * BLOCKS, contents.clone()).await;
                }
                for copy in 0..8 {
                    holds(&v, copy * BLOCKS, contents.clone()).await;
                }
            }
            assert!(store.traffic().passes > 0, "nothing was collected");
            let found = store.traffic().deduplicated / BLOCK as u64;
            assert!(found > 12 * 6 * BLOCKS, "{found}");
        });
    }
}

#[test]
fn a_smaller_index_finds_less_and_breaks_nothing() {
    sim::run(1, async {
        let disk = disk_of(96);
        made(&disk).await;
        let store = opened(&disk).await;
        let made = store.create_volume("v", 64 << 20, volume(Dedup::On));
        made.await.expect("a volume");
        let v = disk_in(&store, "v").await;
        fill(&v, 0, 0..BLOCKS).await;
        store.limit_dedup_index(0);
        fill(&v, 1000, 0..BLOCKS).await;
        assert_eq!(store.traffic().deduplicated, 0);
        store.limit_dedup_index(1 << 20);
        fill(&v, 2000, 0..BLOCKS).await;
        fill(&v, 3000, 0..BLOCKS).await;
        // The last copy at least; of the one before it what the trailers lead to.
        assert!(store.traffic().deduplicated >= BLOCKS * BLOCK as u64);
        for first in [0, 1000, 2000, 3000] {
            holds(&v, first, 0..BLOCKS).await;
        }
    });
}

#[test]
fn collection_counts_what_a_check_counts() {
    const MIB: u64 = 1 << 20;
    sim::run(1, async {
        let disk = disk_of(96);
        made(&disk).await;
        let store = opened(&disk).await;
        for volume_name in ["a", "b", "empty"] {
            let size = BLOCKS * BLOCK as u64;
            let made = store.create_volume(volume_name, size, volume(Dedup::On));
            made.await.expect("a volume");
        }
        assert!(store.counted().is_none());
        let (a, b) = (disk_in(&store, "a").await, disk_in(&store, "b").await);
        fill(&a, 0, 0..300).await;
        fill(&b, 50, 100..200).await;
        store.snapshot(&[name("a@then")]).await.expect("a snapshot");
        fill(&a, 100, 1000..1050).await;
        fill(&b, 300, 7..8).await;
        fill(&b, 301, 7..8).await;
        // The first pass may move what the second then finds elsewhere.
        for _ in 0..2 {
            store.collect().await.expect("a pass");
        }
        let counted = store.counted().expect("a pass has counted");
        assert!(!counted.is_estimate);
        let blocks = |volume: &str| {
            let list = store.list();
            let tree = list.iter().find(|tree| tree.name == name(volume));
            let space = tree.expect("it is there").space.expect("counted");
            assert!(space.stored <= space.mapped, "{space:?}");
            space.mapped / BLOCK as u64
        };
        assert_eq!(
            ["a", "a@then", "b", "empty"].map(blocks),
            [300, 300, 102, 0]
        );
        assert_eq!(counted.space.unique, 350 * BLOCK as u64);
        // A volume that is newer than the count has none.
        let made = store.create_volume("new", MIB, volume(Dedup::On));
        made.await.expect("a volume");
        let is_new = |tree: &&bedplate::store::TreeInfo| tree.name == name("new");
        assert!(store.list().iter().find(is_new).unwrap().space.is_none());
        store.close().await.expect("closed");
        let report = check::check(&backend(&disk), Depth::Data, None).await;
        let report = report.expect("a report");
        assert_eq!((report.findings, report.space), (vec![], counted.space));
    });
}
