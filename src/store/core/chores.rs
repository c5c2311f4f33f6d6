//! The checkpoint: what is in memory becomes a root that recovery can begin from.
//!
//! 1. [`freeze`](Core::freeze): everything up to here, and nothing after, is in the checkpoint.
//! 2. [`next_run`](Core::next_run): nodes that have changed, children before parents.
//! 3. [`finish`](Core::finish): the segment table, then the root blob that leads to all of it.
//! 4. The caller flushes, writes the superblock and flushes again.
//! 5. [`checkpointed`](Core::checkpointed): what the old checkpoint alone needed is free.
//!
//! A stop before the superblock is durable leaves the last checkpoint as it was: nothing that it
//! leads to has been overwritten, since all of this goes to places that were free in it.

use zeroize::Zeroizing;

use super::{Core, Pause, TreeState, root_of, superblock_after};
use crate::base::Buf;
use crate::codec::TAG_BYTES;
use crate::store::format::batch::Successor;
use crate::store::format::root::{Keys, Renewal};
use crate::store::format::superblock::{LogPosition, RootRef, Superblock};
use crate::store::format::{BLOCK, CHUNK_ALIGN, Ptr, SEALED_BLOCK, SegState, Seq, Shape};
use crate::store::map::{Ref, Walk};

/// Nodes that are written at once: a quarter of a mebibyte.
const RUN_NODES: usize = 64;

/// A checkpoint that is being made.
#[derive(Debug)]
pub(in crate::store) struct Frozen {
    /// Its number.
    pub(in crate::store) number: u64,
    /// The generation of the newest nodes in it.
    generation: u64,
    walk: Walk,
    trees: Vec<TreeState>,
    renewal: Option<Renewal>,
    next_tree: u32,
    /// Where the log goes on that it does not cover.
    log: (LogPosition, Successor),
    /// The batch that it covers last.
    pub(in crate::store) last_batch: u64,
}

/// Bytes for one place on the backend.
#[derive(Debug)]
pub(in crate::store) struct Run {
    seg: u32,
    seq: Seq,
    offset: u32,
    bytes: Vec<u8>,
}

/// Where metadata is written next.
#[derive(Clone, Debug, Default)]
pub(super) struct MetaCursor {
    open: Option<(u32, Seq, u32)>,
    /// The segments that the checkpoint under way has written to.
    under_way: Vec<u32>,
}

impl MetaCursor {
    /// Has what is written next begin a segment.
    pub(super) fn close(&mut self) {
        self.open = None;
    }
}

impl Run {
    /// Where it is written, and what.
    pub(in crate::store) fn into_write(self, shape: Shape) -> (u64, Buf) {
        let bytes = u32::try_from(self.bytes.len()).expect("shorter than a segment");
        let mut buf = Buf::new(shape.round_up(bytes) as usize);
        buf[..self.bytes.len()].copy_from_slice(&self.bytes);
        buf[self.bytes.len()..].fill(0);
        (shape.backend_offset(self.seg, self.offset), buf)
    }

    fn end(&self) -> u32 {
        self.offset + u32::try_from(self.bytes.len()).expect("shorter than a segment")
    }

    /// Room for `len` bytes and their seal: where it is in the segment, and in the run.
    fn extend(&mut self, len: usize) -> (u32, usize) {
        let at = self.bytes.len().next_multiple_of(CHUNK_ALIGN);
        self.bytes.resize(at + len + TAG_BYTES, 0);
        let within = u32::try_from(at).expect("shorter than a segment");
        (self.offset + within, at)
    }
}

impl Core {
    /// Whether a checkpoint should be made now, whatever the time.
    pub(in crate::store) fn wants_checkpoint(&self) -> bool {
        if self.health != super::Health::Well {
            return false;
        }
        let free = u64::from(self.table.free()) * u64::from(self.shape().seg_bytes());
        let log_max = self.tuning.checkpoint_bytes.min(free / 4);
        let log_max = log_max.max(2 * u64::from(self.shape().seg_bytes()));
        self.checkpoints.asked > self.checkpoints.begun
            || self.nodes.changed() >= self.reserve.changed_max
            || self.log.grown() >= log_max
    }

    /// Whether something has changed since the last checkpoint began.
    pub(in crate::store) fn is_changed(&self) -> bool {
        self.changed
    }

    /// Begins a checkpoint: from now on no node changes that is in it.
    pub(in crate::store) fn freeze(&mut self) -> Frozen {
        self.log.close();
        self.log.mark();
        self.table.freeze();
        self.changed = false;
        self.begin_mount();
        self.checkpoints.begun += 1;
        self.meta.under_way = self.meta.open.iter().map(|(seg, ..)| *seg).collect();
        Frozen {
            number: self.checkpoints.begun,
            generation: self.nodes.freeze(),
            walk: Walk::new(self.roots()),
            trees: self.trees.values().cloned().collect(),
            renewal: self.renewals.now,
            next_tree: self.next_tree,
            log: (self.log.position(), self.log.successor()),
            last_batch: self.log.end(),
        }
    }

    /// The next nodes to write, if there are any left; `Err` if there is no space for them.
    pub(in crate::store) fn next_run(
        &mut self,
        frozen: &mut Frozen,
    ) -> Result<Option<Run>, NoRoom> {
        let mut run: Option<Run> = None;
        for _ in 0..RUN_NODES {
            if run.as_ref().is_some_and(|run| !self.has_room(run, BLOCK)) {
                break;
            }
            let Some(slot) = self.nodes.next_to_write(&mut frozen.walk) else {
                break;
            };
            let run = match &mut run {
                Some(run) => run,
                none => none.insert(self.begin_run(BLOCK)?),
            };
            let (offset, at) = run.extend(BLOCK);
            let ptr = Ptr::raw(run.seg, offset);
            let node = self.nodes.place(slot, ptr);
            let sealed = &mut run.bytes[at..at + SEALED_BLOCK];
            for (entry, to) in node.iter().zip(sealed.chunks_exact_mut(8)) {
                to.copy_from_slice(&entry.to_le_bytes());
            }
            self.sealer.close(Shape::place(ptr, run.seq), sealed);
        }
        if let Some(run) = &run {
            self.end_run(run);
        }
        Ok(run)
    }

    /// The segment table and the root blob, when all nodes are placed, and the superblock that
    /// makes them count.
    pub(in crate::store) fn finish(
        &mut self,
        frozen: &Frozen,
    ) -> Result<(Vec<Run>, Superblock), NoRoom> {
        let mut runs = Vec::new();
        let mut placed: Vec<(usize, Ptr, usize, usize)> = Vec::new();
        self.pages
            .resize(self.table.pages(), (Ptr::HOLE, Seq::default()));
        let root_len = self.encode_root(frozen).len();
        let mut root_at = None;
        // Taking a segment changes the table, and what changes has to be written: so places are
        // given out until nothing new changes, and only then is anything encoded.
        loop {
            let changed = self.table.changed_pages();
            let new = changed
                .into_iter()
                .find(|page| placed.iter().all(|(known, ..)| known != page));
            if let Some(page) = new {
                let (run, offset, at) = self.room_in(&mut runs, BLOCK)?;
                let ptr = Ptr::raw(runs[run].seg, offset);
                self.pages[page] = (ptr, runs[run].seq);
                placed.push((page, ptr, run, at));
            } else if root_at.is_none() {
                root_at = Some(self.room_in(&mut runs, root_len)?);
            } else {
                break;
            }
        }
        if let Some(run) = runs.last() {
            self.end_run(run);
        }
        for (page, ptr, run, at) in placed {
            let seq = runs[run].seq;
            let sealed = &mut runs[run].bytes[at..at + SEALED_BLOCK];
            self.table.write_page(page, sealed);
            self.sealer.close(Shape::place(ptr, seq), sealed);
        }
        let (run, offset, at) = root_at.expect("given out above");
        let blob = self.encode_root(frozen);
        let root = RootRef {
            seq: runs[run].seq,
            seg: runs[run].seg,
            offset,
            len: u32::try_from(root_len).expect("shorter than a segment"),
            key: 0,
        };
        let place = crate::codec::Place {
            seq: root.seq.bits(),
            offset,
        };
        let sealed = &mut runs[run].bytes[at..at + root_len + TAG_BYTES];
        sealed[..root_len].copy_from_slice(&blob);
        self.sealer.close(place, sealed);
        let superblock = superblock_after(
            &self.sealer,
            &self.superblock,
            &self.table,
            root,
            frozen.log,
        );
        Ok((runs, superblock))
    }

    /// Ends a checkpoint whose `superblock` is durable.
    pub(in crate::store) fn checkpointed(&mut self, frozen: Frozen, superblock: Superblock) {
        self.nodes.written(frozen.generation);
        for tree in self.trees.values_mut() {
            tree.root = self.nodes.resolve(tree.root);
        }
        self.table.settle_epoch();
        let freed = self.table.thaw();
        if !freed.is_empty() {
            self.nodes.forget(|seg| freed.contains(&seg));
        }
        self.superblock = superblock;
        self.meta.under_way.clear();
        self.outputs_safe(frozen.number);
        self.checkpoints.done = frozen.number;
        let waiting = self.checkpoints.asked > frozen.number;
        if !waiting {
            for tree in self.trees.values_mut() {
                tree.pause = Pause::Nothing;
            }
        }
    }

    /// What opens everything that is used.
    fn keys(&self) -> Option<Keys> {
        let ring = self.sealer.keys()?;
        Some(Keys {
            fingerprints: self.sealer.fingerprinter().key(),
            mounts: ring.mounts(&self.mounts_in_use()),
        })
    }

    fn encode_root(&self, frozen: &Frozen) -> Zeroizing<Vec<u8>> {
        let at = |root: Ref| self.nodes.where_written(root);
        root_of(
            &frozen.trees,
            frozen.next_tree,
            &self.pages,
            (self.keys(), frozen.renewal),
            at,
        )
        .encode()
    }

    /// Room for `len` bytes and their seal at the end of `runs`: which run, the offset in its
    /// segment and the offset in the run.
    fn room_in(&mut self, runs: &mut Vec<Run>, len: usize) -> Result<(usize, u32, usize), NoRoom> {
        let has_room = runs.last().is_some_and(|run| self.has_room(run, len));
        if !has_room {
            if let Some(run) = runs.last() {
                self.end_run(run);
            }
            runs.push(self.begin_run(len)?);
        }
        let last = runs.len() - 1;
        let (offset, at) = runs[last].extend(len);
        Ok((last, offset, at))
    }

    fn has_room(&self, run: &Run, len: usize) -> bool {
        let end = run.end() as usize + CHUNK_ALIGN + len + TAG_BYTES;
        self.shape()
            .round_up(u32::try_from(end).unwrap_or(u32::MAX >> 1))
            <= self.shape().seg_bytes()
    }

    /// Begins a run that has room for `len` bytes at least, in the open segment or in a new one.
    fn begin_run(&mut self, len: usize) -> Result<Run, NoRoom> {
        let empty = |(seg, seq, offset)| Run {
            seg,
            seq,
            offset,
            bytes: Vec::new(),
        };
        if let Some(open) = self.meta.open {
            let run = empty(open);
            if self.has_room(&run, len) {
                return Ok(run);
            }
        }
        let (seg, seq) = self.table.take(SegState::Meta, 0).ok_or(NoRoom)?;
        self.meta.open = Some((seg, seq, 0));
        self.meta.under_way.push(seg);
        Ok(empty((seg, seq, 0)))
    }

    fn end_run(&mut self, run: &Run) {
        let bytes = u32::try_from(run.bytes.len()).expect("shorter than a segment");
        self.table.gain(run.seg, bytes);
        self.meta.open = Some((run.seg, run.seq, self.shape().round_up(run.end())));
    }

    /// The segments that metadata is being written to. Nodes that a checkpoint under way has put
    /// there are not known to be there before it is durable.
    pub(super) fn open_meta(&self) -> impl Iterator<Item = u32> {
        let open = self.meta.open.iter().map(|(seg, ..)| *seg);
        open.chain(self.meta.under_way.iter().copied())
    }

    /// Where the pages of the segment table and the root blob lie now.
    pub(super) fn table_places(&self) -> impl Iterator<Item = Ptr> {
        self.pages.iter().map(|(ptr, _)| *ptr)
    }
}

/// There is no segment left for a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::store) struct NoRoom;
