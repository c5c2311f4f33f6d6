//! What a store must show, told everything that was asked of it and how it answered.
//!
//! The oracle is asked before every operation and told after it. It keeps the time (see
//! [`history`](super::history)) and every tree; admin operations are in [`deeds`](super::deeds).
//! It panics where the store does what no store may do: the panic's text is the evidence.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bedplate::base::{Error, Refusal, Result as IoResult, Status, StatusRun};
use bedplate::store::Usage;

use super::content::{BLOCK, Content, Stamp};
use super::deeds::Pending;
use super::history::{Cut, NEVER, Op, Shown, Time, Version};
use super::tally::{Digest, Tally, trace};
use super::tree::{State, Tree, TreeId};

/// Blocks that a store writes as a whole or not at all; a longer write that is refused may have
/// been done in part.
const BLOCKS_AT_ONCE: u64 = 4;

/// How much of a store's room must be in use before it may say that it is full, in per cent.
const FULL_PERCENT: u64 = 80;

/// Everything that is known of a store.
#[derive(Default)]
pub(crate) struct Oracle {
    now: Time,
    ops: Op,
    pub(super) trees_made: TreeId,
    pub(super) names_made: u64,
    pub(crate) trees: BTreeMap<TreeId, Tree>,
    /// What took effect before this survives.
    pub(super) floor: Time,
    /// When the looks under way began.
    pub(super) looks: BTreeSet<Time>,
    /// Admin operations that were not answered.
    pub(super) pending: Vec<Pending>,
    /// Content that was written lately, to be written again elsewhere.
    recent: Vec<Content>,
    /// Whether calls of the disk fail in this world, so that errors are expected.
    pub(crate) is_broken: bool,
    /// Whether the store is being closed.
    pub(crate) is_closing: bool,
    /// What the store has room for, in bytes, without what it keeps back and keeps open.
    pub(crate) room: u64,
    pub(crate) tally: Tally,
    pub(crate) digest: Digest,
}

/// A change of a range of blocks, under way.
#[derive(Debug)]
pub(crate) struct Change {
    op: Op,
    tree: TreeId,
    range: Range<u64>,
    issued: Time,
    /// Whether it asked to be durable when it is answered.
    durable: bool,
}

/// A look at something that began at a time.
#[derive(Debug)]
pub(crate) struct Look(Time);

impl Oracle {
    /// Counts an event.
    pub(super) fn tick(&mut self) -> Time {
        self.now += 1;
        self.now
    }

    pub(super) fn next_op(&mut self) -> Op {
        self.ops += 1;
        self.tally.count("operations");
        self.ops
    }

    /// Before this nothing is asked about any more.
    pub(super) fn horizon(&self) -> Time {
        let look = self.looks.first().copied().unwrap_or(NEVER);
        let copies = self.pending.iter().map(|pending| pending.issued);
        self.floor.min(look).min(copies.min().unwrap_or(NEVER))
    }

    /// Something that was answered says that all that took effect before `time` survives.
    pub(super) fn promise(&mut self, time: Time) {
        self.floor = self.floor.max(time);
    }

    pub(crate) fn tree(&self, id: TreeId) -> &Tree {
        &self.trees[&id]
    }

    /// Whether an admin operation on a tree or its volume is under way.
    pub(crate) fn is_locked(&self, id: TreeId) -> bool {
        let is_locked = |id: &TreeId| self.trees.get(id).is_none_or(|tree| tree.locked);
        let of = self.trees.get(&id).and_then(|tree| tree.of);
        is_locked(&id) || of.is_some_and(|of| is_locked(&of))
    }

    /// What an error says about the operation: whether it may still have happened. Errors need a
    /// reason.
    pub(super) fn judge(&mut self, what: &str, excused: bool, error: Error) -> bool {
        self.digest.add_text(&error.to_string());
        match error {
            Error::Refused(Refusal::NoSpace) if !self.is_broken => {
                self.tally.count("refused for lack of space");
                let (used, room) = (self.used(), self.room);
                let is_fair = used * 100 >= room * FULL_PERCENT;
                assert!(is_fair, "{what}: no space; in use are {used} of {room}");
                false
            }
            _ if excused || self.is_closing || self.is_broken => {
                self.tally.count("other errors");
                self.is_broken || !matches!(error, Error::Refused(_))
            }
            error => panic!("{what}: {error}, and nothing is wrong"),
        }
    }

    /// Begins a write of these blocks, of which about so many of 24 hold what was written
    /// before; gives what to write.
    pub(crate) fn begin_write(
        &mut self,
        tree: TreeId,
        range: Range<u64>,
        durable: bool,
        repeats: u64,
        choose: &mut dyn FnMut(u64) -> u64,
    ) -> (Change, Vec<Content>) {
        let change = self.begin_change(tree, range, durable);
        let horizon = self.horizon();
        let mut contents = Vec::new();
        for block in change.range.clone() {
            let op = change.op;
            let content = match choose(24) {
                0 | 1 => Content::Zero,
                drawn if drawn < 2 + repeats && !self.recent.is_empty() => {
                    let place = choose(self.recent.len() as u64);
                    self.recent[super::chance::index(place)]
                }
                _ => Content::Stamp(Stamp { tree, op, block }),
            };
            contents.push(content);
            let version = Version::new(op, content, change.issued, false);
            let tree = self.trees.get_mut(&tree).expect("the tree is there");
            tree.push(block, version, horizon);
        }
        match self.recent.len() < 64 {
            true => self.recent.push(contents[0]),
            false => self.recent[super::chance::index(choose(64))] = contents[0],
        }
        self.tally.add("blocks written", contents.len() as u64);
        (change, contents)
    }

    /// Begins to make a range zeroes.
    pub(crate) fn begin_zero(&mut self, tree: TreeId, range: Range<u64>, durable: bool) -> Change {
        let change = self.begin_change(tree, range, durable);
        let horizon = self.horizon();
        let version = Version::new(change.op, Content::Zero, change.issued, false);
        let tree = self.trees.get_mut(&tree).expect("the tree is there");
        tree.push_zero(change.range.clone(), version, horizon);
        change
    }

    fn begin_change(&mut self, tree: TreeId, range: Range<u64>, durable: bool) -> Change {
        let of = self.tree(tree);
        assert!(of.is_volume(), "a snapshot is not written");
        let change = Change {
            op: self.next_op(),
            tree,
            range,
            issued: self.tick(),
            durable,
        };
        trace(change.issued, || {
            let name = &self.trees[&tree].name;
            format!("begin op {} on {name}: {change:?}", change.op)
        });
        self.digest
            .add(&[change.issued, change.range.start, change.range.end]);
        change
    }

    /// A change was answered; gives whether it was done.
    pub(crate) fn end_change(&mut self, change: Change, result: IoResult<()>) -> bool {
        let now = self.tick();
        let Some(tree) = self.trees.get(&change.tree) else {
            // It was deleted in the meantime.
            return result.is_ok();
        };
        let name = tree.name.clone();
        let excused = self.is_excused(change.tree, change.range.end, change.issued);
        // A volume whose properties change under a write is written through or not, as it likes.
        let through = tree.write_through && !tree.locked && tree.changed < change.issued;
        self.digest.add(&[now, u64::from(change.op)]);
        let what = format!("{name}: {change:?}");
        trace(now, || format!("end op {}: {result:?}", change.op));
        let may_have_happened = match result {
            Ok(()) => true,
            Err(error) => {
                let partly = change.range.end - change.range.start > BLOCKS_AT_ONCE;
                self.judge(&what, excused, error) || partly
            }
        };
        let done = result.is_ok();
        let beyond = change.range.end > self.trees[&change.tree].len();
        let resized = self.trees[&change.tree].resized > change.issued;
        assert!(!done || !beyond || resized, "{what}: done, beyond the end");
        let tree = self.trees.get_mut(&change.tree).expect("looked up above");
        if !may_have_happened {
            tree.cancel(change.range, change.op);
        } else if done {
            let durable = change.durable || through;
            tree.settle(change.range, change.op, now, durable);
            if durable {
                self.promise(change.issued);
            }
        }
        done
    }

    /// Begins a flush.
    pub(crate) fn begin_flush(&mut self) -> Look {
        self.next_op();
        self.tally.count("flushes");
        Look(self.tick())
    }

    /// A flush was answered.
    pub(crate) fn end_flush(&mut self, tree: TreeId, flush: Look, result: IoResult<()>) -> bool {
        let now = self.tick();
        trace(now, || format!("flush of {} ended: {result:?}", flush.0));
        self.digest.add(&[now, flush.0]);
        match result {
            Ok(()) => self.promise(flush.0),
            Err(error) => {
                let going = self
                    .trees
                    .get(&tree)
                    .is_none_or(|t| t.state == State::Going);
                let full = Error::Refused(Refusal::NoSpace);
                assert!(self.is_broken || error != full, "no space for a flush");
                self.judge("a flush", going, error);
            }
        }
        result.is_ok()
    }

    /// Begins to look at something.
    pub(crate) fn begin_look(&mut self) -> Look {
        let now = self.tick();
        self.looks.insert(now);
        Look(now)
    }

    /// Ends a look; gives when it began, and the time.
    pub(super) fn end_look(&mut self, look: &Look) -> (Time, Time) {
        self.looks.remove(&look.0);
        let now = self.tick();
        self.digest.add(&[now, look.0]);
        (look.0, now)
    }

    /// A look at blocks up to `end` failed.
    pub(crate) fn fail_look(&mut self, tree: TreeId, end: u64, look: Look, error: Error) {
        let (from, _) = self.end_look(&look);
        let excused = self.is_excused(tree, end, from);
        let refused = matches!(error, Error::Refused(Refusal::NoSpace));
        assert!(self.is_broken || !refused, "no space for a read");
        self.judge("a read", excused, error);
    }

    /// Whether an operation on blocks up to `end` of a tree may fail that began at `from`: the
    /// tree is being deleted, or has become smaller.
    fn is_excused(&self, tree: TreeId, end: u64, from: Time) -> bool {
        self.trees.get(&tree).is_none_or(|tree| {
            tree.state == State::Going || end > tree.least || tree.resized > from
        })
    }

    /// A read gave the blocks from `first` on.
    pub(crate) fn end_read(&mut self, tree: TreeId, look: Look, first: u64, data: &[u8]) {
        let (from, now) = self.end_look(&look);
        trace(now, || {
            let blocks = data.len() / BLOCK;
            format!("read from {from} on of tree {tree}, {first}+{blocks} ended")
        });
        self.next_op();
        self.tally.count("reads");
        let Some(tree) = self.trees.get_mut(&tree) else {
            return;
        };
        for (block, data) in (first..).zip(data.chunks(BLOCK)) {
            let seen = Content::recognize(data).and_then(|content| {
                self.digest.add_content(content);
                match tree.blocks.get_mut(&block) {
                    Some(history) => history.see(content, from, now),
                    None if content == Content::Zero => Ok(()),
                    None => Err(format!("shows {content}, and was never written")),
                }
            });
            if let Err(why) = seen {
                panic!("a read of {}, block {block}: {why}", tree.name);
            }
        }
    }

    /// A status gave `runs` from block `first` on, of `blocks` blocks in at most `runs_max` runs.
    pub(crate) fn end_status(
        &mut self,
        tree: TreeId,
        look: Look,
        (first, blocks, runs_max): (u64, u64, usize),
        runs: &[StatusRun],
    ) {
        let (from, _) = self.end_look(&look);
        self.next_op();
        self.tally.count("statuses");
        let Some(tree) = self.trees.get(&tree) else {
            return;
        };
        let what = format!("the status of {}, block {first}+{blocks}", tree.name);
        let bytes: u64 = runs.iter().map(|run| run.bytes).sum();
        assert!(
            !runs.is_empty() && runs.len() <= runs_max,
            "{what}: {runs:?}"
        );
        assert!(runs.iter().all(|run| run.bytes > 0), "{what}: {runs:?}");
        assert!(bytes <= blocks * BLOCK as u64, "{what}: {bytes} bytes");
        let mut start = first;
        for run in runs {
            assert_eq!(run.bytes % BLOCK as u64, 0, "{what}: {runs:?}");
            let end = start + run.bytes / BLOCK as u64;
            check_run(&what, tree, start..end, run.status, from);
            start = end;
        }
    }

    /// Everything of these trees was read: they show this, and must be at one moment. What took
    /// effect before `after` must be there. From now on this is all there is to know of them.
    pub(crate) fn settle_trees(
        &mut self,
        what: &str,
        after: Time,
        shown: &[(TreeId, BTreeMap<u64, Content>)],
    ) {
        let mut cut = Cut {
            after,
            blocks: Vec::new(),
        };
        for (id, contents) in shown {
            let tree = &self.trees[id];
            for (block, content) in contents {
                cut.blocks.push(Shown {
                    place: format!("{}, block {block},", tree.name),
                    history: &tree.blocks[block],
                    content: *content,
                });
            }
        }
        let explained = cut.explain();
        trace(self.now, || {
            let trees: Vec<_> = shown.iter().map(|(tree, _)| tree).collect();
            format!("{what}: looked at all of {trees:?}; before {after} all must be there")
        });
        let (ops, after) = explained.unwrap_or_else(|why| panic!("{what}: {why}"));
        self.promise(after);
        let mut ops = ops.into_iter();
        for (id, contents) in shown {
            let mut tree = self.trees.remove(id).expect("it was read");
            let source = match tree.state {
                State::Fresh(_, _, source) => Some(source),
                _ => None,
            };
            tree.blocks.clear();
            tree.wide.clear();
            for (block, content) in contents {
                let ops = ops.next().expect("one for each block");
                if *content != Content::Zero {
                    let version = Version::settled(ops[0], *content);
                    let history = super::history::History::new(version);
                    tree.blocks.insert(*block, history);
                }
                let source = source.and_then(|source| self.trees.get_mut(&source));
                let history = source.and_then(|source| source.blocks.get_mut(block));
                if let ([op], Some(history)) = (&ops[..], history) {
                    // Whatever has a snapshot of it is as durable as the snapshot.
                    history.keep(*op);
                }
            }
            tree.state = State::Ready;
            self.trees.insert(*id, tree);
        }
    }

    /// Giving up blocks must be possible in a full store, as long as half of the reserve is left: a
    /// discard of what a snapshot has takes space too, for nodes, and returns none.
    pub(crate) fn must_have_room(&mut self, result: &IoResult<()>, usage: Option<Usage>) {
        if self.is_broken || *result != Err(Error::Refused(Refusal::NoSpace)) {
            return;
        }
        self.tally.count("discards refused for lack of space");
        let used_up = usage.is_none_or(|usage| usage.free < usage.reserve / 2);
        assert!(used_up, "no space for a discard; {usage:?}");
    }

    /// The store was closed, which began with that look.
    pub(crate) fn end_close(&mut self, begun: Look) {
        let (begun, _) = self.end_look(&begun);
        self.promise(begun);
    }

    /// Everything that there is now survives.
    pub(crate) fn all_is_durable(&mut self) {
        let now = self.tick();
        self.promise(now);
    }

    /// The time before which everything survives.
    pub(crate) fn floor(&self) -> Time {
        self.floor
    }

    /// How much a store needs for what is live, in bytes: every content once for each place that
    /// it was written to, since deduplication may be off and never finds all, and nodes.
    fn used(&self) -> u64 {
        let mut live = BTreeSet::new();
        let mut leaves = 0;
        for tree in self.trees.values() {
            let touched: BTreeSet<u64> = tree.blocks.keys().map(|block| block / 512).collect();
            leaves += touched.len() as u64;
            for (block, history) in &tree.blocks {
                let contents = history.versions().iter().map(|version| version.content);
                let stored = contents.filter(|content| *content != Content::Zero);
                live.extend(stored.map(|content| (*block, content)));
            }
        }
        // A leaf that changes is in the old checkpoint and in the new one, with a node above it in
        // volumes as sparse as these.
        (live.len() as u64 + 4 * leaves) * (BLOCK as u64 + 32)
    }
}

/// Whether a run of a status is what the tree may show there.
fn check_run(what: &str, tree: &Tree, run: Range<u64>, status: Status, from: Time) {
    let is_hole = match status {
        Status::Hole => true,
        Status::Data => false,
        status => panic!("{what}: {status:?}, which no store has"),
    };
    let touched = tree.blocks.range(run.clone());
    if !is_hole && touched.clone().count() as u64 != run.end - run.start {
        let is_untouched = |block: &u64| !tree.blocks.contains_key(block);
        let block = run.clone().find(is_untouched).unwrap_or(run.start);
        panic!("{what}: data in block {block}, which was never written");
    }
    for (block, history) in touched {
        let fits = |version: &Version| (version.content == Content::Zero) == is_hole;
        if !history.possible(from).any(fits) {
            let possible = tree.possible(*block, from);
            panic!("{what}: block {block} is {status:?}, but holds one of {possible:?}");
        }
    }
}
