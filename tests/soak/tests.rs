//! Worlds that are always run, and proof that wrong stores are caught.

use super::fake::Bug;
use super::report::{self, Outcome};
use super::tally::Tally;
use super::words::store;
use super::world::Kindof;

/// Worlds of a test.
const WORLDS: u64 = 3000;

fn run_all(seeds: impl Iterator<Item = u64>, kind: Kindof) -> Tally {
    let mut tally = Tally::default();
    for seed in seeds {
        let Outcome {
            tally: one,
            violation,
            ..
        } = report::run(seed, kind);
        tally.merge(&one);
        if let Some(why) = violation {
            panic!("{kind:?}, seed {seed}: {why}");
        }
    }
    tally
}

/// The first seed whose world shows the bug.
fn caught(kind: Kindof, worlds: u64) -> Option<(u64, String)> {
    (1..=worlds).find_map(|seed| report::run(seed, kind).violation.map(|why| (seed, why)))
}

#[test]
fn a_store_that_is_right_is_never_blamed() {
    let tally = run_all(0..2000, Kindof::Fake(Bug::None));
    for what in [
        "operations",
        "blocks written",
        "reads",
        "statuses",
        "flushes",
        "zeroes",
        "recoveries",
        "power losses",
        "power losses while recovering",
        "deaths of the process",
        "closed in good order",
        "volumes created",
        "trees deleted",
        "volumes renamed",
        "volumes grown",
        "snapshots of several volumes",
        "snapshots of one volume",
        "volumes cloned",
        "volumes rolled back",
        "write-through set",
        "bitmaps made",
        "bitmaps cleared",
        "bitmaps deleted",
        "snapshots with bitmaps",
        "changed blocks told",
    ] {
        assert!(tally.of(what) > 10, "there were no {what}");
    }
}

#[test]
fn a_store_that_is_wrong_is_caught() {
    for bug in Bug::ALL {
        let found = caught(Kindof::Fake(bug), WORLDS);
        let (seed, why) = found.unwrap_or_else(|| panic!("{bug:?} was not caught"));
        println!("{bug:?}: seed {seed}: {why}");
    }
}

#[test]
fn a_seed_repeats_to_the_last_event() {
    for kind in [Kindof::Fake(Bug::None), store()] {
        let digest = |seed| report::run(seed, kind).digest;
        for seed in 0..20 {
            assert_eq!(digest(seed), digest(seed), "{kind:?}, seed {seed}");
        }
        assert_ne!(digest(1), digest(2));
    }
}

#[test]
fn the_store_keeps_its_promises() {
    let tally = run_all(1..=150, store());
    for what in [
        "passes of garbage collection",
        "blocks found to be there",
        "power losses",
        "recoveries",
    ] {
        assert!(tally.of(what) > 10, "there were no {what}");
    }
}

/// Worlds that once broke a promise, and which.
const ONCE_BROKEN: [(u64, &str); 13] = [
    (
        2_005_643,
        "a trailer was durable and what it lists was not, and blocks were found there",
    ),
    (
        6805,
        "one copy of the newest superblock was not there yet, and the other was not read",
    ),
    (
        19328,
        "garbage collection rested while what it had moved was not freed yet",
    ),
    (
        214,
        "segments of a checkpoint under way were taken for empty",
    ),
    (633, "after a crash there was no space to open the store"),
    (1093, "there was no space for a checkpoint"),
    (
        20598,
        "a rollback was seen, a flush came after, and a power loss undid it",
    ),
    (
        21462,
        "hardly used segments of metadata were never emptied, so discards found no space",
    ),
    (
        23130,
        "moved blocks took the segments of discards, one for each age",
    ),
    (
        24704,
        "a segment that was nearly full kept what is moved from getting another",
    ),
    (
        26211,
        "a misdirected read of the newest superblock brought the one before back",
    ),
    (
        20_003_064,
        "a store that stopped while it waited for space to open never said so",
    ),
    (
        10_060_704,
        "a store without deduplication was blamed for being full of copies",
    ),
];

#[test]
fn worlds_that_were_broken_once_are_not_again() {
    for (seed, promise) in ONCE_BROKEN {
        if let Some(why) = report::run(seed, store()).violation {
            panic!("seed {seed}: {why}; once: {promise}");
        }
    }
}

#[test]
#[cfg(debug_assertions)]
fn a_store_that_breaks_a_promise_is_caught() {
    use bedplate::store::Sabotage;
    let sabotaged = [
        (
            Kindof::Store(|tuning| tuning.sabotage = Some(Sabotage::FlushEarly)),
            "flush",
        ),
        (
            Kindof::Store(|tuning| tuning.sabotage = Some(Sabotage::ReuseEarly)),
            "reuse",
        ),
        (
            Kindof::Store(|tuning| tuning.sabotage = Some(Sabotage::SkipMoves)),
            "moves",
        ),
        (
            Kindof::Store(|tuning| tuning.sabotage = Some(Sabotage::ReferToFreed)),
            "references",
        ),
        (
            Kindof::Store(|tuning| tuning.sabotage = Some(Sabotage::ForgetGhosts)),
            "ghosts",
        ),
        (
            Kindof::Store(|tuning| tuning.sabotage = Some(Sabotage::ForgetKeys)),
            "keys",
        ),
    ];
    for (sabotage, name) in sabotaged {
        let found = caught(sabotage, WORLDS);
        let (seed, why) = found.unwrap_or_else(|| panic!("{name} was not caught"));
        println!("{name}: seed {seed}: {why}");
    }
}

#[test]
#[cfg(debug_assertions)]
fn a_bitmap_that_misses_a_block_is_caught_by_what_it_tells() {
    use super::plan::Plan;
    use bedplate::store::Sabotage;
    // Where calls of the disk fail nobody looks at the structure, which would show it first.
    let fits = |seed: &u64| {
        let plan = Plan::new(*seed);
        plan.faults && plan.keepers > 0
    };
    let kind = Kindof::Store(|tuning| tuning.sabotage = Some(Sabotage::ForgetGhosts));
    let mut worlds = (1..=40 * WORLDS).filter(fits);
    // In some worlds something else is noticed first, as that there is no space in such a store.
    let found = worlds.find_map(|seed| {
        let why = report::run(seed, kind).violation?;
        why.contains("bitmap").then_some((seed, why))
    });
    let (seed, why) = found.expect("it was not caught");
    println!("seed {seed}: {why}");
}
