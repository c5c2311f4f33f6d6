//! A volume or snapshot of a store as a disk: any range of bytes.
//!
//! A store never overwrites in place, so space is nothing that a volume could keep: discarding,
//! and writing zeroes in whatever way, make holes, and always fast.

use super::blocks;
use super::blocks::Blocks;
use super::range_lock::RangeLock;
use crate::base::{Buf, Durability, Extent, Mark, Result, StatusRun};
use crate::store;
use crate::store::{Store, StoreError, TreeName};

/// The unit of a store, in bytes.
const BLOCK: u64 = store::format::BLOCK as u64;

/// A disk whose blocks are in a store.
#[derive(Debug)]
pub struct StoredDisk {
    disk: store::Disk,
    ranges: RangeLock,
}

impl StoredDisk {
    /// All of `disk`. There must be no second one for the same volume: each keeps only its own
    /// requests apart.
    pub fn new(disk: store::Disk) -> Self {
        Self {
            disk,
            ranges: RangeLock::default(),
        }
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.disk.size()
    }

    /// What it is, whatever it is called: no two have the same, of whichever stores.
    pub fn identity(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.disk.store_uuid());
        hasher.update(&self.disk.id().to_le_bytes());
        hasher.finalize()
    }

    /// The smallest request that is not slow, in bytes.
    pub fn preferred_block(&self) -> u64 {
        BLOCK
    }

    /// Whether zeroes can be written faster than data, which they always can.
    pub fn has_fast_zeroes(&self) -> bool {
        true
    }

    /// The bytes of `at`.
    ///
    /// # Errors
    /// As [`store::Disk::read`].
    pub async fn read(&self, at: Extent) -> Result<Buf> {
        if at.is_empty() {
            return Ok(Buf::new(0));
        }
        let whole = at.grow(BLOCK);
        let count = whole.len() / store::format::BLOCK;
        let buf = self.disk.read(whole.offset() / BLOCK, count).await?;
        Ok(blocks::window(buf, whole, at))
    }

    /// Writes `data` from `offset`.
    ///
    /// # Errors
    /// As [`store::Disk::write`].
    pub async fn write(&self, offset: u64, data: Buf, durability: Durability) -> Result<()> {
        let at = Extent::between(offset, offset + data.len() as u64);
        if at.is_aligned(BLOCK) && !at.is_empty() {
            let _guard = self.ranges.shared(at).await;
            return self.disk.write(offset / BLOCK, data, durability).await;
        }
        // Rare and large; boxed, it does not make every request's future as large.
        Box::pin(self.write_part(at, data, durability)).await
    }

    /// Makes everything that was answered before survive a power loss.
    ///
    /// # Errors
    /// As [`store::Disk::flush`].
    pub async fn flush(&self) -> Result<()> {
        self.disk.flush().await
    }

    /// Makes the whole blocks in `at` holes.
    ///
    /// # Errors
    /// As [`store::Disk::zero`].
    pub async fn discard(&self, at: Extent, durability: Durability) -> Result<()> {
        let zeroed = self.zero_filled(at, durability).await?;
        match zeroed.is_empty() {
            true => self.settle(durability).await,
            false => Ok(()),
        }
    }

    /// Makes `at` read as zeroes: its whole blocks become holes.
    ///
    /// # Errors
    /// As [`store::Disk::zero`].
    pub async fn write_zeroes(&self, at: Extent, durability: Durability) -> Result<()> {
        let whole = self.zero_filled(at, Durability::Cached).await?;
        blocks::zero_ends(&self.disk, &self.ranges, blocks::ends(at, whole)).await?;
        self.settle(durability).await
    }

    /// Makes the disk larger, as volume `name` of `store`, which it is. Requests to its last block
    /// wait meanwhile: they may take the end of the disk for the end of that block.
    ///
    /// # Errors
    /// As [`Store::resize_disk`].
    pub(super) async fn resize(
        &self,
        store: &Store,
        name: &TreeName,
        size: u64,
    ) -> std::result::Result<(), StoreError> {
        let end = self.size().next_multiple_of(BLOCK);
        let _guard = self
            .ranges
            .exclusive(Extent::between(end - BLOCK, end))
            .await;
        store.resize_disk(name, &self.disk, size).await
    }

    /// Notes that `at` will be read soon.
    pub fn cache(&self, at: Extent) {
        let whole = at.grow(BLOCK);
        self.disk
            .cache(whole.offset() / BLOCK, whole.bytes() / BLOCK);
    }

    /// What is allocated from the start of `at` on, in at most `runs_max` runs.
    ///
    /// # Errors
    /// As [`store::Disk::status`].
    pub async fn status(&self, at: Extent, runs_max: usize) -> Result<Vec<StatusRun>> {
        let whole = at.grow(BLOCK);
        let (first, count) = (whole.offset() / BLOCK, whole.bytes() / BLOCK);
        let runs = self.disk.status(first, count, runs_max).await?;
        Ok(blocks::clip(runs, whole, at))
    }

    /// How far from the disk itself what is from the start of `at` on is allocated, in at most
    /// `runs_max` runs.
    ///
    /// # Errors
    /// As [`store::Disk::depth`].
    pub async fn depth(&self, at: Extent, runs_max: usize) -> Result<Vec<StatusRun>> {
        let whole = at.grow(BLOCK);
        let (first, count) = (whole.offset() / BLOCK, whole.bytes() / BLOCK);
        let runs = self.disk.depth(first, count, runs_max).await?;
        Ok(blocks::clip(runs, whole, at))
    }

    /// What has changed since `mark` from the start of `at` on, in at most `runs_max` runs.
    ///
    /// # Errors
    /// As [`store::Disk::changes`].
    pub async fn changes(&self, mark: Mark, at: Extent, runs_max: usize) -> Result<Vec<StatusRun>> {
        let whole = at.grow(BLOCK);
        let (first, count) = (whole.offset() / BLOCK, whole.bytes() / BLOCK);
        let runs = self.disk.changes(mark, first, count, runs_max).await?;
        Ok(blocks::clip(runs, whole, at))
    }

    /// The bitmaps that tell what has changed, by name.
    pub fn bitmaps(&self) -> Vec<(String, Mark)> {
        self.disk.bitmaps()
    }

    async fn write_part(&self, at: Extent, data: Buf, durability: Durability) -> Result<()> {
        if !at.is_empty() {
            blocks::write_part(&self.disk, &self.ranges, at, &data).await?;
        }
        self.settle(durability).await
    }

    /// Makes the blocks that `at` fills holes; gives them.
    async fn zero_filled(&self, at: Extent, durability: Durability) -> Result<Extent> {
        // Locked before the size is asked for: what is the end of the disk stays it until the last
        // block, which may have room behind the end, is a hole.
        let _guard = self.ranges.shared(at.grow(BLOCK)).await;
        let whole = filled(at, self.size());
        if !whole.is_empty() {
            let (first, count) = (whole.offset() / BLOCK, whole.bytes() / BLOCK);
            self.disk.zero(first, count, durability).await?;
        }
        Ok(whole)
    }

    async fn settle(&self, durability: Durability) -> Result<()> {
        match durability {
            Durability::Cached => Ok(()),
            Durability::Written => self.disk.hand_over().await,
            Durability::Durable => self.flush().await,
        }
    }
}

impl Blocks for store::Disk {
    fn block(&self) -> u64 {
        BLOCK
    }

    async fn read_blocks(&self, at: Extent) -> Result<Buf> {
        self.read(at.offset() / BLOCK, at.len() / store::format::BLOCK)
            .await
    }

    async fn write_blocks(&self, offset: u64, data: Buf) -> Result<()> {
        self.write(offset / BLOCK, data, Durability::Cached).await
    }
}

/// The blocks that `at` fills on a disk of `size` bytes. To its end it fills the last block, also
/// where the disk ends inside: nothing else is in that block.
fn filled(at: Extent, size: u64) -> Extent {
    let end = match at.end() == size {
        true => size.next_multiple_of(BLOCK),
        false => at.end(),
    };
    Extent::between(at.offset(), end).shrink(BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_disk_fills_its_last_block() {
        let size = 2 * BLOCK + 512;
        let to_the_end = Extent::between(10, size);
        let whole = Extent::between(BLOCK, 3 * BLOCK);
        assert_eq!(filled(to_the_end, size), whole);
        assert!(filled(Extent::between(2 * BLOCK, size - 1), size).is_empty());
        assert!(filled(Extent::between(2 * BLOCK + 1, size), size).is_empty());
        assert_eq!(filled(Extent::between(0, size), size).bytes(), 3 * BLOCK);
    }
}
