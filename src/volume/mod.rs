//! A disk with a name: what clients see, whatever it rests on.

mod blocks;
mod catalog;
mod complaints;
mod disk;
mod encrypted;
mod flusher;
mod luks;
mod range_lock;
mod raw;
mod stored;

use crate::base::{
    Answer, Aspect, Error, Extent, Mark, Op, Refusal, Reply, Request, Result, StatusRun,
};

pub use catalog::Catalog;
pub use disk::Disk;
pub use encrypted::EncryptedDisk;
pub use luks::{LuksFailure, make_luks, open_luks};
pub use raw::RawDisk;
pub use stored::StoredDisk;

use complaints::Complaints;

/// A disk that clients use by its name.
#[derive(Debug)]
pub struct Volume {
    name: String,
    description: String,
    access: Access,
    disk: Disk,
    complaints: Complaints,
}

/// What clients may do with a volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Read it.
    Read,
    /// Read and write it.
    Write,
}

impl Volume {
    /// The volume `name` on `disk`.
    pub fn new(name: String, description: String, access: Access, disk: impl Into<Disk>) -> Self {
        Self {
            name,
            description,
            access,
            disk: disk.into(),
            complaints: Complaints::default(),
        }
    }

    /// What clients call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a person is told about it.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// What clients may do with it.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.disk.size()
    }

    /// The smallest request that is not slow, in bytes.
    pub fn preferred_block(&self) -> u64 {
        self.disk.preferred_block()
    }

    /// Whether zeroes can be written faster than data.
    pub fn has_fast_zeroes(&self) -> bool {
        self.disk.has_fast_zeroes()
    }

    /// The whole life of one request, top to bottom.
    pub async fn serve(&self, request: Request) -> Reply {
        let Request { ticket, op } = request;
        let result = self.run(op).await;
        if let Err(error) = &result {
            self.complaints.hear(&self.name, error);
        }
        ticket.answer(result)
    }

    /// Makes everything that was answered before survive a power loss.
    ///
    /// # Errors
    /// As the backend's flush.
    pub async fn flush(&self) -> Result<()> {
        self.disk.flush().await
    }

    /// Whether it tells how far from itself what is allocated lies.
    pub fn has_depth(&self) -> bool {
        self.disk.has_depth()
    }

    /// The bitmaps that tell what has changed, by name.
    pub fn bitmaps(&self) -> Vec<(String, Mark)> {
        self.disk.bitmaps()
    }

    async fn status(
        &self,
        at: Extent,
        runs_max: usize,
        aspects: Vec<Aspect>,
    ) -> Result<Vec<Vec<StatusRun>>> {
        let mut all = Vec::with_capacity(aspects.len());
        for aspect in aspects {
            all.push(self.disk.status_of(at, runs_max, aspect).await?);
        }
        Ok(all)
    }

    async fn run(&self, op: Op) -> Result<Answer> {
        match op {
            Op::Read { at } => return self.disk.read(at).await.map(Answer::Data),
            Op::Status {
                at,
                runs_max,
                aspects,
            } => {
                let status = Box::pin(self.status(at, runs_max, aspects));
                return status.await.map(Answer::Status);
            }
            Op::Cache { at } => self.disk.cache(at),
            Op::Flush => self.flush().await?,
            _ if self.access == Access::Read => return Err(Error::Refused(Refusal::ReadOnly)),
            Op::Write {
                offset,
                data,
                durability,
            } => self.disk.write(offset, data, durability).await?,
            // The rarer requests are boxed: a future is as large as the largest of its parts, and
            // one is made, moved and dropped for every read and write.
            Op::Discard { at, durability } => {
                Box::pin(self.disk.discard(at, durability)).await?;
            }
            Op::WriteZeroes {
                at,
                mode,
                durability,
            } => Box::pin(self.disk.write_zeroes(at, mode, durability)).await?,
        }
        Ok(Answer::Done)
    }
}
