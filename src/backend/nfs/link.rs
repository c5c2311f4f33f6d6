//! The way of a disk's requests to its server: many calls under way on one connection, which is
//! made again when it is lost.
//!
//! Requests of any reactor are put into a queue; the reactor that opened the disk sends them, and
//! hands out what comes back. Calls that have no answer when a connection is lost are sent again
//! on the next. A read may be done twice. So may a write, with the same bytes at the same place
//! and before whoever asked for it was answered; nobody else writes there meanwhile, so it leaves
//! what it would have left if it had been done once.
//!
//! What is here may be called on any reactor; `driver.rs` runs on the one that opened the disk.

mod driver;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::lease::Held;
use super::proto::{self, Call, Credentials, FileHandle, Stable};
use super::talk::{Ask, Outgoing, Payload, Trouble, first_xid};
use super::unstable::{Instance, Kept, Unstable};
use crate::backend::in_flight::{InFlight, Share};
use crate::backend::retry::Backoff;
use crate::base::Buf;
use crate::base::limits::{NETWORK_BYTES_MAX, NFS_CALLS_MAX, NFS_KEPT_BYTES_MAX};
use crate::env::{self, Instant, Signal, Slot};

/// The way to one file.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) to: SocketAddr,
    pub(super) who: Credentials,
    pub(super) file: FileHandle,
    /// How long a call may wait.
    pub(super) timeout: Duration,
    state: Mutex<State>,
    changed: Signal,
    in_flight: Arc<InFlight>,
    kept: Arc<InFlight>,
    committing: AtomicBool,
}

#[derive(Debug)]
pub(super) struct State {
    /// Why nothing more is sent, as an error number.
    end: Option<i32>,
    /// What is sent whether or not the lease is valid: what makes it so.
    urgent: VecDeque<Waiting>,
    waiting: VecDeque<Waiting>,
    sent: BTreeMap<u32, Waiting>,
    xid: u32,
    heard: Instant,
    /// The connection is to be made again.
    is_stale: bool,
    pub(super) unstable: Unstable,
    pub(super) lease: Option<Held>,
}

/// A call that somebody waits for.
#[derive(Debug)]
struct Waiting {
    xid: u32,
    call: Call,
    payload: Option<Payload>,
    purpose: Purpose,
    deadline: Option<Instant>,
    answer: Arc<Slot<Result<Answer, Trouble>>>,
    _share: Share,
}

#[derive(Debug)]
enum Purpose {
    /// What it gives is looked at by whoever asks.
    Any,
    /// To fill a buffer.
    Read(Buf),
    /// To write to this offset; the share is for keeping it until it is committed.
    Write(u64, Option<Share>),
}

/// What came of a call.
#[derive(Debug)]
pub(super) enum Answer {
    /// What the procedure gave.
    Results(Vec<u8>),
    /// So many bytes in the buffer, and whether the file ends behind them.
    Read(Buf, usize, bool),
    /// So many bytes were written.
    Written(usize),
}

impl Link {
    pub(super) fn new(
        (to, who): (SocketAddr, Credentials),
        file: FileHandle,
        timeout: Duration,
        lease: Option<Held>,
    ) -> Arc<Self> {
        Arc::new(Self {
            to,
            who,
            file,
            timeout,
            state: Mutex::new(State {
                end: None,
                urgent: VecDeque::new(),
                waiting: VecDeque::new(),
                sent: BTreeMap::new(),
                xid: first_xid(),
                heard: env::now(),
                is_stale: false,
                unstable: Unstable::default(),
                lease,
            }),
            changed: Signal::new(),
            in_flight: InFlight::new(NETWORK_BYTES_MAX),
            kept: InFlight::new(NFS_KEPT_BYTES_MAX),
            committing: AtomicBool::new(false),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads into all of `buf` from `offset`; gives how much there was, and whether the file ends
    /// there.
    pub(super) async fn read(
        &self,
        offset: u64,
        buf: Buf,
        until: Instant,
    ) -> Result<(Buf, usize, bool), Trouble> {
        let share = self.in_flight.share(buf.len()).await;
        let call = proto::read(&self.file, offset, buf.len());
        match self
            .put(call, None, Purpose::Read(buf), share, until)
            .await?
        {
            Answer::Read(buf, count, is_end) => Ok((buf, count, is_end)),
            _ => unreachable!("a read is answered as one"),
        }
    }

    /// Writes `payload` to `offset`, and gives how much of it was written.
    pub(super) async fn write(
        &self,
        offset: u64,
        payload: Payload,
        until: Instant,
    ) -> Result<usize, Trouble> {
        let count = payload.len();
        let kept = self.kept.share(count).await;
        let share = self.in_flight.share(count).await;
        let call = proto::write(&self.file, offset, count, Stable::Unstable);
        let purpose = Purpose::Write(offset, Some(kept));
        match self.put(call, Some(payload), purpose, share, until).await? {
            Answer::Written(count) => Ok(count),
            _ => unreachable!("a write is answered as one"),
        }
    }

    /// Makes durable what was answered.
    pub(super) async fn commit(&self) -> Result<(), Trouble> {
        let until = env::now() + self.timeout;
        let mut backoff = Backoff::new();
        loop {
            let mark = {
                let state = self.lock();
                match (state.end, state.unstable.is_empty()) {
                    (Some(errno), _) => return Err(Trouble::Ended(errno)),
                    (None, true) => return Ok(()),
                    (None, false) => state.unstable.mark(),
                }
            };
            let call = proto::commit(&self.file);
            let share = self.in_flight.share(0).await;
            let results = match self.put(call, None, Purpose::Any, share, until).await? {
                Answer::Results(results) => results,
                _ => unreachable!("other calls give results"),
            };
            match proto::parse_commit(&results)? {
                Ok(verifier) => match self.lock().unstable.committed(mark, verifier) {
                    Instance::Same => return Ok(()),
                    Instance::Another => {}
                },
                Err(proto::Status::LATER) => {
                    later(&mut backoff, until).await?;
                    continue;
                }
                // What the server could not write it may have forgotten.
                Err(status) => {
                    self.end(status.errno());
                    return Err(Trouble::Status(status));
                }
            }
            self.reconnect();
        }
    }

    /// Commits beside the caller if much is kept, and nobody does.
    pub(super) fn commit_soon(self: &Arc<Self>) {
        let is_much = self.lock().unstable.bytes() >= NFS_KEPT_BYTES_MAX / 2;
        if !is_much || self.committing.swap(true, Ordering::SeqCst) {
            return;
        }
        let link = Arc::clone(self);
        env::spawn(async move {
            if let Err(error) = link.commit().await {
                tracing::error!(%error, "what was written could not be committed");
            }
            link.committing.store(false, Ordering::SeqCst);
        });
    }

    async fn put(
        &self,
        call: Call,
        payload: Option<Payload>,
        purpose: Purpose,
        share: Share,
        until: Instant,
    ) -> Result<Answer, Trouble> {
        let answer = Arc::new(Slot::new());
        self.enqueue(Waiting {
            xid: 0,
            call,
            payload,
            purpose,
            deadline: Some(until),
            answer: Arc::clone(&answer),
            _share: share,
        })?;
        answer.take().await
    }

    fn enqueue(&self, mut waiting: Waiting) -> Result<(), Trouble> {
        let mut state = self.lock();
        if let Some(errno) = state.end {
            return Err(Trouble::Ended(errno));
        }
        state.xid = state.xid.wrapping_add(1);
        waiting.xid = state.xid;
        match waiting.deadline {
            Some(_) => state.waiting.push_back(waiting),
            None => state.urgent.push_back(waiting),
        }
        drop(state);
        self.changed.wake_all();
        Ok(())
    }

    /// Has the connection made again.
    fn reconnect(&self) {
        self.lock().is_stale = true;
        self.changed.wake_all();
    }

    /// Sends nothing more; everybody who waits gets an error.
    pub(super) fn end(&self, errno: i32) {
        let mut state = self.lock();
        if state.end.is_some() {
            return;
        }
        state.end = Some(errno);
        let mut left = std::mem::take(&mut state.urgent);
        left.append(&mut state.waiting);
        left.extend(std::mem::take(&mut state.sent).into_values());
        state.unstable.clear();
        drop(state);
        for waiting in left {
            waiting.answer.put(Err(Trouble::Ended(errno)));
        }
        self.changed.wake_all();
    }

    /// Whether nothing more is sent.
    pub(super) fn has_ended(&self) -> bool {
        self.lock().end.is_some()
    }

    /// Whether nobody waits for an answer.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.waiting.is_empty() && state.sent.is_empty()
    }

    /// Notes that the lease was renewed.
    pub(super) fn renewed(&self, held: Held) {
        self.lock().lease = Some(held);
        self.changed.wake_all();
    }
}

impl State {
    fn may_send(&self) -> bool {
        let has_room = self.sent.len() < NFS_CALLS_MAX && !self.waiting.is_empty();
        !self.urgent.is_empty() || has_room && self.holds_lease()
    }

    /// Whether there is no other owner, as far as a lease tells.
    fn holds_lease(&self) -> bool {
        self.lease.as_ref().is_none_or(Held::is_valid)
    }

    fn take_outgoing(&mut self, who: &Credentials) -> Outgoing {
        let mut outgoing = Outgoing::default();
        if self.sent.is_empty() {
            self.heard = env::now();
        }
        while let Some(waiting) = self.take_next() {
            let payload = waiting.payload.clone();
            outgoing.add(waiting.xid, who, &waiting.call, payload);
            self.sent.insert(waiting.xid, waiting);
        }
        outgoing
    }

    fn take_next(&mut self) -> Option<Waiting> {
        if let Some(urgent) = self.urgent.pop_front() {
            return Some(urgent);
        }
        match self.sent.len() < NFS_CALLS_MAX && self.holds_lease() {
            true => self.waiting.pop_front(),
            false => None,
        }
    }
}

impl Waiting {
    /// What the results are to whoever waits, and which instance of the server gave them.
    fn take_answer(
        &mut self,
        results: &[u8],
        unstable: &mut Unstable,
    ) -> Result<(Result<Answer, Trouble>, Instance), Trouble> {
        let same = |answer| Ok((answer, Instance::Same));
        match &mut self.purpose {
            Purpose::Any => same(Ok(Answer::Results(results.to_vec()))),
            Purpose::Read(buf) => match proto::parse_read(results, buf.len())? {
                Ok(read) => {
                    buf[..read.data.len()].copy_from_slice(read.data);
                    let buf = std::mem::replace(buf, Buf::new(0));
                    same(Ok(Answer::Read(buf, read.data.len(), read.is_end)))
                }
                Err(status) => same(Err(Trouble::Status(status))),
            },
            Purpose::Write(offset, share) => {
                let payload = self.payload.as_ref().expect("a write has a payload");
                let written = match proto::parse_write(results, payload.len())? {
                    Ok(written) => written,
                    Err(status) => return same(Err(Trouble::Status(status))),
                };
                let count = usize::try_from(written.count).expect("no more than was sent");
                let instance = match (written.stable, share.take()) {
                    (Stable::Unstable, Some(share)) => unstable.add(Kept {
                        offset: *offset,
                        payload: payload.part(0, count),
                        verifier: written.verifier,
                        _share: share,
                    }),
                    _ => Instance::Same,
                };
                Ok((Ok(Answer::Written(count)), instance))
            }
        }
    }
}

/// Waits until a server that asked for that is asked again.
///
/// # Errors
/// At `until`. It was not done, so that is no reason to take no more requests, as silence is.
pub(super) async fn later(backoff: &mut Backoff, until: Instant) -> Result<(), Trouble> {
    let left = until.since(env::now());
    let paused = env::timeout(left, backoff.pause()).await;
    paused.ok_or(Trouble::Status(proto::Status::LATER))
}

/// Calls that go before all others, for the lease.
pub(super) struct Urgently<'a>(pub(super) &'a Link);

impl Ask for Urgently<'_> {
    async fn ask(&mut self, call: &Call, payload: Option<Payload>) -> Result<Vec<u8>, Trouble> {
        let answer = Arc::new(Slot::new());
        self.0.enqueue(Waiting {
            xid: 0,
            call: call.clone(),
            payload,
            purpose: Purpose::Any,
            deadline: None,
            answer: Arc::clone(&answer),
            _share: InFlight::new(0).share(0).await,
        })?;
        match answer.take().await? {
            Answer::Results(results) => Ok(results),
            _ => unreachable!("other calls give results"),
        }
    }
}
