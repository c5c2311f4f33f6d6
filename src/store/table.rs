//! The segment table: which segments are used, and for what.
//!
//! All of it is in memory, 16 bytes a segment. A segment that holds nothing any more is *doomed*
//! first: the next checkpoint that begins records it as free, and only when that one is durable,
//! so that nothing on the backend leads to it any more, may it be taken again.

use std::collections::BTreeSet;

use super::format::{BLOCK, INFO_BYTES, INFOS_PER_PAGE, Malformed, SegInfo, SegState, Seq, Shape};

/// The segment table.
#[derive(Debug)]
pub(super) struct Table {
    shape: Shape,
    infos: Vec<SegInfo>,
    /// Pages that differ from what was last written.
    changed: BTreeSet<usize>,
    /// Segments that hold nothing any more; free in the next checkpoint.
    doomed: BTreeSet<u32>,
    /// Segments that are free in the checkpoint that is being made, and after it.
    held: BTreeSet<u32>,
    free: u32,
    /// The newest mount.
    epoch: u32,
    /// The newest mount that a durable superblock tells of.
    settled_epoch: u32,
    next_counter: u64,
    cursor: u32,
}

impl Table {
    /// A table of free segments only, except for the system area.
    pub(super) fn new(shape: Shape) -> Self {
        let segs = shape.segs() as usize;
        let mut table = Self {
            shape,
            infos: vec![SegInfo::default(); segs],
            changed: (0..segs.div_ceil(INFOS_PER_PAGE)).collect(),
            doomed: BTreeSet::new(),
            held: BTreeSet::new(),
            free: 0,
            epoch: 1,
            settled_epoch: 1,
            next_counter: 1,
            cursor: shape.first_seg(),
        };
        for info in &mut table.infos[..shape.first_seg() as usize] {
            info.state = SegState::System;
        }
        table.recount();
        table
    }

    /// The number of pages of the table.
    pub(super) fn pages(&self) -> usize {
        self.infos.len().div_ceil(INFOS_PER_PAGE)
    }

    /// Reads page `page` from `from`, a block.
    pub(super) fn read_page(&mut self, page: usize, from: &[u8]) -> Result<(), Malformed> {
        let first = page * INFOS_PER_PAGE;
        let infos = self.infos[first..].iter_mut();
        for (info, from) in infos.zip(from.chunks_exact(INFO_BYTES)) {
            *info = SegInfo::decode(from)?;
        }
        self.changed.remove(&page);
        let system = self.shape.first_seg() as usize;
        let is_system = |info: &SegInfo| info.state == SegState::System;
        match self.infos[..system].iter().all(is_system) || page > 0 {
            true => Ok(()),
            false => Err(Malformed("the system area is used for something else")),
        }
    }

    /// Writes page `page` into `to`, a block; from now on it counts as written.
    pub(super) fn write_page(&mut self, page: usize, to: &mut [u8]) {
        to[..BLOCK].fill(0);
        let first = page * INFOS_PER_PAGE;
        for (info, to) in self.infos[first..]
            .iter()
            .zip(to.chunks_exact_mut(INFO_BYTES))
        {
            info.encode(to);
        }
        self.changed.remove(&page);
    }

    /// The pages that differ from what was last written.
    pub(super) fn changed_pages(&self) -> Vec<usize> {
        self.changed.iter().copied().collect()
    }

    /// Has page `page` written again by the next checkpoint, because it has to move.
    pub(super) fn move_page(&mut self, page: usize) {
        self.changed.insert(page);
    }

    /// Goes on after a recovery as mount `epoch`.
    pub(super) fn resume(&mut self, epoch: u32, next_counter: u64, cursor: u32) {
        (self.epoch, self.next_counter) = (epoch, next_counter);
        self.settled_epoch = epoch;
        self.cursor = cursor.clamp(self.shape.first_seg(), self.shape.segs() - 1);
        self.recount();
    }

    /// Adds segments up to `shape`.
    pub(super) fn grow(&mut self, shape: Shape) {
        let before = self.infos.len();
        self.shape = shape;
        self.infos.resize(shape.segs() as usize, SegInfo::default());
        self.changed.extend(before / INFOS_PER_PAGE..self.pages());
        self.recount();
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Goes on as another mount, for metadata at once; gives its number.
    pub(super) fn begin_epoch(&mut self) -> u32 {
        self.epoch += 1;
        self.epoch
    }

    /// The superblock is durable that tells of the newest mount.
    pub(super) fn settle_epoch(&mut self) {
        self.settled_epoch = self.epoch;
    }

    pub(super) fn next_counter(&self) -> u64 {
        self.next_counter
    }

    pub(super) fn cursor(&self) -> u32 {
        self.cursor
    }

    /// Segments that can be taken now.
    pub(super) fn free(&self) -> u32 {
        self.free
    }

    /// Segments that can be taken once the checkpoints are made that wait for it.
    pub(super) fn freed_soon(&self) -> usize {
        self.doomed.len() + self.held.len()
    }

    pub(super) fn info(&self, seg: u32) -> SegInfo {
        self.infos[seg as usize]
    }

    /// The entries, by segment.
    pub(super) fn all(&self) -> impl Iterator<Item = (u32, SegInfo)> {
        (0..).zip(self.infos.iter().copied())
    }

    /// The sequence number of a segment.
    pub(super) fn seq(&self, seg: u32) -> Seq {
        self.infos[seg as usize].seq
    }

    /// Whether a segment has never been used.
    pub(super) fn is_virgin(&self, seg: u32) -> bool {
        self.seq(seg) == Seq::default()
    }

    /// The free segment that is taken next, if there is one.
    pub(super) fn peek(&self) -> Option<u32> {
        if self.free == 0 {
            return None;
        }
        let (first, segs) = (self.shape.first_seg(), self.shape.segs());
        let mut around = (self.cursor..segs).chain(first..self.cursor);
        around.find(|seg| {
            self.infos[*seg as usize].state == SegState::Free && !self.held.contains(seg)
        })
    }

    /// Takes a free segment to be used as `state`.
    pub(super) fn take(&mut self, state: SegState, age: u8) -> Option<(u32, Seq)> {
        let seg = self.peek()?;
        let (first, segs) = (self.shape.first_seg(), self.shape.segs());
        let epoch = match state {
            SegState::Meta => self.epoch,
            _ => self.settled_epoch,
        };
        let seq = Seq::new(epoch, self.next_counter);
        self.next_counter += 1;
        self.cursor = if seg + 1 < segs { seg + 1 } else { first };
        self.free -= 1;
        self.put(
            seg,
            SegInfo {
                seq,
                live: 0,
                state,
                age,
                shared: false,
                listed: false,
            },
        );
        Some((seg, seq))
    }

    /// Takes a certain segment, which a recovery found on the chain of the log.
    pub(super) fn claim(&mut self, seg: u32, seq: Seq, live: u32) {
        self.put(
            seg,
            SegInfo {
                seq,
                live,
                state: SegState::Log,
                ..SegInfo::default()
            },
        );
    }

    /// Notes that a segment is full, and that a checkpoint which says so finds all of it durable
    /// that its trailer lists.
    pub(super) fn list(&mut self, seg: u32) {
        let info = self.infos[seg as usize];
        if matches!(info.state, SegState::Log | SegState::Gc) {
            self.put(
                seg,
                SegInfo {
                    listed: true,
                    ..info
                },
            );
        }
    }

    /// Notes that about `bytes` bytes more are reachable in a segment.
    pub(super) fn gain(&mut self, seg: u32, bytes: u32) {
        let info = &mut self.infos[seg as usize];
        info.live = info.live.saturating_add(bytes);
    }

    /// Notes that about `bytes` bytes fewer are reachable in a segment. A snapshot may still reach
    /// them, and where chunks are shared so may other blocks, which is taken for granted: garbage
    /// collection counts exactly.
    pub(super) fn lose(&mut self, seg: u32, bytes: u32) {
        let info = &mut self.infos[seg as usize];
        if !info.shared {
            info.live = info.live.saturating_sub(bytes);
        }
    }

    /// Notes that a chunk of a segment may be the content of several blocks.
    pub(super) fn share(&mut self, seg: u32) {
        let info = self.infos[seg as usize];
        if !info.shared {
            self.put(
                seg,
                SegInfo {
                    shared: true,
                    ..info
                },
            );
        }
    }

    /// Sets what garbage collection has counted.
    pub(super) fn set_live(&mut self, seg: u32, live: u32) {
        if self.infos[seg as usize].live != live {
            self.infos[seg as usize].live = live;
            self.changed.insert(seg as usize / INFOS_PER_PAGE);
        }
    }

    /// Notes that a segment holds nothing that is reachable.
    pub(super) fn doom(&mut self, seg: u32) {
        self.doomed.insert(seg);
    }

    pub(super) fn is_doomed(&self, seg: u32) -> bool {
        self.doomed.contains(&seg) || self.held.contains(&seg)
    }

    /// A checkpoint begins: what was doomed until now is free in it.
    pub(super) fn freeze(&mut self) {
        for seg in std::mem::take(&mut self.doomed) {
            let seq = self.seq(seg);
            self.held.insert(seg);
            self.put(
                seg,
                SegInfo {
                    seq,
                    ..SegInfo::default()
                },
            );
        }
    }

    /// The checkpoint is durable: gives the segments that may be taken again.
    pub(super) fn thaw(&mut self) -> BTreeSet<u32> {
        let freed = std::mem::take(&mut self.held);
        self.recount();
        freed
    }

    /// How many segments are free or will be, counting those that wait for a checkpoint.
    fn recount(&mut self) {
        let free =
            |(seg, info): &(u32, SegInfo)| info.state == SegState::Free && !self.held.contains(seg);
        let count = self.all().filter(free).count();
        self.free = u32::try_from(count).expect("segments are numbered in 32 bits");
    }

    fn put(&mut self, seg: u32, info: SegInfo) {
        self.infos[seg as usize] = info;
        self.changed.insert(seg as usize / INFOS_PER_PAGE);
    }
}
