//! The disk that breaks on purpose: that it breaks as told, and that nothing above it hides that.

use std::sync::Arc;
use std::time::Duration;

use bedplate::backend::{Backend, Checked, Fault, Faulty, Kind, Medium};
use bedplate::base::{Buf, Durability, Error, Extent, Refusal};
use bedplate::env;
use bedplate::env::sim;
use bedplate::volume::RawDisk;

const SIZE: u64 = 1 << 20;

fn disk_with(kind: Kind, fault: Fault) -> Checked {
    let faulty = Faulty::new(SIZE, 512);
    faulty.plan(kind, 0, fault);
    Checked::new(Medium::Faulty(faulty))
}

fn faulty(disk: &Checked) -> &Faulty {
    match disk.medium() {
        Medium::Faulty(faulty) => faulty,
        _ => unreachable!("these tests make faulty disks only"),
    }
}

async fn read(disk: &Checked, offset: u64) -> Result<u8, Error> {
    let at = Extent::between(offset, offset + 512);
    disk.read(at, Buf::new(512)).await.map(|buf| buf[0])
}

async fn write(disk: &Checked, offset: u64, byte: u8) -> Result<(), Error> {
    disk.write(offset, Buf::from(&[byte; 512][..])).await
}

#[test]
fn a_failed_write_leaves_the_old_bytes() {
    sim::run(1, async {
        let disk = disk_with(Kind::Write, Fault::Fail);
        assert!(matches!(write(&disk, 0, 1).await, Err(Error::Failed(_))));
        assert_eq!(read(&disk, 0).await, Ok(0));
        assert_eq!(faulty(&disk).truth(Extent::between(0, 1)), [0]);
    });
}

#[test]
fn a_write_that_timed_out_may_have_been_applied() {
    sim::run(1, async {
        let disk = disk_with(Kind::Write, Fault::TimeOutAfter);
        assert!(matches!(write(&disk, 0, 1).await, Err(Error::Unknown(_))));
        assert_eq!(read(&disk, 0).await, Ok(1));
    });
}

#[test]
fn a_lost_write_is_seen_by_the_truth_only() {
    sim::run(1, async {
        let disk = disk_with(Kind::Write, Fault::Lose);
        assert_eq!(write(&disk, 0, 1).await, Ok(()));
        assert_eq!(read(&disk, 0).await, Ok(0));
        assert_eq!(faulty(&disk).truth(Extent::between(0, 1)), [1]);
    });
}

#[test]
fn a_misdirected_write_lands_elsewhere() {
    sim::run(1, async {
        let disk = disk_with(Kind::Write, Fault::Misdirect(4096));
        assert_eq!(write(&disk, 0, 1).await, Ok(()));
        assert_eq!(read(&disk, 0).await, Ok(0));
        assert_eq!(read(&disk, 4096).await, Ok(1));
    });
}

#[test]
fn a_misdirected_read_comes_from_elsewhere() {
    sim::run(1, async {
        let disk = disk_with(Kind::Read, Fault::Misdirect(512));
        assert_eq!(write(&disk, 512, 7).await, Ok(()));
        assert_eq!(read(&disk, 0).await, Ok(7));
        assert_eq!(read(&disk, 0).await, Ok(0));
    });
}

#[test]
fn the_nth_call_is_the_one_that_fails() {
    sim::run(1, async {
        let faulty = Faulty::new(SIZE, 512);
        faulty.plan(Kind::Write, 2, Fault::NoSpace);
        let disk = Checked::new(Medium::Faulty(faulty));
        assert_eq!(write(&disk, 0, 1).await, Ok(()));
        assert_eq!(write(&disk, 0, 2).await, Ok(()));
        let full = Err(Error::Refused(Refusal::NoSpace));
        assert_eq!(write(&disk, 0, 3).await, full);
        assert_eq!(write(&disk, 0, 4).await, Ok(()));
    });
}

#[test]
fn after_a_failed_flush_nothing_is_promised() {
    sim::run(1, async {
        let disk = disk_with(Kind::Flush, Fault::Fail);
        assert_eq!(write(&disk, 0, 1).await, Ok(()));
        assert!(matches!(disk.flush().await, Err(Error::Unknown(_))));
        assert_eq!(disk.flush().await, Err(Error::Poisoned));
        assert_eq!(write(&disk, 0, 2).await, Err(Error::Poisoned));
        assert_eq!(read(&disk, 0).await, Err(Error::Poisoned));
    });
}

#[test]
fn a_power_loss_keeps_what_was_flushed_and_any_part_of_the_rest() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let (old, first, last) = sim::run(seed, async {
            let disk = Checked::new(Medium::Faulty(Faulty::new(SIZE, 512)));
            write(&disk, 0, 1).await.expect("a good disk");
            disk.flush().await.expect("a good disk");
            let two_sectors = Buf::from(&[2; 1024][..]);
            disk.write(4096, two_sectors).await.expect("a good disk");
            faulty(&disk).crash(&mut sim::below);
            let sector = async |offset| read(&disk, offset).await.expect("a good disk");
            (sector(0).await, sector(4096).await, sector(4608).await)
        });
        assert_eq!(old, 1, "seed {seed}: a flushed write was lost");
        outcomes.insert((first, last));
    }
    // Lost, whole, and torn either way: over many worlds all of them happen.
    assert_eq!(outcomes, [(0, 0), (0, 2), (2, 0), (2, 2)].into());
}

#[test]
fn a_lost_flush_shows_after_a_power_loss() {
    let lost = (0..50).any(|seed| {
        sim::run(seed, async {
            let disk = disk_with(Kind::Flush, Fault::Lose);
            write(&disk, 0, 1).await.expect("a good disk");
            disk.flush().await.expect("it lies");
            faulty(&disk).crash(&mut sim::below);
            read(&disk, 0).await.expect("a good disk") == 0
        })
    });
    assert!(lost, "a disk that lies about flushes must be caught");
}

#[test]
fn a_durable_write_survives_a_power_loss_and_a_cached_one_may_not() {
    let mut cached_lost = false;
    for seed in 0..100 {
        sim::run(seed, async {
            let disk = Arc::new(RawDisk::new(Checked::new(Medium::Faulty(Faulty::new(
                SIZE, 512,
            )))));
            // Unaligned on purpose: the blocks around must survive too.
            let write = |offset, durability| {
                let disk = Arc::clone(&disk);
                async move {
                    let data = Buf::from(&[9; 100][..]);
                    disk.write(offset, data, durability)
                        .await
                        .expect("a good disk");
                }
            };
            write(1000, Durability::Durable).await;
            write(9000, Durability::Cached).await;
            env::sleep(Duration::from_secs(1)).await;
            let Medium::Faulty(faulty) = disk.backend().medium() else {
                unreachable!("made above")
            };
            faulty.crash(&mut sim::below);
            let byte = async |offset| {
                let at = Extent::between(offset, offset + 1);
                disk.read(at).await.expect("a good disk")[0]
            };
            assert_eq!(
                (byte(999).await, byte(1000).await, byte(1099).await),
                (0, 9, 9)
            );
            byte(9000).await == 0
        })
        .then(|| cached_lost = true);
    }
    assert!(cached_lost, "a crash that loses nothing proves nothing");
}
