//! A disk of an iSCSI target, through libiscsi.
//!
//! A task on the reactor where the disk was opened drives the connection (`driver.rs`), since
//! nothing of libiscsi may be used by two threads; requests, of any reactor, queue their commands
//! for it and wait. While the target does not answer they wait, as on a slow disk; a connection
//! that was lost is made anew, and what was under way is sent again: the target ends what came by
//! the old one when the same session logs in anew. What is tried again, and for how long, is in
//! `backend/retry.rs`.

mod context;
mod disk;
mod driver;
mod fence;
mod identity;
mod library;
mod operation;
mod place;
mod scsi;
mod session;
mod unflushed;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::in_flight::{InFlight, Share};
use super::pages::add_run;
use super::retry::{Attempt, patiently};
use super::{Access, Backend, Geometry};
use crate::base::limits::{NETWORK_BYTES_MAX, UNFLUSHED_BYTES_MAX};
use crate::base::{
    Buf, Error, Extent, Fault, OpenError, Refusal, Result, Status, StatusRun, ZeroMode,
};
use crate::env::{self, TaskLock};

use disk::Disk;
use identity::Identity;
use operation::{Command, Direction, Memory, Operation, Outcome};
use scsi::Meaning;
use session::{Failure, Session};

pub use place::IscsiPlace;

/// How long opening may take: connecting, and finding an owner silent.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);

/// How long the error of a request that was not answered in time waits for the target to have ended
/// that request.
const FENCE_TIMEOUT: Duration = Duration::from_secs(5);

/// The size of an answer of GET LBA STATUS, in bytes: 64 ranges.
const STATUS_BYTES: u32 = 8 + 16 * 64;

/// What is written at once where zeroes have to be written as data, in bytes.
const ZEROES_BYTES: u64 = 1 << 20;

/// A disk of an iSCSI target.
pub struct Iscsi {
    session: Arc<Session>,
    in_flight: Arc<InFlight>,
    /// Who flushes since too much is not flushed.
    flushing: TaskLock,
    /// Whether the disk has said that it does not know WRITE SAME.
    no_write_same: AtomicBool,
}

impl std::fmt::Debug for Iscsi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Iscsi({})", self.session.place)
    }
}

impl Drop for Iscsi {
    fn drop(&mut self) {
        self.session.close();
    }
}

impl Iscsi {
    /// Opens the disk at `place`, and reserves it if it is to be written.
    ///
    /// # Errors
    /// One line that says what is missing, who does not answer, or that somebody has it.
    pub async fn open(place: &IscsiPlace, access: Access) -> std::result::Result<Self, OpenError> {
        let refused = |failure: Failure| failure.of(place);
        library::functions().map_err(|error| {
            let why = format!("libiscsi cannot be loaded: {error}");
            let remedy = "install it, on Debian with: apt-get install libiscsi7";
            refused(Failure::new(why, remedy))
        })?;
        let session = Session::new(place.clone(), Identity::of(place)?, access);
        let up = env::timeout(OPEN_TIMEOUT, driver::bring_up(&session)).await;
        let context = up.unwrap_or_else(|| {
            let why = format!("it is not ready after {} s", OPEN_TIMEOUT.as_secs());
            Err(Failure::new(
                why,
                "see what the target says of it in its log",
            ))
        });
        let context = context.map_err(refused)?;
        let drive = driver::drive(Arc::clone(&session), context);
        env::spawn(drive);
        let opened = Self {
            session,
            in_flight: InFlight::new(NETWORK_BYTES_MAX),
            flushing: TaskLock::default(),
            no_write_same: AtomicBool::new(false),
        };
        if access == Access::Write && opened.disk().is_read_only {
            let why = "the target lets nobody write to it";
            return Err(refused(Failure::new(why, "see its settings on the target")));
        }
        Ok(opened)
    }

    fn disk(&self) -> &Disk {
        self.session
            .disk
            .get()
            .expect("it was asked when it was opened")
    }

    /// Carries `commands`, side by side, each to its end.
    async fn carry(
        &self,
        during: &'static str,
        share: usize,
        commands: Vec<Command>,
    ) -> std::result::Result<(), NotCarried> {
        let share = Arc::new(self.in_flight.share(share).await);
        if let [command] = &commands[..] {
            return self.carry_one(during, &share, command).await;
        }
        let carried = commands
            .iter()
            .map(|command| self.carry_one(during, &share, command));
        env::all(carried).await.into_iter().collect()
    }

    /// Carries one command to its end, whatever becomes of connections.
    async fn carry_one(
        &self,
        during: &'static str,
        share: &Arc<Share>,
        command: &Command,
    ) -> std::result::Result<(), NotCarried> {
        let attempt = async || self.attempt(during, share, command).await;
        match patiently(self.session.place.timeout, attempt).await {
            Some(carried) => carried,
            None => {
                self.fence().await;
                let errno = libc::ETIMEDOUT;
                Err(NotCarried::Unknown(Fault { during, errno }))
            }
        }
    }

    async fn attempt(
        &self,
        during: &'static str,
        share: &Arc<Share>,
        command: &Command,
    ) -> Attempt<std::result::Result<(), NotCarried>> {
        let fault = |errno| Fault { during, errno };
        if self.session.up().await.is_err() {
            return Attempt::Done(Err(NotCarried::Failed(fault(libc::ESHUTDOWN))));
        }
        let changes = command.direction == Direction::Out && self.disk().has_cache;
        let unflushed = changes.then(|| Arc::clone(&self.session.unflushed));
        let operation = Operation::new(command.clone(), Some(Arc::clone(share)), unflushed);
        if !self.session.send(&operation) {
            return Attempt::Again;
        }
        let sense = match operation.outcome().await {
            Outcome::Good(missing) if missing == 0 || command.may_be_short => {
                return Attempt::Done(Ok(()));
            }
            Outcome::Good(_) => {
                return Attempt::Done(Err(NotCarried::Unknown(fault(libc::EIO))));
            }
            Outcome::Sense(sense) => sense,
            Outcome::Busy | Outcome::Lost => return Attempt::Again,
            Outcome::Conflict => {
                // Whose the reservation is, is found out on a new connection.
                self.session.cut();
                return Attempt::Again;
            }
        };
        if sense.deferred {
            tracing::error!(?sense, "the target has lost what it said was written");
            self.session.note_loss();
        }
        match sense.meaning() {
            Meaning::Again => Attempt::Again,
            Meaning::LookAgain => {
                self.session.cut();
                Attempt::Again
            }
            Meaning::Unsupported => Attempt::Done(Err(NotCarried::Unsupported(fault(libc::EIO)))),
            Meaning::Refused(errno) => Attempt::Done(Err(NotCarried::Failed(fault(errno)))),
            Meaning::Failed(errno) => {
                tracing::error!(?sense, "a disk of a target fails");
                Attempt::Done(Err(NotCarried::Unknown(fault(errno))))
            }
        }
    }

    /// Makes sure that what was not answered in time is not done later, if the target can be
    /// reached. If not, nothing else is sent before it has been.
    async fn fence(&self) {
        self.session.cut();
        let place = self.session.place.to_string();
        match env::timeout(FENCE_TIMEOUT, self.session.up()).await {
            Some(Ok(())) => tracing::error!(place, "requests have timed out; they are ended"),
            _ => tracing::error!(place, "requests have timed out, and may be done later"),
        }
    }

    /// `at` in pieces of at most `bytes`, which is a multiple of the block.
    fn pieces(at: Extent, bytes: u64) -> impl Iterator<Item = Extent> {
        let starts = (at.offset()..at.end()).step_by(usize::try_from(bytes).expect("64 bits"));
        starts.map(move |from| Extent::between(from, at.end().min(from + bytes)))
    }

    /// READ or WRITE of `at`, in as many commands as it takes.
    fn transfers(
        &self,
        at: Extent,
        memory: &Arc<Memory>,
        direction: Direction,
        cdb: fn(u64, u32) -> scsi::Cdb,
    ) -> Vec<Command> {
        let most = self.disk().transfer_bytes_max;
        let transfer = |piece: Extent| {
            let (lba, blocks) = self.disk().blocks_of(piece);
            let from = usize::try_from(piece.offset() - at.offset()).expect("in a buffer");
            Command::new(
                cdb(lba, blocks),
                direction,
                memory,
                from..from + piece.len(),
            )
        };
        Self::pieces(at, most).map(transfer).collect()
    }

    /// Flushes where so much is not flushed that more cannot be kept. One does, the others wait.
    async fn bound_unflushed(&self) -> Result<()> {
        let is_much = || self.session.unflushed.bytes() >= UNFLUSHED_BYTES_MAX;
        while is_much() {
            let _turn = self.flushing.lock().await;
            // Whoever had the turn before may have flushed for all.
            if is_much() {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn write_same(&self, at: Extent, mode: ZeroMode) -> std::result::Result<(), NotCarried> {
        let block = usize::try_from(self.disk().block).expect("small");
        let zeroes = Memory::new(Buf::zeroed(block));
        let may_unmap = mode.may_unmap && self.disk().unmaps && self.disk().unmapped_is_zero;
        let same = |piece: Extent| {
            let (lba, blocks) = self.disk().blocks_of(piece);
            let cdb = scsi::write_same(lba, blocks, may_unmap);
            Command::whole(cdb, Direction::Out, &zeroes)
        };
        let commands = Self::pieces(at, self.disk().zero_bytes_max).map(same);
        self.carry("write zeroes", block, commands.collect()).await
    }

    async fn write_zero_data(&self, at: Extent) -> Result<()> {
        for piece in Self::pieces(at, ZEROES_BYTES) {
            self.write(piece.offset(), Buf::zeroed(piece.len())).await?;
        }
        Ok(())
    }
}

/// Why a command was not carried to a good end.
#[derive(Clone, Copy, Debug)]
enum NotCarried {
    /// The disk does not know it. Nothing was done.
    Unsupported(Fault),
    /// Nothing was done.
    Failed(Fault),
    /// It may have been done, or may be done later.
    Unknown(Fault),
}

impl NotCarried {
    /// The error of a request that changes something.
    fn of_change(self) -> Error {
        match self {
            Self::Failed(Fault {
                errno: libc::ENOSPC,
                ..
            }) => Error::Refused(Refusal::NoSpace),
            Self::Failed(Fault {
                errno: libc::EROFS, ..
            }) => Error::Refused(Refusal::ReadOnly),
            Self::Unsupported(fault) | Self::Failed(fault) => Error::Failed(fault),
            Self::Unknown(fault) => Error::Unknown(fault),
        }
    }

    /// The error of a request that changes nothing.
    fn of_read(self) -> Error {
        match self {
            Self::Unsupported(fault) | Self::Failed(fault) | Self::Unknown(fault) => {
                Error::Failed(fault)
            }
        }
    }
}

impl Backend for Iscsi {
    fn geometry(&self) -> Geometry {
        Geometry {
            size: self.disk().size(),
            block: self.disk().block,
            preferred_block: self.disk().physical_block.max(4096),
            fast_zeroes: true,
        }
    }

    fn sector(&self) -> u64 {
        self.disk().block.clamp(512, 4096)
    }

    // Boxed, all of it: else the futures of all requests would be larger, those of other backends
    // too.

    async fn read(&self, at: Extent, buf: Buf) -> Result<Buf> {
        Box::pin(async move {
            let memory = Memory::new(buf);
            let commands = self.transfers(at, &memory, Direction::In, scsi::read);
            let read = self.carry("read", at.len(), commands).await;
            read.map_err(NotCarried::of_read)?;
            Ok(memory.take())
        })
        .await
    }

    async fn write(&self, offset: u64, data: Buf) -> Result<()> {
        Box::pin(async move {
            let at = Extent::between(offset, offset + data.len() as u64);
            let memory = Memory::new(data);
            let commands = self.transfers(at, &memory, Direction::Out, scsi::write);
            let written = self.carry("write", at.len(), commands).await;
            written.map_err(NotCarried::of_change)?;
            self.bound_unflushed().await
        })
        .await
    }

    async fn flush(&self) -> Result<()> {
        Box::pin(async move {
            let unknown = |errno| {
                let during = "flush";
                Error::Unknown(Fault { during, errno })
            };
            let memory = Memory::new(Buf::new(0));
            let command = Command::whole(scsi::synchronize_cache(), Direction::None, &memory);
            // Whatever is done before this moment is done, or done again, before the flush is.
            let moment = self.session.unflushed.moment();
            let flushed = match self.disk().has_cache {
                true => self.carry("flush", 0, vec![command]).await,
                false => Ok(()),
            };
            if let Err(NotCarried::Unknown(Fault {
                errno: libc::EIO, ..
            })) = flushed
            {
                // A disk may forget what it could not write once it has said so.
                self.session.note_loss();
            }
            match flushed {
                _ if self.session.has_lost() => Err(unknown(libc::EIO)),
                Ok(()) => {
                    self.session.unflushed.forget(moment);
                    Ok(())
                }
                Err(error) => Err(unknown(error.of_change().errno())),
            }
        })
        .await
    }

    async fn discard(&self, at: Extent) -> Result<()> {
        Box::pin(async move {
            if !self.disk().unmaps {
                return Ok(());
            }
            let most = self.disk().unmap_bytes_max / self.disk().block * self.disk().block;
            let ranges: Vec<_> = Self::pieces(at, most.max(self.disk().block))
                .map(|piece| self.disk().blocks_of(piece))
                .collect();
            for ranges in ranges.chunks(self.disk().unmap_ranges_max) {
                let list = scsi::unmap_list(ranges);
                let len = u16::try_from(list.len()).expect("few ranges");
                let memory = Memory::new(Buf::from(&list[..]));
                // Some targets count what they did not look at, though it is done.
                let command =
                    Command::whole(scsi::unmap(len), Direction::Out, &memory).or_shorter();
                match self.carry("discard", list.len(), vec![command]).await {
                    // It is a hint.
                    Ok(()) | Err(NotCarried::Unsupported(_)) => {}
                    Err(error) => return Err(error.of_change()),
                }
            }
            Ok(())
        })
        .await
    }

    async fn write_zeroes(&self, at: Extent, mode: ZeroMode) -> Result<()> {
        Box::pin(async move {
            if !self.no_write_same.load(Ordering::Relaxed) {
                match self.write_same(at, mode).await {
                    Ok(()) => return self.bound_unflushed().await,
                    Err(NotCarried::Unsupported(_)) => {
                        self.no_write_same.store(true, Ordering::Relaxed);
                    }
                    Err(error) => return Err(error.of_change()),
                }
            }
            match mode.only_if_fast {
                true => Err(Error::Refused(Refusal::NotSupported)),
                false => self.write_zero_data(at).await,
            }
        })
        .await
    }

    async fn status(&self, at: Extent, runs_max: usize) -> Result<Vec<StatusRun>> {
        Box::pin(async move {
            let all_data = vec![StatusRun {
                bytes: at.bytes(),
                status: Status::Data,
            }];
            if !self.disk().is_thin || !self.disk().unmapped_is_zero {
                return Ok(all_data);
            }
            let bytes = usize::try_from(STATUS_BYTES).expect("small");
            let memory = Memory::new(Buf::zeroed(bytes));
            let cdb = scsi::get_lba_status(at.offset() / self.disk().block, STATUS_BYTES);
            let command = Command::whole(cdb, Direction::In, &memory).or_shorter();
            match self.carry("status", bytes, vec![command]).await {
                Ok(()) => {}
                Err(NotCarried::Unsupported(_)) => return Ok(all_data),
                Err(error) => return Err(error.of_read()),
            }
            let runs = runs(at, self.disk().block, &memory.take(), runs_max);
            Ok(if runs.is_empty() { all_data } else { runs })
        })
        .await
    }
}

/// What an answer of GET LBA STATUS says of `at`, from its start on.
fn runs(at: Extent, block: u64, answer: &[u8], runs_max: usize) -> Vec<StatusRun> {
    let mut runs: Vec<StatusRun> = Vec::new();
    let mut from = at.offset();
    let len = usize::try_from(scsi::number(answer, 0, 4)).expect("32 bits");
    let len = len.saturating_sub(4).min(answer.len().saturating_sub(8));
    for descriptor in answer[8..8 + len].chunks_exact(16) {
        let start = scsi::number(descriptor, 0, 8).saturating_mul(block);
        let end = start.saturating_add(scsi::number(descriptor, 8, 4) * block);
        if start > from || end <= from || from >= at.end() {
            break;
        }
        let status = match descriptor[12] & 0xf {
            1 => Status::Hole,
            _ => Status::Data,
        };
        let end = end.min(at.end());
        add_run(&mut runs, end - from, status);
        from = end;
    }
    runs.truncate(runs_max);
    runs
}
