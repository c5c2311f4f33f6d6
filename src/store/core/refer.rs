//! Deduplication: which blocks may be referred to where they lie, instead of being written again.
//!
//! A reference must not outlive what it points to. So it may point to
//!
//! - a segment that nobody is about to free: not one that a traversal has found empty, nor one that
//!   garbage collection is moving out of, whose pointers the traversal under way replaces;
//! - a chunk that every recovery finds which finds the reference: in the log, where what comes
//!   first is recovered first, or moved by garbage collection once a durable checkpoint has all
//!   of its segment. What is only known from a trailer has to be there too: after a crash a trailer
//!   may be durable while what it lists is not, and segments are marked where that is ruled out.
//!
//! A traversal that is under way may have passed the block that begins to refer to a segment. It
//! says nothing about that segment then: [`Core::refer`] tells it.

use super::Core;
use crate::store::dedup::Known;
use crate::store::format::{SegState, Seq};
use crate::store::tuning::Promise;

impl Core {
    /// Whether a block may be what lies there.
    pub(super) fn may_refer(&self, known: Known) -> bool {
        let seg = known.ptr.seg();
        let info = self.table.info(seg);
        let is_there = match info.state {
            SegState::Log => true,
            SegState::Gc => info.listed,
            _ => false,
        };
        let is_staying = !self.table.is_doomed(seg) && !self.emptied.contains(&seg);
        let is_staying = is_staying || self.tuning.breaks(Promise::References);
        info.seq == known.seq && is_there && is_staying
    }

    /// Notes that another block refers to what lies in a segment.
    pub(super) fn refer(&mut self, seg: u32) {
        self.table.share(seg);
        if self.tuning.breaks(Promise::References) {
            return;
        }
        if let Some(traversal) = &mut self.traversal {
            traversal.spare(seg);
        }
    }

    /// Whether any volume looks for blocks that are there already.
    pub(in crate::store) fn wants_fingerprints(&self) -> bool {
        use crate::store::format::root::Dedup;
        self.volumes()
            .any(|tree| tree.properties.dedup != Dedup::Off)
    }

    /// Notes that garbage collection has filled a segment: all of it is durable with the next
    /// checkpoint that begins.
    pub(in crate::store) fn output_sealed(&mut self, seg: u32) {
        self.sealed.push_back((self.checkpoints.begun + 1, seg));
    }

    /// Has the index learn of the outputs that checkpoint `number` has made durable.
    pub(super) fn outputs_safe(&mut self, number: u64) {
        while let Some((_, seg)) = self.sealed.pop_front_if(|(sealed, _)| *sealed <= number) {
            self.table.list(seg);
            self.unread.push_back(seg);
        }
    }

    /// Has the index learn of everything that was there when the store was opened.
    pub(in crate::store) fn learn_all(&mut self) {
        self.unread.extend(self.table.all().map(|(seg, _)| seg));
    }

    /// The next segment whose trailer the index has to learn, if that can be believed.
    pub(in crate::store) fn next_unread(&mut self) -> Option<(u32, Seq)> {
        loop {
            let seg = self.unread.pop_front()?;
            if let Some(seq) = self.listed(seg) {
                return Some((seg, seq));
            }
        }
    }

    /// The sequence number of a segment whose trailer can be believed.
    pub(in crate::store) fn listed(&self, seg: u32) -> Option<Seq> {
        let info = self.table.info(seg);
        info.listed.then_some(info.seq)
    }
}

// Sabotage is only in builds with assertions.
#[cfg(all(test, debug_assertions))]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use crate::backend::{Checked, Faulty, Medium};
    use crate::base::{Buf, Durability};
    use crate::env::sim;
    use crate::store::core::Pass;
    use crate::store::format::{BLOCK, Ptr};
    use crate::store::{Creation, Disk, Properties, Store, TreeName, Tuning, create};

    const SEGMENT: u32 = 128 << 10;

    /// Where the blocks lie that are found again: in another leaf than the first.
    const OLD: u64 = 1500;

    /// More than a segment holds.
    const COUNT: u64 = 64;

    /// A store with room enough that it never collects garbage by itself, and a volume in which
    /// blocks from 0 and from [`OLD`] on are written.
    async fn stored(tuning: Tuning) -> (Arc<Store>, Disk) {
        let disk = Faulty::new((2 << 20) + 200 * u64::from(SEGMENT), 512);
        let backend = || Checked::new(Medium::Faulty(disk.clone()));
        let creation = Creation {
            segment_bytes: Some(SEGMENT),
            ..Creation::default()
        };
        create(backend(), creation).await.expect("a store");
        let store = Store::open(backend(), tuning, None).await;
        let store = store.expect("it opens");
        let made = store.create_volume("v", 2048 * BLOCK as u64, Properties::default());
        made.await.expect("a volume");
        let name = TreeName::volume("v").expect("a name");
        let disk = store.disk(&name).expect("it is there");
        write(&disk, 0, 10_000..10_000 + COUNT).await;
        write(&disk, OLD, 0..COUNT).await;
        write(&disk, 0, 20_000..20_000 + COUNT).await;
        (store, disk)
    }

    async fn write(disk: &Disk, first: u64, contents: std::ops::Range<u64>) {
        for (lba, content) in (first..).zip(contents) {
            let mut buf = Buf::new(BLOCK);
            for (index, word) in buf.chunks_exact_mut(8).enumerate() {
                let noise = (content << 20 | index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                word.copy_from_slice(&(noise ^ noise >> 29).to_le_bytes());
            }
            let written = disk.write(lba, buf, Durability::Cached).await;
            written.expect("written");
        }
    }

    /// Where a block lies now.
    fn place_of(store: &Store, lba: u64) -> Ptr {
        let mut core = store.shell.core();
        let tree = core.volumes().next().expect("one").clone();
        let looked = core.nodes.lookup(tree.root, tree.height, lba);
        looked.expect("in memory")
    }

    #[test]
    fn a_segment_that_is_found_again_behind_a_traversal_stays() {
        let right = Tuning::default();
        for (tuning, is_safe) in [(right, true), (wrong(), false)] {
            sim::run(1, async move {
                let (store, disk) = stored(tuning).await;
                // One in the middle: its segment has nothing else, and is full.
                let seg = place_of(&store, OLD + COUNT / 2).seg();
                store.shell.core().begin_traversal(Pass::default());
                let stepped = store.shell.core().step_traversal(1);
                assert!(matches!(stepped, Ok(false)), "the first leaf of two");
                // Its last reference goes, and another comes where the traversal has been.
                write(&disk, 0, COUNT / 2..COUNT / 2 + 1).await;
                write(&disk, OLD, 30_000..30_000 + COUNT).await;
                assert_eq!(place_of(&store, 0).seg(), seg, "it was found");
                let stepped = store.shell.core().step_traversal(1000);
                assert!(matches!(stepped, Ok(true)), "all leaves");
                let mut core = store.shell.core();
                core.end_traversal(crate::env::now());
                assert_eq!(core.table.is_doomed(seg), !is_safe);
            });
        }
    }

    #[test]
    fn what_is_about_to_go_is_not_found() {
        sim::run(1, async {
            let (store, disk) = stored(Tuning::default()).await;
            let found = || store.traffic().deduplicated / BLOCK as u64;
            let (emptied, doomed) = (place_of(&store, OLD), place_of(&store, OLD + COUNT - 1));
            assert_ne!(emptied.seg(), doomed.seg());
            store.shell.core().emptied = BTreeSet::from([emptied.seg()]);
            store.shell.core().table.doom(doomed.seg());
            write(&disk, 0, 0..1).await;
            write(&disk, 1, COUNT - 1..COUNT).await;
            assert_eq!(found(), 0);
            assert_ne!(place_of(&store, 0), emptied);
            assert_ne!(place_of(&store, 1), doomed);
            // What was written instead is found.
            write(&disk, 2, 0..1).await;
            assert_eq!(found(), 1);
            assert_eq!(place_of(&store, 2), place_of(&store, 0));
        });
    }

    /// Tuning with which references are taken to anything.
    fn wrong() -> Tuning {
        Tuning {
            sabotage: Some(crate::store::Sabotage::ReferToFreed),
            ..Tuning::default()
        }
    }
}
