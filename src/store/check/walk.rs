//! Walks the trees of the recovered state: each node once, except where the log says more than it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::overlay::Overlay;
use super::source::Source;
use super::table::Segments;
use crate::store::format::root::{Root, Tree, TreeKind};
use crate::store::format::{BLOCK, FANOUT, Ptr, SegState, Seq, Shape};

/// What a walk shows what it finds to.
pub(super) trait Visit {
    /// `ptr` leads from `spot` of `tree` into a segment of the right kind. Shown for each distinct
    /// node once; for a chunk, once for each distinct node that leads to it, at least.
    fn found(&mut self, tree: &Label<'_>, spot: Spot, ptr: Ptr);

    /// `invariant` does not hold at `place`.
    fn wrong(&mut self, invariant: &'static str, place: Place<'_>, what: String);

    /// So many blocks of all trees are done.
    fn progress(&mut self, blocks: u64);
}

/// What a pointer stands for in a tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Spot {
    /// The node of this level over the blocks from the first one on; level 0 has the leaves.
    Node(u8, u64),
    /// A block.
    Block(u64),
}

/// A tree by the names that people know.
#[derive(Debug)]
pub(super) struct Label<'a> {
    tree: &'a Tree,
    /// The volume that a snapshot was taken of, or that a bitmap is of.
    origin: Option<&'a str>,
}

/// Where a pointer stands and where it leads to.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) tree: &'a Label<'a>,
    pub(super) spot: Spot,
    pub(super) ptr: Ptr,
}

/// One walk over all trees.
pub(super) struct Walk<'a> {
    source: Source<'a>,
    root: &'a Root,
    segments: &'a Segments,
    overlays: &'a BTreeMap<u32, Overlay>,
    nodes: HashMap<Ptr, Seen>,
    blocks_done: u64,
}

/// What a walk remembers of a node.
struct Seen {
    level: u8,
    first: u64,
    /// Whether all that it leads to was looked at: where the log says more than it, some is not.
    whole: bool,
}

/// A node to be looked at.
#[derive(Clone, Copy)]
struct Step {
    ptr: Ptr,
    level: u8,
    first: u64,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        source: Source<'a>,
        root: &'a Root,
        segments: &'a Segments,
        overlays: &'a BTreeMap<u32, Overlay>,
    ) -> Self {
        Self {
            source,
            root,
            segments,
            overlays,
            nodes: HashMap::new(),
            blocks_done: 0,
        }
    }

    /// Walks all trees. Ghosts are the last: what a node leads to that they share with others was
    /// looked at then.
    pub(super) async fn run(&mut self, visit: &mut impl Visit) {
        let is_ghost = |tree: &&Tree| tree.kind == TreeKind::Ghost;
        let trees = self.root.trees.iter();
        let (ghosts, others): (Vec<&Tree>, Vec<&Tree>) = trees.partition(is_ghost);
        for tree in others.into_iter().chain(ghosts) {
            let label = Label::new(tree, self.root);
            self.tree(&label, visit).await;
            self.blocks_done += blocks_of(tree);
        }
    }

    async fn tree(&mut self, label: &Label<'_>, visit: &mut impl Visit) {
        let tree = label.tree;
        let mut steps = vec![Step {
            ptr: tree.root,
            level: tree.height - 1,
            first: 0,
        }];
        while let Some(step) = steps.pop() {
            if !step.ptr.is_hole() {
                visit.progress(self.blocks_done + step.first.min(blocks_of(tree)));
                self.node(label, step, &mut steps, visit).await;
            }
        }
        let overlay = self.overlays.get(&tree.id);
        for (block, ptr) in overlay.into_iter().flat_map(Overlay::chunks) {
            self.chunk(label, block, ptr, visit);
        }
    }

    async fn node(
        &mut self,
        label: &Label<'_>,
        step: Step,
        steps: &mut Vec<Step>,
        visit: &mut impl Visit,
    ) {
        let Step { ptr, level, first } = step;
        let spot = Spot::Node(level, first);
        let place = || Place {
            tree: label,
            spot,
            ptr,
        };
        let seq = match self.usable(label, ptr, true) {
            Ok(seq) => seq,
            Err((invariant, what)) => return visit.wrong(invariant, place(), what),
        };
        let span = entry_span(level);
        let end = first.saturating_add(span.saturating_mul(FANOUT as u64));
        let overlay = self.overlays.get(&label.tree.id);
        let shadowed = overlay.is_some_and(|overlay| overlay.touches(first, end));
        // Where a volume ends depends on the volume, not on the node alone.
        let cut = end > blocks_of(label.tree);
        let whole = !shadowed && !cut;
        if let Some(seen) = self.nodes.get(&ptr) {
            if (seen.level, seen.first) != (level, first) {
                let (level, first) = (seen.level, seen.first);
                let what = format!("the same node is of level {level} at block {first} elsewhere");
                return visit.wrong("I4", place(), what);
            }
            if seen.whole && !cut {
                return;
            }
        } else {
            visit.found(label, spot, ptr);
        }
        self.nodes.insert(
            ptr,
            Seen {
                level,
                first,
                whole,
            },
        );
        let entries = match self.source.node(ptr, seq).await {
            Ok(entries) => entries,
            Err(why) => return visit.wrong("I3", place(), why.to_string()),
        };
        let behind = steps.len();
        for (entry, index) in entries.into_iter().zip(0_u64..) {
            // Of a tree that reaches further than numbers do, what is behind is behind its end.
            let at = first.saturating_add(span.saturating_mul(index));
            if !entry.is_hole() {
                self.entry(label, level, at, entry, steps, visit);
            }
        }
        // The last step is taken first, and blocks are to be taken in their order.
        steps[behind..].reverse();
    }

    /// Looks at an entry of a node of `level`, which stands for the blocks from `at` on.
    fn entry(
        &self,
        label: &Label<'_>,
        level: u8,
        at: u64,
        ptr: Ptr,
        steps: &mut Vec<Step>,
        visit: &mut impl Visit,
    ) {
        let blocks = blocks_of(label.tree);
        if at >= blocks {
            let spot = match level.checked_sub(1) {
                Some(level) => Spot::Node(level, at),
                None => Spot::Block(at),
            };
            let tree = label;
            let what = format!("the volume ends at block {blocks}");
            return visit.wrong("I10", Place { tree, spot, ptr }, what);
        }
        if let Some(level) = level.checked_sub(1) {
            let first = at;
            return steps.push(Step { ptr, level, first });
        }
        let overlay = self.overlays.get(&label.tree.id);
        if overlay.and_then(|overlay| overlay.get(at)).is_none() {
            self.chunk(label, at, ptr, visit);
        }
    }

    fn chunk(&self, label: &Label<'_>, block: u64, ptr: Ptr, visit: &mut impl Visit) {
        let spot = Spot::Block(block);
        let is_ghost = label.tree.kind == TreeKind::Ghost;
        if is_ghost && ptr.is_dead() {
            return;
        }
        match self.usable(label, ptr, false) {
            // What a ghost leads to need not be there any more, only nothing else be there.
            Ok(_) if is_ghost => {}
            Ok(_) => visit.found(label, spot, ptr),
            Err((invariant, what)) => {
                let tree = label;
                visit.wrong(invariant, Place { tree, spot, ptr }, what);
            }
        }
    }

    /// The number of the segment that `ptr` leads to, if it is one of the right kind (I2, I7).
    fn usable(
        &self,
        label: &Label<'_>,
        ptr: Ptr,
        is_node: bool,
    ) -> Result<Seq, (&'static str, String)> {
        if !self.source.shape().holds(ptr) || is_node && !ptr.is_raw() {
            let bits = ptr.bits();
            return Err(("I2", format!("{bits:#x} is no pointer into this store")));
        }
        let Some(usage) = self.segments.get(ptr.seg()) else {
            return match is_node {
                true => {
                    let what = "the page of the segment table for its segment does not open";
                    Err(("I2", what.to_owned()))
                }
                // Told once for the segment, not for each of its chunks.
                false => Ok(Seq::default()),
            };
        };
        let right = match usage.state {
            SegState::Meta => is_node,
            SegState::Log | SegState::Gc => !is_node,
            SegState::Free | SegState::Bad | SegState::System => false,
        };
        let is_ghost = label.tree.kind == TreeKind::Ghost;
        let is_reused = is_ghost && self.segments.was_free(ptr.seg());
        if right && !is_reused {
            return Ok(usage.seq);
        }
        let invariant = match (usage.state, label.tree.kind) {
            (SegState::Free, TreeKind::Snapshot | TreeKind::Ghost) => "I7",
            _ if is_reused => "I7",
            _ => "I2",
        };
        Err((
            invariant,
            format!("the segment is {:?} {}", usage.state, usage.seq),
        ))
    }
}

/// Blocks of all trees, which is what [`Visit::progress`] counts up to.
pub(super) fn blocks_of_all(root: &Root) -> u64 {
    root.trees
        .iter()
        .fold(0, |sum: u64, tree| sum.saturating_add(blocks_of(tree)))
}

fn blocks_of(tree: &Tree) -> u64 {
    tree.size.div_ceil(BLOCK as u64)
}

/// How many blocks an entry of a node of `level` stands for.
fn entry_span(level: u8) -> u64 {
    (FANOUT as u64).saturating_pow(u32::from(level))
}

impl<'a> Label<'a> {
    pub(super) fn new(tree: &'a Tree, root: &'a Root) -> Self {
        let parent = || {
            let index = root
                .trees
                .binary_search_by_key(&tree.parent, |tree| tree.id);
            index.map_or("?", |index| root.trees[index].name.as_str())
        };
        Self {
            tree,
            origin: (tree.kind != TreeKind::Volume).then(parent),
        }
    }
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.tree.name;
        match (self.tree.kind, self.origin) {
            (TreeKind::Ghost, Some(origin)) => write!(f, "bitmap {origin}:{name}"),
            (_, Some(origin)) => write!(f, "snapshot {origin}@{name}"),
            (_, None) => write!(f, "volume {name}"),
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.spot {
            Spot::Node(level, first) => {
                write!(f, "{} node of level {level} at block {first}", self.tree)?;
            }
            Spot::Block(block) => write!(f, "{} block {block}", self.tree)?,
        }
        let (seg, offset) = (self.ptr.seg(), self.ptr.offset());
        write!(f, " -> segment {seg} offset {offset:#x}")
    }
}

/// Trees that are not as trees are (I10). What [`Root::decode`] has refused is not looked at again.
pub(super) fn prove_trees(root: &Root, mut wrong: impl FnMut(&Label<'_>, String)) {
    let mut names: BTreeMap<(bool, Option<u32>, &str), u32> = BTreeMap::new();
    for tree in &root.trees {
        let label = Label::new(tree, root);
        let is_ghost = tree.kind == TreeKind::Ghost;
        let owner = (tree.kind != TreeKind::Volume).then_some(tree.parent);
        if let Some(other) = names.insert((is_ghost, owner, &tree.name), tree.id) {
            wrong(
                &label,
                format!("trees {other} and {} have this name", tree.id),
            );
        }
        if tree.id == 0 || tree.id >= root.next_tree {
            let what = format!("it is tree {}, and {} is next", tree.id, root.next_tree);
            wrong(&label, what);
        }
        if tree.size == 0 || !tree.size.is_multiple_of(512) {
            wrong(&label, format!("{} bytes are no size", tree.size));
        }
        if tree.height != Shape::height(tree.size) {
            wrong(
                &label,
                format!("{} levels do not fit its size", tree.height),
            );
        }
        let parent = root
            .trees
            .binary_search_by_key(&tree.parent, |tree| tree.id);
        let of_volume = parent.is_ok_and(|at| root.trees[at].kind == TreeKind::Volume);
        if owner.is_some() && !of_volume {
            wrong(
                &label,
                format!("its volume, tree {}, is not there", tree.parent),
            );
        }
    }
}
