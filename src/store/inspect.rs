//! Shows the structures of a store as they lie on the backend, for people who look for a fault.
//!
//! It reads as [`check`](super::check) does, and proves nothing: what does not open is said in its
//! place, and everything else is shown all the same.

mod section;

use section::{Cell, hex, number, text};

pub use section::{Inspection, Section};

use super::StoreError;
use super::check::{
    Batches, Follow, Source, TrailerFound, Unread, batches, damage, read_page, read_root,
    read_trailer,
};
use super::error::damaged;
use super::find::read_slots;
use super::format::batch::{At, Header, Kind, Record};
use super::format::root::{Root, Tree, TreeKind};
use super::format::superblock::{Superblock, choose};
use super::format::trailer::Trailer;
use super::format::{BLOCK, FANOUT, INFOS_PER_PAGE, Ptr, SegInfo, SegState, Seq};
use super::unlock::{learn_keys, unlock};
use crate::backend::Checked;
use crate::codec::Credential;

/// What is to be shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// The superblocks.
    Superblocks,
    /// The root blob: the trees, and where the segment table is.
    Root,
    /// The segment table.
    Segments,
    /// A segment: what the table says of it, its batches and its trailer.
    Segment(u32),
    /// The nodes of the tree of this identity.
    Tree(u32),
    /// The node at an offset of a segment.
    Node(u32, u32),
    /// The log behind the checkpoint.
    Log,
}

/// Shows `what` of the store on `backend`.
///
/// # Errors
/// If there is no store, or what leads to what is to be shown does not open.
pub async fn inspect(
    backend: &Checked,
    what: What,
    key: Option<&Credential>,
) -> Result<Inspection, StoreError> {
    let slots = read_slots(backend).await?;
    if what == What::Superblocks {
        let newest = choose(&slots).map(|newest| newest.generation).ok();
        let mut shown = Inspection::default();
        for (slot, found) in slots.iter().enumerate() {
            let section = match found {
                Ok(read) => superblock(slot, read, newest == Some(read.generation)),
                Err(why) => {
                    let mut none = Section::facts("superblock");
                    none.fact("slot", number(slot as u64));
                    none.fact("state", text(damage(*why)));
                    none
                }
            };
            shown.add(section);
        }
        return Ok(shown);
    }
    let newest = choose(&slots)?;
    let (sealer, _) = unlock(backend, newest, key).await?;
    let source = Source::new(backend, newest.shape, &sealer);
    let look = Look { source, newest };
    if sealer.keys().is_some() {
        let root = look.root().await?;
        learn_keys(&sealer, &root).map_err(|why| damaged("the root blob", why))?;
    }
    match what {
        What::Superblocks | What::Log => look.log().await,
        What::Root => Ok(root(&look.root().await?)),
        What::Segments => look.segments().await,
        What::Segment(seg) => look.segment(seg).await,
        What::Tree(id) => look.tree(id).await,
        What::Node(seg, offset) => look.node(seg, offset).await,
    }
}

/// A store that is looked into.
struct Look<'a> {
    source: Source<'a>,
    newest: &'a Superblock,
}

impl Look<'_> {
    async fn root(&self) -> Result<Root, StoreError> {
        let read = read_root(self.source, self.newest.root).await;
        read.map_err(|why| StoreError::Damaged(format!("the root blob: {why}")))
    }

    async fn segments(&self) -> Result<Inspection, StoreError> {
        let root = self.root().await?;
        let mut section = Section::table("segments", SEGMENT_COLUMNS);
        let segs = self.newest.shape.segs();
        for (index, (ptr, seq)) in root.pages.iter().enumerate() {
            let first = (index * INFOS_PER_PAGE) as u64;
            match read_page(self.source, *ptr, *seq).await {
                Ok(page) => {
                    for (seg, info) in (first..u64::from(segs)).zip(page) {
                        section.row(segment_row(seg, info));
                    }
                }
                Err(why) => {
                    let why = format!("page {index} at {ptr}: {why}");
                    let nothing = || Cell::Nothing;
                    let row = vec![number(first), text(why), nothing(), nothing()];
                    section.row([row, vec![nothing(), nothing()]].concat());
                }
            }
        }
        Ok(Inspection::of(section))
    }

    /// What the segment table says of `seg`.
    async fn info(&self, seg: u32) -> Result<SegInfo, StoreError> {
        let segs = self.newest.shape.segs();
        if seg >= segs {
            let why = format!("there is no segment {seg}; there are {segs}");
            return Err(StoreError::Invalid(why));
        }
        let root = self.root().await?;
        let page = seg as usize / INFOS_PER_PAGE;
        let damaged = |why| StoreError::Damaged(format!("page {page} of the segment table: {why}"));
        let (ptr, seq) = root
            .pages
            .get(page)
            .ok_or_else(|| damaged("missing".to_owned()))?;
        let infos = read_page(self.source, *ptr, *seq).await.map_err(damaged)?;
        Ok(infos[seg as usize % INFOS_PER_PAGE])
    }

    async fn segment(&self, seg: u32) -> Result<Inspection, StoreError> {
        let info = self.info(seg).await?;
        let mut facts = Section::facts("segment");
        for (name, cell) in SEGMENT_COLUMNS
            .iter()
            .zip(segment_row(u64::from(seg), info))
        {
            facts.fact(name, cell);
        }
        let mut shown = Inspection::of(facts);
        if seg < self.newest.shape.first_seg() || info.seq == Seq::default() {
            return Ok(shown);
        }
        match read_trailer(self.source, seg, info.seq).await {
            Ok(TrailerFound::Whole(trailer)) => trailer_sections(&mut shown, &trailer),
            Ok(TrailerFound::None) => {}
            Ok(TrailerFound::Torn(why)) => shown.add(Section::note("trailer", &why)),
            Err(why) => shown.add(Section::note("trailer", &why)),
        }
        if info.state == SegState::Log {
            let found = batches(self.source, seg, info.seq).await.map_err(unread)?;
            batch_sections(&mut shown, seg, &found);
        }
        Ok(shown)
    }

    async fn tree(&self, id: u32) -> Result<Inspection, StoreError> {
        let root = self.root().await?;
        let found = root.trees.iter().find(|tree| tree.id == id);
        let missing = || StoreError::Invalid(format!("there is no tree {id}"));
        let tree = found.ok_or_else(missing)?;
        let mut facts = Section::facts("tree");
        for (name, cell) in TREE_COLUMNS.iter().zip(tree_row(tree)) {
            facts.fact(name, cell);
        }
        let table = self.table(&root).await;
        let mut nodes = Section::table("nodes", &["level", "block", "at", "entries"]);
        let mut steps = vec![(tree.root, tree.height - 1, 0_u64)];
        while let Some((ptr, level, first)) = steps.pop() {
            if ptr.is_hole() {
                continue;
            }
            let entries = match table.get(ptr.seg() as usize) {
                Some(Some(info)) => self.entries(ptr, info.seq).await,
                _ => Err("the segment table does not tell its segment".to_owned()),
            };
            let span = (FANOUT as u64).pow(u32::from(level));
            let used = match &entries {
                Ok(entries) => {
                    let used = entries.iter().filter(|entry| !entry.is_hole());
                    number(used.count() as u64)
                }
                Err(why) => text(why),
            };
            nodes.row(vec![
                number(u64::from(level)),
                number(first),
                text(ptr),
                used,
            ]);
            if let (Ok(entries), Some(below)) = (entries, level.checked_sub(1)) {
                let behind = steps.len();
                let children = (0..).zip(entries);
                steps.extend(children.map(|(index, ptr)| (ptr, below, first + index * span)));
                steps[behind..].reverse();
            }
        }
        let mut shown = Inspection::of(facts);
        shown.add(nodes);
        Ok(shown)
    }

    /// The segment table, as far as it opens.
    async fn table(&self, root: &Root) -> Vec<Option<SegInfo>> {
        let mut table = Vec::new();
        for (ptr, seq) in &root.pages {
            match read_page(self.source, *ptr, *seq).await {
                Ok(page) => table.extend(page.into_iter().map(Some)),
                Err(_) => table.extend([None; INFOS_PER_PAGE]),
            }
        }
        table
    }

    /// The entries of the node at `ptr` in a segment numbered `seq`, or why there are none.
    async fn entries(&self, ptr: Ptr, seq: Seq) -> Result<Vec<Ptr>, String> {
        if !self.newest.shape.holds(ptr) || ptr.len() != BLOCK {
            return Err("no pointer to a node of this store".to_owned());
        }
        let read = self.source.node(ptr, seq).await;
        read.map_err(|why| why.to_string())
    }

    async fn node(&self, seg: u32, offset: u32) -> Result<Inspection, StoreError> {
        let info = self.info(seg).await?;
        if !offset.is_multiple_of(16) || offset >= self.newest.shape.seg_bytes() {
            let why = format!("no node begins at {seg}+{offset:#x}");
            return Err(StoreError::Invalid(why));
        }
        let ptr = Ptr::raw(seg.max(1), offset);
        let damaged = |why| StoreError::Damaged(format!("{ptr} in {}: {why}", info.seq));
        let entries = self.entries(ptr, info.seq).await.map_err(damaged)?;
        let mut section = Section::table("node", &["entry", "at", "bytes"]);
        for (index, entry) in (0..).zip(entries).filter(|(_, entry)| !entry.is_hole()) {
            section.row(vec![number(index), text(entry), number(entry.len() as u64)]);
        }
        Ok(Inspection::of(section))
    }

    async fn log(&self) -> Result<Inspection, StoreError> {
        let mut follow = Follow::new(self.source, self.newest);
        let mut headers = Section::table("batches", BATCH_COLUMNS);
        let mut records = Section::table("records", RECORD_COLUMNS);
        let why = loop {
            let batch = match follow.next().await {
                Ok(batch) => batch,
                Err(why) => break why,
            };
            headers.row(batch_row(batch.seg, &batch.header));
            for logged in batch.records {
                let at = match logged.at {
                    Some(At::Chunk { offset, .. }) => place(batch.seg, offset),
                    Some(At::Elsewhere { ptr, .. }) => text(ptr),
                    None => Cell::Nothing,
                };
                records.row(record_row(batch.header.number, logged.record, at));
            }
        };
        let end = follow.position();
        let mut facts = Section::facts("end");
        facts.fact("number", number(end.number));
        facts.fact("at", place(end.seg, end.offset));
        facts.fact("why", text(why));
        let mut shown = Inspection::of(headers);
        shown.add(records);
        shown.add(facts);
        Ok(shown)
    }
}

const SEGMENT_COLUMNS: &[&str] = &["segment", "state", "seq", "live", "age", "marks"];

const TREE_COLUMNS: &[&str] = &[
    "id",
    "kind",
    "name",
    "parent",
    "bytes",
    "height",
    "root",
    "created",
    "compression",
    "write_through",
];

const BATCH_COLUMNS: &[&str] = &[
    "number", "at", "bytes", "records", "flushed", "next", "next_seq",
];

const RECORD_COLUMNS: &[&str] = &["batch", "volume", "block", "kind", "count", "at"];

fn superblock(slot: usize, read: &Superblock, is_newest: bool) -> Section {
    let shape = read.shape;
    let state = if is_newest { "newest" } else { "older" };
    let mut section = Section::facts("superblock");
    section.fact("slot", number(slot as u64));
    section.fact("state", text(state));
    section.fact("generation", number(read.generation));
    section.fact("epoch", number(u64::from(read.epoch)));
    section.fact("uuid", hex(&read.uuid));
    section.fact("owner", hex(&read.owner));
    section.fact("created", number(read.created));
    section.fact("segments", number(u64::from(shape.segs())));
    section.fact("segment_bytes", number(u64::from(shape.seg_bytes())));
    section.fact("block_bytes", number(u64::from(shape.block())));
    section.fact("root", place(read.root.seg, read.root.offset));
    section.fact("root_seq", text(read.root.seq));
    section.fact("root_bytes", number(u64::from(read.root.len)));
    section.fact("log", place(read.log.seg, read.log.offset));
    section.fact("log_seq", text(read.log.seq));
    section.fact("log_number", number(read.log.number));
    section.fact("next", number(u64::from(read.next.seg)));
    section.fact("next_seq", text(read.next.seq));
    section.fact("next_counter", number(read.next_counter));
    section.fact("cursor", number(u64::from(read.cursor)));
    section
}

fn root(root: &Root) -> Inspection {
    let mut facts = Section::facts("root");
    facts.fact("next_tree", number(u64::from(root.next_tree)));
    let renewal = root.renewal.map(|renewal| number(renewal.before));
    facts.fact("renewal", renewal.unwrap_or(Cell::Nothing));
    let mut pages = Section::table("pages", &["page", "at", "seq"]);
    for (index, (ptr, seq)) in (0..).zip(&root.pages) {
        pages.row(vec![number(index), text(ptr), text(seq)]);
    }
    let mut trees = Section::table("trees", TREE_COLUMNS);
    for tree in &root.trees {
        trees.row(tree_row(tree));
    }
    let mut shown = Inspection::of(facts);
    shown.add(pages);
    if let Some(keys) = &root.keys {
        // Not the keys, which are nobody's business.
        let mut mounts = Section::table("mounts", &["epoch"]);
        for (epoch, _) in &keys.mounts {
            mounts.row(vec![number(u64::from(*epoch))]);
        }
        shown.add(mounts);
    }
    shown.add(trees);
    shown
}

fn tree_row(tree: &Tree) -> Vec<Cell> {
    let kind = match tree.kind {
        TreeKind::Volume => "volume",
        TreeKind::Snapshot => "snapshot",
        TreeKind::Ghost if tree.given_up => "ghost, given up",
        TreeKind::Ghost => "ghost",
    };
    vec![
        number(u64::from(tree.id)),
        text(kind),
        text(&tree.name),
        number(u64::from(tree.parent)),
        number(tree.size),
        number(u64::from(tree.height)),
        text(tree.root),
        number(tree.created),
        text(tree.properties.compression.name()),
        Cell::Flag(tree.properties.write_through),
    ]
}

fn segment_row(seg: u64, info: SegInfo) -> Vec<Cell> {
    let state = match info.state {
        SegState::Free => "free",
        SegState::Log => "log",
        SegState::Gc => "gc",
        SegState::Meta => "meta",
        SegState::Bad => "bad",
        SegState::System => "system",
    };
    vec![
        number(seg),
        text(state),
        text(info.seq),
        number(u64::from(info.live)),
        number(u64::from(info.age)),
        text(match (info.shared, info.listed) {
            (false, false) => "-",
            (true, false) => "shared",
            (false, true) => "listed",
            (true, true) => "shared, listed",
        }),
    ]
}

fn trailer_sections(shown: &mut Inspection, trailer: &Trailer) {
    let mut facts = Section::facts("trailer");
    facts.fact("kind", text(format!("{:?}", trailer.kind).to_lowercase()));
    facts.fact("written", text(format!("{:#x}", trailer.written)));
    facts.fact("entries", number(trailer.entries.len() as u64));
    facts.fact("last", number(trailer.last));
    facts.fact("flushed", number(trailer.flushed));
    facts.fact("next", number(u64::from(trailer.next.seg)));
    facts.fact("next_seq", text(trailer.next.seq));
    shown.add(facts);
    let mut entries = Section::table("entries", RECORD_COLUMNS);
    for entry in &trailer.entries {
        let at = match entry.record.kind {
            Kind::Data { .. } => text(format!("{:#x}", entry.offset)),
            Kind::Ref => text(entry.target().0),
            Kind::Zero(_) => Cell::Nothing,
        };
        let mut row = record_row(0, entry.record, at);
        row[0] = Cell::Nothing;
        entries.row(row);
    }
    shown.add(entries);
}

fn batch_sections(shown: &mut Inspection, seg: u32, found: &Batches) {
    let mut headers = Section::table("batches", BATCH_COLUMNS);
    for header in &found.headers {
        headers.row(batch_row(seg, header));
    }
    shown.add(headers);
}

fn batch_row(seg: u32, header: &Header) -> Vec<Cell> {
    vec![
        number(header.number),
        place(seg, header.offset),
        number(u64::from(header.bytes)),
        number(u64::from(header.records)),
        number(header.flushed),
        number(u64::from(header.next.seg)),
        text(header.next.seq),
    ]
}

fn record_row(batch: u64, record: Record, at: Cell) -> Vec<Cell> {
    let (kind, count) = match record.kind {
        Kind::Data { .. } => ("write", 1),
        Kind::Zero(count) => ("zero", u64::from(count)),
        Kind::Ref => ("refer", 1),
    };
    vec![
        number(batch),
        number(u64::from(record.volume)),
        number(record.lba),
        text(kind),
        number(count),
        at,
    ]
}

fn place(seg: u32, offset: u32) -> Cell {
    text(format!("{seg}+{offset:#x}"))
}

fn unread(why: Unread) -> StoreError {
    match why {
        Unread::Io(error) => StoreError::Io(error),
        Unread::Outside | Unread::Broken | Unread::NoBlock => StoreError::Damaged(why.to_string()),
    }
}
