//! A volume or snapshot in use: its blocks are read, written and given up here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::core::{NotMapped, Source, Stall};
use super::dedup::Known;
use super::format::batch::chunk_room;
use super::format::root::{Compression, Dedup, TreeKind};
use super::format::{BLOCK, Ptr, Seq, Shape};
use super::payload::Payload;
use super::prepare::{Experience, How, divide, pack_new};
use super::readahead::Readahead;
use super::shell::{Shell, corrupt, read_chunk};
use crate::base::{Buf, Durability, Result, StatusRun};
use crate::codec::{Broken, unpack};
use crate::env;

/// How often a read goes through the map again after what it found there did not open.
const READ_TRIES: usize = 8;

/// Blocks that are written under one hold of the core's lock.
const BLOCKS_AT_ONCE: usize = 64;

/// What is read into the cache for a hint, in bytes.
const READ_BYTES_MAX: usize = 1 << 20;

/// Reads of the backend that one read of a volume has under way at once.
const READS_AT_ONCE: usize = 32;

/// The most blocks that one record makes holes of.
const ZERO_BLOCKS_MAX: u64 = 1 << 30;

/// A volume or snapshot in use. It is used in blocks of 4 KiB, numbered from 0; the last one of a
/// volume whose size is not a multiple of that counts as whole. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Disk {
    pub(super) shell: Arc<Shell>,
    pub(super) tree: u32,
    /// Its size when somebody last asked.
    size: Arc<AtomicU64>,
    kind: TreeKind,
    readahead: Arc<Readahead>,
    experience: Arc<Experience>,
}

/// A block of a read that is on the backend.
#[derive(Clone, Copy, Debug)]
struct Missing {
    /// Which block of the read it is.
    block: usize,
    ptr: Ptr,
    seq: Seq,
}

impl Disk {
    pub(super) fn new(shell: Arc<Shell>, tree: u32, size: u64, kind: TreeKind) -> Self {
        Self {
            shell,
            tree,
            size: Arc::new(AtomicU64::new(size)),
            kind,
            readahead: Arc::default(),
            experience: Arc::default(),
        }
    }

    /// Its size in bytes, a multiple of 512. It may become larger while it is used.
    pub fn size(&self) -> u64 {
        if let Some(tree) = self.shell.core().trees.get(&self.tree) {
            self.size.store(tree.size, Ordering::Relaxed);
        }
        self.size.load(Ordering::Relaxed)
    }

    /// What it is in its store, whatever it is called: no two volumes or snapshots have the same.
    pub fn id(&self) -> u32 {
        self.tree
    }

    /// The store that it is in: no two stores have the same.
    pub fn store_uuid(&self) -> [u8; 16] {
        self.shell.core().superblock.uuid
    }

    /// Whether it is a volume and not a snapshot.
    pub fn is_writable(&self) -> bool {
        self.kind == TreeKind::Volume
    }

    /// The `count` blocks from `first` on.
    ///
    /// # Errors
    /// `Failed` if the backend cannot be read, `Corrupt` if what is there does not open.
    pub async fn read(&self, first: u64, count: usize) -> Result<Buf> {
        if self.shell.blocks.is_in_use() {
            let blocks = count as u64;
            let end = self.size.load(Ordering::Relaxed).div_ceil(BLOCK as u64);
            if let Some(ahead) = self.readahead.note(first, blocks, end) {
                let disk = self.clone();
                env::spawn(async move {
                    let count = usize::try_from(ahead.count).expect("a window");
                    // What cannot be read ahead is read, and its error told, when it is asked for.
                    drop(disk.read_now(ahead.first, count).await);
                    disk.readahead.arrived(ahead);
                });
            }
            self.readahead.wait_for(first, blocks).await;
        }
        self.read_now(first, count).await
    }

    /// The same, without regard to what is read next.
    async fn read_now(&self, first: u64, count: usize) -> Result<Buf> {
        let mut buf = Buf::new(count * BLOCK);
        let mut left: Vec<usize> = (0..count).collect();
        for _ in 0..READ_TRIES {
            let from = first + left[0] as u64;
            let wanted = left[left.len() - 1] - left[0] + 1;
            let sources = self.map(from, wanted).await?;
            let offset = left[0];
            let wanted = left.iter().map(|block| (*block, &sources[*block - offset]));
            let missing = self.fill(&mut buf, wanted);
            left = match missing.is_empty() {
                true => return Ok(buf),
                false => Box::pin(self.fetch(&mut buf, missing)).await?,
            };
            if left.is_empty() {
                return Ok(buf);
            }
        }
        tracing::error!(
            block = first + left[0] as u64,
            "a block of a volume is damaged"
        );
        Err(corrupt("reading a block"))
    }

    /// Writes `data`, a multiple of 4096 bytes, from block `first` on.
    ///
    /// # Errors
    /// `Refused` as no space before anything of it is acknowledged; `Poisoned` if the store has
    /// stopped.
    pub async fn write(&self, first: u64, data: Buf, durability: Durability) -> Result<()> {
        let count = data.len() / BLOCK;
        let data = Arc::new(data);
        let at_once = self.blocks_at_once();
        let mut number = 0;
        let mut done = 0;
        while done < count {
            let some = at_once.min(count - done);
            let first = first + done as u64;
            let mut blocks = divide(&data, done, some);
            let dedup = self.dedup();
            let arrived = match dedup {
                Dedup::Off => some,
                _ => self.recognize(&mut blocks, dedup).await,
            };
            pack_new(self.how(arrived), first, &mut blocks).await;
            self.keep_pace(&blocks).await;
            let write = || self.shell.core().write(self.tree, first, &blocks);
            number = self.until_written(write).await?;
            done += some;
        }
        self.settle(number, durability).await
    }

    /// Makes `count` blocks from `first` on holes, which read as zeroes and take no space.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn zero(&self, first: u64, count: u64, durability: Durability) -> Result<()> {
        let mut number = 0;
        let mut done = 0;
        while done < count {
            let some = ZERO_BLOCKS_MAX.min(count - done);
            let blocks = u32::try_from(some).expect("bounded above");
            let first = first + done;
            let zero = || self.shell.core().zero(self.tree, first, blocks);
            number = self.until_written(zero).await?;
            done += some;
        }
        self.settle(number, durability).await
    }

    /// Makes everything that was answered before, on any volume of the store, survive a power
    /// loss.
    ///
    /// # Errors
    /// `Unknown` or `Poisoned`; the store takes no writes after that.
    pub async fn flush(&self) -> Result<()> {
        let number = {
            let mut core = self.shell.core();
            core.check_health()?;
            core.log.close_for_flush()
        };
        self.shell.pump();
        self.shell.wait_durable(number).await
    }

    /// Makes everything that was answered before, on any volume of the store, survive the end of
    /// this process.
    ///
    /// # Errors
    /// `Poisoned`; the store takes no writes after that.
    pub async fn hand_over(&self) -> Result<()> {
        let number = self.shell.core().log.close_for_flush();
        self.shell.pump();
        self.shell.wait_written(number).await
    }

    /// Which of `count` blocks from `first` on are holes, in at most `runs_max` runs.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn status(&self, first: u64, count: u64, runs_max: usize) -> Result<Vec<StatusRun>> {
        loop {
            let status = self.shell.core().status(self.tree, first, count, runs_max);
            match status {
                Ok(runs) => return Ok(runs),
                Err(NotMapped::Load(load)) => self.shell.load(load).await?,
                Err(NotMapped::Paused) => self.until_readable().await,
                Err(NotMapped::Fail(error)) => return Err(error),
            }
        }
    }

    /// Notes that `count` blocks from `first` on will be read soon: they are read into the cache.
    pub fn cache(&self, first: u64, count: u64) {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let count = count.min(READ_BYTES_MAX / BLOCK);
        let disk = self.clone();
        // A hint: whether it worked shows when the blocks are asked for.
        env::spawn(async move { drop(disk.read(first, count).await) });
    }

    /// How blocks are to be packed now, of which so many have arrived together.
    fn how(&self, arrived: usize) -> How {
        let core = self.shell.core();
        let tree = core.trees.get(&self.tree);
        How {
            compression: tree.map_or(Compression::Off, |tree| tree.properties.compression),
            experience: Arc::clone(&self.experience),
            is_hurried: core.log.is_hurried(arrived, core.tuning.batches_in_flight),
        }
    }

    /// Whether blocks that are there already are to be found.
    fn dedup(&self) -> Dedup {
        let core = self.shell.core();
        let tree = core.trees.get(&self.tree);
        tree.map_or(Dedup::Off, |tree| tree.properties.dedup)
    }

    /// Finds out which blocks seem to be in the store already; gives how many have arrived together
    /// with them, and they themselves.
    async fn recognize(&self, blocks: &mut [Option<Payload>], dedup: Dedup) -> usize {
        let index = &self.shell.index;
        let mut wanted: Vec<&mut Payload> = blocks.iter_mut().flatten().collect();
        let pieces = wanted.iter().map(|one| one.block.clone()).collect();
        let fingerprinter = self.shell.sealer.fingerprinter();
        let gathered = self
            .shell
            .gatherer
            .fingerprint(fingerprinter, index, pieces)
            .await;
        let prints = gathered.prints;
        let mut found = index.find(&prints);
        if !found.asks.is_empty() {
            let asks = std::mem::take(&mut found.asks);
            for seg in &asks {
                Box::pin(self.shell.learn(*seg)).await;
            }
            index.unhook(&prints, &asks);
            found = index.find(&prints);
        }
        for (payload, (print, known)) in wanted.iter_mut().zip(prints.iter().zip(found.known)) {
            payload.print = Some(*print);
            payload.known = match (known, dedup) {
                (Some(known), Dedup::Verify) => {
                    let holds = Box::pin(self.holds(known, payload.block.bytes())).await;
                    holds.then_some(known)
                }
                (known, _) => known,
            };
        }
        gathered.arrived
    }

    /// Whether these bytes lie there.
    async fn holds(&self, known: Known, bytes: &[u8]) -> bool {
        let Known { ptr, seq } = known;
        if let Some(piece) = self.shell.core().log.unwritten(ptr) {
            return piece.bytes() == bytes;
        }
        let mut buf = Buf::new(BLOCK);
        if self.shell.blocks.get(ptr, seq, &mut buf) {
            return buf[..] == *bytes;
        }
        let missing = Missing { block: 0, ptr, seq };
        let broken = self.fetch(&mut buf, vec![missing]).await;
        broken.is_ok_and(|broken| broken.is_empty()) && buf[..] == *bytes
    }

    /// Waits, while space is short, so long that garbage collection can keep up.
    async fn keep_pace(&self, blocks: &[Option<Payload>]) {
        let new = blocks.iter().flatten().filter(|one| one.known.is_none());
        let hold = self.shell.core().hold_back(env::turn_began(), new.count());
        if !hold.is_zero() {
            Box::pin(env::sleep(hold)).await;
        }
    }

    fn blocks_at_once(&self) -> usize {
        let seg_bytes = self.shell.shape().seg_bytes() as usize;
        (seg_bytes / (8 * BLOCK)).clamp(1, BLOCKS_AT_ONCE)
    }

    /// Repeats `write` until it does not have to wait; gives the number of its batch.
    async fn until_written(
        &self,
        write: impl Fn() -> std::result::Result<u64, Stall>,
    ) -> Result<u64> {
        let mut has_waited = false;
        let mut attempt = || match write() {
            Err(stall) if stall.is_wait() => {
                if !std::mem::replace(&mut has_waited, true) {
                    self.shell.core().stalls.count(&stall);
                }
                self.hurry(stall);
                None
            }
            other => Some(other),
        };
        loop {
            match self.shell.changed.wait_for(&mut attempt).await {
                Ok(number) => return Ok(number),
                Err(Stall::Load(load)) => Box::pin(self.shell.load(load)).await?,
                Err(Stall::Fail(error)) => return Err(error),
                Err(_) => unreachable!("waited out above"),
            }
        }
    }

    /// Has done what a write waits for.
    fn hurry(&self, stall: Stall) {
        match stall {
            Stall::Backlog => return self.shell.pump_at_end_of_turn(),
            Stall::Checkpoint => {
                self.shell.core().ask_checkpoint();
            }
            _ => {}
        }
        self.shell.chores.wake_all();
    }

    /// Has what was written leave at the end of this turn, together with what else arrives in it;
    /// waits for it where it must be durable, or at least written.
    async fn settle(&self, number: u64, durability: Durability) -> Result<()> {
        if self.is_durable_at_once(durability) {
            self.shell.core().log.close_for_flush();
            self.shell.pump();
            return Box::pin(self.shell.wait_durable(number)).await;
        }
        if durability != Durability::Written {
            self.shell.pump_at_end_of_turn();
            return Ok(());
        }
        // All batches before it are written then, too: it will be found after a crash.
        self.shell.core().log.wait_for_batch();
        self.shell.pump_at_end_of_turn();
        Box::pin(self.shell.wait_written(number)).await
    }

    fn is_durable_at_once(&self, durability: Durability) -> bool {
        let core = self.shell.core();
        let tree = core.trees.get(&self.tree);
        durability == Durability::Durable || tree.is_some_and(|tree| tree.properties.write_through)
    }

    async fn map(&self, first: u64, count: usize) -> Result<Vec<Source>> {
        loop {
            let mapped = self.shell.core().map(self.tree, first, count as u64);
            match mapped {
                Ok(sources) => return Ok(sources),
                Err(NotMapped::Load(load)) => Box::pin(self.shell.load(load)).await?,
                Err(NotMapped::Paused) => Box::pin(self.until_readable()).await,
                Err(NotMapped::Fail(error)) => return Err(error),
            }
        }
    }

    /// Waits while nothing may be read.
    async fn until_readable(&self) {
        let look = || (!self.shell.core().is_unreadable(self.tree)).then_some(());
        self.shell.changed.wait_for(look).await;
    }

    /// Fills in what is in memory; gives the blocks that are not, and where they are.
    fn fill<'a>(
        &self,
        buf: &mut Buf,
        wanted: impl Iterator<Item = (usize, &'a Source)>,
    ) -> Vec<Missing> {
        let mut missing = Vec::new();
        for (block, source) in wanted {
            let to = &mut buf[block * BLOCK..(block + 1) * BLOCK];
            match source {
                Source::Hole => to.fill(0),
                Source::Memory(piece) => to.copy_from_slice(piece.bytes()),
                Source::Disk(ptr, seq) => {
                    let (ptr, seq) = (*ptr, *seq);
                    if !self.shell.blocks.get(ptr, seq, to) {
                        missing.push(Missing { block, ptr, seq });
                    }
                }
            }
        }
        missing
    }

    /// Reads blocks from the backend, neighbours together; gives those that did not open.
    async fn fetch(&self, buf: &mut Buf, missing: Vec<Missing>) -> Result<Vec<usize>> {
        let shape = self.shell.shape();
        let mut broken = Vec::new();
        let runs: Vec<&[Missing]> = missing.chunk_by(follows).collect();
        for some in runs.chunks(READS_AT_ONCE) {
            let read = some.iter().map(|run| self.read_run(shape, run));
            for (run, sealed) in some.iter().zip(env::all(read).await) {
                broken.extend(self.open_run(buf, run, &mut sealed?));
            }
        }
        Ok(broken)
    }

    async fn read_run(&self, shape: Shape, run: &[Missing]) -> Result<Buf> {
        let (start, last) = (run[0].ptr, run[run.len() - 1].ptr);
        let len = usize::try_from(last.end() - u64::from(start.offset())).expect("a segment");
        read_chunk(
            &self.shell.backend,
            shape,
            (start.seg(), start.offset()),
            len,
        )
        .await
    }

    /// Opens what was read of a run of neighbours; gives the blocks that do not open.
    fn open_run(&self, buf: &mut Buf, run: &[Missing], sealed: &mut [u8]) -> Vec<usize> {
        let mut broken = Vec::new();
        for Missing { block, ptr, seq } in run.iter().copied() {
            let from = (ptr.offset() - run[0].ptr.offset()) as usize;
            let chunk = &mut sealed[from..from + ptr.sealed_len()];
            let sealer = &self.shell.sealer;
            match sealer.open_in_place(Shape::place(ptr, seq), chunk) {
                Ok(bytes) => {
                    let to = &mut buf[block * BLOCK..(block + 1) * BLOCK];
                    match fill_block(ptr, bytes, to) {
                        Ok(()) => self.shell.blocks.put(ptr, seq, to),
                        Err(Broken) => broken.push(block),
                    }
                }
                Err(Broken) => broken.push(block),
            }
        }
        broken
    }
}

/// Makes the block `to` of the chunk at `ptr`, which is `bytes`.
pub(super) fn fill_block(ptr: Ptr, bytes: &[u8], to: &mut [u8]) -> std::result::Result<(), Broken> {
    if ptr.is_raw() {
        to.copy_from_slice(bytes);
        return Ok(());
    }
    unpack(ptr.codec(), bytes, to)
}

/// Whether the chunk of `next` lies behind the one of `one`.
fn follows(one: &Missing, next: &Missing) -> bool {
    let room = u32::try_from(chunk_room(one.ptr.len())).expect("small");
    one.ptr.seg() == next.ptr.seg() && one.ptr.offset() + room == next.ptr.offset()
}
