//! A backend as a disk: any range of bytes, at the places where the backend has them.

use super::blocks;
use super::blocks::Blocks;
use super::flusher::Flusher;
use super::range_lock::{Guard, RangeLock};
use crate::backend::{Backend, Checked};
use crate::base::{Buf, Durability, Extent, Lent, Result, StatusRun, ZeroMode};

/// A disk whose bytes are where the backend's are.
#[derive(Debug)]
pub struct RawDisk {
    backend: Checked,
    block: u64,
    flusher: Flusher,
    ranges: RangeLock,
}

impl RawDisk {
    /// All of `backend` as a disk.
    pub fn new(backend: Checked) -> Self {
        Self {
            block: backend.geometry().block,
            backend,
            flusher: Flusher::default(),
            ranges: RangeLock::default(),
        }
    }

    /// What it rests on.
    pub fn backend(&self) -> &Checked {
        &self.backend
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.backend.geometry().size
    }

    /// The smallest request that is not slow, in bytes.
    pub fn preferred_block(&self) -> u64 {
        self.backend.geometry().preferred_block
    }

    /// Whether zeroes can be written faster than data.
    pub fn has_fast_zeroes(&self) -> bool {
        self.backend.geometry().fast_zeroes
    }

    /// The bytes of `at`.
    ///
    /// # Errors
    /// As [`Backend::read`].
    pub async fn read(&self, at: Extent) -> Result<Buf> {
        if at.is_empty() {
            return Ok(Buf::new(0));
        }
        let whole = at.grow(self.block);
        let buf = self.backend.read(whole, Buf::new(whole.len())).await?;
        Ok(blocks::window(buf, whole, at))
    }

    /// Writes `data` from `offset`.
    ///
    /// # Errors
    /// As [`Backend::write`] and, if it must be durable, [`Backend::flush`].
    pub async fn write(&self, offset: u64, data: Buf, durability: Durability) -> Result<()> {
        let at = Extent::between(offset, offset + data.len() as u64);
        if at.is_empty() {
            return self.settle(durability).await;
        }
        if at.is_aligned(self.block) {
            let _guard = self.shared(at).await;
            self.backend.write(offset, data).await?;
        } else {
            // Rare and large; boxed, it does not make every request's future as large.
            let part = blocks::write_part(&self.backend, &self.ranges, at, &data);
            Box::pin(part).await?;
        }
        self.settle(durability).await
    }

    /// The sector of what it rests on, in bytes.
    pub fn sector(&self) -> u64 {
        self.backend.sector()
    }

    /// What memory that is lent must be aligned to, in bytes, for requests of whole sectors; `None`
    /// if they need memory of this process.
    pub fn lent_align(&self) -> Option<u32> {
        let is_whole = self.sector().is_multiple_of(self.block);
        self.backend.lent_align().filter(|_| is_whole)
    }

    /// The bytes of `at`, to memory that is lent.
    ///
    /// # Errors
    /// As [`Backend::read_to`].
    pub async fn read_to(&self, at: Extent, memory: Lent) -> Result<()> {
        self.backend.read_to(at, memory).await
    }

    /// Writes `at` from memory that is lent.
    ///
    /// # Errors
    /// As [`Backend::write_from`] and, if it must be durable, [`Backend::flush`].
    pub async fn write_from(&self, at: Extent, memory: Lent, durability: Durability) -> Result<()> {
        let _guard = self.shared(at).await;
        self.backend.write_from(at, memory).await?;
        self.settle(durability).await
    }

    /// Makes everything that was answered before survive a power loss.
    ///
    /// # Errors
    /// As [`Backend::flush`].
    pub async fn flush(&self) -> Result<()> {
        self.flusher.flush(&self.backend).await
    }

    /// Gives up the whole blocks in `at`.
    ///
    /// # Errors
    /// As [`Backend::discard`].
    pub async fn discard(&self, at: Extent, durability: Durability) -> Result<()> {
        let whole = at.shrink(self.block);
        if !whole.is_empty() {
            let _guard = self.shared(whole).await;
            self.backend.discard(whole).await?;
        }
        self.settle(durability).await
    }

    /// Makes `at` read as zeroes.
    ///
    /// # Errors
    /// As [`Backend::write_zeroes`].
    pub async fn write_zeroes(
        &self,
        at: Extent,
        mode: ZeroMode,
        durability: Durability,
    ) -> Result<()> {
        let whole = at.shrink(self.block);
        // First what may be refused, so that a refusal leaves everything as it was.
        if !whole.is_empty() {
            let _guard = self.shared(whole).await;
            self.backend.write_zeroes(whole, mode).await?;
        }
        blocks::zero_ends(&self.backend, &self.ranges, blocks::ends(at, whole)).await?;
        self.settle(durability).await
    }

    /// Notes that `at` will be read soon. Nothing here keeps what it reads, so nothing is done.
    pub fn cache(&self, _at: Extent) {}

    /// What is allocated from the start of `at` on, in at most `runs_max` runs.
    ///
    /// # Errors
    /// As [`Backend::status`].
    pub async fn status(&self, at: Extent, runs_max: usize) -> Result<Vec<StatusRun>> {
        let whole = at.grow(self.block);
        let runs = self.backend.status(whole, runs_max).await?;
        Ok(blocks::clip(runs, whole, at))
    }

    /// Keeps whoever changes parts of blocks away from `at`; free where blocks are bytes.
    async fn shared(&self, at: Extent) -> Option<Guard<'_>> {
        match self.block {
            1 => None,
            _ => Some(self.ranges.shared(at).await),
        }
    }

    async fn settle(&self, durability: Durability) -> Result<()> {
        match durability {
            // No write is answered before the backend has answered it.
            Durability::Cached | Durability::Written => Ok(()),
            Durability::Durable => self.flush().await,
        }
    }
}

impl Blocks for Checked {
    fn block(&self) -> u64 {
        self.geometry().block
    }

    async fn read_blocks(&self, at: Extent) -> Result<Buf> {
        self.read(at, Buf::new(at.len())).await
    }

    async fn write_blocks(&self, offset: u64, data: Buf) -> Result<()> {
        self.write(offset, data).await
    }
}
