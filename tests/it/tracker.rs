//! Bitmaps of disks that are not of a store: that no change is missing, whatever the power does,
//! and that little is told that did not change.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bedplate::backend::{Checked, Fault, Faulty, Kind, Medium};
use bedplate::base::{
    Answer, Aspect, Buf, Durability, Error, Extent, Mark, Op, Request, Status, Ticket, ZeroMode,
};
use bedplate::env;
use bedplate::env::sim;
use bedplate::store::StoreError;
use bedplate::volume::{Access, RawDisk, Tracker, Turn, Volume};

const REGION: u64 = 64 << 10;

/// Regions of the disk: a little more than two pages tell of.
const REGIONS: u64 = 2100;

const DISK: u64 = REGIONS * REGION - 512;

/// Where these tests write: around the edges of pages, and at the ends.
const PLACES: [std::ops::Range<u64>; 3] = [0..20, 1010..1030, 2080..REGIONS];

/// A disk and the file beside it, which outlive the power.
#[derive(Clone)]
struct Machine {
    disk: Faulty,
    file: Faulty,
}

impl Machine {
    fn new() -> Self {
        Self {
            disk: Faulty::new(DISK, 512),
            file: Faulty::new(Tracker::file_bytes(DISK), 512),
        }
    }

    async fn start(&self) -> Rc<Volume> {
        let disk = Checked::new(Medium::Faulty(self.disk.clone()));
        let file = Checked::new(Medium::Faulty(self.file.clone()));
        let tracker = Tracker::open(file, DISK).await.expect("a good file");
        let name = "disk".to_owned();
        let volume = Volume::new(name, String::new(), Access::Write, RawDisk::new(disk));
        Rc::new(volume.tracked_by(tracker))
    }

    /// What is on the disk where it is written, by region.
    fn content(&self) -> BTreeMap<u64, Vec<u8>> {
        let mut content = BTreeMap::new();
        for region in PLACES.into_iter().flatten() {
            let start = region * REGION;
            let at = Extent::between(start, DISK.min(start + REGION));
            content.insert(region, self.disk.truth(at));
        }
        content
    }
}

async fn serve(volume: &Volume, op: Op) -> Result<Answer, Error> {
    let (flow, ticket) = (volume.new_flow(), Ticket::new(1));
    let request = Request { ticket, op };
    volume.serve(&flow, request, Turn::ToCome).await.result
}

fn write(offset: u64, byte: u8, bytes: usize) -> Op {
    Op::Write {
        offset,
        data: Buf::from(&vec![byte; bytes][..]),
        durability: Durability::Cached,
    }
}

/// The regions that a bitmap tells of.
async fn told(volume: &Volume, name: &str) -> Vec<u64> {
    let bitmaps = volume.bitmaps();
    let mark = bitmaps
        .iter()
        .find(|(known, _)| known == name)
        .expect("it is there")
        .1;
    told_since(volume, mark).await
}

async fn told_since(volume: &Volume, mark: Mark) -> Vec<u64> {
    let mut changed = Vec::new();
    let mut from = 0;
    while from < DISK {
        let op = Op::Status {
            at: Extent::between(from, DISK),
            // Few, so that answers end early.
            runs_max: 3,
            aspects: vec![Aspect::Changes(mark)],
        };
        let Ok(Answer::Status(runs)) = serve(volume, op).await else {
            panic!("no status");
        };
        for run in &runs[0] {
            if run.status == Status::Dirty {
                changed.extend(from / REGION..(from + run.bytes).div_ceil(REGION));
            }
            from += run.bytes;
        }
    }
    changed
}

/// Changes something somewhere, again and again.
async fn scribble(volume: Rc<Volume>) {
    loop {
        let place = PLACES[usize::try_from(sim::below(3)).expect("one of three")].clone();
        let bytes = 512 * (1 + sim::below(200));
        let end = DISK.min(place.end * REGION) - bytes;
        let at = place.start * REGION + sim::below((end - place.start * REGION) / 512 + 1) * 512;
        let range = Extent::between(at, at + bytes);
        let (disk, tracker) = (volume.disk(), volume.tracker().expect("there is one"));
        // What a volume does with a request, whose ticket would not bear to be dropped with the
        // power.
        let noted = tracker.note(range).await.expect("the file is well");
        let byte = u8::try_from(1 + sim::below(255)).expect("a byte");
        let mode = ZeroMode {
            may_unmap: true,
            only_if_fast: false,
        };
        let data = Buf::from(&vec![byte; range.len()][..]);
        let done = match sim::below(8) {
            0 => disk.write_zeroes(range, mode, Durability::Cached).await,
            1 => disk.discard(range, Durability::Cached).await,
            2 => disk.flush().await,
            3 => disk.write(at, data, Durability::Durable).await,
            _ => disk.write(at, data, Durability::Cached).await,
        };
        done.expect("the disk is well");
        drop(noted);
        if sim::one_in(4) {
            env::sleep(Duration::from_millis(sim::below(5))).await;
        }
    }
}

#[test]
fn only_what_was_changed_is_told() {
    sim::run(1, async {
        let volume = Machine::new().start().await;
        serve(&volume, write(0, 1, 512)).await.expect("written");
        volume.begin_bitmap("a", true).await.expect("made");
        assert!(told(&volume, "a").await.is_empty());
        serve(&volume, write(5 * REGION - 512, 1, 1024))
            .await
            .expect("written");
        let at = Extent::between(2000 * REGION, 2002 * REGION);
        let durability = Durability::Cached;
        serve(&volume, Op::Discard { at, durability })
            .await
            .expect("discarded");
        volume.begin_bitmap("b", true).await.expect("made");
        serve(&volume, write(DISK - 512, 1, 512))
            .await
            .expect("written");
        serve(&volume, write(4 * REGION, 1, 512))
            .await
            .expect("written");
        assert_eq!(told(&volume, "a").await, [4, 5, 2000, 2001, 2099]);
        assert_eq!(told(&volume, "b").await, [4, 2099]);
        volume.begin_bitmap("a", false).await.expect("begun anew");
        assert!(told(&volume, "a").await.is_empty());
        let tracker = volume.tracker().expect("there is one");
        tracker.delete_bitmap("b").await.expect("deleted");
        assert_eq!(volume.bitmaps().len(), 1);
    });
}

#[test]
fn no_change_is_missing_after_any_crash() {
    for seed in 0..60 {
        let machine = Machine::new();
        // What a backup has read that began when the bitmap did.
        let mut backups = BTreeMap::<String, BTreeMap<u64, Vec<u8>>>::new();
        for life in 0..4 {
            let (world, known) = (machine.clone(), backups.clone());
            backups = sim::run(seed * 100 + life, async move {
                let volume = world.start().await;
                let content = world.content();
                let mut backups = known;
                for (name, backup) in &backups {
                    let told = told(&volume, name).await;
                    let differs = |region: &u64| content[region] != backup[region];
                    for region in PLACES.into_iter().flatten().filter(differs) {
                        let is_told = told.binary_search(&region).is_ok();
                        assert!(is_told, "seed {seed}, life {life}: {name} misses {region}");
                    }
                }
                for _ in 0..4 {
                    env::spawn(scribble(Rc::clone(&volume)));
                }
                for _ in 0..=sim::below(3) {
                    env::sleep(Duration::from_millis(sim::below(60))).await;
                    let name = format!("b{}", sim::below(4));
                    let is_new = !backups.contains_key(&name);
                    let begun = volume.begin_bitmap(&name, is_new).await;
                    begun.expect("the file is well");
                    backups.insert(name, world.content());
                }
                env::sleep(Duration::from_millis(sim::below(60))).await;
                backups
            });
            let mut number = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut choose = |bound: u64| {
                number = number
                    .wrapping_mul(0x5851_f42d_4c95_7f2d)
                    .wrapping_add(life | 1);
                (number >> 33) % bound
            };
            machine.disk.crash(&mut choose);
            machine.file.crash(&mut choose);
        }
    }
}

#[test]
fn a_change_that_cannot_be_noted_is_not_made() {
    for fault in [Fault::Fail, Fault::NoSpace, Fault::TimeOutAfter] {
        sim::run(2, async move {
            let machine = Machine::new();
            let volume = machine.start().await;
            volume.begin_bitmap("a", true).await.expect("made");
            serve(&volume, write(0, 1, 512)).await.expect("written");
            machine.file.plan(Kind::Write, 0, fault);
            let refused = serve(&volume, write(REGION, 1, 512)).await;
            assert!(refused.is_err(), "{fault:?}");
            assert!(machine.content()[&1].iter().all(|byte| *byte == 0));
            // What is noted already can be written on.
            serve(&volume, write(512, 1, 512)).await.expect("written");
            assert!(serve(&volume, write(3 * REGION, 1, 512)).await.is_err());
            assert_eq!(told(&volume, "a").await, [0]);
        });
    }
}

#[test]
fn what_a_disk_has_grown_by_counts_as_changed() {
    sim::run(3, async {
        let file = Faulty::new(Tracker::file_bytes(DISK), 512);
        let open = async |bytes: u64| {
            let file = Checked::new(Medium::Faulty(file.clone()));
            Tracker::open(file, bytes).await.expect("a good file")
        };
        let tracker = open(10 * REGION).await;
        tracker.begin_bitmap("a", 7, true).await.expect("made");
        let tracker = open(12 * REGION).await;
        let bitmap = &tracker.bitmaps()[0];
        assert_eq!((&*bitmap.name, bitmap.since), ("a", 7));
        let runs = tracker.changes(Mark(bitmap.era), Extent::between(0, 12 * REGION), 9);
        let runs: Vec<_> = runs
            .iter()
            .map(|run| (run.bytes / REGION, run.status))
            .collect();
        assert_eq!(runs, [(10, Status::Clean), (2, Status::Dirty)]);
    });
}

#[test]
fn a_file_of_something_else_is_refused() {
    sim::run(4, async {
        let file = Faulty::new(Tracker::file_bytes(DISK), 512);
        let checked = || Checked::new(Medium::Faulty(file.clone()));
        let other = Buf::from(&[7_u8; 4096][..]);
        bedplate::backend::Backend::write(&checked(), 0, other)
            .await
            .expect("written");
        let refused = Tracker::open(checked(), DISK).await;
        assert!(
            matches!(refused, Err(StoreError::Invalid(_))),
            "{refused:?}"
        );
        let small = Checked::new(Medium::Faulty(Faulty::new(1 << 15, 512)));
        let refused: Result<Arc<Tracker>, _> = Tracker::open(small, DISK).await;
        assert!(
            matches!(refused, Err(StoreError::Invalid(_))),
            "{refused:?}"
        );
    });
}

#[test]
fn wrong_names_and_too_many_are_refused() {
    sim::run(5, async {
        let volume = Machine::new().start().await;
        let begin = async |name: &str, is_new| volume.begin_bitmap(name, is_new).await;
        assert!(matches!(
            begin("a", false).await,
            Err(StoreError::NotFound(_))
        ));
        assert!(matches!(
            begin("a b", true).await,
            Err(StoreError::Invalid(_))
        ));
        for index in 0..32 {
            begin(&format!("b{index}"), true).await.expect("made");
        }
        assert!(matches!(
            begin("b7", true).await,
            Err(StoreError::Exists(_))
        ));
        assert!(matches!(
            begin("c", true).await,
            Err(StoreError::Invalid(_))
        ));
        let tracker = volume.tracker().expect("there is one");
        let missing = tracker.delete_bitmap("c").await;
        assert!(matches!(missing, Err(StoreError::NotFound(_))));
        assert_eq!(volume.bitmaps().len(), 32);
    });
}
