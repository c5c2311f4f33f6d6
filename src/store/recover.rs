//! Opens a store. There is no other way to open one, after a clean stop as after a crash.
//!
//! 1. The newest superblock that opens.
//! 2. The root blob that it names, and the segment table.
//! 3. The log from where the root ends: batch after batch is applied to the trees, up to the first
//!    that is not there. What was flushed is known to be whole, and taken from the trailers of full
//!    segments; of the rest every chunk is looked at.
//! 4. A new mount: the tail is never appended to, the log goes on in a new segment.
//!
//! The caller makes a checkpoint before anything is served. Until that is durable nothing is
//! overwritten that this has read, so a stop at any point leaves the same to be done again.

mod log;

use std::collections::BTreeMap;

use super::core::{Load, Recovered, TreeState, room};
use super::error::{StoreError, damaged};
use super::find::{check_backend, newest_superblock, read_root};
use super::format::batch::{self, At, Kind, Logged};
use super::format::root::{Root, TreeKind};
use super::format::superblock::{Slots, Superblock};
use super::format::trailer::Trailer;
use super::format::{BLOCK, Malformed, Ptr, SEALED_BLOCK, SegState, Seq, Shape};
use super::map::{Miss, Nodes};
use super::shell::{read_chunk, read_node};
use super::table::Table;
use super::tuning::Tuning;
use super::unlock::{begin_mount, learn_keys, random_bytes, unlock};
use crate::backend::Checked;
use crate::codec::{Credential, Sealer};
use log::{Ahead, Head, LogReader};

/// Leaves that are kept in memory at least, so that whoever needs two at once gets them.
const LEAVES_MIN: usize = 32;

/// A recovery under way.
struct Recovery<'a> {
    backend: &'a Checked,
    sealer: &'a Sealer,
    shape: Shape,
    log: LogReader<'a>,
    nodes: Nodes,
    table: Table,
    trees: BTreeMap<u32, TreeState>,
    /// The highest counter of a segment that was seen.
    counter: u64,
    batches: u64,
}

/// Recovers the store on `backend`, whose superblocks are in `slots`.
///
/// # Errors
/// `NotAStore`, `Newer`, or `Damaged` with the structure and its place. Nothing was written.
pub(super) async fn recover(
    backend: &Checked,
    slots: &Slots,
    tuning: Tuning,
    key: Option<&Credential>,
) -> Result<Recovered, StoreError> {
    let superblock = newest_superblock(slots)?;
    let shape = superblock.shape;
    check_backend(backend, shape)?;
    let (sealer, key_slots) = unlock(backend, superblock, key).await?;
    let root = read_root(backend, &sealer, superblock).await?;
    learn_keys(&sealer, &root).map_err(|why| damaged("the root", why))?;
    let sealer_of_all = sealer.clone();
    let mut recovery = Recovery {
        backend,
        sealer: &sealer_of_all,
        shape,
        log: LogReader {
            backend,
            sealer: &sealer_of_all,
            shape,
            flushed: superblock.log.number,
        },
        nodes: Nodes::new((tuning.leaf_cache / 2 / SEALED_BLOCK).max(LEAVES_MIN)),
        table: Table::new(shape),
        trees: root
            .trees
            .iter()
            .map(|tree| (tree.id, TreeState::of(tree)))
            .collect(),
        counter: superblock.next_counter,
        batches: 0,
    };
    recovery.read_table(&root).await?;
    let number = recovery.replay(superblock).await?;
    let newest = recovery
        .table
        .all()
        .map(|(_, info)| info.seq.counter())
        .max();
    let counter = recovery.counter.max(newest.unwrap_or(0)) + 1;
    let epoch = superblock.epoch + 1;
    if epoch >= Seq::EPOCHS {
        let what = "it was opened as often as can be counted; export its volumes to another";
        return Err(StoreError::Invalid(what.to_owned()));
    }
    recovery.table.resume(epoch, counter, superblock.cursor);
    if recovery.batches > 0 {
        tracing::info!(batches = recovery.batches, "replayed the log");
    }
    let salt = sealer.keys().map(|keys| begin_mount(keys, epoch));
    Ok(Recovered {
        sealer,
        superblock: Superblock {
            owner: random_bytes(),
            salt: salt.unwrap_or_default(),
            ..superblock.clone()
        },
        nodes: recovery.nodes,
        table: recovery.table,
        trees: recovery.trees,
        next_tree: root.next_tree,
        pages: root.pages,
        renewal: root.renewal,
        number,
        key_slots,
    })
}

impl Recovery<'_> {
    async fn read_table(&mut self, root: &Root) -> Result<(), StoreError> {
        if root.pages.len() != self.table.pages() {
            let why = Malformed("it does not cover the store");
            return Err(damaged("the segment table", why));
        }
        for (page, (ptr, seq)) in root.pages.iter().enumerate() {
            let what = || format!("page {page} of the segment table, at {ptr}");
            let at = (ptr.seg(), ptr.offset());
            let sealed = read_chunk(self.backend, self.shape, at, SEALED_BLOCK).await?;
            let opened = self.sealer.open(Shape::place(*ptr, *seq), &sealed);
            let bytes = opened.map_err(|_| damaged(what(), Malformed("it does not open")))?;
            let read = self.table.read_page(page, &bytes);
            read.map_err(|error| damaged(what(), error))?;
        }
        Ok(())
    }

    /// Applies the log; gives the number of the first batch that is not in it.
    async fn replay(&mut self, superblock: &Superblock) -> Result<u64, StoreError> {
        let mut head = Head {
            seg: superblock.log.seg,
            seq: superblock.log.seq,
            offset: superblock.log.offset,
            number: superblock.log.number,
            next: superblock.next,
        };
        let mut ahead = Ahead::new(self.log.find_flushed(head).await?);
        let mut trailer = match head.offset {
            0 => self.log.trailer(head.place()).await?,
            _ => None,
        };
        loop {
            let before = head.number;
            head = self.replay_segment(head, trailer).await?;
            let start = Head {
                seg: head.next.seg,
                seq: head.next.seq,
                offset: 0,
                ..head
            };
            let outline = ahead.outline(&self.log, start.place()).await?;
            if outline.first != Some(start.number) {
                self.give_back(start);
                self.give_back(head);
                break;
            }
            debug_assert!(head.number >= before);
            self.table.list(head.seg);
            self.claim(start)?;
            (head, trailer) = (start, outline.trailer);
        }
        if head.number < self.log.flushed {
            let what = format!("the log at segment {}, offset {:#x}", head.seg, head.offset);
            let why = Malformed("a batch that was flushed is not there");
            return Err(damaged(what, why));
        }
        Ok(head.number)
    }

    /// Applies what one segment has; gives where the log goes on.
    async fn replay_segment(
        &mut self,
        mut head: Head,
        trailer: Option<Trailer>,
    ) -> Result<Head, StoreError> {
        if let Some(trailer) = trailer
            && trailer.last < self.log.flushed
        {
            self.apply_trailer(head, &trailer).await?;
            (head.number, head.next) = (trailer.last + 1, trailer.next);
            head.offset = trailer.written;
            return Ok(head);
        }
        let segment = self.log.read_segment(head.seg).await?;
        while let Some((header, logged)) = self.log.batch(head, &segment) {
            for logged in logged {
                self.apply(head.seg, logged).await?;
            }
            self.batches += 1;
            head.number += 1;
            head.next = header.next;
            head.offset = self.shape.round_up(head.offset + header.bytes);
        }
        Ok(head)
    }

    async fn apply_trailer(&mut self, head: Head, trailer: &Trailer) -> Result<(), StoreError> {
        for entry in &trailer.entries {
            let at = match entry.record.kind {
                Kind::Data { len, codec } => Some(At::Chunk {
                    offset: entry.offset,
                    len: usize::from(len),
                    codec,
                }),
                Kind::Zero(_) => None,
                Kind::Ref => {
                    let (ptr, seq) = entry.target();
                    Some(At::Elsewhere { ptr, seq })
                }
            };
            let record = entry.record;
            self.apply(head.seg, Logged { record, at }).await?;
        }
        self.batches += trailer.last + 1 - head.number;
        Ok(())
    }

    /// Applies one record.
    async fn apply(&mut self, seg: u32, logged: Logged) -> Result<(), StoreError> {
        let batch::Record { volume, lba, kind } = logged.record;
        let Some(tree) = self.trees.get(&volume) else {
            // Deleted after this was written, which only a checkpoint makes durable: so this is
            // a volume that was created and deleted by an operation that never was acknowledged.
            return Ok(());
        };
        let what = || format!("a record of volume {volume}, block {lba}, in segment {seg}");
        let count = match kind {
            Kind::Zero(count) => u64::from(count),
            _ => 1,
        };
        let is_inside = lba
            .checked_add(count)
            .is_some_and(|end| end <= tree.blocks());
        if tree.kind != TreeKind::Volume || !is_inside {
            return Err(damaged(what(), Malformed("there is no such block")));
        }
        match logged.at {
            None => self.apply_zero(volume, lba, count).await,
            Some(At::Chunk { offset, len, codec }) => {
                let ptr = Ptr::new(seg, offset, len, codec);
                if !self.shape.holds(ptr) {
                    return Err(damaged(what(), Malformed("its chunk lies outside")));
                }
                self.table.gain(ptr.seg(), room(ptr));
                self.apply_block(volume, lba, ptr).await
            }
            Some(At::Elsewhere { ptr, seq }) => {
                let is_there = self.shape.holds(ptr) && {
                    let info = self.table.info(ptr.seg());
                    info.seq == seq && matches!(info.state, SegState::Log | SegState::Gc)
                };
                if !is_there {
                    return Err(damaged(what(), Malformed("it refers to nowhere")));
                }
                self.table.share(ptr.seg());
                self.apply_block(volume, lba, ptr).await
            }
        }
    }

    async fn apply_block(&mut self, volume: u32, lba: u64, ptr: Ptr) -> Result<(), StoreError> {
        let (mut root, height) = (self.trees[&volume].root, self.trees[&volume].height);
        while let Err(miss) = self.nodes.check_path(root, height, lba) {
            self.load(miss).await?;
        }
        let old = self.nodes.set(&mut root, height, lba, ptr);
        if !old.is_hole() {
            self.table.lose(old.seg(), room(old));
        }
        self.tree(volume).root = root;
        Ok(())
    }

    async fn apply_zero(&mut self, volume: u32, lba: u64, count: u64) -> Result<(), StoreError> {
        let (mut root, height) = (self.trees[&volume].root, self.trees[&volume].height);
        while let Err(miss) = self.nodes.check_cut(root, height, lba, count) {
            self.load(miss).await?;
        }
        let table = &mut self.table;
        let mut lost = |old: Ptr| table.lose(old.seg(), room(old));
        self.nodes.cut(&mut root, height, lba, count, &mut lost);
        self.tree(volume).root = root;
        Ok(())
    }

    async fn load(&mut self, miss: Miss) -> Result<(), StoreError> {
        let load = Load {
            ptr: miss.ptr,
            seq: self.table.seq(miss.ptr.seg()),
            level: miss.level,
        };
        let read = read_node(self.backend, self.sealer, self.shape, load).await;
        let node = read.map_err(|error| {
            StoreError::Damaged(format!(
                "a node of a volume's map, at {}: {error}",
                miss.ptr
            ))
        })?;
        self.nodes.insert(miss.ptr, miss.level, node);
        Ok(())
    }

    /// Frees a segment that the log took and never used.
    fn give_back(&mut self, head: Head) {
        if self.log.is_place(head.seg) {
            let info = self.table.info(head.seg);
            if info.state == SegState::Log && info.seq == head.seq && head.offset == 0 {
                self.table.doom(head.seg);
            }
        }
    }

    /// Notes that the log uses a segment that it took after the checkpoint.
    fn claim(&mut self, head: Head) -> Result<(), StoreError> {
        let info = self.table.info(head.seg);
        self.counter = self.counter.max(head.seq.counter() + 1);
        if info.state == SegState::Log && info.seq == head.seq {
            return Ok(());
        }
        if info.state != SegState::Free {
            let what = format!("segment {} of the log", head.seg);
            return Err(damaged(
                what,
                Malformed("the segment table has it as another's"),
            ));
        }
        self.table.claim(head.seg, head.seq, 0);
        Ok(())
    }

    fn tree(&mut self, id: u32) -> &mut TreeState {
        self.trees.get_mut(&id).expect("looked for before")
    }
}

const _: () = assert!(BLOCK <= SEALED_BLOCK);
