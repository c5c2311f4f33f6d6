//! Reading the map: where the blocks of a volume are right now.

use super::{Core, Load, Pause};
use crate::base::{Error, Refusal, Status, StatusRun};
use crate::store::format::{BLOCK, Ptr, Seq};
use crate::store::payload::Piece;

/// Where a block is.
#[derive(Clone, Debug)]
pub(in crate::store) enum Source {
    /// Nowhere; it reads as zeroes.
    Hole,
    /// In memory, on its way to the backend.
    Memory(Piece),
    /// On the backend, in a segment with this sequence number.
    Disk(Ptr, Seq),
}

/// Why the map could not be read.
#[derive(Debug)]
pub(in crate::store) enum NotMapped {
    /// A node has to be read first.
    Load(Load),
    /// A checkpoint has to be made first.
    Paused,
    /// It cannot be.
    Fail(Error),
}

impl Core {
    /// Where `count` blocks from `first` on are.
    ///
    /// # Errors
    /// What has to be done first, or that there is no such volume any more.
    pub(in crate::store) fn map(
        &mut self,
        tree: u32,
        first: u64,
        count: u64,
    ) -> Result<Vec<Source>, NotMapped> {
        let (root, height) = self.place_of(tree, first, count)?;
        let mut sources = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        let (log, table) = (&self.log, &self.table);
        let mut see = |ptr: Ptr, blocks: u64| {
            let source = match ptr.is_hole() {
                true => Source::Hole,
                false => match log.unwritten(ptr) {
                    Some(piece) => Source::Memory(piece),
                    None => Source::Disk(ptr, table.seq(ptr.seg())),
                },
            };
            for _ in 0..blocks {
                sources.push(source.clone());
            }
            true
        };
        let looked = self
            .nodes
            .lookup_range(root, height, first, count, &mut see);
        match looked {
            Ok(()) => Ok(sources),
            Err(miss) => Err(NotMapped::Load(self.load(miss))),
        }
    }

    /// Which of `count` blocks from `first` on are holes, in at most `runs_max` runs.
    ///
    /// # Errors
    /// As [`map`](Self::map).
    pub(in crate::store) fn status(
        &mut self,
        tree: u32,
        first: u64,
        count: u64,
        runs_max: usize,
    ) -> Result<Vec<StatusRun>, NotMapped> {
        let (root, height) = self.place_of(tree, first, count)?;
        let mut runs: Vec<StatusRun> = Vec::new();
        let mut see = |ptr: Ptr, blocks: u64| {
            let status = match ptr.is_hole() {
                true => Status::Hole,
                false => Status::Data,
            };
            let bytes = blocks * BLOCK as u64;
            StatusRun { bytes, status }.add_to(&mut runs, runs_max)
        };
        let looked = self
            .nodes
            .lookup_range(root, height, first, count, &mut see);
        match looked {
            Ok(()) => Ok(runs),
            // What is known is an answer; the client asks again for the rest.
            Err(_) if !runs.is_empty() => Ok(runs),
            Err(miss) => Err(NotMapped::Load(self.load(miss))),
        }
    }

    /// Whether reads of a volume have to wait.
    pub(in crate::store) fn is_unreadable(&self, tree: u32) -> bool {
        matches!(self.place_of(tree, 0, 0), Err(NotMapped::Paused))
    }

    /// The root and the height of a volume or snapshot that has these blocks.
    pub(super) fn place_of(
        &self,
        tree: u32,
        first: u64,
        count: u64,
    ) -> Result<(crate::store::map::Ref, u8), NotMapped> {
        self.check_health().map_err(NotMapped::Fail)?;
        let gone = NotMapped::Fail(Error::Refused(Refusal::Invalid));
        let tree = self.trees.get(&tree).ok_or(gone)?;
        if tree.pause == Pause::Everything {
            return Err(NotMapped::Paused);
        }
        tree.check_range(first, count).map_err(NotMapped::Fail)?;
        Ok((tree.root, tree.height))
    }
}
