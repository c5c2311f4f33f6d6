//! A disk of zeroes that forgets what it is told: what remains is the cost of everything else.

use super::{Backend, Geometry};
use crate::base::{Buf, Extent, Result, Status, StatusRun, ZeroMode};

/// Reads give zeroes, writes go nowhere.
#[derive(Debug)]
pub struct Null {
    size: u64,
}

impl Null {
    /// A disk of `size` bytes.
    pub fn new(size: u64) -> Self {
        Self { size }
    }
}

impl Backend for Null {
    fn geometry(&self) -> Geometry {
        Geometry {
            size: self.size,
            block: 1,
            preferred_block: 4096,
            fast_zeroes: true,
        }
    }

    async fn read(&self, _: Extent, mut buf: Buf) -> Result<Buf> {
        buf.fill(0);
        Ok(buf)
    }

    async fn write(&self, _: u64, _: Buf) -> Result<()> {
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }

    async fn discard(&self, _: Extent) -> Result<()> {
        Ok(())
    }

    async fn write_zeroes(&self, _: Extent, _: ZeroMode) -> Result<()> {
        Ok(())
    }

    async fn status(&self, at: Extent, _: usize) -> Result<Vec<StatusRun>> {
        Ok(vec![StatusRun {
            bytes: at.bytes(),
            status: Status::Hole,
        }])
    }
}
