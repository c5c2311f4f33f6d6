//! A raw disk under requests of any size and place, many at once, against a plain vector.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bedplate::backend::{Checked, Fault, Faulty, Kind, Medium};
use bedplate::base::{Buf, Durability, Error, Extent, Op, Request, Status, Ticket, ZeroMode};
use bedplate::env;
use bedplate::env::sim;
use bedplate::volume::{Access, Disk, RawDisk, Turn, Volume};

const SIZE: u64 = 64 << 10;
/// Each task has a stripe of its own. The stripes meet inside blocks, so that tasks change the
/// same blocks at the same time without ever writing the same byte.
const TASKS: u64 = 8;

fn new_disk(block: u64) -> RawDisk {
    RawDisk::new(Checked::new(Medium::Faulty(Faulty::new(SIZE, block))))
}

#[test]
fn neighbours_in_one_block_do_not_undo_each_other() {
    for seed in 0..300 {
        sim::run(seed, async move {
            let block = [1, 512, 4096][usize::try_from(seed % 3).expect("small")];
            let disk = Rc::new(new_disk(block).into());
            change_all_stripes(Rc::clone(&disk), 20, seed).await;
        });
    }
}

/// Changes the first 64 KiB of `disk`, all zeroes as yet, from many tasks at once, and compares
/// what comes of it with a vector.
pub(crate) async fn change_all_stripes(disk: Rc<Disk>, changes: u32, seed: u64) {
    let model = Rc::new(RefCell::new(vec![0; 64 << 10]));
    let left = Rc::new(RefCell::new(TASKS));
    for task in 0..TASKS {
        let (disk, model, left) = (disk.clone(), model.clone(), left.clone());
        env::spawn(async move {
            for _ in 0..changes {
                change_stripe(&disk, &model, task).await;
            }
            *left.borrow_mut() -= 1;
        });
    }
    while *left.borrow() > 0 {
        env::sleep(Duration::from_millis(1)).await;
    }
    let all = disk.read(Extent::between(0, SIZE)).await.expect("a read");
    assert!(all[..] == model.borrow()[..], "seed {seed}");
}

/// One change, and one read of the result, somewhere in the stripe of `task`.
async fn change_stripe(disk: &Disk, model: &RefCell<Vec<u8>>, task: u64) {
    // Odd, so that stripes begin and end inside blocks.
    let stripe = SIZE / TASKS - 1;
    let start = task * stripe + sim::below(stripe - 1);
    let at = Extent::between(start, start + 1 + sim::below((task + 1) * stripe - start));
    let byte = u8::try_from(1 + sim::below(255)).expect("a byte");
    let within =
        usize::try_from(at.offset()).expect("small")..usize::try_from(at.end()).expect("small");
    let durability = match sim::one_in(10) {
        true => Durability::Durable,
        false => Durability::Cached,
    };
    if sim::one_in(4) {
        let mode = ZeroMode {
            may_unmap: sim::one_in(2),
            only_if_fast: disk.has_fast_zeroes() && sim::one_in(2),
        };
        let zeroed = disk.write_zeroes(at, mode, durability).await;
        zeroed.expect("zeroes, fast only where the disk has them");
        model.borrow_mut()[within.clone()].fill(0);
    } else {
        let mut data = Buf::new(at.len());
        data.fill(byte);
        disk.write(at.offset(), data, durability)
            .await
            .expect("a write");
        model.borrow_mut()[within.clone()].fill(byte);
    }
    let back = disk.read(at).await.expect("a read");
    assert!(back[..] == model.borrow()[within]);
}

#[test]
fn a_discard_touches_whole_blocks_only() {
    sim::run(1, async {
        let disk = new_disk(4096);
        let mut data = Buf::new(3 * 4096);
        data.fill(7);
        disk.write(0, data, Durability::Cached)
            .await
            .expect("a write");
        let inside = Extent::between(100, 2 * 4096 + 100);
        let discarded = disk.discard(inside, Durability::Cached).await;
        discarded.expect("a discard");
        let all = disk
            .read(Extent::between(0, 3 * 4096))
            .await
            .expect("a read");
        assert!(
            all[..4096]
                .iter()
                .chain(&all[2 * 4096..])
                .all(|byte| *byte == 7)
        );
    });
}

#[test]
fn a_status_is_cut_to_what_was_asked() {
    sim::run(1, async {
        let disk = RawDisk::new(Checked::new(Medium::Faulty(Faulty::new(1 << 20, 4096))));
        let mut data = Buf::new(4096);
        data.fill(1);
        let written = disk.write(64 << 10, data, Durability::Cached).await;
        written.expect("a write");
        let at = Extent::between(1, 100_000);
        let runs = disk.status(at, 10).await.expect("a status");
        assert_eq!(runs[0].bytes, (64 << 10) - 1);
        assert_eq!(
            (runs[0].status, runs[1].status),
            (Status::Hole, Status::Data)
        );
        assert_eq!(runs.iter().map(|run| run.bytes).sum::<u64>(), at.bytes());
    });
}

#[test]
fn one_flush_serves_all_who_wait_and_its_failure_tells_all() {
    sim::run(3, async {
        let disk = Rc::new(new_disk(512));
        let faulty = |disk: &RawDisk| match disk.backend().medium() {
            Medium::Faulty(faulty) => faulty.calls(),
            _ => unreachable!("made above"),
        };
        let before = faulty(&disk);
        flush_from_many_tasks(&disk).await;
        assert!(faulty(&disk) - before <= 3, "flushes are shared");
        if let Medium::Faulty(faulty) = disk.backend().medium() {
            faulty.plan(Kind::Flush, 0, Fault::Fail);
        }
        let outcomes = flush_from_many_tasks(&disk).await;
        assert!(outcomes.iter().all(Result::is_err), "{outcomes:?}");
    });
}

#[test]
fn the_future_of_a_request_stays_small() {
    sim::run(1, async {
        let disk = new_disk(512);
        let volume = Volume::new("disk".to_owned(), String::new(), Access::Write, disk);
        let flow = volume.new_flow();
        let serving = volume.serve(
            &flow,
            Request {
                ticket: Ticket::new(7),
                op: Op::Flush,
            },
            Turn::ToCome,
        );
        // One is allocated for every request, and glibc's cache of free memory ends at 1,032
        // bytes.
        let bytes = std::mem::size_of_val(&serving);
        assert!(bytes <= 900, "{bytes} bytes");
        serving.await.result.expect("a flush");
    });
}

async fn flush_from_many_tasks(disk: &Rc<RawDisk>) -> Vec<Result<(), Error>> {
    let outcomes = Rc::new(RefCell::new(Vec::new()));
    for _ in 0..100 {
        let (disk, outcomes) = (disk.clone(), outcomes.clone());
        env::spawn(async move {
            let flushed = disk.flush().await;
            outcomes.borrow_mut().push(flushed);
        });
    }
    while outcomes.borrow().len() < 100 {
        env::sleep(Duration::from_millis(1)).await;
    }
    outcomes.take()
}
