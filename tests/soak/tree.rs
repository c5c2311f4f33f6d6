//! A volume or a snapshot as the oracle knows it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use bedplate::store::TreeName;

use super::bitmap::Bitmap;
use super::content::{BLOCK, Content};
use super::history::{History, NEVER, Op, Time, Version};

/// What the oracle calls a volume or a snapshot, whatever people call it at the moment.
pub(crate) type TreeId = u32;

/// Parts of a volume that are used, in blocks: a large one is mostly empty.
pub(crate) type Clusters = Rc<[Range<u64>]>;

/// A volume or a snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) name: TreeName,
    /// The volume that it is a snapshot of.
    pub(crate) of: Option<TreeId>,
    pub(crate) bytes: u64,
    pub(crate) write_through: bool,
    /// When that was last changed.
    pub(crate) changed: Time,
    /// When its size was last changed.
    pub(crate) resized: Time,
    /// Blocks that it has for certain, while its size may be changing.
    pub(crate) least: u64,
    pub(crate) state: State,
    /// Whether an admin operation on it is under way.
    pub(crate) locked: bool,
    pub(crate) clusters: Clusters,
    /// Blocks that were ever touched. The others are holes.
    pub(crate) blocks: BTreeMap<u64, History>,
    /// Operations under way on ranges whose blocks are not all in `blocks`.
    pub(crate) wide: Vec<Wide>,
    /// The bitmaps of a volume.
    pub(crate) bitmaps: BTreeMap<String, Bitmap>,
    /// The bitmap that is being made.
    pub(crate) coming: Option<Bitmap>,
}

/// In which part of its life a tree is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// It is being made, from the content of that tree if there is one.
    Coming(Option<TreeId>),
    /// It is there since that operation, which began at that time, and nobody has looked at all
    /// of it yet: it is one of the states that the tree it was made from had.
    Fresh(Op, Time, TreeId),
    /// It is in use.
    Ready,
    /// It is being deleted.
    Going,
}

/// An operation on a range of any size.
#[derive(Clone, Debug)]
pub(crate) struct Wide {
    pub(crate) version: Version,
    pub(crate) range: Range<u64>,
}

impl Tree {
    /// A new volume.
    pub(crate) fn new(name: TreeName, bytes: u64, clusters: Clusters) -> Self {
        Self {
            name,
            of: None,
            bytes,
            write_through: false,
            changed: 0,
            resized: 0,
            least: bytes.div_ceil(BLOCK as u64),
            state: State::Coming(None),
            locked: true,
            clusters,
            blocks: BTreeMap::new(),
            wide: Vec::new(),
            bitmaps: BTreeMap::new(),
            coming: None,
        }
    }

    /// How many blocks it has; the last may stick out.
    pub(crate) fn len(&self) -> u64 {
        self.bytes.div_ceil(BLOCK as u64)
    }

    /// Changes its size.
    pub(crate) fn resize(&mut self, bytes: u64, now: Time) {
        (self.bytes, self.resized) = (bytes, now);
        self.least = self.len();
    }

    pub(crate) fn is_volume(&self) -> bool {
        self.of.is_none()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// Adds what an operation that begins now makes of one block.
    pub(crate) fn push(&mut self, block: u64, version: Version, horizon: Time) {
        for bitmap in self.bitmaps.values_mut().chain(&mut self.coming) {
            bitmap.touch(block);
        }
        let wide = &self.wide;
        let history = self.blocks.entry(block).or_insert_with(|| {
            let mut history = History::untouched();
            for wide in wide.iter().filter(|wide| wide.range.contains(&block)) {
                history.push(wide.version, 0);
            }
            history
        });
        history.push(version, horizon);
    }

    /// Adds zeroes that begin now to a range of any size.
    pub(crate) fn push_zero(&mut self, range: Range<u64>, version: Version, horizon: Time) {
        for (_, history) in self.blocks.range_mut(range.clone()) {
            history.push(version, horizon);
        }
        for bitmap in self.bitmaps.values_mut().chain(&mut self.coming) {
            bitmap.touch_all(range.clone());
        }
        self.wide.push(Wide { version, range });
    }

    /// An operation on `range` was answered.
    pub(crate) fn settle(&mut self, range: Range<u64>, op: Op, now: Time, durable: bool) {
        for (_, history) in self.blocks.range_mut(range) {
            history.settle(op, now, durable);
        }
        self.wide.retain(|wide| wide.version.op != op);
    }

    /// An operation on `range` has not happened.
    pub(crate) fn cancel(&mut self, range: Range<u64>, op: Op) {
        for (_, history) in self.blocks.range_mut(range) {
            history.cancel(op);
        }
        self.wide.retain(|wide| wide.version.op != op);
    }

    /// What a look at `block` that began at `from` may show.
    pub(crate) fn possible(&self, block: u64, from: Time) -> Vec<Content> {
        match self.blocks.get(&block) {
            Some(history) => history.possible(from).map(|v| v.content).collect(),
            None => vec![Content::Zero],
        }
    }

    /// The content of a tree that nobody writes to.
    pub(crate) fn settled(&self) -> BTreeMap<u64, Content> {
        let last = |history: &History| {
            let last = history.possible(NEVER).last();
            last.expect("a history has a version").content
        };
        let each = self.blocks.iter();
        each.map(|(block, history)| (*block, last(history)))
            .collect()
    }
}
