//! Dirty bitmaps: what has changed is told, also after garbage collection and a reopening.

use std::sync::Arc;

use bedplate::backend::{Checked, Faulty, Medium};
use bedplate::base::{Buf, Durability, Error, Refusal, Status};
use bedplate::env::sim;
use bedplate::store::check::{self, Depth};
use bedplate::store::format::BLOCK;
use bedplate::store::{
    BitmapName, Creation, Disk, Mark, Properties, Store, StoreError, TreeName, Tuning, create,
};

const SEGMENT: u32 = 128 << 10;

/// No blocks.
const NOTHING: [u64; 0] = [];

/// Two levels of nodes.
const BLOCKS: u64 = 2048;

struct World {
    disk: Faulty,
    store: Arc<Store>,
}

impl World {
    async fn new(segments: u64) -> Self {
        let disk = Faulty::new((2 << 20) + segments * u64::from(SEGMENT), 512);
        let creation = Creation {
            segment_bytes: Some(SEGMENT),
            ..Creation::default()
        };
        create(backend(&disk), creation).await.expect("a store");
        let store = open(&disk).await;
        let size = BLOCKS * BLOCK as u64;
        let made = store.create_volume("v", size, Properties::default());
        made.await.expect("a volume");
        Self { disk, store }
    }

    fn volume(&self) -> Disk {
        self.store.disk(&tree("v")).expect("it is there")
    }

    /// Opens what a life left on the disk that was lost and not closed.
    async fn after_crash(disk: Faulty) -> Self {
        disk.crash(&mut |_| 0);
        assert_sound(&disk).await;
        let store = open(&disk).await;
        Self { disk, store }
    }

    async fn make_bitmap(&self) {
        let made = self.store.create_bitmap(&bitmap("v:b")).await;
        made.expect("made");
    }

    fn mark(&self, name: &str) -> Mark {
        let name = BitmapName::new("v", name).expect("a name");
        self.store.bitmap_mark(&name).expect("it is there")
    }
}

fn backend(disk: &Faulty) -> Checked {
    Checked::new(Medium::Faulty(disk.clone()))
}

async fn open(disk: &Faulty) -> Arc<Store> {
    let opened = Store::open(backend(disk), Tuning::default(), None).await;
    opened.expect("it opens")
}

async fn assert_sound(disk: &Faulty) {
    let report = check::check(&backend(disk), Depth::Data, None).await;
    let findings = report.expect("a store").findings;
    assert!(findings.is_empty(), "{findings:?}");
}

fn tree(name: &str) -> TreeName {
    TreeName::parse(name).expect("a name")
}

fn bitmap(name: &str) -> BitmapName {
    BitmapName::parse(name).expect("a name")
}

async fn write(disk: &Disk, blocks: std::ops::Range<u64>, content: u64) {
    for lba in blocks {
        let mut buf = Buf::new(BLOCK);
        for (index, word) in buf.chunks_exact_mut(8).enumerate() {
            let seed = content << 40 | lba << 10 | index as u64;
            let noise = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            word.copy_from_slice(&(noise ^ noise >> 29).to_le_bytes());
        }
        let written = disk.write(lba, buf, Durability::Cached).await;
        written.expect("written");
    }
}

/// The blocks of `disk` that have changed since `mark`, asked for in parts of so many runs.
async fn changed(disk: &Disk, mark: Mark, runs_max: usize) -> Vec<u64> {
    let end = disk.size().div_ceil(BLOCK as u64);
    let (mut at, mut found) = (0, Vec::new());
    while at < end {
        let runs = disk.changes(mark, at, end - at, runs_max).await;
        let runs = runs.expect("compared");
        assert!(!runs.is_empty() && runs.len() <= runs_max);
        for run in runs {
            let blocks = run.bytes / BLOCK as u64;
            match run.status {
                Status::Dirty => found.extend(at..at + blocks),
                status => assert_eq!(status, Status::Clean),
            }
            at += blocks;
        }
    }
    assert_eq!(at, end);
    found
}

#[test]
fn what_changes_is_told_and_nothing_else() {
    sim::run(1, async {
        let world = World::new(100).await;
        let disk = world.volume();
        write(&disk, 0..40, 1).await;
        write(&disk, 600..640, 1).await;
        world.make_bitmap().await;
        assert_eq!(changed(&disk, world.mark("b"), 100).await, NOTHING);
        write(&disk, 3..5, 2).await;
        write(&disk, 1800..1801, 2).await;
        disk.zero(620, 2, Durability::Cached).await.expect("zeroed");
        // Zeroes where there were none.
        disk.zero(100, 100, Durability::Cached).await.expect("done");
        let told = [3, 4, 620, 621, 1800];
        for runs_max in [1, 2, 100] {
            assert_eq!(changed(&disk, world.mark("b"), runs_max).await, told);
        }
        // There and back again: deduplication finds where it was.
        write(&disk, 3..4, 1).await;
        assert_eq!(
            changed(&disk, world.mark("b"), 100).await,
            [4, 620, 621, 1800]
        );
        let grown = (BLOCKS << 10) * BLOCK as u64;
        world.store.resize("v", grown).await.expect("grown");
        let disk = world.volume();
        write(&disk, 900_000..900_001, 3).await;
        let told = [4, 620, 621, 1800, 900_000];
        assert_eq!(changed(&disk, world.mark("b"), 100).await, told);
        let old = world.mark("b");
        let cleared = world.store.clear_bitmap(&bitmap("v:b")).await;
        cleared.expect("cleared");
        assert_eq!(changed(&disk, world.mark("b"), 100).await, NOTHING);
        let gone = disk.changes(old, 0, 1, 1).await;
        assert_eq!(gone, Err(Error::Refused(Refusal::Invalid)));
    });
}

#[test]
fn snapshots_and_bitmaps_are_of_one_moment() {
    let disk = sim::run(2, async {
        let world = World::new(100).await;
        let (disk, store) = (world.volume(), &world.store);
        write(&disk, 0..20, 1).await;
        let made = store.snapshot_with_bitmaps(&[tree("v@1")], "1").await;
        made.expect("made");
        write(&disk, 5..7, 2).await;
        let made = store.snapshot_with_bitmaps(&[tree("v@2")], "2").await;
        made.expect("made");
        // The checkpoint with which the snapshot is gone has this too.
        write(&disk, 9..10, 3).await;
        store.delete(&tree("v@1")).await.expect("deleted");
        write(&disk, 11..12, 3).await;
        world.disk
    });
    sim::run(3, async move {
        let world = World::after_crash(disk).await;
        let (disk, store) = (world.volume(), &world.store);
        let snapshot = store.disk(&tree("v@2")).expect("it is there");
        let bitmaps = snapshot.bitmaps().into_iter();
        let names: Vec<String> = bitmaps.map(|(name, _)| name).collect();
        assert_eq!(names, ["1", "2"]);
        assert_eq!(changed(&snapshot, world.mark("1"), 9).await, [5, 6]);
        assert_eq!(changed(&snapshot, world.mark("2"), 9).await, NOTHING);
        let since = store.mark(&tree("v@2")).expect("it is there");
        assert_eq!(changed(&disk, since, 9).await, [9]);
        assert_eq!(changed(&disk, world.mark("1"), 9).await, [5, 6, 9]);
        // A rollback survives in the bitmap as what it changes.
        write(&disk, 0..3, 4).await;
        store.rollback(&tree("v@2")).await.expect("back");
        assert_eq!(changed(&disk, world.mark("1"), 9).await, [5, 6]);
        let again = store.snapshot_with_bitmaps(&[tree("v@3")], "1").await;
        assert!(matches!(again, Err(StoreError::Exists(_))), "{again:?}");
        assert!(store.disk(&tree("v@3")).is_err(), "none is taken");
        store.delete(&tree("v@2")).await.expect("deleted");
        store.delete(&tree("v")).await.expect("deleted");
        assert_eq!(store.list_bitmaps(), []);
    });
}

#[test]
fn a_bitmap_keeps_no_data_and_misses_nothing_when_its_places_are_used_again() {
    let mut disk = sim::run(4, async {
        let world = World::new(60).await;
        write(&world.volume(), 0..600, 1).await;
        world.make_bitmap().await;
        world.disk
    });
    for life in 0..4 {
        disk = sim::run(5 + life, async move {
            let world = World::after_crash(disk).await;
            let volume = world.volume();
            // More than the store has room for: everything is collected again and again.
            for round in 0..5 {
                write(&volume, 0..500, 2 + 5 * life + round).await;
                volume.flush().await.expect("flushed");
                let told = changed(&volume, world.mark("b"), 100).await;
                assert_eq!(told, (0..500).collect::<Vec<u64>>(), "round {round}");
            }
            assert!(world.store.traffic().passes > 0);
            let infos = world.store.list_bitmaps();
            assert!(infos.iter().all(|info| !info.given_up));
            world.disk
        });
    }
}

#[test]
fn a_volume_has_so_many_bitmaps_and_no_more() {
    sim::run(4, async {
        let world = World::new(60).await;
        for number in 0..32 {
            let name = bitmap(&format!("v:b{number}"));
            world.store.create_bitmap(&name).await.expect("made");
        }
        let more = world.store.create_bitmap(&bitmap("v:more")).await;
        assert!(matches!(more, Err(StoreError::Invalid(_))), "{more:?}");
        let unknown = world.store.create_bitmap(&bitmap("w:b")).await;
        assert!(
            matches!(unknown, Err(StoreError::NotFound(_))),
            "{unknown:?}"
        );
        let missing = world.store.delete_bitmap(&bitmap("v:c")).await;
        assert!(
            matches!(missing, Err(StoreError::NotFound(_))),
            "{missing:?}"
        );
    });
}
