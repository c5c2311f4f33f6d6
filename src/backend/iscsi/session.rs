//! What requests, on any reactor, and whoever drives the connection have in common: the commands
//! that wait to be sent, and whether they may be.
//!
//! Commands of requests are sent only while the session is up: connected, the same disk, its
//! reservation ours, and what was not flushed written again. The commands that make it so are
//! [our own](Session::ask).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::disk::Disk;
use super::fence::Ownership;
use super::identity::Identity;
use super::operation::{Command, Direction, Memory, Operation, Outcome};
use super::place::IscsiPlace;
use super::scsi::{Cdb, Meaning, Sense};
use super::unflushed::Unflushed;
use crate::backend::Access;
use crate::base::{Buf, OpenError};
use crate::env::{self, Signal};

/// How often one of our own commands is tried, and how long is waited between: a disk that has just
/// been connected to says what has happened to it meanwhile, one thing at a time.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// Why a session could not be made.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    why: String,
    remedy: &'static str,
    /// It will not be better another time.
    pub(super) is_final: bool,
}

impl Failure {
    pub(super) fn new(why: impl Into<String>, remedy: &'static str) -> Self {
        let why = why.into();
        let is_final = false;
        Self {
            why,
            remedy,
            is_final,
        }
    }

    pub(super) fn at_last(why: impl Into<String>, remedy: &'static str) -> Self {
        let is_final = true;
        Self {
            is_final,
            ..Self::new(why, remedy)
        }
    }

    pub(super) fn gone() -> Self {
        Self::new("the connection was lost", "see whether the target runs")
    }

    pub(super) fn why(&self) -> &str {
        &self.why
    }

    pub(super) fn of(self, place: &IscsiPlace) -> OpenError {
        OpenError::new(place.to_string(), self.why, self.remedy)
    }
}

/// Why one of our own commands was not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NotDone {
    /// The target says no.
    Sense(Sense),
    /// The disk is reserved for others.
    Conflict,
    /// The connection was lost, or the disk is never ready.
    Lost,
}

impl From<NotDone> for Failure {
    fn from(not_done: NotDone) -> Self {
        match not_done {
            NotDone::Lost => Self::gone(),
            NotDone::Conflict => Self::new("the disk is reserved for others", ""),
            NotDone::Sense(sense) => Self::new(format!("the target refuses: {sense:?}"), ""),
        }
    }
}

/// Whether requests can be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Not now.
    Down,
    /// Yes.
    Up,
    /// Never again: another server has the disk.
    Over,
}

/// What whoever drives the connection is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    /// Cut it, and make it anew.
    Cut,
    /// End it for good.
    Close,
}

struct Inner {
    state: State,
    queue: Vec<Arc<Operation>>,
    cut: bool,
    closing: bool,
}

/// A session with a target, whatever becomes of its connections.
pub(super) struct Session {
    pub(super) place: IscsiPlace,
    pub(super) identity: Identity,
    pub(super) access: Access,
    /// The disk, since the first connection.
    pub(super) disk: OnceLock<Disk>,
    pub(super) ownership: Ownership,
    pub(super) unflushed: Arc<Unflushed>,
    /// Whether the target has said that what it called done is lost.
    lost: AtomicBool,
    inner: Mutex<Inner>,
    /// The state has changed.
    changed: Signal,
    /// There is something to do for whoever drives the connection.
    work: Signal,
}

/// Another server has the disk.
#[derive(Debug)]
pub(super) struct Over;

impl Session {
    pub(super) fn new(place: IscsiPlace, identity: Identity, access: Access) -> Arc<Self> {
        Arc::new(Self {
            place,
            identity,
            access,
            disk: OnceLock::new(),
            ownership: Ownership::new(),
            unflushed: Arc::default(),
            lost: AtomicBool::new(false),
            inner: Mutex::new(Inner {
                state: State::Down,
                queue: Vec::new(),
                cut: false,
                closing: false,
            }),
            changed: Signal::new(),
            work: Signal::new(),
        })
    }

    /// Waits until requests can be sent.
    pub(super) async fn up(&self) -> Result<(), Over> {
        let look = || match self.lock().state {
            State::Down => None,
            State::Up => Some(Ok(())),
            State::Over => Some(Err(Over)),
        };
        self.changed.wait_for(look).await
    }

    /// Has the command of a request sent, if that can be done now.
    pub(super) fn send(&self, operation: &Arc<Operation>) -> bool {
        let mut inner = self.lock();
        if inner.state != State::Up {
            return false;
        }
        inner.queue.push(Arc::clone(operation));
        drop(inner);
        self.work.wake_all();
        true
    }

    /// Has the connection cut, since it, or what is known of the disk, is not to be trusted.
    pub(super) fn cut(&self) {
        let mut inner = self.lock();
        if inner.state == State::Up {
            inner.cut = true;
        }
        drop(inner);
        self.work.wake_all();
    }

    /// Notes that what was told as done is lost: no flush is told as done any more.
    pub(super) fn note_loss(&self) {
        self.lost.store(true, Ordering::SeqCst);
    }

    pub(super) fn has_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    /// Has the connection ended for good.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.work.wake_all();
    }

    /// Does a command of our own: on a connection that is being set up, or beside requests. Data go
    /// from `data` or come into it.
    pub(super) async fn ask(
        &self,
        cdb: Cdb,
        direction: Direction,
        data: Buf,
    ) -> Result<Buf, NotDone> {
        let memory = Memory::new(data);
        let command = Command::whole(cdb, direction, &memory);
        self.repeat(&command).await?;
        Ok(memory.take())
    }

    /// Does `command` of our own.
    pub(super) async fn repeat(&self, command: &Command) -> Result<(), NotDone> {
        for _ in 0..TRIES {
            let operation = Operation::new(command.clone(), None, None);
            self.send_own(&operation);
            match operation.outcome().await {
                Outcome::Good(_) => return Ok(()),
                Outcome::Lost => return Err(NotDone::Lost),
                Outcome::Conflict => return Err(NotDone::Conflict),
                Outcome::Sense(sense) => match sense.meaning() {
                    Meaning::Again if sense.key != 6 => env::sleep(PAUSE).await,
                    Meaning::Again | Meaning::LookAgain => {}
                    _ => return Err(NotDone::Sense(sense)),
                },
                Outcome::Busy => env::sleep(PAUSE).await,
            }
        }
        Err(NotDone::Lost)
    }

    /// Has a command of our own sent, whatever the state.
    pub(super) fn send_own(&self, operation: &Arc<Operation>) {
        self.lock().queue.push(Arc::clone(operation));
        self.work.wake_all();
    }

    /// What is to be sent, for whoever drives the connection.
    pub(super) fn take_queue(&self) -> Vec<Arc<Operation>> {
        std::mem::take(&mut self.lock().queue)
    }

    /// Waits until there is something to do, and says if the connection is to be given up.
    pub(super) async fn work(&self) -> Option<Wish> {
        let look = || {
            let inner = self.lock();
            match (inner.closing, inner.cut, inner.queue.is_empty()) {
                (true, ..) => Some(Some(Wish::Close)),
                (_, true, _) => Some(Some(Wish::Cut)),
                (.., false) => Some(None),
                (.., true) => None,
            }
        };
        self.work.wait_for(look).await
    }

    /// Waits until the session is to be ended for good.
    pub(super) async fn closing(&self) {
        let look = || self.lock().closing.then_some(());
        self.work.wait_for(look).await;
    }

    /// From now on requests are sent.
    pub(super) fn set_up(&self) {
        let mut inner = self.lock();
        (inner.state, inner.cut) = (State::Up, false);
        drop(inner);
        self.changed.wake_all();
    }

    /// From now on requests wait. What was not sent yet ends as lost.
    pub(super) fn set_down(&self) {
        let mut inner = self.lock();
        (inner.state, inner.cut) = (State::Down, false);
        let queue = std::mem::take(&mut inner.queue);
        drop(inner);
        for operation in queue {
            operation.end(Outcome::Lost);
        }
    }

    /// From now on requests fail.
    pub(super) fn set_over(&self) {
        self.set_down();
        self.lock().state = State::Over;
        self.changed.wake_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
