//! The nodes of all trees: those that have changed, in slots, and a cache of the others.
//!
//! A slot lives from the change that made it to the end of the checkpoint after the one that wrote
//! it. Until the first of these ends it has the node. Then the node moves to the cache, and the
//! slot only says where it was written, because nodes that were copied in the meantime may still
//! refer to it; these are written, and their entries set right, by the second.

use super::cache::{NodeCache, PtrMap};
use super::{Miss, Node, Ref, Target, empty_node};
use crate::store::format::{FANOUT, Ptr};

/// All nodes in memory.
#[derive(Debug)]
pub(in crate::store) struct Nodes {
    slots: Vec<Slot>,
    free: Vec<u32>,
    cache: NodeCache,
    /// Where slots are being written, so that the place leads back to the slot until the node has
    /// moved to the cache.
    placed: PtrMap<u32>,
    generation: u64,
    /// Slots that have a node.
    changed: usize,
    /// Whether the cache drops nothing for now.
    hold: bool,
}

#[derive(Debug)]
struct Slot {
    /// `None` once it has moved to the cache.
    node: Option<Box<Node>>,
    generation: u64,
    level: u8,
    /// Whether several trees have it, so that none may change it in place.
    shared: bool,
    /// Where it is being written, or was.
    place: Ptr,
    used: bool,
}

/// The way of a checkpoint through the slots below some roots, children before parents.
#[derive(Debug, Default)]
pub(in crate::store) struct Walk {
    roots: Vec<Ref>,
    path: Vec<(u32, usize)>,
}

impl Walk {
    /// Through everything below `roots`.
    pub(in crate::store) fn new(roots: Vec<Ref>) -> Self {
        Self {
            roots,
            path: Vec::new(),
        }
    }
}

impl Nodes {
    /// No nodes, and room for `leaves_max` leaves in the cache.
    pub(in crate::store) fn new(leaves_max: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            cache: NodeCache::new(leaves_max),
            placed: PtrMap::default(),
            generation: 1,
            changed: 0,
            hold: false,
        }
    }

    /// How many nodes have changed and are not written yet.
    pub(in crate::store) fn changed(&self) -> usize {
        self.changed
    }

    /// The node that `at` refers to, which is no hole.
    ///
    /// # Errors
    /// Where it is, if it is not in memory.
    pub(in crate::store) fn get(&mut self, at: Ref, level: u8) -> Result<&Node, Miss> {
        match self.resolve(at).target() {
            Target::Hole => unreachable!("a hole has no node"),
            Target::Slot(index) => Ok(self.node(index)),
            Target::Disk(ptr) => match self.placed.get(&ptr.bits()) {
                Some(index) => Ok(self.node(*index)),
                None => self.cache.get(ptr).ok_or(Miss { ptr, level }),
            },
        }
    }

    /// Makes the node that was read from `ptr` known.
    pub(in crate::store) fn insert(&mut self, ptr: Ptr, level: u8, node: Box<Node>) {
        if !self.placed.contains_key(&ptr.bits()) && !self.cache.contains(ptr) {
            self.cache.insert(ptr, level, node, self.hold);
        }
    }

    /// Whether the cache keeps everything from now on, for work that needs many nodes at once.
    pub(in crate::store) fn hold(&mut self, hold: bool) {
        self.hold = hold;
    }

    /// A slot with what `at` refers to, which may be changed in place by one tree.
    ///
    /// # Panics
    /// If the node is not in memory: whoever changes a tree has looked before.
    pub(in crate::store) fn own(&mut self, at: Ref, level: u8) -> u32 {
        let at = self.resolve(at);
        if let Target::Slot(index) = at.target() {
            let slot = &self.slots[index as usize];
            if slot.generation == self.generation && !slot.shared {
                return index;
            }
        }
        self.copy(at, level, false)
    }

    /// A slot with what `at` refers to, which may be changed in place for all trees that have it
    /// at the same position, and by none of them alone.
    ///
    /// # Panics
    /// As [`own`](Self::own).
    pub(in crate::store) fn own_for_all(&mut self, at: Ref, level: u8) -> u32 {
        let at = self.resolve(at);
        if let Target::Slot(index) = at.target()
            && self.slots[index as usize].generation == self.generation
        {
            return index;
        }
        self.copy(at, level, true)
    }

    /// The entries of a slot that was given out to be changed.
    pub(in crate::store) fn entries(&mut self, index: u32) -> &mut Node {
        let slot = &mut self.slots[index as usize];
        debug_assert_eq!(slot.generation, self.generation, "frozen");
        slot.node.as_mut().expect("not written yet")
    }

    /// Begins a new generation: no node that there is now changes any more. Gives the last
    /// generation that is frozen.
    pub(in crate::store) fn freeze(&mut self) -> u64 {
        self.generation += 1;
        self.generation - 1
    }

    /// `at`, or where it was written if it has moved to the cache.
    pub(in crate::store) fn resolve(&self, at: Ref) -> Ref {
        if let Target::Slot(index) = at.target() {
            let slot = &self.slots[index as usize];
            debug_assert!(slot.used, "slot {index} is in use");
            if slot.node.is_none() {
                return slot.place.into();
            }
        }
        at
    }

    /// The next slot on the `walk` that is not written yet. The caller [`place`](Self::place)s it
    /// before it asks for another.
    pub(in crate::store) fn next_to_write(&self, walk: &mut Walk) -> Option<u32> {
        loop {
            let Some((index, from)) = walk.path.pop() else {
                let root = walk.roots.pop()?;
                if let Some(slot) = self.unwritten(root) {
                    walk.path.push((slot, 0));
                }
                continue;
            };
            let slot = &self.slots[index as usize];
            let node = slot.node.as_ref().expect("not written yet");
            let child = match slot.level {
                0 => None,
                _ => (from..FANOUT).find_map(|entry| {
                    let child = self.unwritten(Ref::from_bits(node[entry]))?;
                    Some((entry, child))
                }),
            };
            match child {
                None => return Some(index),
                Some((entry, child)) => {
                    walk.path.push((index, entry + 1));
                    walk.path.push((child, 0));
                }
            }
        }
    }

    /// Decides that slot `index` is written at `place`, and gives the node as it is written:
    /// nothing in it refers to memory.
    pub(in crate::store) fn place(&mut self, index: u32, place: Ptr) -> &Node {
        let slot = &self.slots[index as usize];
        if slot.level > 0 {
            let mut node = slot.node.clone().expect("not written yet");
            for entry in node.iter_mut() {
                *entry = self.where_written(Ref::from_bits(*entry)).bits();
            }
            self.slots[index as usize].node = Some(node);
        }
        self.placed.insert(place.bits(), index);
        let slot = &mut self.slots[index as usize];
        slot.place = place;
        slot.node.as_ref().expect("not written yet")
    }

    /// Where `at` is, or is being written.
    ///
    /// # Panics
    /// If it is in memory only.
    pub(in crate::store) fn where_written(&self, at: Ref) -> Ptr {
        match at.target() {
            Target::Hole => Ptr::HOLE,
            Target::Disk(ptr) => ptr,
            Target::Slot(index) => {
                let slot = &self.slots[index as usize];
                assert!(
                    slot.used && !slot.place.is_hole(),
                    "children are written first"
                );
                slot.place
            }
        }
    }

    /// Ends a checkpoint of everything up to generation `frozen`: what it wrote moves to the cache,
    /// what it did not write is in no tree, and what the one before it wrote is referred to no
    /// more.
    pub(in crate::store) fn written(&mut self, frozen: u64) {
        self.placed.clear();
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            if !slot.used || slot.generation > frozen {
                continue;
            }
            let node = slot.node.take();
            let (place, level) = (slot.place, slot.level);
            self.changed -= usize::from(node.is_some());
            match node {
                Some(node) if !place.is_hole() => self.cache.insert(place, level, node, false),
                _ => {
                    slot.used = false;
                    self.free.push(u32::try_from(index).expect("made from one"));
                }
            }
        }
    }

    /// Forgets the nodes of freed segments.
    pub(in crate::store) fn forget(&mut self, freed: impl Fn(u32) -> bool) {
        self.cache.forget(freed);
    }

    /// The slot that is being written at `place`, if one is.
    pub(super) fn being_written(&self, place: Ptr) -> Option<u32> {
        self.placed.get(&place.bits()).copied()
    }

    fn node(&self, index: u32) -> &Node {
        self.slots[index as usize].node.as_ref().expect("resolved")
    }

    fn unwritten(&self, at: Ref) -> Option<u32> {
        match at.target() {
            Target::Slot(index) => {
                let slot = &self.slots[index as usize];
                debug_assert!(slot.used, "slot {index} is in use");
                (slot.node.is_some() && slot.place.is_hole()).then_some(index)
            }
            _ => None,
        }
    }

    /// A slot of the current generation with a copy of what `at` refers to.
    fn copy(&mut self, at: Ref, level: u8, shared: bool) -> u32 {
        let mut node = match at.is_hole() {
            true => empty_node(),
            false => {
                let node = self.get(at, level);
                Box::new(*node.expect("the path was loaded before"))
            }
        };
        if level > 0 {
            for entry in node.iter_mut() {
                *entry = self.resolve(Ref::from_bits(*entry)).bits();
            }
        }
        self.changed += 1;
        let slot = Slot {
            node: Some(node),
            generation: self.generation,
            level,
            shared,
            place: Ptr::HOLE,
            used: true,
        };
        match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = slot;
                index
            }
            None => {
                self.slots.push(slot);
                u32::try_from(self.slots.len() - 1).expect("bounded by memory")
            }
        }
    }
}
