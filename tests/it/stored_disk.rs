//! A volume of a store under requests of any size and place.

use std::rc::Rc;
use std::sync::Arc;

use bedplate::base::{Buf, Durability, Extent, Op, Request, Status, Ticket, ZeroMode};
use bedplate::env::sim;
use bedplate::store::{Properties, Store, Tuning};
use bedplate::volume::{Access, StoredDisk, Turn, Volume};

use crate::raw_disk::change_all_stripes;
use crate::store_kit::{self, backend, disk_of, name};

/// Not a multiple of 4096: the last block is whole in the store, and cut off for clients.
const SIZE: u64 = (64 << 10) + 1536;

const ANY_MODE: ZeroMode = ZeroMode {
    may_unmap: false,
    only_if_fast: true,
};

/// A new store with one volume of `SIZE` bytes.
async fn new_store() -> (Arc<Store>, StoredDisk) {
    let disk = disk_of(112);
    store_kit::made(&disk).await;
    let store = Store::open(backend(&disk), Tuning::default(), None).await;
    let store = store.expect("the store just made");
    let made = store.create_volume("disk", SIZE, Properties::default());
    made.await.expect("a volume");
    let disk = store.disk(&name("disk")).expect("the volume just made");
    (store, StoredDisk::new(disk))
}

async fn fill(disk: &StoredDisk, at: Extent, byte: u8) {
    let mut data = Buf::new(at.len());
    data.fill(byte);
    let written = disk.write(at.offset(), data, Durability::Cached).await;
    written.expect("a write");
}

async fn read(disk: &StoredDisk, at: Extent) -> Buf {
    disk.read(at).await.expect("a read")
}

#[test]
fn neighbours_in_one_block_do_not_undo_each_other() {
    for seed in 0..60 {
        sim::run(seed, async move {
            let (store, disk) = new_store().await;
            change_all_stripes(Rc::new(disk.into()), 10, seed).await;
            store.close().await.expect("a checkpoint");
        });
    }
}

#[test]
fn the_end_of_a_disk_inside_a_block_is_written_and_given_up() {
    sim::run(1, async {
        let (_store, disk) = new_store().await;
        let (all, last) = (Extent::between(0, SIZE), Extent::between(SIZE - 700, SIZE));
        fill(&disk, last, 7).await;
        assert!(read(&disk, last).await.iter().all(|byte| *byte == 7));
        let before = read(&disk, Extent::between(0, SIZE - 700)).await;
        assert!(before.iter().all(|byte| *byte == 0));
        let runs = disk.status(all, 10).await.expect("a status");
        let told: Vec<_> = runs.iter().map(|run| (run.status, run.bytes)).collect();
        assert_eq!(told, [(Status::Hole, 64 << 10), (Status::Data, 1536)]);

        // Less than the last block has stays; all that it has makes a hole of it.
        disk.discard(last, Durability::Cached)
            .await
            .expect("a discard");
        assert!(read(&disk, last).await.iter().all(|byte| *byte == 7));
        let block = Extent::between(64 << 10, SIZE);
        disk.discard(block, Durability::Durable)
            .await
            .expect("a discard");
        let runs = disk.status(all, 10).await.expect("a status");
        assert_eq!((runs[0].status, runs[0].bytes), (Status::Hole, SIZE));
    });
}

#[test]
fn zeroes_make_holes_of_whole_blocks_and_spare_the_rest() {
    sim::run(1, async {
        let (_store, disk) = new_store().await;
        fill(&disk, Extent::between(0, SIZE), 9).await;
        let at = Extent::between(100, 3 * 4096 + 5);
        let zeroed = disk.write_zeroes(at, Durability::Cached).await;
        zeroed.expect("zeroes");
        let content = read(&disk, Extent::between(0, SIZE)).await;
        for (offset, byte) in (0..).zip(content.iter()) {
            let is_zeroed = (at.offset()..at.end()).contains(&offset);
            assert_eq!(*byte, if is_zeroed { 0 } else { 9 }, "{offset}");
        }
        let runs = disk.status(Extent::between(4096, SIZE), 10).await;
        let runs = runs.expect("a status");
        assert_eq!((runs[0].status, runs[0].bytes), (Status::Hole, 2 * 4096));
    });
}

#[test]
fn the_future_of_a_request_stays_small() {
    sim::run(1, async {
        let (_store, disk) = new_store().await;
        let volume = Volume::new("disk".to_owned(), String::new(), Access::Write, disk);
        let flow = volume.new_flow();
        let serving = volume.serve(
            &flow,
            Request {
                ticket: Ticket::new(7),
                op: Op::WriteZeroes {
                    at: Extent::between(0, 4096),
                    mode: ANY_MODE,
                    durability: Durability::Durable,
                },
            },
            Turn::ToCome,
        );
        let bytes = std::mem::size_of_val(&serving);
        assert!(bytes <= 900, "{bytes} bytes");
        serving.await.result.expect("zeroes");
    });
}
