//! The core: everything a store knows, without I/O, time, chance or threads.
//!
//! Whoever calls holds the core's lock, never across an `await`. What needs the backend is given
//! out as a job, and its end reported back. So all of this runs in a simulation from a seed, and
//! every change of state happens in one place after another.

mod admin;
mod bitmaps;
mod changes;
mod chores;
mod collect;
mod pace;
mod read;
mod refer;
mod renew;
mod space;
mod told_apart;
mod victims;
mod visit;
mod write;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::dedup::Index;
use super::format::batch::Successor;
use super::format::root::{self, Keys, Properties, Root, Tree, TreeKind};
use super::format::superblock::{LogPosition, RootRef, Superblock};
use super::format::{Ptr, Seq, Shape};
use super::log::Log;
use super::map::{Miss, Nodes, Ref};
use super::space::{Counted, TreeSpace};
use super::table::Table;
use super::tuning::Tuning;
use super::{Stalls, Traffic};
use crate::base::{Error, Refusal};
use crate::codec::{KeySlots, Sealer};
use crate::env::Instant;

pub(super) use chores::Frozen;
pub(super) use collect::{Collected, Listed, Moves, Pass, Traversal, by_segment};
pub(super) use read::{NotMapped, Source};
pub(super) use renew::{Ended, NewMaster, Renewals};
pub(super) use space::Wish;
pub(super) use write::{Stall, room};

use chores::MetaCursor;
use pace::Pace;
use space::Reserve;

/// A volume, a snapshot or a ghost, in memory.
#[derive(Clone, Debug)]
pub(super) struct TreeState {
    pub(super) id: u32,
    pub(super) parent: u32,
    pub(super) kind: TreeKind,
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) height: u8,
    pub(super) root: Ref,
    pub(super) created: u64,
    pub(super) properties: Properties,
    /// Of a ghost: every block counts as changed.
    pub(super) given_up: bool,
    /// What waits until the next checkpoint is durable.
    pub(super) pause: Pause,
}

/// What of a volume waits until the next checkpoint is durable, since an operation on the volume as
/// a whole becomes durable with that and not with the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Pause {
    /// Nothing.
    #[default]
    Nothing,
    /// Writes: they might be lost, though flushed, by what a power loss would undo.
    Writes,
    /// Reads too: they would see what a power loss may undo though a flush came after.
    Everything,
}

/// Whether requests are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Health {
    /// Yes.
    Well,
    /// Something could not be written, so nothing can be promised any more.
    Stopped,
    /// The store was closed.
    Closed,
}

/// Checkpoints, numbered from 1 in the order in which they begin.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Checkpoints {
    /// Which one was asked for last.
    pub(super) asked: u64,
    /// Which one began last.
    pub(super) begun: u64,
    /// Which one is durable.
    pub(super) done: u64,
}

/// Passes of garbage collection, numbered from 1.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Passes {
    /// Which one was asked for last, whether space is short or not.
    pub(super) asked: u64,
    /// Which one began last.
    pub(super) begun: u64,
    /// Which one has ended, well or not.
    pub(super) ended: u64,
    /// Why that one came to nothing.
    pub(super) failure: Option<Error>,
}

/// A node that has to be read before something can go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Load {
    pub(super) ptr: Ptr,
    pub(super) seq: Seq,
    pub(super) level: u8,
}

/// Everything that a store knows.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) sealer: Sealer,
    pub(super) tuning: Tuning,
    pub(super) nodes: Nodes,
    pub(super) table: Table,
    pub(super) log: Log,
    pub(super) trees: BTreeMap<u32, TreeState>,
    next_tree: u32,
    /// Where the pages of the segment table lie.
    pages: Vec<(Ptr, Seq)>,
    meta: MetaCursor,
    /// The last superblock that is durable.
    pub(super) superblock: Superblock,
    pub(super) checkpoints: Checkpoints,
    pub(super) passes: Passes,
    pub(super) renewals: Renewals,
    /// The master key that the next checkpoint brings.
    new_master: Option<NewMaster>,
    /// How fast writes may go while space is short.
    pace: Pace,
    /// What the last traversal has counted.
    pub(super) counted: Option<Counted>,
    /// The same for each volume and snapshot that there was when it began, by their number.
    tree_spaces: BTreeMap<u32, TreeSpace>,
    pub(super) health: Health,
    reserve: Reserve,
    /// The traversal of garbage collection that is under way.
    pub(super) traversal: Option<Traversal>,
    /// Garbage collection has found that it cannot make more than this many segments free.
    parked: Option<u32>,
    /// Where blocks lie that may be written again.
    pub(super) index: Arc<Index>,
    /// Segments whose trailers are to be read for it.
    pub(super) unread: VecDeque<u32>,
    /// Segments that garbage collection has filled, each with the checkpoint that will have it.
    sealed: VecDeque<(u64, u32)>,
    /// Where the next traversal begins to tell shared chunks apart.
    told_apart_next: u32,
    /// Segments that are being emptied, or were.
    emptied: BTreeSet<u32>,
    /// Segments that only ghosts led to when the last traversal ended.
    haunted: BTreeSet<u32>,
    /// How many leaves the last pass of garbage collection rewrote for each block that it moved;
    /// nothing before there was one.
    leaves_per_move: Option<f64>,
    /// Whether something has changed since the last checkpoint began.
    changed: bool,
    pub(super) traffic: Traffic,
    pub(super) stalls: Stalls,
}

/// What a recovery has found, from which a core goes on.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) sealer: Sealer,
    pub(super) superblock: Superblock,
    pub(super) nodes: Nodes,
    pub(super) table: Table,
    pub(super) trees: BTreeMap<u32, TreeState>,
    pub(super) next_tree: u32,
    pub(super) pages: Vec<(Ptr, Seq)>,
    /// What was being written again.
    pub(super) renewal: Option<root::Renewal>,
    /// The number of the next batch.
    pub(super) number: u64,
    /// The key slots, if they are to be written again.
    pub(super) key_slots: Option<KeySlots>,
}

impl Core {
    /// Goes on from what was `recovered`; nothing if there is no space even for a log.
    pub(super) fn new(mut recovered: Recovered, tuning: Tuning) -> Option<Self> {
        let shape = recovered.table.shape();
        let log = Log::begin(&mut recovered.table, recovered.number, tuning.batch_bytes)?;
        let mut core = Self {
            sealer: recovered.sealer,
            tuning,
            nodes: recovered.nodes,
            table: recovered.table,
            log,
            trees: recovered.trees,
            next_tree: recovered.next_tree,
            pages: recovered.pages,
            meta: MetaCursor::default(),
            superblock: recovered.superblock,
            checkpoints: Checkpoints::default(),
            passes: Passes::default(),
            renewals: Renewals::going_on(recovered.renewal),
            new_master: None,
            pace: Pace::default(),
            counted: None,
            tree_spaces: BTreeMap::new(),
            health: Health::Well,
            reserve: Reserve::of(shape, tuning),
            traversal: None,
            parked: None,
            index: Arc::new(Index::new(tuning.dedup_index, shape.bytes())),
            unread: VecDeque::new(),
            sealed: VecDeque::new(),
            told_apart_next: 0,
            emptied: BTreeSet::new(),
            haunted: BTreeSet::new(),
            leaves_per_move: None,
            changed: true,
            traffic: Traffic::default(),
            stalls: Stalls::default(),
        };
        core.count_renewal();
        Some(core)
    }

    pub(super) fn shape(&self) -> Shape {
        self.table.shape()
    }

    /// Whether requests are taken.
    ///
    /// # Errors
    /// What to answer if not.
    pub(super) fn check_health(&self) -> Result<(), Error> {
        match self.health {
            Health::Well => Ok(()),
            Health::Stopped => Err(Error::Poisoned),
            Health::Closed => Err(Error::Refused(Refusal::ShuttingDown)),
        }
    }

    /// Asks for a checkpoint of everything that is known now; gives its number.
    pub(super) fn ask_checkpoint(&mut self) -> u64 {
        self.checkpoints.asked = self.checkpoints.begun + 1;
        self.checkpoints.asked
    }

    /// Notes that a pass begins, `now`.
    pub(super) fn begin_pass(&mut self, now: Instant) {
        self.pace.begin_pass(now);
    }

    /// Notes that the pass that was under way has ended, `now`, and what went wrong.
    pub(super) fn end_pass(&mut self, now: Instant, failure: Option<&Error>) {
        self.pace.end_pass(now);
        self.judge_renewal();
        self.passes.ended = self.passes.begun;
        self.passes.failure = failure.copied();
    }

    /// Asks for a pass of garbage collection that begins from now on; gives its number.
    pub(super) fn ask_pass(&mut self) -> u64 {
        self.passes.asked = self.passes.begun + 1;
        self.passes.asked
    }

    /// What to read for `miss`.
    pub(super) fn load(&self, miss: Miss) -> Load {
        Load {
            ptr: miss.ptr,
            seq: self.table.seq(miss.ptr.seg()),
            level: miss.level,
        }
    }

    /// Makes known what was read for `load`, unless its segment is another's by now.
    pub(super) fn loaded(&mut self, load: Load, node: Box<super::map::Node>) {
        if self.table.seq(load.ptr.seg()) == load.seq {
            self.nodes.insert(load.ptr, load.level, node);
        }
    }

    /// Takes a node that will be changed as the root of every tree and snapshot.
    pub(super) fn roots(&self) -> Vec<Ref> {
        self.trees.values().map(|tree| tree.root).collect()
    }
}

impl TreeState {
    /// The tree that a root blob describes.
    pub(super) fn of(tree: &Tree) -> Self {
        Self {
            id: tree.id,
            parent: tree.parent,
            kind: tree.kind,
            name: tree.name.clone(),
            size: tree.size,
            height: tree.height,
            root: tree.root.into(),
            created: tree.created,
            properties: tree.properties,
            given_up: tree.given_up,
            pause: Pause::Nothing,
        }
    }

    /// Whether it keeps no data.
    pub(super) fn is_ghost(&self) -> bool {
        self.kind == TreeKind::Ghost
    }

    /// How many blocks it has; the last may be cut off by its end.
    pub(super) fn blocks(&self) -> u64 {
        self.size.div_ceil(super::format::BLOCK as u64)
    }

    /// Refuses blocks that it does not have: whoever uses it may have opened it when it was
    /// larger, and what lies behind its end is not in its map, or is another block there.
    fn check_range(&self, first: u64, count: u64) -> Result<(), Error> {
        match first.checked_add(count) {
            Some(end) if end <= self.blocks() => Ok(()),
            _ => Err(Error::Refused(Refusal::Invalid)),
        }
    }
}

/// The root blob of `trees` whose roots were written where `at` says.
pub(super) fn root_of(
    trees: &[TreeState],
    next_tree: u32,
    pages: &[(Ptr, Seq)],
    (keys, renewal): (Option<Keys>, Option<root::Renewal>),
    at: impl Fn(Ref) -> Ptr,
) -> Root {
    let tree = |tree: &TreeState| Tree {
        id: tree.id,
        parent: tree.parent,
        kind: tree.kind,
        height: tree.height,
        size: tree.size,
        root: at(tree.root),
        created: tree.created,
        properties: tree.properties,
        given_up: tree.given_up,
        name: tree.name.clone(),
    };
    Root {
        next_tree,
        pages: pages.to_vec(),
        keys,
        renewal,
        trees: trees.iter().map(tree).collect(),
    }
}

/// The superblock that follows `last`.
pub(super) fn superblock_after(
    sealer: &Sealer,
    last: &Superblock,
    table: &Table,
    root: RootRef,
    (log, successor): (LogPosition, Successor),
) -> Superblock {
    let mut next = Superblock {
        generation: last.generation + 1,
        shape: table.shape(),
        epoch: table.epoch(),
        root,
        log,
        next: successor,
        next_counter: table.next_counter(),
        cursor: table.cursor(),
        ..last.clone()
    };
    if let Some(keys) = sealer.keys() {
        next.sign(keys);
    }
    next
}
