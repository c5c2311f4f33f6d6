//! Garbage collection: finding what is reachable, and moving it together.
//!
//! Nothing counts references. A *traversal* visits every leaf of every tree once, in the order of
//! blocks, all trees in lockstep: nodes are shared only at the same position, so that a node which
//! several trees have is seen once and changed for all of them. At each leaf it
//!
//! 1. replaces entries into the segments that the pass before has moved, as long as there is space
//!    for the nodes that this changes,
//! 2. counts what is reachable in each segment,
//! 3. lists what has to be moved out of the next victims, and
//! 4. takes into memory the nodes that lie in metadata segments which are to be freed, so that the
//!    next checkpoint writes them elsewhere.
//!
//! A segment in which a whole traversal has found nothing is doomed: free once a checkpoint that
//! begins later is durable. Why that is safe although volumes are written, copied and deleted
//! meanwhile: a block becomes reachable at a place only by a fresh write, into a segment taken
//! after the traversal began and so not judged by it; by copying a root, which leads to the same
//! places at the same positions, and these have been seen or are yet to come, for the copy as for
//! the original; or because deduplication finds it, and then its segment is not judged either.
//!
//! Nothing of this is in the log. A crash before the checkpoint loses work and no data.

use std::collections::{BTreeMap, BTreeSet};

use super::write::room;
use super::{Core, Load};
use crate::store::format::{CHUNK_ALIGN, FANOUT, Ptr, SegState};
use crate::store::map::{Miss, PtrMap, Ref, Target, first_leaf, span};
use crate::store::tuning::Promise;

/// Where chunks went: from the old place to the new one.
pub(in crate::store) type Moves = PtrMap<Ptr>;

/// Entries of a list of moves at most: 64 MiB of it.
pub(super) const MOVES_MAX: u64 = 2 << 20;

/// Memory for telling chunks apart: what 8192 segments of the usual size take, with 32 GiB of
/// chunks.
const TOLD_APART_BYTES: usize = 256 << 20;

/// A visit of every leaf of every tree.
#[derive(Debug)]
pub(in crate::store) struct Traversal {
    /// The next leaf to visit, counted from 0.
    cursor: u64,
    /// What is reachable, by segment, in bytes.
    live: Vec<u32>,
    /// Higher nodes that were counted and may be met again, by level.
    counted: Vec<(u64, BTreeSet<Ref>)>,
    /// Segments taken from here on are not judged.
    first_counter: u64,
    /// Segments that are being written to, though taken before, and those that blocks have begun
    /// to refer to which it may have passed.
    spared: BTreeSet<u32>,
    /// Which chunks were counted of segments where several blocks may have the same one: a bit for
    /// each place where one can begin.
    told_apart: BTreeMap<u32, Vec<u64>>,
    /// What the pass before has moved.
    moves: Moves,
    moved_from: BTreeSet<u32>,
    /// Data segments whose content is to be moved next.
    victims: BTreeSet<u32>,
    /// Metadata segments whose nodes are to be written elsewhere.
    leaving: BTreeSet<u32>,
    /// What is reachable in the victims.
    listed: BTreeSet<Ptr>,
    /// Leaves that had to be written again because something they point to has moved.
    rewritten: usize,
}

/// What a traversal begins with.
#[derive(Debug, Default)]
pub(in crate::store) struct Pass {
    /// What the pass before has moved, and out of which segments.
    pub(in crate::store) moves: Moves,
    pub(in crate::store) moved_from: BTreeSet<u32>,
    /// Segments that garbage collection writes to.
    pub(in crate::store) open: BTreeSet<u32>,
    /// How many bytes there is room for in the emptiest of them.
    pub(in crate::store) open_room: u32,
}

/// What a traversal has found.
#[derive(Debug, Default)]
pub(in crate::store) struct Collected {
    /// How many segments it has doomed.
    pub(in crate::store) doomed: usize,
    /// What to move.
    pub(in crate::store) listed: Vec<Ptr>,
    /// Whether nodes have been taken into memory to be written elsewhere.
    pub(in crate::store) leaving: bool,
}

/// What there is to do for one leaf: the node of each level on the way to it, in one tree.
type Seen = Vec<Vec<(Ref, Ref)>>;

impl Core {
    /// Begins a traversal.
    pub(in crate::store) fn begin_traversal(&mut self, pass: Pass) {
        let mut spared: BTreeSet<u32> = self.log.segs().into_iter().collect();
        spared.extend(self.open_meta());
        spared.extend(&pass.open);
        let first_counter = self.table.next_counter();
        let (victims, leaving) = self.choose(&spared, &pass);
        self.emptied = victims.union(&pass.moved_from).copied().collect();
        let told_apart = self.tell_apart();
        for page in 0..self.table.pages() {
            let at = self.table_places().nth(page).unwrap_or(Ptr::HOLE);
            if leaving.contains(&at.seg()) {
                self.table.move_page(page);
            }
        }
        let levels = self
            .trees
            .values()
            .map(|tree| tree.height)
            .max()
            .unwrap_or(1);
        self.traversal = Some(Traversal {
            cursor: 0,
            live: vec![0; self.shape().segs() as usize],
            counted: vec![(0, BTreeSet::new()); usize::from(levels) + 2],
            first_counter,
            spared,
            told_apart,
            moves: pass.moves,
            moved_from: pass.moved_from,
            victims,
            leaving,
            listed: BTreeSet::new(),
            rewritten: 0,
        });
    }

    /// Visits up to `leaves` leaves; `true` when there are no more.
    ///
    /// # Errors
    /// A node that has to be read first.
    pub(in crate::store) fn step_traversal(&mut self, leaves: usize) -> Result<bool, Load> {
        let mut traversal = self.traversal.take().expect("begun");
        let stepped = self.visit(&mut traversal, leaves);
        self.traversal = Some(traversal);
        stepped.map_err(|miss| self.load(miss))
    }

    /// Gives the traversal up; nothing is lost but the work.
    pub(in crate::store) fn abandon_traversal(&mut self) {
        self.traversal = None;
        self.nodes.hold(false);
    }

    /// Ends the traversal: dooms what it found empty.
    pub(in crate::store) fn end_traversal(&mut self) -> Collected {
        let mut traversal = self.traversal.take().expect("begun");
        self.traffic.passes += 1;
        if !traversal.moves.is_empty() {
            let rewritten = traversal.rewritten as f64 / traversal.moves.len() as f64;
            self.leaves_per_move = Some(rewritten.min(1.0));
        }
        let root = self.superblock.root;
        let pages: Vec<Ptr> = self.table_places().filter(|ptr| !ptr.is_hole()).collect();
        for ptr in pages {
            traversal.gain(ptr, room(ptr));
        }
        if let Some(live) = traversal.live.get_mut(root.seg as usize) {
            *live = live.saturating_add(root.len);
        }
        let mut doomed = 0;
        let judged: Vec<u32> = (0..)
            .zip(&traversal.live)
            .map(|(seg, _)| seg)
            .filter(|seg| self.is_judged(*seg, &traversal))
            .collect();
        for seg in judged {
            let live = self.counted(&traversal, seg);
            self.table.set_live(seg, live);
            let skipped = self.tuning.breaks(Promise::Moves) && traversal.moved_from.contains(&seg);
            if live == 0 || skipped {
                self.table.doom(seg);
                doomed += 1;
            }
            if self.tuning.breaks(Promise::Reuse) {
                self.table.freeze();
                self.table.thaw();
            }
        }
        Collected {
            doomed,
            listed: traversal.listed.into_iter().collect(),
            leaving: !traversal.leaving.is_empty(),
        }
    }

    /// The segments whose chunks are told apart in the next traversal: all that are shared, or as
    /// many as there is memory for, others each time.
    fn tell_apart(&mut self) -> BTreeMap<u32, Vec<u64>> {
        let bytes = self.shape().seg_bytes() as usize / CHUNK_ALIGN / 8;
        let most = (TOLD_APART_BYTES / bytes).max(1);
        let shared = self.table.all().filter(|(_, info)| info.shared);
        let shared: Vec<u32> = shared.map(|(seg, _)| seg).collect();
        let first = shared.partition_point(|seg| *seg < self.told_apart_next);
        let (before, behind) = shared.split_at(first);
        let some = behind.iter().chain(before).take(most);
        let some: BTreeMap<u32, Vec<u64>> = some.map(|seg| (*seg, Vec::new())).collect();
        if let Some(next) = behind.iter().chain(before).nth(most) {
            self.told_apart_next = *next;
        }
        some
    }

    /// What a traversal has counted in a segment. Where chunks are shared and were not told apart
    /// that may be too much, as may be what was known before.
    fn counted(&self, traversal: &Traversal, seg: u32) -> u32 {
        let (live, info) = (traversal.live[seg as usize], self.table.info(seg));
        match info.shared && !traversal.told_apart.contains_key(&seg) {
            true => live.min(info.live),
            false => live,
        }
    }

    /// Whether the traversal can say something about a segment: it was in use and not written to
    /// from before the traversal on.
    fn is_judged(&self, seg: u32, traversal: &Traversal) -> bool {
        let info = self.table.info(seg);
        matches!(info.state, SegState::Log | SegState::Gc | SegState::Meta)
            && info.seq.counter() < traversal.first_counter
            && !traversal.spared.contains(&seg)
            && !self.table.is_doomed(seg)
    }

    fn visit(&mut self, traversal: &mut Traversal, leaves: usize) -> Result<bool, Miss> {
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
        let trees: Vec<(u32, Ref, u8)> = self
            .trees
            .values()
            .filter(|tree| span(tree.height - 1) > leaf)
            .map(|tree| (tree.id, tree.root, tree.height))
            .collect();
        // First everything that may be missing, so that what follows is done at once.
        for (_, root, height) in &trees {
            let mut at = *root;
            for level in (0..*height).rev() {
                if at.is_hole() {
                    break;
                }
                let node = self.nodes.get(at, level)?;
                if level > 0 {
                    at = Ref::from_bits(node[entry(leaf, level)]);
                }
            }
        }
        let levels = trees.iter().map(|(.., height)| usize::from(*height)).max();
        let mut seen: Seen = vec![Vec::new(); levels.unwrap_or(0)];
        for (id, root, height) in trees {
            let new = self.visit_node(traversal, &mut seen, root, height - 1, leaf);
            if new != root {
                self.trees.get_mut(&id).expect("listed above").root = new;
                self.changed = true;
            }
        }
        let leaves = seen[0].iter().map(|(_, new)| *new).collect();
        self.count_entries(traversal, leaves);
        Ok(())
    }

    /// Counts what these different nodes for one leaf lead to. Two of them may lead to the same
    /// place at the same block, and that counts once.
    fn count_entries(&mut self, traversal: &mut Traversal, leaves: Vec<Ref>) {
        let mut places: Vec<u64> = Vec::with_capacity(leaves.len() * FANOUT);
        for leaf in leaves {
            let node = self.nodes.get(leaf, 0).expect("visited before");
            places.extend(node.iter().filter(|bits| **bits != 0));
        }
        places.sort_unstable();
        places.dedup();
        for bits in places {
            let ptr = Ptr::from_bits(bits);
            if traversal.is_new(ptr) {
                traversal.gain(ptr, room(ptr));
            }
            if traversal.victims.contains(&ptr.seg()) {
                traversal.listed.insert(ptr);
            }
        }
    }

    /// Visits the node `at` and what is below it on the way to `leaf`; gives what it is now.
    fn visit_node(
        &mut self,
        traversal: &mut Traversal,
        seen: &mut Seen,
        at: Ref,
        level: u8,
        leaf: u64,
    ) -> Ref {
        if at.is_hole() {
            return at;
        }
        let at = self.nodes.resolve(at);
        let known = &seen[usize::from(level)];
        if let Some((_, new)) = known.iter().find(|(old, new)| *old == at || *new == at) {
            return *new;
        }
        let mut new = at;
        if self.is_leaving(traversal, at) {
            new = Ref::slot(self.nodes.own_for_all(at, level));
        }
        if level == 0 {
            new = self.visit_entries(traversal, new);
        } else {
            let place = entry(leaf, level);
            let node = self.nodes.get(new, level).expect("looked for before");
            let child = Ref::from_bits(node[place]);
            let new_child = self.visit_node(traversal, seen, child, level - 1, leaf);
            if new_child != child {
                let slot = self.nodes.own_for_all(new, level);
                self.nodes.entries(slot)[place] = new_child.bits();
                new = Ref::slot(slot);
            }
        }
        traversal.count_node(new, level, leaf);
        seen[usize::from(level)].push((at, new));
        new
    }

    /// Visits the entries of the leaf `at`; gives what it is now.
    fn visit_entries(&mut self, traversal: &mut Traversal, at: Ref) -> Ref {
        let node = *self.nodes.get(at, 0).expect("looked for before");
        let has_room = self.has_room_for_nodes();
        let mut slot = None;
        for (index, bits) in node.into_iter().enumerate() {
            let old = Ptr::from_bits(bits);
            if old.is_hole() {
                continue;
            }
            let is_moved = has_room
                && traversal.moved_from.contains(&old.seg())
                && !(self.tuning.breaks(Promise::Moves) && index % 7 == 3);
            let new = match is_moved {
                true => traversal.moves.get(&bits).copied().unwrap_or(old),
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

    /// Whether a chunk was not counted before, as far as that is known.
    fn is_new(&mut self, ptr: Ptr) -> bool {
        let Some(bits) = self.told_apart.get_mut(&ptr.seg()) else {
            return true;
        };
        let place = ptr.offset() as usize / CHUNK_ALIGN;
        let (word, bit) = (place / 64, 1 << (place % 64));
        if bits.len() <= word {
            bits.resize(word + 1, 0);
        }
        let is_new = bits[word] & bit == 0;
        bits[word] |= bit;
        is_new
    }

    fn gain(&mut self, ptr: Ptr, bytes: u32) {
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

/// What each segment among `ptrs` has to give, in order.
pub(in crate::store) fn by_segment(ptrs: Vec<Ptr>) -> BTreeMap<u32, Vec<Ptr>> {
    let mut segs: BTreeMap<u32, Vec<Ptr>> = BTreeMap::new();
    for ptr in ptrs {
        segs.entry(ptr.seg()).or_default().push(ptr);
    }
    segs
}
