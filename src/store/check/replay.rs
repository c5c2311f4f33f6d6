//! Replays the log behind the checkpoint, in memory (I6).
//!
//! The log ends where the next batch is not there whole, as a power loss leaves it. A batch that
//! was known to be durable when a later one was written is another matter: if that one is missing
//! or does not open, something that was promised is lost.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::layout::sweep;
use super::log::{Batch, Follow, NoBatch};
use super::overlay::Overlay;
use super::report::{Findings, LogSummary};
use super::source::Source;
use super::table::Segments;
use crate::codec::{Place, TAG_BYTES};
use crate::store::format::batch::{At, Kind, Logged};
use crate::store::format::root::{Root, TreeKind};
use crate::store::format::superblock::{LogPosition, Superblock};
use crate::store::format::{BLOCK, Ptr, SegState, Seq};

/// What the log changes.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    /// By volume.
    pub(super) overlays: BTreeMap<u32, Overlay>,
    pub(super) summary: LogSummary,
}

/// Replays the log behind the checkpoint of `newest` over the trees of `root`, and enters its
/// segments among `segments`.
pub(super) async fn replay(
    source: Source<'_>,
    newest: &Superblock,
    root: &Root,
    segments: &mut Segments,
    findings: &mut Findings,
    progress: &mut dyn FnMut(u64),
) -> Replayed {
    segments.join_chain(newest.log.seg, newest.log.seq, findings);
    let mut replay = Replay {
        source,
        root,
        segments,
        findings,
        held: VecDeque::new(),
        flushed: 0,
        used: BTreeSet::new(),
        replayed: Replayed::default(),
    };
    replay.replayed.summary.next = newest.log.number;
    replay.run(newest, progress).await;
    replay.replayed
}

struct Replay<'a> {
    source: Source<'a>,
    root: &'a Root,
    segments: &'a mut Segments,
    findings: &'a mut Findings,
    /// Batches from the first one on that has a chunk which does not open. If a later batch shows
    /// that it was durable they count; else they are what a power loss left.
    held: VecDeque<Held>,
    /// Every batch with a lower number is known to have been durable.
    flushed: u64,
    /// The segments of the batches that count.
    used: BTreeSet<u32>,
    replayed: Replayed,
}

struct Held {
    seg: u32,
    offset: u32,
    number: u64,
    records: Vec<Logged>,
    /// Which records' chunks do not open.
    broken: Vec<usize>,
}

impl Replay<'_> {
    async fn run(&mut self, newest: &Superblock, progress: &mut dyn FnMut(u64)) {
        let mut follow = Follow::new(self.source, newest);
        let why = loop {
            match follow.next().await {
                Ok(batch) => self.take(batch),
                Err(why) => break why,
            }
            progress(self.replayed.summary.batches);
        };
        let end = follow.position();
        if let NoBatch::Unread(_) = why {
            let place = place(end.number, end.seg, end.offset);
            self.findings.add("I6", place, why);
        }
        let evidence = self.evidence(end, &follow).await;
        self.flushed = self.flushed.max(evidence);
        self.settle();
        // What is still held begins with a batch that nobody called durable.
        if self.held.is_empty() && self.flushed > end.number {
            let what = format!(
                "it was durable, as all before batch {} were, and is lost: {why}",
                self.flushed
            );
            self.findings
                .add("I6", place(end.number, end.seg, end.offset), what);
        }
        self.replayed.summary.segments = self.used.len() as u64;
    }

    /// Takes the next batch.
    fn take(&mut self, batch: Batch) {
        let header = batch.header;
        let place = || place(header.number, batch.seg, header.offset);
        self.segments
            .join_chain(batch.seg, header.seq, self.findings);
        if header.flushed > header.number {
            let what = format!("it calls all before batch {} durable", header.flushed);
            self.findings.add("I6", place(), what);
        }
        if header.key != 0 {
            let what = format!("sealed with key {}, which is not there", header.key);
            self.findings.add("I8", place(), what);
        }
        self.flushed = self.flushed.max(header.flushed.min(header.number));
        let broken = broken_chunks(self.source, &batch);
        self.held.push_back(Held {
            seg: batch.seg,
            offset: header.offset,
            number: header.number,
            records: batch.records,
            broken,
        });
        self.settle();
    }

    /// Applies what is held, as far as it is known to count.
    fn settle(&mut self) {
        while let Some(first) = self.held.front() {
            if !first.broken.is_empty() && first.number >= self.flushed {
                return;
            }
            if let Some(batch) = self.held.pop_front() {
                self.apply(&batch);
            }
        }
    }

    fn apply(&mut self, batch: &Held) {
        let summary = &mut self.replayed.summary;
        summary.batches += 1;
        summary.records += batch.records.len() as u64;
        summary.next = batch.number + 1;
        self.used.insert(batch.seg);
        for (index, logged) in batch.records.iter().enumerate() {
            if let Err(what) = self.apply_record(batch.seg, logged) {
                let place = place(batch.number, batch.seg, batch.offset);
                let what = format!("record {index} {what}");
                self.findings.add("I6", place, what);
            }
            if let (true, Some(At::Chunk { offset, .. })) =
                (batch.broken.contains(&index), logged.at)
            {
                let place = format!(
                    "log batch {} record {index} -> segment {} offset {offset:#x}",
                    batch.number, batch.seg
                );
                self.findings
                    .add("I3", place, "it was durable and does not open");
            }
        }
    }

    fn apply_record(&mut self, seg: u32, logged: &Logged) -> Result<(), String> {
        let record = logged.record;
        let trees = &self.root.trees;
        // A volume that was made after the checkpoint, which nobody was told.
        if record.volume >= self.root.next_tree {
            return Ok(());
        }
        let Ok(index) = trees.binary_search_by_key(&record.volume, |tree| tree.id) else {
            return Err(format!(
                "names volume {}, which is not there",
                record.volume
            ));
        };
        let tree = &trees[index];
        if tree.kind != TreeKind::Volume {
            let what = match tree.kind {
                TreeKind::Ghost => "bitmap",
                _ => "snapshot",
            };
            return Err(format!("changes {what} '{}'", tree.name));
        }
        let blocks = tree.size.div_ceil(BLOCK as u64);
        let count = match record.kind {
            Kind::Zero(count) => u64::from(count),
            Kind::Data { .. } | Kind::Ref => 1,
        };
        let end = record.lba + count;
        if end > blocks {
            let (name, last) = (&tree.name, end - 1);
            return Err(format!(
                "writes block {last} of volume {name}, which has {blocks}"
            ));
        }
        let overlay = self.replayed.overlays.entry(record.volume).or_default();
        match logged.at {
            None => overlay.zero(record.lba, end),
            Some(At::Chunk { offset, len, codec }) => {
                overlay.write(record.lba, Ptr::new(seg, offset, len, codec));
            }
            Some(At::Elsewhere { ptr, seq }) => {
                overlay.write(record.lba, ptr);
                return self.check_reference(ptr, seq);
            }
        }
        Ok(())
    }

    fn check_reference(&self, ptr: Ptr, seq: Seq) -> Result<(), String> {
        let usage = self.segments.get(ptr.seg());
        let found = usage.filter(|usage| matches!(usage.state, SegState::Log | SegState::Gc));
        match found {
            Some(usage) if usage.seq == seq => Ok(()),
            _ => Err(format!("refers to {ptr} in {seq}, which is not there")),
        }
    }

    /// The highest number that anything behind the end of the log calls durable up to: the rest of
    /// the segment in which it ends, and the segments that were announced.
    async fn evidence(&mut self, end: LogPosition, follow: &Follow<'_>) -> u64 {
        let mut flushed = 0;
        let mut seen = BTreeSet::new();
        let mut places = vec![(end.seg, end.seq, end.offset)];
        places.extend(follow.announced().map(|next| (next.seg, next.seq, 0)));
        while let Some((seg, seq, offset)) = places.pop() {
            if !seen.insert((seg, seq)) {
                continue;
            }
            let shape = self.source.shape();
            if !(shape.first_seg()..shape.segs()).contains(&seg) {
                continue;
            }
            let found = sweep(self.source, seg, seq, offset).await;
            flushed = flushed.max(found.flushed);
            if let Some(why) = found.unread {
                let what = format!("whether the log was cut there by mistake is not known: {why}");
                self.findings.add("I6", format!("segment {seg}"), what);
            }
            places.extend(found.next.iter().map(|next| (next.seg, next.seq, 0)));
        }
        flushed
    }
}

/// Which records of `batch` have chunks that do not open.
fn broken_chunks(source: Source<'_>, batch: &Batch) -> Vec<usize> {
    let header = &batch.header;
    let opens = |logged: &Logged| {
        let Some(At::Chunk { offset, len, .. }) = logged.at else {
            return true;
        };
        let place = Place {
            seq: header.seq.bits(),
            offset,
        };
        let within = (offset - header.offset) as usize;
        let sealed = &batch.bytes[within..within + len + TAG_BYTES];
        source.sealer().open(place, sealed).is_ok()
    };
    let records = batch.records.iter().enumerate();
    let broken = records.filter(|(_, logged)| !opens(logged));
    broken.map(|(index, _)| index).collect()
}

fn place(number: u64, seg: u32, offset: u32) -> String {
    format!("log batch {number} -> segment {seg} offset {offset:#x}")
}
