//! How much a store writes for what its clients write, when it is full and overwritten for long.
//!
//! A store in memory is filled to 70, 80 and 90 per cent of what it can hold, then overwritten
//! eight times, with every block equally likely and with a few blocks much more likely (zipf).
//! Printed is everything that was written divided by what the client wrote, for the second half of
//! that. Run it with `cargo bench --bench amplification`; it takes a minute.

use bedplate::backend::{self, Access, Location};
use bedplate::base::{Buf, Durability};
use bedplate::env;
use bedplate::store::{
    Compression, Creation, Dedup, Disk, Properties, Store, TreeName, Tuning, create,
};

const STORE_BYTES: u64 = 512 << 20;
const SEGMENT_BYTES: u32 = 1 << 20;
const BLOCK: usize = 4096;
const OVERWRITES: u64 = 8;

/// Blocks that one mebibyte holds with what the format needs beside them.
const BLOCKS_PER_SEGMENT: u64 = 251;

fn main() {
    println!(
        "store of {} MiB, segments of 1 MiB, blocks of 4 KiB",
        STORE_BYTES >> 20
    );
    println!(
        "{:<8} {:>6} {:>14} {:>14}",
        "load", "full", "amplification", "of it moved"
    );
    for zipf in [false, true] {
        for percent in [70, 80, 90] {
            let (all, moved) = env::block_on(measure(percent, zipf)).expect("a ring");
            let load = if zipf { "zipf" } else { "uniform" };
            println!("{load:<8} {percent:>5}% {all:>14.2} {moved:>14.2}");
        }
    }
}

async fn measure(percent: u64, zipf: bool) -> (f64, f64) {
    let location = Location::Mem(STORE_BYTES);
    // Memory is gone when it is closed, so the store is made and opened on one backend.
    let disk = backend::open(&location, Access::Write).await;
    let disk = disk.expect("memory opens");
    let creation = Creation {
        segment_bytes: Some(SEGMENT_BYTES),
        ..Creation::default()
    };
    let disk = create(disk, creation).await.expect("a store").1;
    let store = Store::open(disk, Tuning::default(), None)
        .await
        .expect("it opens");
    let name = TreeName::volume("v").expect("a name");
    // Else the blocks would pack, and the store be emptier than it is said to be.
    let properties = Properties {
        compression: Compression::Off,
        dedup: Dedup::Off,
        ..Properties::default()
    };
    let made = store.create_volume("v", STORE_BYTES, properties);
    made.await.expect("a volume");
    let volume = store.disk(&name).expect("it is there");
    let usage = store.usage();
    let room = (usage.physical - usage.reserve) / u64::from(SEGMENT_BYTES) * BLOCKS_PER_SEGMENT;
    let blocks = room * percent / 100;
    let mut random = Random(percent);
    for block in 0..blocks {
        write(&volume, block, &mut random).await;
    }
    let half = blocks * OVERWRITES / 2;
    for _ in 0..half {
        write(&volume, random.pick(blocks, zipf), &mut random).await;
    }
    let before = store.traffic();
    for _ in 0..half {
        write(&volume, random.pick(blocks, zipf), &mut random).await;
    }
    volume.flush().await.expect("a flush");
    let after = store.traffic();
    let clients = (after.clients - before.clients) as f64;
    let written =
        |traffic: bedplate::store::Traffic| traffic.log + traffic.moved + traffic.metadata;
    let all = (written(after) - written(before)) as f64 / clients;
    (all, (after.moved - before.moved) as f64 / clients)
}

async fn write(volume: &Disk, block: u64, random: &mut Random) {
    let mut buf = Buf::zeroed(BLOCK);
    buf[..8].copy_from_slice(&(random.next() | 1).to_le_bytes());
    let written = volume.write(block, buf, Durability::Cached).await;
    written.expect("there is room");
}

/// Numbers that are the same in every run: xorshift64* (Vigna, 2016).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.max(1);
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A block: each as likely as the other, or the n-th hottest with a likelihood of 1/n.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the number of blocks"
    )]
    fn pick(&mut self, blocks: u64, zipf: bool) -> u64 {
        let uniform = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        if !zipf {
            return ((uniform * blocks as f64) as u64).min(blocks - 1);
        }
        // The inverse of the harmonic distribution: its sum grows as the logarithm.
        let rank = ((blocks as f64).powf(uniform) as u64).min(blocks - 1);
        // The hottest blocks lie anywhere.
        rank.wrapping_mul(0x9E37_79B9_7F4A_7C15) % blocks
    }
}
