//! The one door to a backend: every call passes here, and here the contract is asserted.
//!
//! What comes from above is asserted, because the frontend has checked what came from the client.
//! What comes from below is asserted too: a backend that returns half a buffer is a bug here, not
//! a problem of the guest. After a flush has failed nothing can be promised, so the door stays
//! shut until the backend is opened again.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{Backend, Geometry, Medium};
use crate::base::{Buf, Error, Extent, Lent, Refusal, Result, StatusRun, ZeroMode};

/// A backend whose contract is asserted on every call.
#[derive(Debug)]
pub struct Checked {
    medium: Medium,
    geometry: Geometry,
    poisoned: AtomicBool,
}

impl Checked {
    /// Guards `medium`.
    pub fn new(medium: Medium) -> Self {
        let geometry = medium.geometry();
        let Geometry {
            size,
            block,
            preferred_block,
            ..
        } = geometry;
        assert!(block.is_power_of_two() && block <= 4096, "block {block}");
        assert!(preferred_block.is_power_of_two() && preferred_block >= block);
        assert_eq!(size % block, 0, "a backend ends at a block");
        Self {
            medium,
            geometry,
            poisoned: AtomicBool::new(false),
        }
    }

    /// What stands behind the door, for tests that break it.
    pub fn medium(&self) -> &Medium {
        &self.medium
    }

    /// Whether a flush has failed, after which nothing more is done.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    fn check(&self, at: Extent) -> Result<()> {
        let Geometry { size, block, .. } = self.geometry;
        assert!(at.fits(size), "{at:?} lies beyond the end, {size}");
        assert!(at.is_aligned(block), "{at:?} is not aligned to {block}");
        assert!(!at.is_empty(), "a request for nothing at {at:?}");
        self.check_poison()
    }

    fn check_poison(&self) -> Result<()> {
        match self.is_poisoned() {
            true => Err(Error::Poisoned),
            false => Ok(()),
        }
    }
}

impl Backend for Checked {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn sector(&self) -> u64 {
        self.medium.sector()
    }

    async fn read(&self, at: Extent, buf: Buf) -> Result<Buf> {
        self.check(at)?;
        assert_eq!(buf.len(), at.len(), "a buffer as long as what is read");
        let buf = self.medium.read(at, buf).await?;
        assert_eq!(buf.len(), at.len(), "all that was asked for");
        Ok(buf)
    }

    async fn write(&self, offset: u64, data: Buf) -> Result<()> {
        let at = Extent::new(offset, data.len() as u64).expect("a range on the backend");
        self.check(at)?;
        self.medium.write(offset, data).await
    }

    fn lent_align(&self) -> Option<u32> {
        self.medium.lent_align()
    }

    async fn read_to(&self, at: Extent, memory: Lent) -> Result<()> {
        self.check(at)?;
        self.medium.read_to(at, memory).await
    }

    async fn write_from(&self, at: Extent, memory: Lent) -> Result<()> {
        self.check(at)?;
        self.medium.write_from(at, memory).await
    }

    async fn flush(&self) -> Result<()> {
        self.check_poison()?;
        if let Err(error) = self.medium.flush().await {
            self.poisoned.store(true, Ordering::Release);
            tracing::error!(%error, "a flush failed; the backend takes no more requests");
            return Err(error);
        }
        // While this one went well another may have failed, and taken its writes with it.
        self.check_poison()
    }

    async fn discard(&self, at: Extent) -> Result<()> {
        self.check(at)?;
        self.medium.discard(at).await
    }

    async fn write_zeroes(&self, at: Extent, mode: ZeroMode) -> Result<()> {
        self.check(at)?;
        let written = self.medium.write_zeroes(at, mode).await;
        let unsupported = Err(Error::Refused(Refusal::NotSupported));
        assert!(
            mode.only_if_fast || written != unsupported,
            "zeroes can always be written slowly"
        );
        written
    }

    async fn status(&self, at: Extent, runs_max: usize) -> Result<Vec<StatusRun>> {
        self.check(at)?;
        assert!(runs_max > 0, "room for a run");
        let runs = self.medium.status(at, runs_max).await?;
        let bytes: u64 = runs.iter().map(|run| run.bytes).sum();
        assert!(!runs.is_empty() && runs.len() <= runs_max);
        assert!(bytes <= at.bytes(), "{bytes} bytes described of {at:?}");
        assert!(runs.iter().all(|run| run.bytes > 0), "a run of nothing");
        assert!(
            runs.windows(2).all(|pair| pair[0].status != pair[1].status),
            "neighbours that should be one run"
        );
        Ok(runs)
    }
}
