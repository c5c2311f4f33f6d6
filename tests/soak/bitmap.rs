//! A dirty bitmap as the oracle knows it, and what it must tell.
//!
//! A block must be told as changed if nothing that it may hold now is anything that it may have
//! held when the bitmap was made. It may be told although it is the same, but only if it was
//! changed since, or was being changed then; how often is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bedplate::base::{Error, Refusal, Status, StatusRun};

use super::content::{BLOCK, Content};
use super::history::{NEVER, Op, Time};
use super::oracle::{Look, Oracle};
use super::tree::{Tree, TreeId};

/// A bitmap of a volume.
#[derive(Clone, Debug)]
pub(crate) struct Bitmap {
    /// The operation that made it.
    pub(crate) op: Op,
    /// What blocks may have held when it was made; the others were zeroes.
    base: BTreeMap<u64, BTreeSet<Content>>,
    touched: BTreeSet<u64>,
    wide: Vec<Range<u64>>,
}

/// A look at a bitmap that has begun.
#[derive(Debug)]
pub(crate) struct BitmapLook {
    look: Look,
    volume: TreeId,
    /// What is compared with the bitmap: the volume, or a snapshot of it.
    tree: TreeId,
    name: String,
    op: Op,
}

impl Bitmap {
    /// A bitmap of `volume` that operation `op` is about to make.
    pub(crate) fn new(volume: &Tree, op: Op) -> Self {
        let in_flight = |block: &u64| {
            let mut versions = volume.blocks[block].versions().iter();
            versions.any(|version| version.effective == NEVER)
        };
        let blocks = volume.blocks.keys().copied();
        Self {
            op,
            base: BTreeMap::new(),
            touched: blocks.filter(in_flight).collect(),
            wide: volume.wide.iter().map(|wide| wide.range.clone()).collect(),
        }
    }

    /// An operation that changes a block begins.
    pub(crate) fn touch(&mut self, block: u64) {
        self.touched.insert(block);
    }

    /// An operation that changes a range begins.
    pub(crate) fn touch_all(&mut self, range: Range<u64>) {
        self.wide.push(range);
    }

    /// It was made of `volume`, at a moment from `issued` on.
    pub(crate) fn made(&mut self, volume: &Tree, issued: Time) {
        let held = volume.blocks.iter().map(|(block, history)| {
            let contents = history.possible(issued).map(|version| version.content);
            (*block, contents.collect())
        });
        self.base = held.collect();
    }

    /// It is this one or `other`, and nobody knows.
    pub(crate) fn or(&mut self, other: Self) {
        let zero = || BTreeSet::from([Content::Zero]);
        let blocks: BTreeSet<u64> = { self.base.keys() }
            .chain(other.base.keys())
            .copied()
            .collect();
        for block in blocks {
            let also = other.base.get(&block).cloned().unwrap_or_else(zero);
            let held = self.base.entry(block).or_insert_with(zero);
            held.extend(also);
        }
        self.touched.extend(other.touched);
        self.wide.extend(other.wide);
    }

    fn may_have_held(&self, block: u64, content: Content) -> bool {
        match self.base.get(&block) {
            Some(held) => held.contains(&content),
            None => content == Content::Zero,
        }
    }

    fn is_touched(&self, block: u64) -> bool {
        self.touched.contains(&block) || self.wide.iter().any(|range| range.contains(&block))
    }
}

impl Oracle {
    /// Begins to look at what of `tree` has changed since the bitmap `name` of its volume was made;
    /// nothing if something is being done to it.
    pub(crate) fn begin_bitmap_look(&mut self, tree: TreeId, name: &str) -> Option<BitmapLook> {
        let volume = self.tree(tree).of.unwrap_or(tree);
        if self.is_locked(tree) {
            return None;
        }
        let op = self.tree(volume).bitmaps.get(name)?.op;
        Some(BitmapLook {
            look: self.begin_look(),
            volume,
            tree,
            name: name.to_owned(),
            op,
        })
    }

    /// The bitmap that is looked at, if it is still the same.
    fn same_bitmap(&self, look: &BitmapLook) -> Option<&Bitmap> {
        if self.is_locked(look.tree) || self.is_locked(look.volume) {
            return None;
        }
        let bitmap = self.trees.get(&look.volume)?.bitmaps.get(&look.name);
        bitmap.filter(|bitmap| bitmap.op == look.op)
    }

    /// A look at a bitmap failed.
    pub(crate) fn fail_bitmap_look(&mut self, look: BitmapLook, error: Error) {
        let is_gone = error == Error::Refused(Refusal::Invalid);
        match is_gone && self.same_bitmap(&look).is_none() {
            true => {
                self.end_look(&look.look);
            }
            false => self.fail_look(look.tree, 0, look.look, error),
        }
    }

    /// A look at a bitmap gave `runs` from block `first` on, of `blocks` blocks in at most
    /// `runs_max` runs. Whether the bitmap was `given_up` for lack of space is known.
    pub(crate) fn end_bitmap_look(
        &mut self,
        look: BitmapLook,
        (first, blocks, runs_max): (u64, u64, usize),
        runs: &[StatusRun],
        given_up: bool,
    ) {
        let (from, now) = self.end_look(&look.look);
        self.next_op();
        self.tally.count("looks at bitmaps");
        let Some(bitmap) = self.same_bitmap(&look) else {
            return;
        };
        let tree = &self.trees[&look.tree];
        let what = format!(
            "bitmap {} of {}, blocks {first}+{blocks} at {now}",
            look.name, tree.name
        );
        let bytes: u64 = runs.iter().map(|run| run.bytes).sum();
        let is_fine = !runs.is_empty() && runs.len() <= runs_max;
        assert!(
            is_fine && bytes <= blocks * BLOCK as u64,
            "{what}: {runs:?}"
        );
        let (mut same, mut changed, mut start) = (0, 0, first);
        for run in runs {
            let end = start + run.bytes / BLOCK as u64;
            let possible = |block: u64| tree.possible(block, from);
            match run.status {
                Status::Clean => {
                    let known = tree.blocks.range(start..end).map(|(block, _)| *block);
                    let then = bitmap.base.range(start..end).map(|(block, _)| *block);
                    for block in known.chain(then) {
                        let now = possible(block);
                        let may_be = |content: &Content| bitmap.may_have_held(block, *content);
                        let is_missed = !now.iter().any(may_be);
                        let then = bitmap.base.get(&block);
                        assert!(
                            !is_missed,
                            "{what}: block {block} held {then:?}, is {now:?}"
                        );
                    }
                }
                // Without the space for its nodes it tells everything.
                Status::Dirty if given_up => {}
                Status::Dirty => {
                    for block in start..end {
                        let is_excess = look.tree == look.volume && !bitmap.is_touched(block);
                        assert!(!is_excess, "{what}: block {block} was never changed");
                        let may_be = |content: &Content| bitmap.may_have_held(block, *content);
                        match possible(block).iter().all(may_be) {
                            true => same += 1,
                            false => changed += 1,
                        }
                    }
                }
                status => panic!("{what}: {status:?}"),
            }
            start = end;
        }
        self.tally.add("changed blocks told", changed);
        self.tally.add("blocks told though they are the same", same);
        if given_up {
            self.tally.count("looks at bitmaps that were given up");
        }
    }
}
