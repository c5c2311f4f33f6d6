//! Nodes as they are on the backend, as far as memory goes.
//!
//! A node on the backend never changes, so nothing here is ever invalidated, except that a freed
//! segment takes its nodes along. Leaves are dropped by the clock algorithm: a hand goes round and
//! drops what was not used since it last came by. Higher nodes stay: they are one in 512.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::Node;
use crate::store::format::Ptr;

/// Pointers are spread well enough by one multiplication.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::store) struct PtrHasher(u64);

impl Hasher for PtrHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// A map whose keys are pointers.
pub(in crate::store) type PtrMap<T> = HashMap<u64, T, BuildHasherDefault<PtrHasher>>;

/// Nodes by where they lie.
#[derive(Debug, Default)]
pub(super) struct NodeCache {
    nodes: PtrMap<Cached>,
    /// The leaves, in the order of the clock.
    clock: Vec<u64>,
    hand: usize,
    leaves_max: usize,
}

#[derive(Debug)]
struct Cached {
    node: Box<Node>,
    level: u8,
    used: bool,
}

impl NodeCache {
    /// A cache of `leaves_max` leaves.
    pub(super) fn new(leaves_max: usize) -> Self {
        Self {
            leaves_max,
            ..Self::default()
        }
    }

    pub(super) fn get(&mut self, ptr: Ptr) -> Option<&Node> {
        let cached = self.nodes.get_mut(&ptr.bits())?;
        cached.used = true;
        Some(&cached.node)
    }

    pub(super) fn contains(&self, ptr: Ptr) -> bool {
        self.nodes.contains_key(&ptr.bits())
    }

    /// Keeps `node`; drops leaves down to the limit first, unless told to `hold` on to all.
    pub(super) fn insert(&mut self, ptr: Ptr, level: u8, node: Box<Node>, hold: bool) {
        let cached = Cached {
            node,
            level,
            used: true,
        };
        if level == 0 && !hold {
            while self.clock.len() >= self.leaves_max.max(1) {
                self.drop_one();
            }
        }
        let known = self.nodes.insert(ptr.bits(), cached).is_some();
        if level == 0 && !known {
            self.clock.push(ptr.bits());
        }
    }

    /// Drops the nodes in segments for which `freed` holds.
    pub(super) fn forget(&mut self, freed: impl Fn(u32) -> bool) {
        let stays = |bits: u64| !freed(Ptr::from_bits(bits).seg());
        self.nodes.retain(|bits, _| stays(*bits));
        self.clock.retain(|bits| stays(*bits));
        self.hand = 0;
    }

    fn drop_one(&mut self) {
        loop {
            self.hand %= self.clock.len();
            let bits = self.clock[self.hand];
            let cached = self
                .nodes
                .get_mut(&bits)
                .expect("the clock lists what is there");
            debug_assert_eq!(cached.level, 0);
            if !std::mem::replace(&mut cached.used, false) {
                self.nodes.remove(&bits);
                self.clock.swap_remove(self.hand);
                return;
            }
            self.hand += 1;
        }
    }
}
