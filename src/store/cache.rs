//! Blocks that were read, as far as memory goes.
//!
//! A block is known by where it lies, and what lies there never changes, so nothing is ever
//! invalidated and all clones of a volume share what they have in common. The sequence number of
//! the segment is part of the key, so that what a segment held in an earlier life is not found.
//! What is dropped is chosen by the clock algorithm.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::format::{BLOCK, Ptr, Seq};
use super::map::PtrHasher;

/// Locks that the cache is divided by, so that reactors seldom meet.
const SHARDS: usize = 16;

/// Blocks whose memory is taken at once: 256 KiB. Taken one by one, each costs two system calls on
/// all threads but the first, where an allocator's heap grows by single pages.
const SLAB_BLOCKS: usize = 64;

/// A cache of blocks.
#[derive(Debug)]
pub(super) struct BlockCache {
    shards: Vec<Mutex<Shard>>,
    blocks_max: usize,
}

#[derive(Debug, Default)]
struct Shard {
    index: HashMap<(u64, u64), usize, BuildHasherDefault<PtrHasher>>,
    /// What is in each place.
    places: Vec<Cached>,
    /// The memory of the places, [`SLAB_BLOCKS`] in each.
    slabs: Vec<Box<[u8]>>,
    hand: usize,
    hits: u64,
    misses: u64,
}

#[derive(Debug)]
struct Cached {
    key: (u64, u64),
    used: bool,
}

impl BlockCache {
    /// A cache of `bytes` bytes; none at all for less than a block a shard.
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            blocks_max: bytes / BLOCK / SHARDS,
        }
    }

    /// Whether it keeps anything.
    pub(super) fn is_in_use(&self) -> bool {
        self.blocks_max > 0
    }

    /// Copies the block at `ptr`, in a segment numbered `seq`, to `to`, if it is here.
    pub(super) fn get(&self, ptr: Ptr, seq: Seq, to: &mut [u8]) -> bool {
        let mut shard = self.shard(ptr);
        let Some(index) = shard.index.get(&(ptr.bits(), seq.bits())).copied() else {
            shard.misses += 1;
            return false;
        };
        shard.hits += 1;
        shard.places[index].used = true;
        to.copy_from_slice(shard.block(index));
        true
    }

    /// How often a block was here, and how often it was not.
    pub(super) fn hits_and_misses(&self) -> (u64, u64) {
        let count = |shard: &Mutex<Shard>| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            (shard.hits, shard.misses)
        };
        let counts = self.shards.iter().map(count);
        counts.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    }

    /// Keeps the block at `ptr`, in a segment numbered `seq`.
    pub(super) fn put(&self, ptr: Ptr, seq: Seq, block: &[u8]) {
        if self.blocks_max == 0 {
            return;
        }
        let key = (ptr.bits(), seq.bits());
        let mut shard = self.shard(ptr);
        if shard.index.contains_key(&key) {
            return;
        }
        let index = match shard.places.len() < self.blocks_max {
            true => shard.add(key, self.blocks_max),
            false => {
                let index = shard.victim();
                let old = std::mem::replace(&mut shard.places[index].key, key);
                shard.index.remove(&old);
                index
            }
        };
        shard.block(index).copy_from_slice(block);
        shard.index.insert(key, index);
    }

    fn shard(&self, ptr: Ptr) -> MutexGuard<'_, Shard> {
        let spread = ptr.bits().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60;
        let shard = &self.shards[usize::try_from(spread).expect("below 16")];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// The memory of a place.
    fn block(&mut self, index: usize) -> &mut [u8] {
        let from = index % SLAB_BLOCKS * BLOCK;
        &mut self.slabs[index / SLAB_BLOCKS][from..from + BLOCK]
    }

    /// Adds a place to those that there are, of `most` that there may be.
    fn add(&mut self, key: (u64, u64), most: usize) -> usize {
        let index = self.places.len();
        if index.is_multiple_of(SLAB_BLOCKS) {
            let blocks = SLAB_BLOCKS.min(most - index);
            self.slabs.push(vec![0; blocks * BLOCK].into_boxed_slice());
        }
        self.places.push(Cached { key, used: false });
        index
    }

    /// The block to drop: the next one that was not used since the hand last came by.
    fn victim(&mut self) -> usize {
        loop {
            self.hand = (self.hand + 1) % self.places.len();
            if !std::mem::replace(&mut self.places[self.hand].used, false) {
                return self.hand;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_found_by_its_place_and_its_segment_s_life() {
        let cache = BlockCache::new(1 << 20);
        let (ptr, seq) = (Ptr::raw(7, 4112), Seq::new(1, 1));
        cache.put(ptr, seq, &[5; BLOCK]);
        let mut block = [0; BLOCK];
        assert!(cache.get(ptr, seq, &mut block) && block == [5; BLOCK]);
        assert!(!cache.get(ptr, Seq::new(1, 2), &mut block));
        assert!(!cache.get(Ptr::raw(7, 0), seq, &mut block));
    }

    #[test]
    fn a_full_cache_keeps_what_is_used_and_no_more_than_it_may() {
        let cache = BlockCache::new(SHARDS * 8 * BLOCK);
        let seq = Seq::new(1, 1);
        let ptr = |number: u32| Ptr::raw(1 + number, 0);
        let mut block = [0; BLOCK];
        for number in 0..1000 {
            cache.put(ptr(number), seq, &[1; BLOCK]);
            cache.put(ptr(0), seq, &[1; BLOCK]);
            assert!(cache.get(ptr(0), seq, &mut block), "{number}");
        }
        let kept = (0..1000).filter(|number| cache.get(ptr(*number), seq, &mut block));
        assert!(kept.count() <= SHARDS * 8);
    }
}
