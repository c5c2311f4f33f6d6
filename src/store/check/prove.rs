//! The course of a check, from the superblocks down.

use std::collections::HashMap;

use super::chunks::Window;
use super::replay::{Replayed, replay};
use super::report::{Findings, Progress, Report};
use super::segment::{Problem, Problems, Prover};
use super::source::Source;
use super::superblocks;
use super::table::{Segments, Usage, page_place, read_root};
use super::walk::{Label, Place, Spot, Visit, Walk, blocks_of_all, prove_trees};
use super::{Depth, Limits};
use crate::backend::{Backend, Checked};
use crate::codec::{Credential, TAG_BYTES};
use crate::store::StoreError;
use crate::store::find::read_slots;
use crate::store::format::Malformed;
use crate::store::format::root::Root;
use crate::store::format::superblock::{self, Superblock};
use crate::store::format::{BLOCK, Ptr, SegState, Seq};
use crate::store::unlock::{learn_keys, unlock};

/// Segments that opening a store takes at least: two for the log, one for the checkpoint.
const SEGMENTS_TO_OPEN: u64 = 3;

/// As [`check`](super::check), within `limits`, telling `progress` how far it is.
///
/// # Errors
/// As [`check`](super::check).
pub async fn check_with(
    backend: &Checked,
    depth: Depth,
    limits: Limits,
    key: Option<&Credential>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, StoreError> {
    let slots = read_slots(backend).await?;
    let newest = superblock::choose(&slots)?;
    let mut findings = Findings::new(limits.findings);
    superblocks::prove(&slots, newest, backend.geometry().size, &mut findings);
    let (sealer, _) = unlock(backend, newest, key).await?;
    let source = Source::new(backend, newest.shape, &sealer);
    let mut report = Report {
        generation: newest.generation,
        epoch: newest.epoch,
        ..Report::default()
    };
    let read = read_root(source, newest.root).await;
    let learned = read.and_then(|root| {
        let learned = learn_keys(&sealer, &root).map_err(|Malformed(why)| why.to_owned());
        learned.map(|()| root)
    });
    match learned {
        Ok(root) => {
            let mut course = Course {
                source,
                newest,
                root: &root,
                depth,
                limits,
                findings: &mut findings,
                report: &mut report,
                progress,
            };
            course.run().await;
        }
        Err(why) => findings.add("I3", root_place(newest), why),
    }
    findings.into_report(&mut report);
    Ok(report)
}

/// What a check of a store whose root opens goes through.
struct Course<'a> {
    source: Source<'a>,
    newest: &'a Superblock,
    root: &'a Root,
    depth: Depth,
    limits: Limits,
    findings: &'a mut Findings,
    report: &'a mut Report,
    progress: &'a mut dyn FnMut(Progress),
}

impl Course<'_> {
    async fn run(&mut self) {
        let mut segments = Segments::read(self.source, self.root, self.findings).await;
        let replayed = self.replay(&mut segments).await;
        self.report.log = replayed.summary;
        self.report.trees = self.root.trees.len() as u64;
        prove_trees(self.root, |tree, what| self.findings.add("I10", tree, what));
        segments.prove(self.newest, self.findings);
        self.report.segments = segments.counts(self.newest);
        self.prove_room();
        self.prove_anchors(&segments);
        let problems = self.prove_contents(&segments, &replayed).await;
        self.name(problems, &segments, &replayed).await;
    }

    async fn replay(&mut self, segments: &mut Segments) -> Replayed {
        let (source, newest, root) = (self.source, self.newest, self.root);
        let progress = &mut *self.progress;
        let mut told = |done| {
            progress(Progress {
                stage: "log batches",
                done,
                total: None,
            });
        };
        replay(source, newest, root, segments, self.findings, &mut told).await
    }

    /// I11.
    fn prove_room(&mut self) {
        let counts = self.report.segments;
        if counts.free < SEGMENTS_TO_OPEN && counts.unknown == 0 {
            let what = format!(
                "{} segments are free, and opening it takes {SEGMENTS_TO_OPEN}",
                counts.free
            );
            self.findings.add("I11", "the store", what);
        }
    }

    /// Proves that the root blob and the segment table lie in segments that the table itself has
    /// for them (I2).
    fn prove_anchors(&mut self, segments: &Segments) {
        let root = self.newest.root;
        if root.key != 0 {
            let what = format!("sealed with key {}, which is not there", root.key);
            self.findings.add("I8", root_place(self.newest), what);
        }
        if let Some(what) = misplaced(segments.get(root.seg), root.seq) {
            self.findings.add("I2", root_place(self.newest), what);
        }
        for (index, (ptr, seq)) in pages(self.root) {
            if let Some(what) = misplaced(segments.get(ptr.seg()), seq) {
                self.findings.add("I2", page_place(index, ptr), what);
            }
        }
        let bytes = u64::from(root.len) + TAG_BYTES as u64;
        self.report.live.meta += bytes.next_multiple_of(16);
    }

    /// Walks the trees, and proves the segments that they lead to: in as many rounds as it takes.
    async fn prove_contents(&mut self, segments: &Segments, replayed: &Replayed) -> Problems {
        let shape = self.newest.shape;
        let mut prover = Prover {
            source: self.source,
            newest: self.newest,
            segments,
            depth: self.depth,
            live: self.report.live,
            chunks: 0,
            stored: 0,
            problems: Problems::new(self.limits.findings),
        };
        let mut from = shape.first_seg();
        let mut is_first = true;
        while from < shape.segs() {
            let mut window = Window::new(from, shape.segs(), self.limits.chunks);
            let known = |(ptr, _): &(Ptr, Seq)| segments.get(ptr.seg()).is_some();
            for (_, page) in pages(self.root).filter(|(_, page)| known(page)) {
                window.push(page.0);
            }
            let mut gather = Gather {
                window,
                findings: is_first.then_some(&mut *self.findings),
                nodes: 0,
                blocks: 0,
                blocks_max: blocks_of_all(self.root),
                progress: &mut *self.progress,
            };
            let (source, overlays) = (self.source, &replayed.overlays);
            Walk::new(source, self.root, segments, overlays)
                .run(&mut gather)
                .await;
            self.report.nodes = gather.nodes;
            self.report.space.mapped = gather.blocks * BLOCK as u64;
            let (ptrs, to) = gather.window.finish();
            for of_segment in ptrs.chunk_by(|one, other| one.seg() == other.seg()) {
                let seg = of_segment[0].seg();
                (self.progress)(Progress {
                    stage: "segments",
                    done: u64::from(seg),
                    total: Some(u64::from(shape.segs())),
                });
                prover.prove(seg, of_segment, self.findings).await;
            }
            (from, is_first) = (to, false);
        }
        self.report.live = prover.live;
        self.report.chunks = prover.chunks;
        self.report.space.unique = prover.chunks * BLOCK as u64;
        self.report.space.stored = prover.stored;
        prover.problems
    }

    /// Walks the trees once more to see whose the pointers with problems are. One owner of each is
    /// named; snapshots and clones may share it.
    async fn name(&mut self, problems: Problems, segments: &Segments, replayed: &Replayed) {
        let Problems { told, untold, .. } = problems;
        if told.is_empty() {
            return;
        }
        let mut naming = Naming {
            places: told.iter().map(|problem| (problem.ptr, None)).collect(),
        };
        for (index, (ptr, _)) in pages(self.root) {
            naming.note(ptr, || page_place(index, ptr));
        }
        let overlays = &replayed.overlays;
        let mut walk = Walk::new(self.source, self.root, segments, overlays);
        walk.run(&mut naming).await;
        for Problem {
            ptr,
            invariant,
            what,
        } in told
        {
            let named = naming.places.get(&ptr).cloned().flatten();
            let nobody = || format!("segment {} offset {:#x}", ptr.seg(), ptr.offset());
            self.findings
                .add(invariant, named.unwrap_or_else(nobody), what);
        }
        self.findings.add_untold(untold);
    }
}

/// Gathers what a walk finds.
struct Gather<'a> {
    window: Window,
    /// Of many walks only the first tells what is wrong.
    findings: Option<&'a mut Findings>,
    nodes: u64,
    /// Blocks of distinct leaves that are no holes.
    blocks: u64,
    blocks_max: u64,
    progress: &'a mut dyn FnMut(Progress),
}

impl Visit for Gather<'_> {
    fn found(&mut self, _: &Label<'_>, spot: Spot, ptr: Ptr) {
        match spot {
            Spot::Node(..) => self.nodes += 1,
            Spot::Block(_) => self.blocks += 1,
        }
        self.window.push(ptr);
    }

    fn wrong(&mut self, invariant: &'static str, place: Place<'_>, what: String) {
        if let Some(findings) = &mut self.findings {
            findings.add(invariant, place, what);
        }
    }

    fn progress(&mut self, blocks: u64) {
        (self.progress)(Progress {
            stage: "blocks of volumes",
            done: blocks,
            total: Some(self.blocks_max),
        });
    }
}

/// Finds the owners of pointers.
struct Naming {
    places: HashMap<Ptr, Option<String>>,
}

impl Naming {
    fn note(&mut self, ptr: Ptr, place: impl FnOnce() -> String) {
        if let Some(named @ None) = self.places.get_mut(&ptr) {
            *named = Some(place());
        }
    }
}

impl Visit for Naming {
    fn found(&mut self, tree: &Label<'_>, spot: Spot, ptr: Ptr) {
        self.note(ptr, || Place { tree, spot, ptr }.to_string());
    }

    fn wrong(&mut self, _: &'static str, _: Place<'_>, _: String) {}

    fn progress(&mut self, _: u64) {}
}

/// The pages of the segment table that are somewhere.
fn pages(root: &Root) -> impl Iterator<Item = (usize, (Ptr, Seq))> {
    let pages = root.pages.iter().copied().enumerate();
    pages.filter(|(_, (ptr, _))| !ptr.is_hole())
}

/// Why a segment is not one of metadata numbered `seq`, if it is known not to be.
fn misplaced(usage: Option<Usage>, seq: Seq) -> Option<String> {
    let usage = usage?;
    let right = usage.state == SegState::Meta && usage.seq == seq;
    (!right).then(|| {
        format!(
            "the segment table has {:?} {} there",
            usage.state, usage.seq
        )
    })
}

fn root_place(newest: &Superblock) -> String {
    let root = newest.root;
    format!(
        "the root blob -> segment {} offset {:#x}",
        root.seg, root.offset
    )
}
