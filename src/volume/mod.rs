//! A disk with a name: what clients see, whatever it rests on.

mod blocks;
mod catalog;
mod complaints;
mod disk;
mod encrypted;
mod flusher;
mod lease;
mod luks;
mod range_lock;
mod raw;
mod served;
mod stored;
mod users;

use std::sync::{Arc, Mutex, PoisonError};

use crate::base::{Answer, Error, Op, Refusal, Reply, Request, Result};

pub use catalog::Catalog;
pub use disk::Disk;
pub use encrypted::EncryptedDisk;
pub use lease::Lease;
pub use luks::{LuksFailure, make_luks, open_luks};
pub use raw::RawDisk;
pub use served::Served;
pub use stored::StoredDisk;
pub use users::{Purpose, UserCount};

use complaints::Complaints;
use users::Users;

/// A disk that clients use by its name.
#[derive(Debug)]
pub struct Volume {
    /// It may get another one while it is used.
    name: Mutex<Arc<str>>,
    description: String,
    access: Access,
    disk: Disk,
    complaints: Complaints,
    users: Users,
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
            name: Mutex::new(name.into()),
            description,
            access,
            disk: disk.into(),
            complaints: Complaints::default(),
            users: Users::default(),
        }
    }

    /// What clients call it.
    pub fn name(&self) -> Arc<str> {
        let name = self.name.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&name)
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
            self.complaints.hear(&self.name(), error);
        }
        ticket.answer(result)
    }

    /// The disk beneath it.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The disk beneath it, if that is of a store.
    fn stored(&self) -> Option<&StoredDisk> {
        match &self.disk {
            Disk::Stored(disk) => Some(disk),
            Disk::Raw(_) | Disk::Encrypted(_) => None,
        }
    }

    /// Gets another name, if it is the volume `from` that is now called `to`, or a snapshot of it.
    fn follow_rename(&self, from: &str, to: &str) {
        let mut name = self.name.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = match name.strip_prefix(from) {
            Some(rest) if rest.is_empty() || rest.starts_with('@') => rest,
            _ => return,
        };
        *name = format!("{to}{rest}").into();
    }

    /// Makes everything that was answered before survive a power loss.
    ///
    /// # Errors
    /// As the backend's flush.
    pub async fn flush(&self) -> Result<()> {
        self.disk.flush().await
    }

    async fn run(&self, op: Op) -> Result<Answer> {
        match op {
            Op::Read { at } => return self.disk.read(at).await.map(Answer::Data),
            Op::Status { at, runs_max } => {
                let status = Box::pin(self.disk.status(at, runs_max));
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
