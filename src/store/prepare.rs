//! What happens to blocks before the log takes them, outside of the core's lock: those that are all
//! zeroes are found, and those that are new are packed where their volume wants that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::format::root::Compression;
use super::format::{BLOCK, Codec};
use super::payload::{Packed, Payload, Piece};
use crate::base::Buf;
use crate::codec::pack;
use crate::env;

/// Blocks that share what is known of how well they pack: 64 KiB.
const REGION_BLOCKS: u64 = 16;

/// Regions that something is kept about; those whose numbers differ by this much share it.
const REGIONS: u64 = 4096;

/// After so many blocks that did not pack a region is left alone.
const TRIES: u8 = 32;

/// Writes of fewer blocks are left alone while there is more to do than time: what is written in
/// small pieces at random is often soon written again.
const SMALL: usize = 16;

/// Blocks that are packed by one reactor before another may take its turn: some 10 us.
const AT_A_TIME: usize = 4;

/// How the blocks of one volume have packed lately.
#[derive(Debug)]
pub(super) struct Experience {
    /// How many blocks of each region did not pack since one did.
    vain: Vec<AtomicU8>,
}

impl Default for Experience {
    fn default() -> Self {
        Self {
            vain: (0..REGIONS).map(|_| AtomicU8::new(0)).collect(),
        }
    }
}

impl Experience {
    /// Whether to try to pack block `lba`. A region that was given up is tried again after it was
    /// left alone for seven times as many blocks.
    fn is_promising(&self, lba: u64) -> bool {
        let vain = self.of(lba);
        let tried = vain.load(Ordering::Relaxed);
        if tried < TRIES {
            return true;
        }
        vain.store(tried.wrapping_add(1), Ordering::Relaxed);
        false
    }

    fn note(&self, lba: u64, packed: bool) {
        let vain = self.of(lba);
        let tried = match packed {
            true => 0,
            false => vain.load(Ordering::Relaxed).saturating_add(1),
        };
        vain.store(tried, Ordering::Relaxed);
    }

    fn of(&self, lba: u64) -> &AtomicU8 {
        let region = lba / REGION_BLOCKS % REGIONS;
        &self.vain[usize::try_from(region).expect("a few thousand")]
    }
}

/// How to prepare the blocks of one write.
#[derive(Clone, Debug)]
pub(super) struct How {
    pub(super) compression: Compression,
    pub(super) experience: Arc<Experience>,
    /// Whether the backend waits for this processor and not the other way round.
    pub(super) is_hurried: bool,
}

/// `count` blocks of `data` from its block `from` on; those that are all zeroes are not there.
pub(super) fn divide(data: &Arc<Buf>, from: usize, count: usize) -> Vec<Option<Payload>> {
    let block = |block| Piece::new(Arc::clone(data), block * BLOCK);
    let blocks = (from..from + count).map(block);
    blocks
        .map(|block| (!is_zero(block.bytes())).then(|| Payload::new(block)))
        .collect()
}

/// Packs blocks that are to be written from block `first` of the volume on, except for those that
/// are known. Where they are many, a reactor that has nothing to do packs some of them.
pub(super) async fn pack_new(how: How, first: u64, blocks: &mut [Option<Payload>]) {
    if how.leaves_raw(blocks.len()) {
        return;
    }
    let is_new = |payload: &&Payload| payload.known.is_none();
    let new = (first..).zip(blocks.iter());
    let new: Vec<(u64, Piece)> = new
        .filter_map(|(lba, payload)| Some((lba, payload.as_ref().filter(is_new)?.block.clone())))
        .collect();
    let packed = match new.len() <= AT_A_TIME {
        true => how.pack_all(&new),
        false => {
            let pieces = new.len().div_ceil(AT_A_TIME);
            let pack = move |piece: usize| {
                let end = new.len().min((piece + 1) * AT_A_TIME);
                how.pack_all(&new[piece * AT_A_TIME..end])
            };
            Box::pin(env::side_by_side(pieces, pack)).await.concat()
        }
    };
    let new = blocks.iter_mut().flatten();
    for (payload, packed) in new.filter(|one| one.known.is_none()).zip(packed) {
        payload.packed = packed;
    }
}

impl How {
    /// Whether blocks that are written together, so many, are left as they are.
    fn leaves_raw(&self, count: usize) -> bool {
        match self.compression {
            Compression::Off => true,
            Compression::Adaptive => self.is_hurried && count < SMALL,
            Compression::Lz4 | Compression::Zstd => false,
        }
    }

    fn pack_all(&self, blocks: &[(u64, Piece)]) -> Vec<Option<Packed>> {
        let blocks = blocks.iter();
        blocks
            .map(|(lba, block)| self.pack(*lba, block.bytes()))
            .collect()
    }

    fn pack(&self, lba: u64, bytes: &[u8]) -> Option<Packed> {
        match self.compression {
            Compression::Off => None,
            Compression::Adaptive => try_lz4(&self.experience, lba, bytes),
            Compression::Lz4 => packed(Codec::Lz4, bytes),
            Compression::Zstd => packed(Codec::Zstd, bytes),
        }
    }
}

fn try_lz4(experience: &Experience, lba: u64, bytes: &[u8]) -> Option<Packed> {
    if !experience.is_promising(lba) {
        return None;
    }
    let packed = packed(Codec::Lz4, bytes);
    experience.note(lba, packed.is_some());
    packed
}

fn packed(codec: Codec, bytes: &[u8]) -> Option<Packed> {
    pack(codec, bytes).map(|bytes| Packed { codec, bytes })
}

/// Whether all of a block is zero. Most that are not show it in the first or the last word.
fn is_zero(block: &[u8]) -> bool {
    let (head, tail) = (&block[..8], &block[BLOCK - 8..]);
    head == [0; 8] && tail == [0; 8] && block.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::sim;

    /// Noise, text and zeroes, a block each.
    fn three() -> Arc<Buf> {
        let mut buf = Buf::zeroed(3 * BLOCK);
        let mut state = 7_u64;
        for byte in &mut buf[..BLOCK] {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *byte = state.to_be_bytes()[0];
        }
        buf[BLOCK..2 * BLOCK].fill(b'a');
        Arc::new(buf)
    }

    fn packed_with(
        compression: Compression,
        experience: &Arc<Experience>,
    ) -> [Option<Option<Codec>>; 3] {
        let how = How {
            compression,
            experience: Arc::clone(experience),
            is_hurried: false,
        };
        let codec = |payload: &Option<Payload>| {
            let payload = payload.as_ref();
            payload.map(|payload| payload.packed.as_ref().map(|packed| packed.codec))
        };
        let mut prepared = divide(&three(), 0, 3);
        let prepared = sim::run(1, async move {
            pack_new(how, 5, &mut prepared).await;
            prepared
        });
        [0, 1, 2].map(|index| codec(&prepared[index]))
    }

    #[test]
    fn what_packs_is_packed_as_the_volume_wants() {
        let experience = Arc::default();
        for (compression, codec) in [
            (Compression::Adaptive, Some(Codec::Lz4)),
            (Compression::Lz4, Some(Codec::Lz4)),
            (Compression::Zstd, Some(Codec::Zstd)),
            (Compression::Off, None),
        ] {
            let expected = [Some(None), Some(codec), None];
            assert_eq!(
                packed_with(compression, &experience),
                expected,
                "{compression:?}"
            );
        }
    }

    #[test]
    fn a_region_that_does_not_pack_is_left_alone_and_tried_again() {
        let experience = Experience::default();
        let mut tried = 0;
        for _ in 0..1000 {
            if experience.is_promising(40) {
                experience.note(40, false);
                tried += 1;
            }
        }
        assert!((100..200).contains(&tried), "{tried}");
        assert!(experience.is_promising(4 * REGION_BLOCKS));
    }
}
