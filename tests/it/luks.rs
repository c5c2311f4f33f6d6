//! A raw disk behind a LUKS header, under requests of any size and place, and what it does when it
//! is made or opened in vain.

use std::rc::Rc;

use bedplate::backend::{Checked, Fault, Faulty, Kind, Medium};
use bedplate::base::{Buf, Durability, Error, Extent, Refusal, Status, ZeroMode};
use bedplate::codec::luks::{LuksError, PAYLOAD_OFFSET};
use bedplate::codec::{Credential, Secret};
use bedplate::env::sim;
use bedplate::volume::{Disk, EncryptedDisk, LuksFailure, RawDisk, make_luks, open_luks};

use crate::raw_disk::change_all_stripes;

const SIZE: u64 = 1 << 20;

/// Cheap to try: no person has this passphrase.
const ITERATIONS: u32 = 1;

const SLOW_ZEROES: ZeroMode = ZeroMode {
    may_unmap: true,
    only_if_fast: false,
};

fn words(text: &str) -> Credential {
    Credential::Passphrase(Secret::copy_of(text.as_bytes()))
}

fn beneath(block: u64) -> Faulty {
    Faulty::new(PAYLOAD_OFFSET + SIZE, block)
}

fn raw(faulty: &Faulty) -> RawDisk {
    RawDisk::new(Checked::new(Medium::Faulty(faulty.clone())))
}

async fn opened(faulty: &Faulty, text: &str) -> Result<EncryptedDisk, LuksFailure> {
    open_luks(raw(faulty), &words(text), "disk").await
}

/// A disk of all zeroes, and what it lies on.
async fn new_disk(block: u64) -> (Disk, Faulty) {
    let faulty = beneath(block);
    let made = make_luks(&raw(&faulty), &words("open"), ITERATIONS).await;
    made.expect("a header");
    let disk = Disk::from(opened(&faulty, "open").await.expect("the right key"));
    assert_eq!(disk.size(), SIZE);
    let all = Extent::between(0, SIZE);
    let zeroed = disk.write_zeroes(all, SLOW_ZEROES, Durability::Durable);
    zeroed.await.expect("zeroes");
    (disk, faulty)
}

#[test]
fn neighbours_in_one_sector_do_not_undo_each_other() {
    for seed in 0..60 {
        sim::run(seed, async move {
            let block = [1, 512, 4096][usize::try_from(seed % 3).expect("small")];
            let (disk, faulty) = new_disk(block).await;
            let disk = Rc::new(disk);
            change_all_stripes(Rc::clone(&disk), 20, seed).await;
            let all = Extent::between(0, SIZE);
            let before = disk.read(all).await.expect("a read");
            let again = opened(&faulty, "open").await.expect("the right key");
            let after = again.read(all).await.expect("a read");
            assert!(before[..] == after[..], "seed {seed}");
        });
    }
}

#[test]
fn nothing_of_what_is_written_shows_beneath() {
    sim::run(1, async {
        let (disk, faulty) = new_disk(512).await;
        let mut data = Buf::new(10_000);
        data.fill(7);
        let written = disk.write(300, data, Durability::Durable).await;
        written.expect("a write");
        let below = raw(&faulty);
        let all = Extent::between(PAYLOAD_OFFSET, PAYLOAD_OFFSET + SIZE);
        let bytes = below.read(all).await.expect("a read");
        let same = |pair: &[u8]| pair[..16] == pair[16..];
        assert!(!bytes.windows(32).any(same), "sixteen bytes, twice");
    });
}

#[test]
fn nothing_is_a_hole_and_zeroes_are_written() {
    sim::run(1, async {
        let (disk, _) = new_disk(512).await;
        let inside = Extent::between(4096, 300_000);
        let discarded = disk.discard(inside, Durability::Cached).await;
        discarded.expect("a discard");
        let runs = disk.status(Extent::between(1, SIZE), 10).await;
        let runs = runs.expect("a status");
        assert_eq!(
            (runs.len(), runs[0].bytes, runs[0].status),
            (1, SIZE - 1, Status::Data)
        );
        assert!(!disk.has_fast_zeroes());
        let fast = ZeroMode {
            may_unmap: true,
            only_if_fast: true,
        };
        let refused = disk.write_zeroes(inside, fast, Durability::Cached).await;
        assert_eq!(refused, Err(Error::Refused(Refusal::NotSupported)));
        let wide = Extent::between(5000, 200_001);
        let zeroed = disk.write_zeroes(wide, SLOW_ZEROES, Durability::Cached);
        zeroed.await.expect("zeroes");
        let back = disk.read(wide).await.expect("a read");
        assert!(back.iter().all(|byte| *byte == 0));
        let before = disk.read(Extent::between(0, 4096)).await.expect("a read");
        assert!(before.iter().all(|byte| *byte == 0));
    });
}

#[test]
fn only_the_right_key_opens_it() {
    sim::run(1, async {
        let (_, faulty) = new_disk(512).await;
        let why = |opened: Result<EncryptedDisk, LuksFailure>| opened.err();
        let header = |error| Some(LuksFailure::Header(error));
        assert_eq!(
            why(opened(&faulty, "opem").await),
            header(LuksError::WrongKey)
        );
        assert_eq!(why(opened(&faulty, "").await), header(LuksError::EmptyKey));
        let empty = beneath(512);
        assert_eq!(
            why(opened(&empty, "open").await),
            header(LuksError::NotLuks)
        );
        let tiny = Faulty::new(2048, 512);
        assert_eq!(why(opened(&tiny, "open").await), header(LuksError::NotLuks));
        let small = Faulty::new(PAYLOAD_OFFSET, 512);
        let made = make_luks(&raw(&small), &words("open"), ITERATIONS).await;
        assert_eq!(made.err(), header(LuksError::TooSmall));
    });
}

#[test]
fn a_header_that_is_not_written_to_its_end_is_none() {
    for failing in 0..3 {
        sim::run(failing, async move {
            let (_, faulty) = new_disk(512).await;
            faulty.plan(Kind::Write, failing, Fault::Fail);
            let made = make_luks(&raw(&faulty), &words("new"), ITERATIONS).await;
            assert!(matches!(made, Err(LuksFailure::Io(_))), "{made:?}");
            // Before the first write ended, what was there still is.
            let old = opened(&faulty, "open").await;
            assert_eq!(old.is_ok(), failing == 0, "write {failing}");
            assert!(opened(&faulty, "new").await.is_err());
        });
    }
}
