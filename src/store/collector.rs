//! Collects garbage while space is short: traverses, moves, and has checkpoints made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::core::{Collected, Health, Listed, Moves, Pass, Wish, by_segment};
use super::disk::fill_block;
use super::format::batch::{self, Record, chunk_room};
use super::format::trailer::{self, Trailer};
use super::format::{BLOCK, CHUNK_ALIGN, Ptr, Seq, Shape};
use super::moved::{Chunk, Pack};
use super::shell::{Shell, read_chunk};
use crate::base::{Buf, Error, Refusal, Result};
use crate::codec::{Fingerprint, Place, Sealer, TAG_BYTES};
use crate::env;

/// Leaves that are visited under one hold of the core's lock: about a hundred microseconds.
const LEAVES_AT_ONCE: usize = 32;

/// How much is read of a victim, and written to its new place, at once.
const MOVE_BYTES: usize = 256 << 10;

/// After this many passes that have made no more space than they took, collection rests. One pass
/// moves and the next one frees, and checkpoints take segments and give them back, so the best of
/// them counts.
const VAIN_PASSES: u32 = 6;

/// Ages are counted up to here: what was moved three times is as cold as anything.
const AGES: u8 = 3;

/// What has come to this age is cold, and packed with Zstandard where that is wanted. It is tried
/// once: what does not pack is as it is from then on.
const COLD: u8 = 2;

/// A segment that is being filled with what was moved.
#[derive(Debug)]
struct Output {
    seg: u32,
    seq: Seq,
    /// Where the bytes begin that are not written yet.
    offset: u32,
    bytes: Vec<u8>,
    entries: Vec<trailer::Entry>,
}

/// Garbage collection, between its passes.
#[derive(Debug, Default)]
struct Collector {
    pass: Pass,
    outputs: BTreeMap<u8, Output>,
}

impl Shell {
    /// Collects garbage until the store is closed or stopped.
    pub(super) async fn keep_collecting(self: Arc<Self>) {
        let mut collector = Collector::default();
        let (mut passes, mut level, mut best) = (0, self.core().gained(), 0);
        while self.collection_due().await {
            self.core().begin_pass(env::now());
            let collected = self.collect(&mut collector).await;
            self.core().end_pass(env::now(), collected.as_ref().err());
            if let Err(error) = collected {
                if self.core().health != Health::Well {
                    return;
                }
                // Nothing is lost: what could not be read stays where it is.
                tracing::warn!(%error, "garbage collection was interrupted");
            }
            passes += 1;
            best = self.core().gained().max(best);
            if passes == VAIN_PASSES {
                if best <= level {
                    self.core().park();
                }
                (passes, level, best) = (0, best, 0);
            }
            self.changed.wake_all();
        }
    }

    /// Has a pass made that begins now, and waits for its end.
    ///
    /// # Errors
    /// Why it came to nothing.
    pub(super) async fn collect_now(&self) -> Result<()> {
        let number = self.core().ask_pass();
        self.chores.wake_all();
        let look = || {
            let core = self.core();
            match core.passes.ended >= number {
                true => Some(core.passes.failure.map_or(Ok(()), Err)),
                false => core.check_health().err().map(Err),
            }
        };
        self.changed.wait_for(look).await
    }

    async fn collection_due(&self) -> bool {
        let look = || {
            let core = self.core();
            match core.health {
                Health::Well if core.wants_collection() => Some(true),
                Health::Well => None,
                Health::Stopped | Health::Closed => Some(false),
            }
        };
        self.chores.wait_for(look).await
    }

    /// One pass: a traversal, then a checkpoint if that frees something, then the moves that the
    /// next traversal makes known.
    async fn collect(self: &Arc<Self>, collector: &mut Collector) -> Result<()> {
        self.seal_old_outputs(collector).await?;
        let outputs = collector.outputs.values();
        let room = |output: &Output| output.room(self.shape());
        let pass = Pass {
            open: outputs.clone().map(|output| output.seg).collect(),
            open_room: outputs.map(room).max().unwrap_or(0),
            ..std::mem::take(&mut collector.pass)
        };
        self.core().begin_traversal(pass);
        loop {
            let stepped = self.core().step_traversal(LEAVES_AT_ONCE);
            match stepped {
                Ok(true) => break,
                Ok(false) if self.core().wants_checkpoint() => self.checkpoint_now().await?,
                Ok(false) => env::end_of_turn().await,
                Err(load) => {
                    if let Err(error) = self.load(load).await {
                        self.core().abandon_traversal();
                        return Err(error);
                    }
                }
            }
            self.core().check_health()?;
        }
        let collected = self.core().end_traversal(env::now());
        if collected.doomed > 0 || collected.leaving {
            self.checkpoint_now().await?;
        }
        self.move_listed(collector, collected).await
    }

    /// Has a checkpoint made, and waits for it.
    async fn checkpoint_now(&self) -> Result<()> {
        let number = self.core().ask_checkpoint();
        self.chores.wake_all();
        self.wait_checkpoint(number).await
    }

    /// Moves what was listed, and remembers for the next pass what went where.
    async fn move_listed(
        self: &Arc<Self>,
        collector: &mut Collector,
        collected: Collected,
    ) -> Result<()> {
        // The last batches of a victim may still be on their way.
        let last = {
            let mut core = self.core();
            core.log.close();
            core.log.end()
        };
        self.pump();
        self.wait_written(last).await?;
        let mut moves = Moves::default();
        let mut moved_from = BTreeSet::new();
        for (seg, listed) in by_segment(collected.listed) {
            let began = env::now();
            let moved = self.move_segment(collector, seg, listed, &mut moves).await;
            match moved {
                Ok(()) => moved_from.insert(seg),
                // The space for this pass is used up; what was moved is moved.
                Err(Error::Refused(Refusal::NoSpace)) => break,
                Err(error) => {
                    tracing::warn!(seg, %error, "a segment could not be moved");
                    break;
                }
            };
            if self.core().is_renewing_calmly() {
                // There is no hurry, and half of the disk's time is for others.
                env::sleep(env::now() - began).await;
            }
        }
        let ages: Vec<u8> = collector.outputs.keys().copied().collect();
        for age in ages {
            if let Some(output) = collector.outputs.get_mut(&age) {
                self.write_output(output).await?;
            }
        }
        collector.pass = Pass {
            moves,
            moved_from,
            ..Pass::default()
        };
        Ok(())
    }

    /// Moves the chunks `listed`, in order, out of segment `seg`.
    async fn move_segment(
        &self,
        collector: &mut Collector,
        seg: u32,
        listed: Vec<Listed>,
        moves: &mut Moves,
    ) -> Result<()> {
        let (shape, info) = {
            let core = self.core();
            (core.shape(), core.table.info(seg))
        };
        let age = (info.age + 1).min(AGES);
        let mut rest = &listed[..];
        while let Some(first) = rest.first() {
            let from = u64::from(first.ptr.offset());
            let near = |listed: &&Listed| listed.ptr.end() - from <= MOVE_BYTES as u64;
            let (run, behind) = rest.split_at(rest.iter().take_while(near).count());
            let end = run.iter().map(|listed| listed.ptr.end()).max();
            let len = usize::try_from(end.expect("the first") - from).expect("bounded");
            let at = (seg, first.ptr.offset());
            let sealed = read_chunk(&self.backend, shape, at, len).await?;
            let mut chunks = self.open_run(run, info.seq, &sealed);
            let pack = match self.core().renewals.now.is_some_and(|now| now.repacks) {
                true => Pack::AsWanted,
                false if age == COLD => Pack::Cold,
                false => Pack::Nothing,
            };
            self.look_into(&mut chunks, pack);
            for chunk in chunks {
                let new = self.put(collector, age, &chunk).await?;
                if info.shared {
                    self.core().table.share(new.seg());
                }
                moves.insert(chunk.old.bits(), new);
            }
            rest = behind;
        }
        Ok(())
    }

    /// The chunks `run`, which lie in `sealed`.
    fn open_run<'a>(&self, run: &[Listed], seq: Seq, sealed: &'a [u8]) -> Vec<Chunk<'a>> {
        let mut chunks = Vec::with_capacity(run.len());
        for Listed { ptr: old, wish } in run.iter().copied() {
            let from = (old.offset() - run[0].ptr.offset()) as usize;
            let chunk = &sealed[from..from + old.sealed_len()];
            let Ok(bytes) = self.sealer.open(Shape::place(old, seq), chunk) else {
                // It stays reachable where it is, so its segment is never freed.
                tracing::error!(chunk = %old, "a block is damaged; its segment is kept");
                continue;
            };
            chunks.push(Chunk {
                old,
                wish,
                bytes,
                codec: old.codec(),
                print: None,
            });
        }
        chunks
    }

    /// Gives chunks that unpack their fingerprints, if anybody wants these, and packs those anew
    /// that are to be.
    fn look_into(&self, chunks: &mut [Chunk<'_>], pack: Pack) {
        let wants_prints = self.core().wants_fingerprints();
        if !wants_prints && !chunks.iter().any(|chunk| chunk.new_way(pack).is_some()) {
            return;
        }
        let mut blocks = Buf::new(chunks.len() * BLOCK);
        let mut unpacked = Vec::with_capacity(chunks.len());
        for (chunk, block) in chunks.iter_mut().zip(blocks.chunks_exact_mut(BLOCK)) {
            if fill_block(chunk.old, &chunk.bytes, block).is_err() {
                continue;
            }
            if let Some(way) = chunk.new_way(pack)
                && chunk.pack_anew(way, block)
            {
                self.core().traffic.repacked += BLOCK as u64;
            }
            unpacked.push((chunk, &*block));
        }
        if !wants_prints {
            return;
        }
        let bytes: Vec<&[u8]> = unpacked.iter().map(|(_, block)| *block).collect();
        let prints = self.sealer.fingerprinter().of(&bytes);
        for ((chunk, _), print) in unpacked.into_iter().zip(prints) {
            chunk.print = Some(print);
        }
    }

    /// Puts a chunk into the segment of its age; gives where it lies now.
    async fn put(&self, collector: &mut Collector, age: u8, chunk: &Chunk<'_>) -> Result<Ptr> {
        let shape = self.shape();
        let bytes = &chunk.bytes;
        let is_full = |output: &Output| !output.fits(shape, bytes.len());
        if collector.outputs.get(&age).is_some_and(is_full) {
            let output = collector.outputs.remove(&age).expect("it is there");
            self.seal_output(output).await?;
        }
        let fits = |output: &Output| output.fits(shape, bytes.len());
        if !collector.outputs.contains_key(&age) {
            let wish = match collector.outputs.values().any(fits) {
                true => Wish::CollectApart,
                false => Wish::Collect,
            };
            if let Some((seg, seq)) = self.core().take_for_moves(wish, age) {
                collector.outputs.insert(age, Output::new(seg, seq));
            }
        }
        // Without a segment for each age, what is moved lies beside what is older or younger.
        let output = match collector.outputs.contains_key(&age) {
            true => collector.outputs.get_mut(&age),
            false => collector.outputs.values_mut().find(|output| fits(output)),
        };
        let output = output.ok_or(Error::Refused(Refusal::NoSpace))?;
        let new = output.append(&self.sealer, chunk);
        if output.bytes.len() >= MOVE_BYTES {
            self.write_output(output).await?;
        }
        Ok(new)
    }

    /// Writes what an output has gathered.
    async fn write_output(&self, output: &mut Output) -> Result<()> {
        if output.bytes.is_empty() {
            return Ok(());
        }
        let shape = self.shape();
        let bytes = std::mem::take(&mut output.bytes);
        let len = u32::try_from(bytes.len()).expect("shorter than a segment");
        let room = shape.round_up(len);
        let offset = shape.backend_offset(output.seg, output.offset);
        let make = || padded(&bytes, 0, room as usize);
        self.write_firmly(offset, make).await?;
        output.offset += room;
        let mut core = self.core();
        core.table.gain(output.seg, len);
        core.traffic.moved += u64::from(room);
        Ok(())
    }

    /// Ends the segments that are to be emptied themselves.
    async fn seal_old_outputs(&self, collector: &mut Collector) -> Result<()> {
        let ages: Vec<u8> = {
            let core = self.core();
            let is_old = |output: &Output| core.renewals.is_old(core.table.info(output.seg));
            let outputs = collector.outputs.iter();
            outputs
                .filter(|(_, output)| is_old(output))
                .map(|(age, _)| *age)
                .collect()
        };
        for age in ages {
            if let Some(output) = collector.outputs.remove(&age) {
                self.seal_output(output).await?;
            }
        }
        Ok(())
    }

    /// Ends a segment of moved chunks.
    async fn seal_output(&self, mut output: Output) -> Result<()> {
        self.write_output(&mut output).await?;
        let shape = self.shape();
        let trailer = Trailer {
            kind: trailer::Kind::Gc,
            seq: output.seq,
            written: output.offset,
            next: batch::Successor::default(),
            last: 0,
            flushed: 0,
            entries: output.entries,
        };
        let bytes = trailer.encode(&self.sealer, shape.seg_bytes());
        let len = u32::try_from(bytes.len()).expect("shorter than a segment");
        let room = shape.round_up(len);
        let offset = shape.backend_offset(output.seg, shape.seg_bytes() - room);
        let front = (room - len) as usize;
        self.write_firmly(offset, || padded(&bytes, front, room as usize))
            .await?;
        self.core().output_sealed(output.seg);
        Ok(())
    }
}

impl Output {
    fn new(seg: u32, seq: Seq) -> Self {
        Self {
            seg,
            seq,
            offset: 0,
            bytes: Vec::new(),
            entries: Vec::new(),
        }
    }

    /// About how many bytes more there is room for.
    fn room(&self, shape: Shape) -> u32 {
        let used = self.offset as usize + self.bytes.len() + trailer::bytes_for(self.entries.len());
        let used = u32::try_from(used).expect("shorter than a segment");
        shape.seg_bytes().saturating_sub(used)
    }

    /// Whether a chunk of `len` bytes leaves room for the trailer.
    fn fits(&self, shape: Shape, len: usize) -> bool {
        let gathered = self.bytes.len().next_multiple_of(CHUNK_ALIGN) + chunk_room(len);
        let end = self.offset as usize + gathered;
        let trailer = trailer::bytes_for(self.entries.len() + 1);
        let block = shape.block() as usize;
        let end = end.next_multiple_of(block) + trailer.next_multiple_of(block);
        end <= shape.seg_bytes() as usize
    }

    fn append(&mut self, sealer: &Sealer, chunk: &Chunk<'_>) -> Ptr {
        let (bytes, codec) = (&chunk.bytes, chunk.codec);
        let sealed = bytes.len() + TAG_BYTES;
        let at = self.bytes.len().next_multiple_of(CHUNK_ALIGN);
        self.bytes.resize(at, 0);
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(at + sealed, 0);
        let offset = self.offset + u32::try_from(at).expect("shorter than a segment");
        let place = Place {
            seq: self.seq.bits(),
            offset,
        };
        sealer.close(place, &mut self.bytes[at..]);
        let kind = batch::Kind::Data {
            len: u16::try_from(bytes.len()).expect("at most 4096"),
            codec,
        };
        let record = Record {
            volume: 0,
            lba: 0,
            kind,
        };
        self.entries.push(trailer::Entry {
            record,
            offset,
            content: chunk.print.map_or([0; 16], Fingerprint::bytes),
        });
        Ptr::new(self.seg, offset, bytes.len(), codec)
    }
}

/// `bytes` in a buffer of `len` bytes, behind `front` zeroes.
fn padded(bytes: &[u8], front: usize, len: usize) -> Buf {
    let mut buf = Buf::zeroed(len);
    buf[front..front + bytes.len()].copy_from_slice(bytes);
    buf
}

const _: () = assert!(MOVE_BYTES >= BLOCK);
