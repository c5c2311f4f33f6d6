//! A disk in memory, gone when the server ends: for tests, and for measuring without a disk.

use std::fmt;
use std::sync::{PoisonError, RwLock};

use super::pages::Pages;
use super::{Backend, Geometry};
use crate::base::{Buf, Extent, Result, StatusRun, ZeroMode};

/// Memory that is taken from the system when it is first written and given back when discarded.
pub struct Mem {
    size: u64,
    pages: RwLock<Pages>,
}

impl Mem {
    /// A disk of `size` bytes, all zero.
    pub fn new(size: u64) -> Self {
        Self {
            size,
            pages: RwLock::default(),
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Pages) -> T) -> T {
        change(&mut self.pages.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn look<T>(&self, look: impl FnOnce(&Pages) -> T) -> T {
        look(&self.pages.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Backend for Mem {
    fn geometry(&self) -> Geometry {
        Geometry {
            size: self.size,
            block: 1,
            preferred_block: 4096,
            fast_zeroes: true,
        }
    }

    async fn read(&self, at: Extent, mut buf: Buf) -> Result<Buf> {
        self.look(|pages| pages.read(at.offset(), &mut buf));
        Ok(buf)
    }

    async fn write(&self, offset: u64, data: Buf) -> Result<()> {
        self.change(|pages| pages.write(offset, &data));
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }

    async fn discard(&self, at: Extent) -> Result<()> {
        self.change(|pages| pages.clear(at));
        Ok(())
    }

    /// Memory is given back whatever `mode` says: finding it again does not fail for lack of
    /// space on a disk.
    async fn write_zeroes(&self, at: Extent, _: ZeroMode) -> Result<()> {
        self.change(|pages| pages.clear(at));
        Ok(())
    }

    async fn status(&self, at: Extent, runs_max: usize) -> Result<Vec<StatusRun>> {
        Ok(self.look(|pages| pages.status(at, runs_max)))
    }
}

impl fmt::Debug for Mem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mem({} bytes)", self.size)
    }
}
