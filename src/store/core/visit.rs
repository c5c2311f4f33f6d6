//! The visit of a traversal to one leaf after the other, in all trees at once.
//!
//! Trees that keep data come before ghosts, so what a ghost is the first to lead to is its own: no
//! other tree has that node, and none ever will. There what it leads to keeps nothing alive, and
//! what lay in a segment that was moved from and has no new place is dead.

use std::collections::BTreeSet;

use super::collect::Traversal;
use super::write::room;
use super::{Core, TreeState};
use crate::store::format::root::{Compression, TreeKind};
use crate::store::format::{BLOCK, FANOUT, Ptr};
use crate::store::map::{Miss, Ref, Target, first_leaf, span};
use crate::store::space::TreeSpace;
use crate::store::tuning::Promise;

/// A node on the way to a leaf, in one tree or in several.
#[derive(Clone, Copy, Debug)]
struct SeenNode {
    old: Ref,
    new: Ref,
    wish: Compression,
    /// Whether only ghosts lead to it.
    is_ghost: bool,
}

impl SeenNode {
    fn is(&self, at: Ref) -> bool {
        self.old == at || self.new == at
    }
}

/// A node to be visited for a tree.
#[derive(Clone, Copy, Debug)]
struct Visited {
    at: Ref,
    wish: Compression,
    is_ghost: bool,
}

/// The nodes of each level on the way to one leaf.
type Seen = Vec<Vec<SeenNode>>;

impl Core {
    pub(super) fn visit(&mut self, traversal: &mut Traversal, leaves: usize) -> Result<bool, Miss> {
        for _ in 0..leaves {
            // What is changed here is written by the next checkpoint, which has only so much room.
            if self.nodes.changed() >= self.reserve.changed_max {
                return Ok(false);
            }
            let Some(leaf) = self.next_leaf(traversal.cursor)? else {
                return Ok(true);
            };
            self.nodes.hold(true);
            let visited = self.visit_leaf(traversal, leaf);
            if visited.is_ok() {
                self.nodes.hold(false);
            }
            visited?;
            traversal.cursor = leaf + 1;
        }
        Ok(false)
    }

    /// The first leaf from `from` on that any tree has.
    fn next_leaf(&mut self, from: u64) -> Result<Option<u64>, Miss> {
        let mut next: Option<u64> = None;
        let trees: Vec<(Ref, u8)> = self
            .trees
            .values()
            .map(|tree| (tree.root, tree.height))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        for (root, height) in trees {
            let found = self.next_leaf_below(root, height - 1, 0, from, next)?;
            next = match (next, found) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        Ok(next)
    }

    /// The first leaf from `from` on, and before `limit`, below `at`, whose first leaf is `base`.
    fn next_leaf_below(
        &mut self,
        at: Ref,
        level: u8,
        base: u64,
        from: u64,
        limit: Option<u64>,
    ) -> Result<Option<u64>, Miss> {
        let end = base + span(level);
        if at.is_hole() || end <= from || limit.is_some_and(|limit| limit <= base) {
            return Ok(None);
        }
        if level == 0 {
            return Ok(Some(base));
        }
        let width = span(level - 1);
        let first = from.saturating_sub(base) / width;
        let node = *self.nodes.get(at, level)?;
        for index in first..FANOUT as u64 {
            let place = usize::try_from(index).expect("below 512");
            let child = Ref::from_bits(node[place]);
            if child.is_hole() {
                continue;
            }
            let base = first_leaf(base, level, index);
            let found = self.next_leaf_below(child, level - 1, base, from, limit)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Visits leaf `leaf` of every tree that has it.
    fn visit_leaf(&mut self, traversal: &mut Traversal, leaf: u64) -> Result<(), Miss> {
        let has_leaf = |tree: &&TreeState| span(tree.height - 1) > leaf;
        let (ghosts, others): (Vec<&TreeState>, Vec<_>) = self
            .trees
            .values()
            .filter(has_leaf)
            .partition(|tree| tree.is_ghost());
        let trees: Vec<(u32, Ref, u8)> = others
            .into_iter()
            .chain(ghosts)
            .map(|tree| (tree.id, tree.root, tree.height))
            .collect();
        // First everything that may be missing, so that what follows is done at once.
        let mut leaves: Vec<(u32, Ref)> = Vec::with_capacity(trees.len());
        for (id, root, height) in &trees {
            let at = self.find_leaf(*root, *height, leaf)?;
            leaves.push((*id, self.nodes.resolve(at)));
        }
        let levels = trees.iter().map(|(.., height)| usize::from(*height)).max();
        let mut seen: Seen = vec![Vec::new(); levels.unwrap_or(0)];
        for (id, root, height) in trees {
            let (tree, level) = (&self.trees[&id], height - 1);
            let is_ghost = tree.is_ghost();
            let at = Visited {
                at: root,
                wish: self.wish(tree),
                is_ghost,
            };
            if is_ghost && self.is_stuck(traversal, &seen[0], (root, level), leaf) {
                self.give_up_ghost(id);
                continue;
            }
            let new = self.visit_node(traversal, &mut seen, at, level, leaf);
            if new != root {
                self.trees.get_mut(&id).expect("listed above").root = new;
                self.changed = true;
            }
        }
        let spaces = self.count_entries(traversal, &seen[0]);
        for (id, at) in leaves {
            // What a tree shares with others counts for each of them.
            if let Some(index) = seen[0].iter().position(|known| known.is(at))
                && let Some(space) = traversal.trees.get_mut(&id)
            {
                space.add(spaces[index]);
            }
        }
        Ok(())
    }

    /// How what a tree has is to be packed: a snapshot as its volume, a ghost has no say.
    fn wish(&self, tree: &TreeState) -> Compression {
        let of = match tree.kind {
            TreeKind::Ghost => return Compression::HARDEST,
            TreeKind::Snapshot => self.trees.get(&tree.parent),
            TreeKind::Volume => None,
        };
        of.unwrap_or(tree).properties.compression
    }

    /// The node of a tree for `leaf`, or a hole; it and all on the way are in memory then.
    fn find_leaf(&mut self, root: Ref, height: u8, leaf: u64) -> Result<Ref, Miss> {
        let mut at = root;
        for level in (0..height).rev() {
            if at.is_hole() {
                break;
            }
            let node = self.nodes.get(at, level)?;
            if level > 0 {
                at = Ref::from_bits(node[entry(leaf, level)]);
            }
        }
        Ok(at)
    }

    /// Counts what these different nodes for one leaf lead to. Two of them may lead to the same
    /// place at the same block, and that counts once. What only ghosts lead to is not alive. Gives
    /// what each node holds.
    fn count_entries(&mut self, traversal: &mut Traversal, leaves: &[SeenNode]) -> Vec<TreeSpace> {
        let mut places: Vec<(u64, Compression)> = Vec::with_capacity(leaves.len() * FANOUT);
        let mut spaces = vec![TreeSpace::default(); leaves.len()];
        for (leaf, space) in leaves.iter().zip(&mut spaces) {
            let node = self.nodes.get(leaf.new, 0).expect("visited before");
            let used = node.iter().filter(|bits| **bits != 0);
            if leaf.is_ghost {
                used.for_each(|bits| traversal.haunt(Ptr::from_bits(*bits)));
                continue;
            }
            for bits in used {
                places.push((*bits, leaf.wish));
                space.mapped += BLOCK as u64;
                space.stored += Ptr::from_bits(*bits).len() as u64;
            }
            traversal.space.mapped += space.mapped;
        }
        // Of the same place the gentlest wish comes first, and it stays.
        places.sort_unstable_by_key(|(bits, wish)| (*bits, wish.hardness()));
        places.dedup_by_key(|(bits, _)| *bits);
        for (bits, wish) in places {
            let ptr = Ptr::from_bits(bits);
            if traversal.told_apart.is_new(ptr) {
                traversal.gain(ptr, room(ptr));
                traversal.space.unique += BLOCK as u64;
                traversal.space.stored += ptr.len() as u64;
            }
            if traversal.victims.contains(&ptr.seg()) {
                let listed = traversal.listed.entry(ptr).or_insert(wish);
                *listed = listed.gentler(wish);
            }
        }
        spaces
    }

    /// Visits the node `at` and what is below it on the way to `leaf`; gives what it is now.
    fn visit_node(
        &mut self,
        traversal: &mut Traversal,
        seen: &mut Seen,
        visited: Visited,
        level: u8,
        leaf: u64,
    ) -> Ref {
        let Visited { at, wish, is_ghost } = visited;
        if at.is_hole() {
            return at;
        }
        let at = self.nodes.resolve(at);
        let mut known = seen[usize::from(level)].iter_mut();
        if let Some(known) = known.find(|known| known.is(at)) {
            // What is below is shared as well.
            let gentler = known.wish.gentler(wish);
            let is_changed = known.wish != gentler;
            known.wish = gentler;
            let new = known.new;
            if is_changed && level > 0 {
                let node = self.nodes.get(new, level).expect("looked for before");
                let child = Ref::from_bits(node[entry(leaf, level)]);
                let below = Visited {
                    at: child,
                    ..visited
                };
                self.visit_node(traversal, seen, below, level - 1, leaf);
            }
            return new;
        }
        let mut new = at;
        if self.is_leaving(traversal, at) {
            new = Ref::slot(self.nodes.own_for_all(at, level));
        }
        if level == 0 {
            new = self.visit_entries(traversal, &seen[0], new, is_ghost);
        } else {
            let place = entry(leaf, level);
            let node = self.nodes.get(new, level).expect("looked for before");
            let child = Ref::from_bits(node[place]);
            let below = Visited {
                at: child,
                ..visited
            };
            let new_child = self.visit_node(traversal, seen, below, level - 1, leaf);
            if new_child != child {
                let slot = self.nodes.own_for_all(new, level);
                self.nodes.entries(slot)[place] = new_child.bits();
                new = Ref::slot(slot);
            }
        }
        traversal.count_node(new, level, leaf);
        seen[usize::from(level)].push(SeenNode {
            old: at,
            new,
            wish,
            is_ghost,
        });
        new
    }

    /// Visits the entries of the leaf `at`, beside which the others of `seen` were; gives what it
    /// is now.
    fn visit_entries(
        &mut self,
        traversal: &mut Traversal,
        seen: &[SeenNode],
        at: Ref,
        is_ghost: bool,
    ) -> Ref {
        let node = *self.nodes.get(at, 0).expect("looked for before");
        let has_room = self.has_room_for_nodes();
        let mut slot = None;
        for (index, bits) in node.into_iter().enumerate() {
            let old = Ptr::from_bits(bits);
            if old.is_hole() || old.is_dead() {
                continue;
            }
            let is_moved = has_room
                && traversal.moved_from.contains(&old.seg())
                && !(self.tuning.breaks(Promise::Moves) && index % 7 == 3);
            let new = match is_moved {
                true => match traversal.moves.get(&bits) {
                    Some(new) => *new,
                    None if is_ghost && !self.is_kept(seen, index, bits) => Ptr::DEAD,
                    None => old,
                },
                false => old,
            };
            if new != old {
                let slot = *slot.get_or_insert_with(|| {
                    traversal.rewritten += 1;
                    self.nodes.own_for_all(at, 0)
                });
                self.nodes.entries(slot)[index] = new.bits();
            }
        }
        slot.map_or(at, Ref::slot)
    }

    /// Whether another leaf than a ghost's has this entry: what could not be moved is not gone.
    fn is_kept(&mut self, seen: &[SeenNode], index: usize, bits: u64) -> bool {
        if self.tuning.breaks(Promise::Ghosts) {
            return true;
        }
        let mut others = seen.iter().filter(|leaf| !leaf.is_ghost);
        others.any(|leaf| self.nodes.get(leaf.new, 0).expect("visited before")[index] == bits)
    }

    /// Whether a leaf that only ghosts have keeps a segment from being freed, and there is no
    /// space to change that.
    fn is_stuck(
        &mut self,
        traversal: &Traversal,
        seen: &[SeenNode],
        (root, top): (Ref, u8),
        leaf: u64,
    ) -> bool {
        if traversal.haunted.is_empty() || self.has_room_for_nodes() {
            return false;
        }
        let mut at = root;
        for level in (1..=top).rev() {
            if at.is_hole() {
                break;
            }
            let node = self.nodes.get(at, level).expect("looked for before");
            at = Ref::from_bits(node[entry(leaf, level)]);
        }
        let at = self.nodes.resolve(at);
        if at.is_hole() || seen.iter().any(|known| !known.is_ghost && known.is(at)) {
            return false;
        }
        let node = self.nodes.get(at, 0).expect("looked for before");
        let mut places = node.iter().map(|bits| Ptr::from_bits(*bits));
        places.any(|ptr| traversal.haunted.contains(&ptr.seg()))
    }

    fn is_leaving(&self, traversal: &Traversal, at: Ref) -> bool {
        match at.target() {
            Target::Disk(ptr) => traversal.leaving.contains(&ptr.seg()),
            Target::Slot(_) | Target::Hole => false,
        }
    }
}

impl Traversal {
    /// Says nothing about this segment.
    pub(super) fn spare(&mut self, seg: u32) {
        self.spared.insert(seg);
    }

    /// Notes that a ghost leads there.
    fn haunt(&mut self, ptr: Ptr) {
        if let Some(has_ghosts) = self.has_ghosts.get_mut(ptr.seg() as usize) {
            *has_ghosts = true;
        }
    }

    pub(super) fn gain(&mut self, ptr: Ptr, bytes: u32) {
        if let Some(live) = self.live.get_mut(ptr.seg() as usize) {
            *live = live.saturating_add(bytes);
        }
    }

    /// Counts a node once, although the way to every leaf below it leads through it.
    fn count_node(&mut self, at: Ref, level: u8, leaf: u64) {
        let Target::Disk(ptr) = at.target() else {
            return;
        };
        let position = leaf / span(level);
        while self.counted.len() <= usize::from(level) {
            self.counted.push((0, BTreeSet::new()));
        }
        let (current, counted) = &mut self.counted[usize::from(level)];
        if *current != position {
            *current = position;
            counted.clear();
        }
        if counted.insert(at) {
            self.gain(ptr, room(ptr));
        }
    }
}

/// The entry on the way to `leaf` in a node of this level, at least 1.
fn entry(leaf: u64, level: u8) -> usize {
    let index = leaf / span(level - 1) % FANOUT as u64;
    usize::try_from(index).expect("below 512")
}
