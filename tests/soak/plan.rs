//! What a world is like, drawn from its seed: its disk, its volumes, its users, its bad luck.

use std::ops::Range;
use std::time::Duration;

use bedplate::codec::Cipher;
use bedplate::store::{Compression, Dedup, Tuning};

use super::chance::{Chance, index};
use super::content::BLOCK;

/// The size of a segment in these worlds: the smallest that there is.
pub(crate) const SEG_BYTES: u64 = 128 << 10;

/// What a store keeps at its start.
pub(crate) const SYSTEM_BYTES: u64 = 2 << 20;

/// Entries of a node, in blocks: where trees have their seams.
const NODE_BLOCKS: u64 = 512;

/// A world.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The disk's block, in bytes.
    pub(crate) block: u64,
    /// Segments that can hold data.
    pub(crate) segments: u64,
    pub(crate) tuning: Tuning,
    pub(crate) volumes: Vec<VolumePlan>,
    /// Tasks that read and write.
    pub(crate) clients: u64,
    /// Tasks that do admin operations.
    pub(crate) admins: u64,
    /// Tasks that keep bitmaps.
    pub(crate) keepers: u64,
    /// Tasks that have everything written again.
    pub(crate) renewers: u64,
    /// How often the store is opened and used.
    pub(crate) lives: u64,
    /// Operations of all clients in a life, at most.
    pub(crate) operations_max: u64,
    /// Changes of which one is a flush, about.
    pub(crate) changes_per_flush: u64,
    /// Whether calls of the disk fail now and then.
    pub(crate) faults: bool,
    /// Whether reads that fail are answered with other data instead of an error.
    pub(crate) astray: bool,
    /// How much of the operations are reads, in per cent.
    pub(crate) reads: u64,
    /// Clients wait up to so many microseconds between operations.
    pub(crate) think_us: u64,
    /// The longest write, in blocks.
    pub(crate) write_blocks_max: u64,
    /// How many of 24 blocks that are written were written before.
    pub(crate) repeats: u64,
    /// How the store is encrypted, if it is.
    pub(crate) cipher: Option<Cipher>,
}

/// A volume that a world begins with.
#[derive(Clone, Debug)]
pub(crate) struct VolumePlan {
    pub(crate) bytes: u64,
    pub(crate) clusters: Vec<Range<u64>>,
    pub(crate) write_through: bool,
    pub(crate) compression: Compression,
    pub(crate) dedup: Dedup,
}

impl Plan {
    /// The world of `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed, 0);
        let segments = chance.between(24, 96);
        // Few worlds are long or full: these take a hundred times as long as the others.
        let is_long = chance.one_in(40);
        let is_full = chance.one_in(10);
        // Blocks that fit, when what the store keeps back is left alone.
        let room = (segments - 12) * 31;
        let used = match is_full {
            true => room * chance.between(70, 95) / 100,
            false => room * chance.between(1, 40) / 100,
        };
        let count = chance.between(1, 4);
        let volumes = (0..count).map(|_| VolumePlan::new(&mut chance, (used / count).max(4)));
        let volumes = volumes.collect();
        Self {
            block: chance.pick(&[512, 4096]),
            segments,
            tuning: tuning(&mut chance),
            volumes,
            clients: chance.between(1, 6),
            admins: chance.below(3),
            // Drawn apart, so that a world without is the same as before there were any.
            keepers: Chance::new(seed, 3).below(2),
            renewers: u64::from(Chance::new(seed, 4).one_in(4)),
            lives: chance.between(2, 4),
            operations_max: match (is_long, is_full) {
                (true, _) => 1500,
                (_, true) => 400,
                _ => 10 + chance.small(120),
            },
            changes_per_flush: chance.pick(&[2, 5, 20, 100]),
            faults: chance.one_in(6),
            astray: chance.one_in(2),
            reads: chance.pick(&[10, 25, 50]),
            think_us: chance.pick(&[0, 0, 500, 5000]),
            write_blocks_max: match is_full {
                true => 64,
                false => chance.pick(&[1, 2, 4, 16, 64]),
            },
            repeats: chance.pick(&[2, 2, 8, 16]),
            cipher: match chance.below(3) {
                0 => Some(Cipher::Xts),
                1 => Some(Cipher::Gcm),
                _ => None,
            },
        }
    }

    /// The size of the disk, in bytes.
    pub(crate) fn disk_bytes(&self) -> u64 {
        SYSTEM_BYTES + self.segments * SEG_BYTES
    }

    /// What the store has room for, in bytes, if it keeps back so many: without the segments that
    /// are being written to by the log, by checkpoints and by garbage collection.
    pub(crate) fn room(&self, reserve: u64) -> u64 {
        (self.segments * SEG_BYTES).saturating_sub(reserve + 8 * SEG_BYTES)
    }
}

impl VolumePlan {
    /// A volume in which about `used` blocks are used.
    fn new(chance: &mut Chance, used: u64) -> Self {
        // One level of nodes, two or three.
        let blocks = match chance.below(4) {
            0 => used.max(8),
            1 => chance.between(NODE_BLOCKS, 40 * NODE_BLOCKS).max(used),
            2 => chance
                .between(NODE_BLOCKS, NODE_BLOCKS * NODE_BLOCKS)
                .max(used),
            _ => chance.between(NODE_BLOCKS * NODE_BLOCKS, 4 << 20),
        };
        let short = chance.pick(&[0, 0, 0, 512, 2048]);
        Self {
            bytes: blocks * BLOCK as u64 - short,
            clusters: clusters(chance, blocks, used),
            write_through: chance.one_in(8),
            compression: Compression::ALL[index(chance.below(4))],
            dedup: chance.pick(&[Dedup::On, Dedup::On, Dedup::Verify, Dedup::Off]),
        }
    }
}

/// Ranges of a volume of `blocks` blocks that hold about `used` blocks together. They lie at its
/// ends and across the seams of its nodes.
fn clusters(chance: &mut Chance, blocks: u64, used: u64) -> Vec<Range<u64>> {
    if blocks <= used + 8 {
        return vec![Range {
            start: 0,
            end: blocks,
        }];
    }
    let count = chance.between(1, 5).min(used);
    let len = (used / count).max(1);
    let mut found = Vec::new();
    for _ in 0..count {
        let middle = match chance.below(5) {
            0 => 0,
            1 => blocks,
            2 => chance.below(blocks / NODE_BLOCKS + 1) * NODE_BLOCKS,
            3 => NODE_BLOCKS * NODE_BLOCKS,
            _ => chance.below(blocks),
        };
        let start = middle.saturating_sub(len / 2).min(blocks - len);
        found.push(start..start + len);
    }
    found
}

/// Tuning with which what is rare elsewhere is common.
fn tuning(chance: &mut Chance) -> Tuning {
    Tuning {
        leaf_cache: index(chance.pick(&[4, 16, 64, 1024])) * BLOCK,
        block_cache: index(chance.pick(&[0, 4, 64, 1024])) * BLOCK,
        dedup_index: index(chance.pick(&[0, 2, 16, 256, 256])) << 10,
        checkpoint_bytes: chance.pick(&[1, 3, 8, 1000]) * SEG_BYTES,
        checkpoint_interval: Duration::from_millis(chance.pick(&[5, 50, 500, 60_000])),
        batch_bytes: u32::try_from(chance.pick(&[1, 2, 4, 16])).expect("small") * 4096,
        batches_in_flight: index(chance.between(1, 4)),
        ..Tuning::default()
    }
}
