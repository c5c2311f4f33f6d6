//! Proves what lies in one segment: that its chunks do not overlap (I4), that the segment itself
//! knows them (I2, I9), and that they open (I3).

use std::collections::BTreeMap;

use super::Depth;
use super::layout::{Batches, Image, TrailerFound, chunk_end, chunk_of, read_trailer};
use super::report::{Findings, LiveBytes};
use super::source::{Source, Unread};
use super::table::{Segments, Usage};
use crate::codec::{FINGERPRINT_BYTES, Fingerprint, TAG_BYTES};
use crate::store::format::batch::{self, chunk_room};
use crate::store::format::superblock::{RootRef, Superblock};
use crate::store::format::trailer::{Entry, Kind, Trailer};
use crate::store::format::{Codec, Ptr, SegState};

/// Something that is wrong with what a pointer leads to. Whose pointer it is, is found later.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) ptr: Ptr,
    pub(super) invariant: &'static str,
    pub(super) what: String,
}

/// Problems up to a bound, and the number of the others.
#[derive(Debug)]
pub(super) struct Problems {
    pub(super) told: Vec<Problem>,
    pub(super) untold: u64,
    told_max: usize,
}

impl Problems {
    pub(super) fn new(told_max: usize) -> Self {
        Self {
            told: Vec::new(),
            untold: 0,
            told_max,
        }
    }

    fn add(&mut self, problem: Problem) {
        match self.told.len() < self.told_max {
            true => self.told.push(problem),
            false => self.untold += 1,
        }
    }
}

/// Proves segments one after the other.
pub(super) struct Prover<'a> {
    pub(super) source: Source<'a>,
    pub(super) newest: &'a Superblock,
    pub(super) segments: &'a Segments,
    pub(super) depth: Depth,
    pub(super) live: LiveBytes,
    pub(super) chunks: u64,
    /// How long they are together, in bytes without seals.
    pub(super) stored: u64,
    pub(super) problems: Problems,
}

/// The chunks that a segment says it has.
struct Layout {
    /// Where each begins, its length, and how it was made; in order.
    chunks: Vec<(u32, usize, Codec)>,
    /// Where the last batch or chunk ends.
    written: u32,
}

impl Prover<'_> {
    /// Proves segment `seg`, into which `ptrs` lead, sorted.
    pub(super) async fn prove(&mut self, seg: u32, ptrs: &[Ptr], findings: &mut Findings) {
        let place = format!("segment {seg}");
        self.overlaps(seg, ptrs);
        let Some(usage) = self.segments.get(seg) else {
            let count = ptrs.len();
            let what = format!(
                "{count} chunks in it are reachable, and the page of the segment table for it \
                 does not open"
            );
            return findings.add("I2", place, what);
        };
        let rooms = ptrs.iter().map(|ptr| chunk_room(ptr.len()) as u64);
        let live: u64 = rooms.sum();
        match usage.state {
            SegState::Meta => {
                self.live.meta += live;
                return;
            }
            SegState::Log => self.live.log += live,
            SegState::Gc => self.live.gc += live,
            SegState::Free | SegState::Bad | SegState::System => return,
        }
        self.chunks += ptrs.len() as u64;
        self.stored += ptrs.iter().map(|ptr| ptr.len() as u64).sum::<u64>();
        if let Err(why) = self.data(seg, usage, ptrs, findings).await {
            findings.add("I3", place, why);
        }
    }

    /// Proves what lies in a segment of the log or of garbage collection.
    async fn data(
        &mut self,
        seg: u32,
        usage: Usage,
        ptrs: &[Ptr],
        findings: &mut Findings,
    ) -> Result<(), Unread> {
        let place = || format!("segment {seg}");
        let trailer = match read_trailer(self.source, seg, usage.seq).await {
            Ok(TrailerFound::Whole(trailer)) => Some(trailer),
            // Nothing waits for a trailer to be durable, so a crash may tear any: it repeats only
            // what is found without it.
            Ok(TrailerFound::Torn(_) | TrailerFound::None) => None,
            Err(why) => {
                findings.add("I3", format!("segment {seg} trailer"), why);
                None
            }
        };
        let kind = match usage.state {
            SegState::Gc => Kind::Gc,
            _ => Kind::Log,
        };
        if let Some(trailer) = trailer.as_ref().filter(|trailer| trailer.kind != kind) {
            let what = format!("the trailer of a {:?} segment ends it", trailer.kind);
            findings.add("I9", place(), what);
        }
        let mut layout = trailer
            .as_ref()
            .map(|trailer| Layout::new(&trailer.entries, trailer.written));
        let needs_batches = kind == Kind::Log && layout.is_none();
        if self.depth == Depth::Data || needs_batches {
            let end = match &trailer {
                Some(trailer) => trailer.written.min(self.source.shape().seg_bytes()),
                None => self.source.shape().seg_bytes(),
            };
            let image = Image::read(self.source, seg, 0..end.max(1)).await?;
            if kind == Kind::Log {
                let batches = image.batches(self.source, usage.seq);
                let agreed = trailer
                    .as_ref()
                    .map(|trailer| agree(self.source, trailer, &batches));
                match agreed {
                    Some(Err(why)) if why.is_a_lie || self.was_filled(seg, usage) => {
                        findings.add("I9", place(), why.what);
                    }
                    Some(Ok(())) => {}
                    Some(Err(_)) | None => {
                        layout = Some(Layout::new(&batches.entries, batches.written));
                    }
                }
            }
            if self.depth == Depth::Data {
                self.open_all(usage, ptrs, &image, trailer.as_ref());
            }
        }
        if let Some(layout) = layout {
            if let Err(why) = layout.is_sound() {
                findings.add("I9", place(), why);
            }
            layout
                .misfit(ptrs)
                .into_iter()
                .for_each(|problem| self.problems.add(problem));
        }
        Ok(())
    }

    /// Whether the segment was filled by the mount that wrote the superblock, and left before its
    /// checkpoint: then all its batches are durable. What an earlier mount left may have been the
    /// end of the log at a crash, and what is on the chain is its end now: there a trailer may be
    /// durable while batches before it are not.
    fn was_filled(&self, seg: u32, usage: Usage) -> bool {
        usage.seq.epoch() == self.newest.epoch && !self.segments.is_on_chain(seg)
    }

    /// Proves that chunks open, and have the fingerprints that the trailer says.
    fn open_all(&mut self, usage: Usage, ptrs: &[Ptr], image: &Image, trailer: Option<&Trailer>) {
        let entries = trailer.map_or(&[][..], |trailer| &trailer.entries);
        let prints = entries.iter().filter_map(|entry| {
            let print = entry.fingerprint()?;
            Some((entry.offset, print))
        });
        let prints: BTreeMap<u32, Fingerprint> = prints.collect();
        for ptr in ptrs {
            let block = match image.open(self.source, usage.seq, *ptr) {
                Ok(block) => block,
                // A chunk behind what was written is another finding.
                Err(Unread::Outside) => continue,
                Err(why) => {
                    self.problem(*ptr, "I3", why.to_string());
                    continue;
                }
            };
            let fingerprinter = self.source.sealer().fingerprinter();
            let is_wrong = |print| fingerprinter.of_one(&block) != print;
            if prints.get(&ptr.offset()).copied().is_some_and(is_wrong) {
                let what = "the trailer has another fingerprint of it";
                self.problem(*ptr, "I9", what.to_owned());
            }
        }
    }

    fn overlaps(&mut self, seg: u32, ptrs: &[Ptr]) {
        let root = Some(self.newest.root).filter(|root| root.seg == seg);
        let mut reach: Option<Ptr> = None;
        for ptr in ptrs {
            if root.is_some_and(|root| overlap_root(*ptr, root)) {
                self.problem(*ptr, "I4", "it overlaps the root blob".to_owned());
            }
            if let Some(before) = reach.filter(|before| before.end() > u64::from(ptr.offset())) {
                let what = format!("it overlaps what {before} leads to");
                self.problem(*ptr, "I4", what);
            }
            if reach.is_none_or(|before| ptr.end() > before.end()) {
                reach = Some(*ptr);
            }
        }
    }

    fn problem(&mut self, ptr: Ptr, invariant: &'static str, what: String) {
        self.problems.add(Problem {
            ptr,
            invariant,
            what,
        });
    }
}

fn overlap_root(ptr: Ptr, root: RootRef) -> bool {
    let begin = u64::from(root.offset);
    let end = begin + u64::from(root.len) + TAG_BYTES as u64;
    u64::from(ptr.offset()) < end && begin < ptr.end()
}

impl Layout {
    fn new(entries: &[Entry], written: u32) -> Self {
        Self {
            chunks: entries.iter().filter_map(chunk_of).collect(),
            written,
        }
    }

    /// Whether the chunks lie one behind the other and within what was written.
    fn is_sound(&self) -> Result<(), &'static str> {
        let mut end = 0;
        for (offset, len, _) in &self.chunks {
            if u64::from(*offset) < end {
                return Err("the chunks that it lists overlap");
            }
            end = chunk_end(*offset, *len);
        }
        match end <= u64::from(self.written) {
            true => Ok(()),
            false => Err("it lists chunks behind what was written"),
        }
    }

    /// What is wrong with the first of `ptrs` that leads to no chunk of the segment, if one does.
    /// One is told for all: they have one cause.
    fn misfit(&self, ptrs: &[Ptr]) -> Option<Problem> {
        let fits = |ptr: &&Ptr| {
            let wanted = (ptr.offset(), ptr.len(), ptr.codec());
            let key = wanted.0;
            let found = self.chunks.binary_search_by_key(&key, |chunk| chunk.0);
            found.is_ok_and(|at| self.chunks[at] == wanted)
        };
        let mut misfits = ptrs.iter().filter(|ptr| !fits(ptr));
        let ptr = *misfits.next()?;
        let written = self.written;
        let (invariant, mut what) = match ptr.end() > u64::from(written) {
            true => (
                "I2",
                format!("the segment was written up to {written:#x} only"),
            ),
            false => ("I9", "the segment knows no such chunk".to_owned()),
        };
        match misfits.count() {
            0 => {}
            others => what.push_str(&format!("; {others} more like it")),
        }
        Some(Problem {
            ptr,
            invariant,
            what,
        })
    }
}

/// How a trailer and the batches of its segment differ.
struct Difference {
    what: String,
    /// Whether they contradict each other. Otherwise the trailer only has more than the batches.
    is_a_lie: bool,
}

/// Whether a trailer and the batches of its segment say the same.
fn agree(source: Source<'_>, trailer: &Trailer, batches: &Batches) -> Result<(), Difference> {
    let lie = |what| {
        Err(Difference {
            what,
            is_a_lie: true,
        })
    };
    let said = |entry: &Entry| match entry.record.kind {
        // What the trailer has of others is a fingerprint, which batches do not have.
        batch::Kind::Ref => (entry.record, entry.offset, entry.content),
        _ => (entry.record, entry.offset, [0; FINGERPRINT_BYTES]),
    };
    let listed = trailer.entries.iter().map(said);
    let found = batches.entries.iter().map(said);
    let (in_trailer, in_batches) = (listed.len(), found.len());
    if let Some(index) = listed.zip(found).position(|(one, other)| one != other) {
        return lie(format!(
            "entry {index} of the trailer is not what its batch says"
        ));
    }
    // A trailer may count the padding behind the last batch as written.
    let written = |bytes| source.shape().round_up(bytes);
    let ends = (written(trailer.written), written(batches.written));
    if in_trailer != in_batches || ends.0 != ends.1 {
        return Err(Difference {
            what: format!(
                "the trailer has {in_trailer} records up to {:#x}, the batches that open have \
                 {in_batches} up to {:#x}",
                trailer.written, batches.written
            ),
            is_a_lie: in_trailer < in_batches || ends.0 <= ends.1,
        });
    }
    match batches.headers.last() {
        Some(last) if last.number != trailer.last => lie(format!(
            "the trailer ends with batch {}, the segment with {}",
            trailer.last, last.number
        )),
        Some(last) if last.next != trailer.next => {
            lie("the trailer announces another segment than its last batch".to_owned())
        }
        _ => Ok(()),
    }
}
