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
//! Ghosts, which are the trees of [`bitmaps`](super::bitmaps), keep nodes alive and no data. A
//! segment that only they lead to is *haunted*: for the next traversal it is one that was moved
//! from, and what ghosts have of it and that was not moved becomes dead. Only what nothing leads to
//! is freed.
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

use super::told_apart::ToldApart;
use super::write::room;
use super::{Core, Load};
use crate::env::Instant;
use crate::store::format::root::Compression;
use crate::store::format::{Ptr, SegState};
use crate::store::map::{PtrMap, Ref};
use crate::store::space::{Counted, Space, TreeSpace};
use crate::store::tuning::Promise;

/// Where chunks went: from the old place to the new one.
pub(in crate::store) type Moves = PtrMap<Ptr>;

/// Entries of a list of moves at most: 64 MiB of it.
pub(super) const MOVES_MAX: u64 = 2 << 20;

/// A visit of every leaf of every tree.
#[derive(Debug)]
pub(in crate::store) struct Traversal {
    /// The next leaf to visit, counted from 0.
    pub(super) cursor: u64,
    /// What is reachable, by segment, in bytes.
    pub(super) live: Vec<u32>,
    /// Higher nodes that were counted and may be met again, by level.
    pub(super) counted: Vec<(u64, BTreeSet<Ref>)>,
    /// Segments taken from here on are not judged.
    pub(super) first_counter: u64,
    /// Segments that are being written to, though taken before, and those that blocks have begun
    /// to refer to which it may have passed.
    pub(super) spared: BTreeSet<u32>,
    /// Which chunks were counted of segments where several blocks may have the same one.
    pub(super) told_apart: ToldApart,
    /// What the pass before has moved.
    pub(super) moves: Moves,
    pub(super) moved_from: BTreeSet<u32>,
    /// Data segments whose content is to be moved next.
    pub(super) victims: BTreeSet<u32>,
    /// Metadata segments whose nodes are to be written elsewhere.
    pub(super) leaving: BTreeSet<u32>,
    /// Segments that only ghosts led to when the traversal before ended.
    pub(super) haunted: BTreeSet<u32>,
    /// Whether ghosts lead to a segment.
    pub(super) has_ghosts: Vec<bool>,
    /// What is reachable in the victims, and the gentlest way to pack it that anything has which it
    /// belongs to.
    pub(super) listed: BTreeMap<Ptr, Compression>,
    /// Leaves that had to be written again because something they point to has moved.
    pub(super) rewritten: usize,
    /// What is in use, altogether and by each tree that there was when it began; ghosts hold
    /// nothing.
    pub(super) space: Space,
    pub(super) trees: BTreeMap<u32, TreeSpace>,
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
    pub(in crate::store) listed: Vec<Listed>,
    /// Whether nodes have been taken into memory to be written elsewhere.
    pub(in crate::store) leaving: bool,
}

/// A chunk that is to be moved.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Listed {
    /// Where it lies.
    pub(in crate::store) ptr: Ptr,
    /// The gentlest way to pack it that the volumes have which it belongs to.
    pub(in crate::store) wish: Compression,
}

impl Core {
    /// Begins a traversal.
    pub(in crate::store) fn begin_traversal(&mut self, mut pass: Pass) {
        pass.moved_from.extend(&self.haunted);
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
            haunted: self.haunted.clone(),
            has_ghosts: vec![false; self.shape().segs() as usize],
            listed: BTreeMap::new(),
            rewritten: 0,
            space: Space::default(),
            trees: self
                .trees
                .values()
                .filter(|tree| !tree.is_ghost())
                .map(|tree| (tree.id, TreeSpace::default()))
                .collect(),
        });
        self.passes.begun += 1;
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

    /// Ends the traversal, `now`: dooms what it found empty.
    pub(in crate::store) fn end_traversal(&mut self, now: Instant) -> Collected {
        let mut traversal = self.traversal.take().expect("begun");
        self.counted = Some(Counted {
            at: now,
            space: traversal.space,
            is_estimate: self
                .table
                .all()
                .any(|(seg, info)| info.shared && !traversal.told_apart.has(seg)),
        });
        self.tree_spaces = std::mem::take(&mut traversal.trees);
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
        self.haunted.clear();
        let judged: Vec<u32> = (0..)
            .zip(&traversal.live)
            .map(|(seg, _)| seg)
            .filter(|seg| self.is_judged(*seg, &traversal))
            .collect();
        for seg in judged {
            let live = self.counted(&traversal, seg);
            self.table.set_live(seg, live);
            let skipped = self.tuning.breaks(Promise::Moves) && traversal.moved_from.contains(&seg);
            let is_haunted = traversal.has_ghosts[seg as usize];
            if live == 0 && is_haunted && !self.tuning.breaks(Promise::Ghosts) {
                self.haunted.insert(seg);
            } else if live == 0 || skipped {
                self.table.doom(seg);
                doomed += 1;
            }
            if self.tuning.breaks(Promise::Reuse) {
                self.table.freeze();
                self.table.thaw();
            }
        }
        // What is about to go is not to come back.
        self.emptied.extend(&self.haunted);
        Collected {
            doomed,
            listed: traversal
                .listed
                .into_iter()
                .map(|(ptr, wish)| Listed { ptr, wish })
                .collect(),
            leaving: !traversal.leaving.is_empty(),
        }
    }

    /// What a traversal has counted in a segment. Where chunks are shared and were not told apart
    /// that may be too much, as may be what was known before; but something is not nothing.
    fn counted(&self, traversal: &Traversal, seg: u32) -> u32 {
        let (live, info) = (traversal.live[seg as usize], self.table.info(seg));
        match info.shared && !traversal.told_apart.has(seg) {
            true => live.min(info.live.max(1)),
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
}

/// What each segment has to give of what is listed, in order.
pub(in crate::store) fn by_segment(all: Vec<Listed>) -> BTreeMap<u32, Vec<Listed>> {
    let mut segs: BTreeMap<u32, Vec<Listed>> = BTreeMap::new();
    for listed in all {
        segs.entry(listed.ptr.seg()).or_default().push(listed);
    }
    segs
}
