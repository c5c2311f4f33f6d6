//! What tests of stores in a simulation begin with: a disk, a store on it, and blocks to write.

use bedplate::backend::{Checked, Faulty, Medium};
use bedplate::base::Buf;
use bedplate::store::{Creation, TreeName, Tuning, create};

pub(crate) const SEGMENT: u32 = 128 << 10;
pub(crate) const BLOCK: usize = 4096;

/// A disk with room for so many segments.
pub(crate) fn disk_of(segments: u64) -> Faulty {
    Faulty::new((2 << 20) + segments * u64::from(SEGMENT), 512)
}

pub(crate) fn backend(disk: &Faulty) -> Checked {
    Checked::new(Medium::Faulty(disk.clone()))
}

/// Makes an empty store.
pub(crate) async fn made(disk: &Faulty) {
    let creation = Creation {
        segment_bytes: Some(SEGMENT),
        ..Creation::default()
    };
    create(backend(disk), creation).await.expect("a store");
}

/// Has little in memory, and checkpoints and batches that suit small segments.
pub(crate) fn tiny() -> Tuning {
    Tuning {
        leaf_cache: 64 * BLOCK,
        block_cache: 0,
        checkpoint_bytes: 4 * u64::from(SEGMENT),
        batch_bytes: 32 << 10,
        ..Tuning::default()
    }
}

/// Takes the power away: what becomes of each sector that was not flushed is drawn from `seed`.
pub(crate) fn crash(disk: &Faulty, seed: u64) {
    let mut random = seed;
    disk.crash(&mut |bound| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) % bound
    });
}

pub(crate) fn name(text: &str) -> TreeName {
    TreeName::parse(text).expect("a name")
}

/// A block of 4 KiB that no other number gives.
pub(crate) fn block(fill: u64) -> Buf {
    let mut buf = Buf::new(BLOCK);
    for (index, word) in buf.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&(fill * 1_000_003 + index as u64 + 1).to_le_bytes());
    }
    buf
}
