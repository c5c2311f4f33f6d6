//! Writing: the one place where the log and the map change together.

use super::space::Wish;
use super::{Core, Load, Pause};
use crate::base::{Error, Refusal};
use crate::store::Stalls;
use crate::store::dedup::Known;
use crate::store::format::root::TreeKind;
use crate::store::format::{BLOCK, Ptr, SEALED_BLOCK};
use crate::store::payload::Payload;

/// Why a write has to wait, or cannot be.
#[derive(Debug)]
pub(in crate::store) enum Stall {
    /// A node has to be read first.
    Load(Load),
    /// The log is behind.
    Backlog,
    /// Too much has changed since the last checkpoint.
    Checkpoint,
    /// Garbage collection has to free something first.
    Space,
    /// An operation on the whole volume is under way.
    Busy,
    /// It cannot be done.
    Fail(Error),
}

impl Stall {
    /// Whether it passes by itself.
    pub(in crate::store) fn is_wait(&self) -> bool {
        !matches!(self, Self::Load(_) | Self::Fail(_))
    }
}

impl Stalls {
    /// Counts a write that has to wait.
    pub(in crate::store) fn count(&mut self, stall: &Stall) {
        match stall {
            Stall::Backlog => self.log += 1,
            Stall::Checkpoint => self.checkpoint += 1,
            Stall::Space => self.space += 1,
            Stall::Busy => self.operation += 1,
            Stall::Load(_) | Stall::Fail(_) => {}
        }
    }
}

/// How many times what may be in flight may wait for it.
const BACKLOG_BATCHES: u64 = 4;

impl Core {
    /// Writes `blocks` from `first` on, of which `None` is a block of zeroes; gives the number of
    /// the batch that makes it durable.
    ///
    /// Either all of it is done or nothing: whatever has to be waited for is found out before
    /// anything changes.
    pub(in crate::store) fn write(
        &mut self,
        tree: u32,
        first: u64,
        blocks: &[Option<Payload>],
    ) -> Result<u64, Stall> {
        let pieces = blocks.iter().flatten().count();
        let wish = match pieces {
            0 => Wish::Trim,
            _ => Wish::Write,
        };
        self.check_target(tree, first, blocks.len() as u64)?;
        self.admit_write(wish, pieces, blocks.len())?;
        let state = &self.trees[&tree];
        let (mut root, height) = (state.root, state.height);
        for lba in (first..).take(blocks.len()) {
            let checked = self.nodes.check_path(root, height, lba);
            checked.map_err(|miss| Stall::Load(self.load(miss)))?;
        }
        for (lba, block) in (first..).zip(blocks) {
            let ptr = match block {
                Some(payload) => self.place(tree, lba, payload),
                None => {
                    let known = self.nodes.lookup(root, height, lba);
                    if known.expect("checked above").is_hole() {
                        continue;
                    }
                    self.log.append_zero(&mut self.table, tree, lba, 1);
                    Ptr::HOLE
                }
            };
            let old = self.nodes.set(&mut root, height, lba, ptr);
            if !old.is_hole() {
                self.table.lose(old.seg(), room(old));
            }
        }
        self.traffic.clients += (pieces * BLOCK) as u64;
        Ok(self.wrote(tree, root))
    }

    /// Makes `count` blocks from `first` on holes; gives the number of the batch that makes it
    /// durable. As for [`write`](Self::write).
    pub(in crate::store) fn zero(
        &mut self,
        tree: u32,
        first: u64,
        count: u32,
    ) -> Result<u64, Stall> {
        let blocks = u64::from(count);
        self.check_target(tree, first, blocks)?;
        self.admit_write(Wish::Trim, 0, 1)?;
        let state = &self.trees[&tree];
        let (mut root, height) = (state.root, state.height);
        let checked = self.nodes.check_cut(root, height, first, blocks);
        checked.map_err(|miss| Stall::Load(self.load(miss)))?;
        if root.is_hole() {
            return Ok(self.log.end());
        }
        self.log.append_zero(&mut self.table, tree, first, count);
        self.cut(&mut root, height, first, blocks);
        self.gave_up();
        Ok(self.wrote(tree, root))
    }

    /// Makes holes in the map, as [`zero`](Self::zero) and a replay do.
    pub(in crate::store) fn cut(
        &mut self,
        root: &mut crate::store::map::Ref,
        height: u8,
        first: u64,
        count: u64,
    ) {
        let Self { nodes, table, .. } = self;
        let mut lost = |old: Ptr| table.lose(old.seg(), room(old));
        nodes.cut(root, height, first, count, &mut lost);
    }

    /// Whether these blocks of a volume may be written now.
    fn check_target(&self, tree: u32, first: u64, count: u64) -> Result<(), Stall> {
        self.check_health().map_err(Stall::Fail)?;
        let Some(state) = self.trees.get(&tree) else {
            return Err(Stall::Fail(Error::Refused(Refusal::Invalid)));
        };
        if state.kind != TreeKind::Volume {
            return Err(Stall::Fail(Error::Refused(Refusal::ReadOnly)));
        }
        if state.pause != Pause::Nothing {
            return Err(Stall::Busy);
        }
        state.check_range(first, count).map_err(Stall::Fail)
    }

    /// Whether the log and the store have room for a write, before anything is changed.
    fn admit_write(&mut self, wish: Wish, blocks: usize, records: usize) -> Result<(), Stall> {
        let in_flight = self.tuning.batches_in_flight as u64;
        if self.log.backlog() >= BACKLOG_BATCHES * in_flight * u64::from(self.tuning.batch_bytes) {
            return Err(Stall::Backlog);
        }
        if self.nodes.changed() >= 2 * self.reserve.changed_max {
            return Err(Stall::Checkpoint);
        }
        let segs = self.log.segments_for(blocks, records);
        self.admit(segs, wish).map_err(|refusal| match refusal {
            Some(error) => Stall::Fail(error),
            None => Stall::Space,
        })
    }

    /// Has the log take a block, or where it lies already; gives where that is.
    fn place(&mut self, tree: u32, lba: u64, payload: &Payload) -> Ptr {
        if let Some(known) = payload.known.filter(|known| self.may_refer(*known)) {
            self.log.append_known(&mut self.table, tree, lba, known);
            self.refer(known.ptr.seg());
            self.traffic.deduplicated += BLOCK as u64;
            return known.ptr;
        }
        let (table, print) = (&mut self.table, payload.print);
        let ptr = self.log.append_block(table, tree, lba, payload.clone());
        table.gain(ptr.seg(), room(ptr));
        if let Some(print) = print {
            let seq = table.seq(ptr.seg());
            self.index.note(print, Known { ptr, seq });
            self.traffic.new += BLOCK as u64;
        }
        ptr
    }

    fn wrote(&mut self, tree: u32, root: crate::store::map::Ref) -> u64 {
        self.trees.get_mut(&tree).expect("it is written to").root = root;
        self.changed = true;
        self.log.end()
    }
}

/// What a chunk takes up in its segment.
pub(in crate::store) fn room(ptr: Ptr) -> u32 {
    let bytes = crate::store::format::batch::chunk_room(ptr.len());
    u32::try_from(bytes.min(SEALED_BLOCK)).expect("a chunk is smaller than a segment")
}
