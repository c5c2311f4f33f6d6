//! A raw disk whose sectors are encrypted in place, as a disk: any range of the bytes that were
//! encrypted.
//!
//! What clients read and write is the payload, which lies on the raw disk at some offset. Sectors
//! are encrypted whole, so what does not fill them is read, changed and written back here; where
//! the raw disk has larger blocks than that, it does the same again with the encrypted bytes.
//!
//! There are no holes. A hole of the raw disk reads as zeroes, which decrypt to something else:
//! so everything is reported as data, zeroes are written encrypted, and after a discard anything
//! is read. A discard shows whoever looks at the raw disk which sectors are not in use.

use super::blocks;
use super::blocks::Blocks;
use super::range_lock::RangeLock;
use super::raw::RawDisk;
use crate::backend::Checked;
use crate::base::limits::MIB;
use crate::base::{Buf, Durability, Error, Extent, Refusal, Result, Status, StatusRun, ZeroMode};
use crate::codec::luks::SectorCipher;

/// How much is written at a time where zeroes are wanted, in bytes.
const ZEROES_BYTES: u64 = MIB as u64;

/// A disk that is decrypted and encrypted on its way.
#[derive(Debug)]
pub struct EncryptedDisk {
    payload: Encrypted,
    ranges: RangeLock,
}

/// Whole sectors of the payload.
#[derive(Debug)]
struct Encrypted {
    disk: RawDisk,
    at: Extent,
    cipher: SectorCipher,
}

impl EncryptedDisk {
    /// The bytes of `payload` on `disk`, whole sectors of `cipher`.
    pub(super) fn new(disk: RawDisk, payload: Extent, cipher: SectorCipher) -> Self {
        assert!(payload.fits(disk.size()) && payload.bytes().is_multiple_of(cipher.sector_bytes()));
        Self {
            payload: Encrypted {
                disk,
                at: payload,
                cipher,
            },
            ranges: RangeLock::default(),
        }
    }

    /// What it rests on.
    pub fn backend(&self) -> &Checked {
        self.payload.disk.backend()
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.payload.at.bytes()
    }

    /// The smallest request that is not slow, in bytes.
    pub fn preferred_block(&self) -> u64 {
        self.payload
            .disk
            .preferred_block()
            .max(self.payload.block())
    }

    /// Whether zeroes can be written faster than data, which they never can.
    pub fn has_fast_zeroes(&self) -> bool {
        false
    }

    /// The bytes of `at`.
    ///
    /// # Errors
    /// As [`RawDisk::read`].
    pub async fn read(&self, at: Extent) -> Result<Buf> {
        if at.is_empty() {
            return Ok(Buf::new(0));
        }
        let whole = at.grow(self.payload.block());
        let buf = self.payload.read_blocks(whole).await?;
        Ok(blocks::window(buf, whole, at))
    }

    /// Writes `data` from `offset`.
    ///
    /// # Errors
    /// As [`RawDisk::write`].
    pub async fn write(&self, offset: u64, data: Buf, durability: Durability) -> Result<()> {
        let at = Extent::between(offset, offset + data.len() as u64);
        if at.is_empty() {
            return self.settle(durability).await;
        }
        if at.is_aligned(self.payload.block()) {
            let _guard = self.ranges.shared(at).await;
            return self.payload.write(offset, data, durability).await;
        }
        // Rare and large; boxed, it does not make every request's future as large.
        Box::pin(blocks::write_part(&self.payload, &self.ranges, at, &data)).await?;
        self.settle(durability).await
    }

    /// Makes everything that was answered before survive a power loss.
    ///
    /// # Errors
    /// As [`RawDisk::flush`].
    pub async fn flush(&self) -> Result<()> {
        self.payload.disk.flush().await
    }

    /// Gives up the whole sectors in `at`, which read as anything afterwards.
    ///
    /// # Errors
    /// As [`RawDisk::discard`].
    pub async fn discard(&self, at: Extent, durability: Durability) -> Result<()> {
        let whole = at.shrink(self.payload.block());
        if whole.is_empty() {
            return self.settle(durability).await;
        }
        let _guard = self.ranges.shared(whole).await;
        let there = self.payload.there(whole);
        self.payload.disk.discard(there, durability).await
    }

    /// Makes `at` read as zeroes, by writing zeroes that are encrypted as any data is: no space is
    /// given up.
    ///
    /// # Errors
    /// `Refused` as not supported if it must be fast; else as [`write`](Self::write).
    pub async fn write_zeroes(
        &self,
        at: Extent,
        mode: ZeroMode,
        durability: Durability,
    ) -> Result<()> {
        if mode.only_if_fast {
            return Err(Error::Refused(Refusal::NotSupported));
        }
        let whole = at.shrink(self.payload.block());
        let mut from = whole.offset();
        while from < whole.end() {
            let part = Extent::between(from, (from + ZEROES_BYTES).min(whole.end()));
            let _guard = self.ranges.shared(part).await;
            let zeroes = Buf::zeroed(part.len());
            self.payload.write_blocks(from, zeroes).await?;
            from = part.end();
        }
        blocks::zero_ends(&self.payload, &self.ranges, blocks::ends(at, whole)).await?;
        self.settle(durability).await
    }

    /// Notes that `at` will be read soon. Nothing here keeps what it reads, so nothing is done.
    pub fn cache(&self, _at: Extent) {}

    /// What is allocated from the start of `at` on: data, whatever lies beneath.
    pub fn status(&self, at: Extent) -> Vec<StatusRun> {
        vec![StatusRun {
            bytes: at.bytes(),
            status: Status::Data,
        }]
    }

    async fn settle(&self, durability: Durability) -> Result<()> {
        match durability {
            // No write is answered before the backend has answered it.
            Durability::Cached | Durability::Written => Ok(()),
            Durability::Durable => self.flush().await,
        }
    }
}

impl Encrypted {
    /// Where `at` lies on the raw disk.
    fn there(&self, at: Extent) -> Extent {
        assert!(at.fits(self.at.bytes()), "{at:?} lies beyond the end");
        let start = self.at.offset();
        Extent::between(start + at.offset(), start + at.end())
    }

    /// Encrypts `data` where it is, since nobody needs it any more, and writes it.
    async fn write(&self, offset: u64, mut data: Buf, durability: Durability) -> Result<()> {
        let at = Extent::between(offset, offset + data.len() as u64);
        self.cipher.encrypt(offset, &mut data);
        self.disk
            .write(self.there(at).offset(), data, durability)
            .await
    }
}

impl Blocks for Encrypted {
    fn block(&self) -> u64 {
        self.cipher.sector_bytes()
    }

    async fn read_blocks(&self, at: Extent) -> Result<Buf> {
        let mut buf = self.disk.read(self.there(at)).await?;
        self.cipher.decrypt(at.offset(), &mut buf);
        Ok(buf)
    }

    async fn write_blocks(&self, offset: u64, data: Buf) -> Result<()> {
        self.write(offset, data, Durability::Cached).await
    }
}
