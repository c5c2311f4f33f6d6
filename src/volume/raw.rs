//! A backend as a disk: any range of bytes, at the places where the backend has them.
//!
//! A backend takes whole blocks. Clients may ask for single bytes, so the ends of a request that
//! do not fill a block are read, changed and written back here, under a lock on these blocks.

use super::flusher::Flusher;
use super::range_lock::RangeLock;
use crate::backend::{Backend, Checked};
use crate::base::{Buf, Durability, Extent, Result, Status, StatusRun, ZeroMode};

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
        let from = Extent::between(whole.offset(), at.offset()).len();
        Ok(buf.window(from, from + at.len()))
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
            Box::pin(self.write_part(at, &data)).await?;
        }
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
        let (head, tail) = match whole.is_empty() {
            true => (at, Extent::between(at.end(), at.end())),
            false => (
                Extent::between(at.offset(), whole.offset()),
                Extent::between(whole.end(), at.end()),
            ),
        };
        for end in [head, tail] {
            if !end.is_empty() {
                self.write_part(end, &Buf::zeroed(end.len())).await?;
            }
        }
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
        Ok(clip(runs, whole, at))
    }

    /// Writes `data` to `at`, which does not fill its blocks.
    async fn write_part(&self, at: Extent, data: &[u8]) -> Result<()> {
        let whole = at.grow(self.block);
        let _guard = self.ranges.exclusive(whole).await;
        let mut buf = Buf::new(whole.len());
        let block = Extent::between(0, self.block).len();
        let last = whole.len() - block;
        let first_block = Extent::between(whole.offset(), whole.offset() + self.block);
        let head = self.backend.read(first_block, Buf::new(block)).await?;
        buf[..block].copy_from_slice(&head);
        if last > 0 {
            let last_block = Extent::between(whole.end() - self.block, whole.end());
            let tail = self.backend.read(last_block, Buf::new(block)).await?;
            buf[last..].copy_from_slice(&tail);
        }
        let from = Extent::between(whole.offset(), at.offset()).len();
        buf[from..from + data.len()].copy_from_slice(data);
        self.backend.write(whole.offset(), buf).await
    }

    /// Keeps whoever changes parts of blocks away from `at`; free where blocks are bytes.
    async fn shared(&self, at: Extent) -> Option<super::range_lock::Guard<'_>> {
        match self.block {
            1 => None,
            _ => Some(self.ranges.shared(at).await),
        }
    }

    async fn settle(&self, durability: Durability) -> Result<()> {
        match durability {
            Durability::Cached => Ok(()),
            Durability::Durable => self.flush().await,
        }
    }
}

/// The part of `runs`, which describe `whole` from its start, that describes `at`.
fn clip(runs: Vec<StatusRun>, whole: Extent, at: Extent) -> Vec<StatusRun> {
    let mut clipped = Vec::with_capacity(runs.len());
    let mut from = whole.offset();
    for run in runs {
        let end = (from + run.bytes).min(at.end());
        let start = from.max(at.offset());
        if start < end {
            clipped.push(StatusRun {
                bytes: end - start,
                status: run.status,
            });
        }
        from += run.bytes;
    }
    // The runs may have ended before `at` begins. What is not known is data.
    if clipped.is_empty() {
        let bytes = at.bytes().min(4096);
        let status = Status::Data;
        clipped.push(StatusRun { bytes, status });
    }
    clipped
}
