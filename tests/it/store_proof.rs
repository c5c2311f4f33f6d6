//! That whatever the store does, and wherever it loses power, a check finds nothing in what it
//! leaves.

use std::time::Duration;

use bedplate::backend::{Backend, Faulty};
use bedplate::base::{Buf, Durability, Error, Extent, Refusal};
use bedplate::env;
use bedplate::env::sim;
use bedplate::store::check::{Depth, Report, check};
use bedplate::store::{Properties, Store, StoreError, TreeKind, Tuning};

use crate::store_kit::{SEGMENT, backend, block, crash, disk_of, made, name, tiny};

/// Blocks of a volume that are written to: a leaf and a half.
const BLOCKS: u64 = 768;

fn tuning() -> Tuning {
    Tuning {
        checkpoint_bytes: 6 * u64::from(SEGMENT),
        checkpoint_interval: Duration::from_millis(300),
        ..tiny()
    }
}

fn new_store(segments: u64, seed: u64) -> Faulty {
    let disk = disk_of(segments);
    let own = disk.clone();
    sim::run(seed, async move {
        made(&own).await;
        let store = Store::open(backend(&own), tuning(), None).await;
        let store = store.expect("it opens");
        for name in ["a", "b"] {
            let made = store.create_volume(name, 6 << 20, Properties::default());
            made.await.expect("a volume");
        }
        store.close().await.expect("closed");
    });
    disk
}

/// Does one thing of all that can be done.
async fn step(store: &Store, nth: u64) {
    let volume = ["a", "b"][usize::try_from(sim::below(2)).expect("one of two")];
    let disk = store.disk(&name(volume)).expect("it is there");
    let first = sim::below(BLOCKS);
    let durability = match sim::one_in(20) {
        true => Durability::Durable,
        false => Durability::Cached,
    };
    let done = match sim::below(100) {
        0..80 => disk.write(first, block(nth), durability).await,
        80..90 => {
            let count = (1 + sim::below(60)).min(BLOCKS - first);
            disk.zero(first, count, durability).await
        }
        90..95 => disk.flush().await,
        _ => return administer(store, volume).await,
    };
    match done {
        Ok(()) | Err(Error::Refused(Refusal::NoSpace)) => {}
        Err(error) => panic!("step {nth}: {error}"),
    }
}

/// Does something with a volume as a whole.
async fn administer(store: &Store, volume: &str) {
    let snapshot = name(&format!("{volume}@{}", sim::below(3)));
    let done = match sim::below(5) {
        0 | 1 => store.snapshot(&[snapshot]).await,
        2 => store.delete(&snapshot).await,
        3 => store.rollback(&snapshot).await,
        _ => {
            let copy = format!("{volume}-copy");
            let _ = store.delete(&name(&copy)).await;
            store.clone_volume(&name(volume), &copy).await
        }
    };
    match done {
        Ok(()) | Err(StoreError::NotFound(_) | StoreError::Exists(_)) => {}
        Err(error) => panic!("{volume}: {error}"),
    }
}

/// A life of the store on `disk`, which ends at any moment with a loss of power.
fn live(disk: &Faulty, seed: u64, tuning: Tuning) {
    let own = disk.clone();
    sim::run(seed, async move {
        let time = Duration::from_micros(sim::below(4_000_000));
        let life = async {
            let store = Store::open(backend(&own), tuning, None).await;
            let store = store.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            for nth in 0.. {
                step(&store, nth).await;
            }
        };
        env::timeout(time, life).await;
    });
    crash(disk, seed);
}

/// Asserts that nothing is wrong with what lies on `disk`.
fn prove(disk: &Faulty, what: &str) -> Report {
    let own = disk.clone();
    let report = sim::run(
        1,
        async move { check(&backend(&own), Depth::Data, None).await },
    );
    let report = report.unwrap_or_else(|error| panic!("{what}: {error}"));
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert_eq!(findings, [""; 0], "{what}: {report:#?}");
    report
}

#[test]
fn nothing_is_wrong_with_a_store_that_was_closed() {
    let disk = new_store(64, 1);
    let report = prove(&disk, "an empty store");
    assert_eq!((report.trees, report.chunks, report.log.batches), (2, 0, 0));
    let own = disk.clone();
    let trees = sim::run(2, async move {
        let store = Store::open(backend(&own), tuning(), None)
            .await
            .expect("it opens");
        for nth in 0..400 {
            step(&store, nth).await;
        }
        store
            .snapshot(&[name("a@end"), name("b@end")])
            .await
            .expect("two snapshots");
        store.close().await.expect("closed");
        store.list()
    });
    let report = prove(&disk, "a store in use");
    assert!(trees.iter().any(|tree| tree.kind == TreeKind::Snapshot));
    assert_eq!(report.trees, trees.len() as u64);
    assert!(report.chunks > 150 && report.live.log > 0, "{report:#?}");
    assert_eq!((report.log.batches, report.segments.unknown), (0, 0));
}

#[test]
fn nothing_is_wrong_with_a_store_wherever_it_loses_power() {
    let mut seen = Report::default();
    for seed in 0..seeds(12) {
        // Room enough, and so little that it is full most of the time.
        let disk = new_store([72, 40][usize::try_from(seed % 2).expect("small")], seed);
        for life in 0..4 {
            live(&disk, seed * 10 + life, tuning());
            let report = prove(&disk, &format!("seed {seed}, life {life}"));
            seen.log.batches += report.log.batches;
            seen.segments.gc += report.segments.gc;
            seen.chunks += report.chunks;
        }
    }
    // What never happened was not proved.
    assert!(seen.log.batches > 0 && seen.segments.gc > 0, "{seen:#?}");
}

/// A check that finds nothing proves something only if it finds what is there.
#[cfg(debug_assertions)]
#[test]
fn a_store_that_breaks_its_promises_is_found_out() {
    use bedplate::store::Sabotage;

    // What else there is to sabotage loses data only in moments that the soak is better at finding.
    let sabotage = Sabotage::SkipMoves;
    let tuning = Tuning {
        sabotage: Some(sabotage),
        ..tuning()
    };
    let found = (0..60).find_map(|seed| {
        let disk = new_store(40, seed);
        live(&disk, seed, tuning);
        let own = disk.clone();
        let report = sim::run(
            1,
            async move { check(&backend(&own), Depth::Data, None).await },
        );
        let report = report.expect("a store all the same");
        report.findings.into_iter().next()
    });
    let found = found.unwrap_or_else(|| panic!("{sabotage:?} was not seen"));
    let expected = ["I2", "I3", "I4", "I6", "I7", "I9"];
    assert!(expected.contains(&found.invariant), "{sabotage:?}: {found}");
}

#[test]
fn a_durable_batch_that_rots_is_found() {
    let disk = new_store(64, 1);
    let own = disk.clone();
    sim::run(3, async move {
        let store = Store::open(backend(&own), tuning(), None)
            .await
            .expect("it opens");
        let volume = store.disk(&name("a")).expect("it is there");
        for nth in 0..8 {
            let written = volume.write(nth, block(nth), Durability::Durable).await;
            written.expect("a good disk");
        }
    });
    let log = sim::run(4, {
        let own = disk.clone();
        async move {
            check(&backend(&own), Depth::Metadata, None)
                .await
                .expect("a store")
                .log
        }
    });
    assert_eq!(log.batches, 8);
    // The third batch: in the middle of the log, and durable as the later ones say.
    let own = disk.clone();
    let report = sim::run(5, async move {
        let disk = backend(&own);
        let mut at = None;
        for offset in (2 << 20..disk.geometry().size).step_by(512) {
            let sector = disk
                .read(Extent::between(offset, offset + 512), Buf::new(512))
                .await;
            let sector = sector.expect("a good disk");
            let number = u64::from_le_bytes(sector[48..56].try_into().expect("eight"));
            if sector[..4] == *b"bBat" && number == log.next - 6 {
                at = Some((offset, sector));
            }
        }
        let (offset, mut sector) = at.expect("it is there");
        sector[20] ^= 1;
        disk.write(offset, sector).await.expect("a good disk");
        disk.flush().await.expect("a good disk");
        check(&disk, Depth::Metadata, None).await.expect("a store")
    });
    let [finding] = &report.findings[..] else {
        panic!("{:#?}", report.findings);
    };
    assert_eq!(finding.invariant, "I6");
    assert!(
        finding
            .place
            .starts_with(&format!("log batch {} -> segment ", log.next - 6))
    );
    let own = disk.clone();
    let opened = sim::run(6, async move {
        Store::open(backend(&own), tuning(), None).await.map(drop)
    });
    assert!(matches!(opened, Err(StoreError::Damaged(_))), "{opened:?}");
}

/// How many seeds are tried: `usual` of them, or what the environment says.
fn seeds(usual: u64) -> u64 {
    let told = std::env::var("BEDPLATE_SEEDS").ok();
    told.map_or(usual, |told| told.parse().expect("a number of seeds"))
}
