//! Reads the root blob and the segment table, and proves what they say by themselves (I5, I8).

use std::collections::BTreeMap;

use super::report::{Findings, SegmentCounts};
use super::source::Source;
use crate::store::format::root::Root;
use crate::store::format::superblock::RootRef;
use crate::store::format::superblock::Superblock;
use crate::store::format::{INFO_BYTES, INFOS_PER_PAGE, Ptr, SegInfo, SegState, Seq};

/// The segments as they would be once the log is replayed.
#[derive(Debug)]
pub(super) struct Segments {
    /// What the table says of each, where its page opens.
    infos: Vec<Option<SegInfo>>,
    /// The segments that the log lies in behind the checkpoint.
    chain: BTreeMap<u32, Seq>,
}

/// What a segment is used for, and under which number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Usage {
    pub(super) seq: Seq,
    pub(super) state: SegState,
}

/// Reads the root blob that lies at `at`.
///
/// # Errors
/// What is wrong with it.
pub(in crate::store) async fn read_root(source: Source<'_>, at: RootRef) -> Result<Root, String> {
    let len = usize::try_from(at.len).map_err(|_| "it is too long".to_owned())?;
    let read = source.open(at.seg, at.seq, at.offset, len).await;
    let blob = read.map_err(|why| why.to_string())?;
    Root::decode(source.shape(), &blob).map_err(|why| why.to_string())
}

/// Reads the page of the segment table that `ptr` leads to, in a segment numbered `seq`.
///
/// # Errors
/// What is wrong with it.
pub(in crate::store) async fn read_page(
    source: Source<'_>,
    ptr: Ptr,
    seq: Seq,
) -> Result<Vec<SegInfo>, String> {
    if ptr.is_hole() {
        return Ok(vec![SegInfo::default(); INFOS_PER_PAGE]);
    }
    let read = source.open(ptr.seg(), seq, ptr.offset(), ptr.len()).await;
    let page = read.map_err(|why| why.to_string())?;
    let infos = page.chunks_exact(INFO_BYTES).map(SegInfo::decode);
    infos
        .collect::<Result<_, _>>()
        .map_err(|why| why.to_string())
}

impl Segments {
    /// Reads the segment table of `root`.
    pub(super) async fn read(source: Source<'_>, root: &Root, findings: &mut Findings) -> Self {
        let shape = source.shape();
        let count = shape.segs() as usize;
        let mut infos = vec![None; count];
        let pages = count.div_ceil(INFOS_PER_PAGE);
        if root.pages.len() != pages {
            let what = format!("it lists {} pages of {pages}", root.pages.len());
            findings.add("I3", "the root blob", what);
        }
        for (index, (ptr, seq)) in root.pages.iter().enumerate().take(pages) {
            match read_page(source, *ptr, *seq).await {
                Ok(page) => {
                    let first = index * INFOS_PER_PAGE;
                    for (slot, info) in infos[first..].iter_mut().zip(page) {
                        *slot = Some(info);
                    }
                }
                Err(why) => findings.add("I3", page_place(index, *ptr), why),
            }
        }
        Self {
            infos,
            chain: BTreeMap::new(),
        }
    }

    /// What segment `seg` is used for, if it is known.
    pub(super) fn get(&self, seg: u32) -> Option<Usage> {
        if let Some(seq) = self.chain.get(&seg) {
            return Some(Usage {
                seq: *seq,
                state: SegState::Log,
            });
        }
        let info = self.infos.get(seg as usize)?.as_ref()?;
        Some(Usage {
            seq: info.seq,
            state: info.state,
        })
    }

    /// Whether segment `seg` was free in the checkpoint.
    pub(super) fn was_free(&self, seg: u32) -> bool {
        let info = self.infos.get(seg as usize).copied().flatten();
        info.is_some_and(|info| info.state == SegState::Free)
    }

    /// Whether the log behind the checkpoint lies in segment `seg`.
    pub(super) fn is_on_chain(&self, seg: u32) -> bool {
        self.chain.contains_key(&seg)
    }

    /// The log behind the checkpoint lies in segment `seg` under the number `seq`, too. It may have
    /// been taken after the table was written, but must have been free then.
    pub(super) fn join_chain(&mut self, seg: u32, seq: Seq, findings: &mut Findings) {
        if self.chain.insert(seg, seq).is_some() {
            return;
        }
        let Some(info) = self.infos.get(seg as usize).copied().flatten() else {
            return;
        };
        let place = format!("segment {seg}");
        let (state, then) = (info.state, info.seq);
        match state {
            SegState::Log if then == seq => {}
            SegState::Free if then < seq => {}
            SegState::Free => {
                let what = format!("the log has it as {seq}, which is not behind {then}");
                findings.add("I8", place, what);
            }
            _ => {
                let what =
                    format!("the log goes on in it as {seq}, the table has {state:?} {then}");
                findings.add("I6", place, what);
            }
        }
    }

    /// Proves what the table says without looking into segments (I5, I8).
    pub(super) fn prove(&self, newest: &Superblock, findings: &mut Findings) {
        let mut taken = Vec::new();
        for seg in 0..newest.shape.first_seg() {
            if let Some(usage) = self
                .get(seg)
                .filter(|usage| usage.state != SegState::System)
            {
                let what = format!("part of the system area, recorded as {:?}", usage.state);
                findings.add("I2", format!("segment {seg}"), what);
            }
        }
        for seg in newest.shape.first_seg()..newest.shape.segs() {
            let Some(usage) = self.get(seg) else {
                continue;
            };
            let place = || format!("segment {seg}");
            let Usage { seq, state } = usage;
            if seq != Seq::default() {
                taken.push((seq, seg));
            }
            if seq.epoch() > newest.epoch {
                let what = format!("numbered {seq}, by a mount to come");
                findings.add("I8", place(), what);
            }
            let used = !matches!(state, SegState::Free | SegState::Bad);
            if used && (seq == Seq::default() || state == SegState::System) {
                findings.add(
                    "I8",
                    place(),
                    format!("{state:?} without a number of its own"),
                );
            }
            if self.is_on_chain(seg) {
                continue;
            }
            if seq.counter() >= newest.next_counter && seq != Seq::default() {
                let what = format!("numbered {seq}, and {} is next", newest.next_counter);
                findings.add("I8", place(), what);
            }
            let info = self.infos[seg as usize].as_ref();
            if let Some(SegInfo { live, .. }) =
                info.filter(|info| info.state == SegState::Free && info.live != 0)
            {
                findings.add("I5", place(), format!("free, with {live} live bytes"));
            }
        }
        taken.sort_unstable();
        for pair in taken.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            let (seq, seg) = pair[1];
            let what = format!("numbered {seq} as segment {} is", pair[0].1);
            findings.add("I8", format!("segment {seg}"), what);
        }
    }

    /// How many segments are used for what.
    pub(super) fn counts(&self, newest: &Superblock) -> SegmentCounts {
        let mut counts = SegmentCounts {
            system: u64::from(newest.shape.first_seg()),
            ..SegmentCounts::default()
        };
        for seg in newest.shape.first_seg()..newest.shape.segs() {
            let count = match self.get(seg).map(|usage| usage.state) {
                None => &mut counts.unknown,
                Some(SegState::Free) => &mut counts.free,
                Some(SegState::Log) => &mut counts.log,
                Some(SegState::Gc) => &mut counts.gc,
                Some(SegState::Meta) => &mut counts.meta,
                Some(SegState::Bad) => &mut counts.bad,
                Some(SegState::System) => &mut counts.system,
            };
            *count += 1;
        }
        counts
    }
}

/// What a person calls page `index` of the table, which lies at `ptr`.
pub(super) fn page_place(index: usize, ptr: Ptr) -> String {
    let (seg, offset) = (ptr.seg(), ptr.offset());
    format!("segment table page {index} -> segment {seg} offset {offset:#x}")
}
