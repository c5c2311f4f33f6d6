//! One side of a copy: a file or disk of this process, or the volume of a job.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use tokio_stream::StreamExt;

use crate::base::limits::JOB_PIECE_BYTES_MAX;
use crate::base::{Buf, Durability, Error, Extent, OpenError, Status, StatusRun};
use crate::cli::place::{Place, Told};
use crate::control::api::proto;
use crate::volume::Disk;

/// What is copied from, or to.
pub(super) enum Side {
    /// This process has it open.
    Disk(Disk),
    /// Whoever keeps the job has it open.
    Job(Job),
}

/// A job, which goes on until this is dropped.
pub(super) struct Job {
    place: Place,
    id: u64,
    size: u64,
    /// As long as somebody could listen to it, the job is kept.
    told: RefCell<Told>,
}

/// What went wrong on one side.
#[derive(Debug)]
pub(super) enum Trouble {
    /// A disk said it.
    Disk(Error),
    /// The answer to a call said it, in one line.
    Call(OpenError),
}

impl Side {
    /// Its size in bytes.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Disk(disk) => disk.size(),
            Self::Job(job) => job.size,
        }
    }

    /// The bytes of `at`.
    pub(super) async fn read(&self, at: Extent) -> Result<Buf, Trouble> {
        match self {
            Self::Disk(disk) => Ok(disk.read(at).await?),
            Self::Job(job) => job.read(at).await,
        }
    }

    /// Writes `data` from `offset`.
    pub(super) async fn write(&self, offset: u64, data: Buf) -> Result<(), Trouble> {
        match self {
            Self::Disk(disk) => Ok(disk.write(offset, data, Durability::Cached).await?),
            Self::Job(job) => job.write(offset, data).await,
        }
    }

    /// Makes what was written durable. What a job has written is when it is finished.
    pub(super) async fn flush(&self) -> Result<(), Trouble> {
        match self {
            Self::Disk(disk) => Ok(disk.flush().await?),
            Self::Job(_) => Ok(()),
        }
    }

    /// Whether it goes on: somebody may have cancelled the job, while nothing had to be moved.
    pub(super) async fn check(&self) -> Result<(), Trouble> {
        match self {
            Self::Disk(_) => Ok(()),
            Self::Job(job) => job.check().await,
        }
    }

    /// Ends a copy that came to nothing; returns when nothing of it remains here.
    pub(super) async fn give_up(&self) {
        if let Self::Job(job) = self {
            job.cancel().await;
        }
    }

    /// What is allocated from the start of `at` on.
    pub(super) async fn status(
        &self,
        at: Extent,
        runs_max: usize,
    ) -> Result<Vec<StatusRun>, Trouble> {
        match self {
            Self::Disk(disk) => Ok(disk.status(at, runs_max).await?),
            Self::Job(job) => job.status(at).await,
        }
    }
}

impl Job {
    /// The job that `told` begins to tell of.
    ///
    /// # Errors
    /// If it was over at once.
    pub(super) async fn begun(place: &Place, mut told: Told) -> Result<Self, OpenError> {
        let lost = || OpenError::relayed("the server ended before the job began");
        let job = told.next().await.ok_or_else(lost)?;
        let job = crate::cli::place::told(job)?;
        Ok(Self {
            place: place.clone(),
            id: job.id,
            size: job.size,
            told: RefCell::new(told),
        })
    }

    /// What it is called.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    async fn check(&self) -> Result<(), Trouble> {
        let over = || OpenError::relayed("the job ended before its end");
        poll_fn(|context| {
            let mut told = self.told.borrow_mut();
            loop {
                match told.as_mut().poll_next(context) {
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(Some(Err(status))) => {
                        let why = crate::cli::place::told::<()>(Err(status));
                        return Poll::Ready(why.map_err(Trouble::Call));
                    }
                    Poll::Ready(None) => return Poll::Ready(Err(Trouble::Call(over()))),
                    Poll::Pending => return Poll::Ready(Ok(())),
                }
            }
        })
        .await
    }

    /// Ends it; returns when nothing of it remains.
    async fn cancel(&self) {
        let message = proto::CancelJobRequest { id: self.id };
        // It may have ended already, or its server.
        let _ = self.place.cancel_job(message).await;
    }

    async fn read(&self, at: Extent) -> Result<Buf, Trouble> {
        let message = proto::ReadRequest {
            job: self.id,
            offset: at.offset(),
            length: at.bytes(),
        };
        let answer = self.place.read_piece(message).await?;
        match answer.data.len() == at.len() {
            true => Ok(Buf::from(&answer.data[..])),
            false => Err(OpenError::relayed("the server read more or less than asked").into()),
        }
    }

    async fn write(&self, offset: u64, data: Buf) -> Result<(), Trouble> {
        let message = proto::WriteRequest {
            job: self.id,
            offset,
            data: Bytes::from_owner(data),
        };
        self.place.write_piece(message).await?;
        Ok(())
    }

    async fn status(&self, at: Extent) -> Result<Vec<StatusRun>, Trouble> {
        let message = proto::ExtentsRequest {
            job: self.id,
            offset: at.offset(),
            length: at.bytes(),
        };
        let answer = self.place.extents(message).await?;
        let runs = answer.runs.iter().map(|run| StatusRun {
            bytes: run.length,
            status: match run.is_hole {
                true => Status::Hole,
                false => Status::Data,
            },
        });
        Ok(runs.collect())
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Disk(error)
    }
}

impl From<OpenError> for Trouble {
    fn from(error: OpenError) -> Self {
        Self::Call(error)
    }
}

impl From<Disk> for Side {
    fn from(disk: Disk) -> Self {
        Self::Disk(disk)
    }
}

const _: () = assert!(super::pieces::DATA_BYTES_MAX <= JOB_PIECE_BYTES_MAX);
