//! The transmission phase of one connection: requests in, replies out.
//!
//! Three kinds of task share a connection on its reactor. The *receiver* takes all requests that
//! have arrived with one receive and starts each; a request that needs no waiting is answered on
//! the spot. Each *request* that has to wait is a task of its own. The *sender* waits for the end
//! of the turn, so that every reply of the turn, from whichever task, leaves in one send. That is
//! what the server's speed comes from: one receive and one send per batch instead of per request
//! cost a seventh.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::pin;
use std::rc::Rc;

use super::budget::{self, Admitted, Budget, Held};
use super::channel::Channel;
use super::intake::Intake;
use super::proto::{
    Agreed, BadMagic, Command, Contexts, Header, NbdError, Outbox, ReplyTo, status_filter,
};
use crate::base::limits::{DRAIN_TIMEOUT, STALL, STATUS_RUNS_MAX};
use crate::base::{Answer, Error, Extent, Op, Reply, Request, Ticket};
use crate::env::{self, Either, Signal};
use crate::volume::qos::Direction;
use crate::volume::{Flow, Lease, Turn};

/// A connection that has chosen its volume.
#[derive(Debug)]
pub(super) struct Connection {
    channel: Channel,
    agreed: Agreed,
    volume: Lease,
    flow: Flow,
    budget: Rc<Budget>,
    outgoing: RefCell<Outgoing>,
    replied: Signal,
    phase: Cell<Phase>,
}

/// Replies that the sender has not taken, and what their requests hold.
#[derive(Debug, Default)]
struct Outgoing {
    outbox: Outbox,
    held: Held,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Open,
    /// Nothing more is received; the sender ends when everything is answered.
    Finishing,
    /// Nothing can be sent any more: replies are dropped.
    Broken,
}

/// Why the receiver stopped.
#[derive(Debug)]
pub(super) enum End {
    /// The client said that it disconnects.
    Disconnected,
    /// The client closed the connection.
    Closed,
    /// The connection broke.
    Broken(io::Error),
    /// What the client sent is no request, so nothing after it can be understood.
    BadMagic(BadMagic),
}

/// How the answer to a request is told.
#[derive(Clone, Copy, Debug)]
struct Asked {
    reply_to: ReplyTo,
    /// Whether data may come in pieces, with holes left out.
    fragments: bool,
    contexts: Contexts,
}

impl Asked {
    fn by(header: &Header, command: Command, agreed: &Agreed) -> Self {
        Self {
            reply_to: ReplyTo::new(agreed.framing, header),
            fragments: matches!(
                command,
                Command::Read {
                    fragments: true,
                    ..
                }
            ),
            contexts: agreed.contexts,
        }
    }
}

impl Connection {
    pub(super) fn new(channel: Channel, agreed: Agreed, volume: Lease) -> Rc<Self> {
        Rc::new(Self {
            channel,
            agreed,
            flow: volume.new_flow(),
            volume,
            budget: Rc::default(),
            outgoing: RefCell::default(),
            replied: Signal::new(),
            phase: Cell::new(Phase::Open),
        })
    }

    /// Receives and starts requests until the client ends, well or not.
    pub(super) async fn receive(self: &Rc<Self>, mut intake: Intake) -> End {
        loop {
            match self.take_requests(&mut intake).await {
                Ok(None) => {}
                Ok(Some(end)) => return end,
                Err(error) => return End::Broken(error),
            }
            match intake.fill(&self.channel).await {
                Ok(true) => {}
                Ok(false) => return End::Closed,
                Err(error) => return End::Broken(error),
            }
        }
    }

    /// Has what waits for the limits of the volume done at once.
    pub(super) fn release_waiting(&self) {
        self.flow.release();
    }

    /// Refuses what waits for the limits of the volume.
    pub(super) fn abandon_waiting(&self) {
        self.flow.abandon();
    }

    /// Waits until what was started is answered and the answers are sent, then closes. A client
    /// that does not take its answers is not waited for, and neither are limits that take longer.
    pub(super) async fn finish(&self) {
        if env::timeout(DRAIN_TIMEOUT, self.budget.settled())
            .await
            .is_none()
        {
            self.channel.shutdown();
            self.abandon_waiting();
            // Now sends fail; what the backend still works on is never abandoned.
            self.budget.settled().await;
        }
        if self.phase.get() == Phase::Open {
            self.phase.set(Phase::Finishing);
        }
        self.replied.wake_all();
        self.channel.shutdown();
    }

    /// Waits until the client is to be let go.
    pub(super) async fn leaving(&self) {
        self.volume.leaving().await;
    }

    /// Sends replies until the connection is finished.
    pub(super) async fn send(self: Rc<Self>) {
        let mut spare = Outbox::new();
        while self.has_to_send().await {
            // Every task that is ready may still have something to say in this turn.
            env::end_of_turn().await;
            let Outgoing { outbox, held } = {
                let mut outgoing = self.outgoing.borrow_mut();
                let next = Outgoing {
                    outbox: std::mem::take(&mut spare),
                    held: Held::default(),
                };
                std::mem::replace(&mut *outgoing, next)
            };
            spare = self.send_batch(outbox).await;
            spare.clear();
            self.budget.release(held);
        }
    }

    async fn take_requests(self: &Rc<Self>, intake: &mut Intake) -> io::Result<Option<End>> {
        let framing = self.agreed.framing;
        loop {
            let header = match Header::decode(framing, intake.bytes()) {
                Ok(Some(header)) => header,
                Ok(None) => return Ok(None),
                Err(bad) => return Ok(Some(End::BadMagic(bad))),
            };
            intake.consume(Header::bytes(framing));
            let end = match header.check(&self.agreed) {
                Ok(Command::Disconnect) => Some(End::Disconnected),
                Ok(command) => self.take(header, command, intake).await?,
                Err(error) => self.refuse(header, error, intake).await?,
            };
            if end.is_some() {
                return Ok(end);
            }
        }
    }

    /// Takes the payload of a good request, if it has one, and starts the request.
    async fn take(
        self: &Rc<Self>,
        header: Header,
        command: Command,
        intake: &mut Intake,
    ) -> io::Result<Option<End>> {
        let Some(admitted) = self.admit(command).await else {
            return Ok(Some(End::Closed));
        };
        let (admitted, turn) = match admitted {
            Ok(admitted) => admitted,
            Err(error) => return self.refuse(header, error.into(), intake).await,
        };
        let payload_bytes = header.payload_bytes(self.agreed.framing);
        let payload_bytes = usize::try_from(payload_bytes).expect("checked against the limits");
        let payload = match intake.arrived_payload(payload_bytes) {
            Some(payload) => payload,
            None => {
                let arriving = intake.payload(payload_bytes, &self.channel);
                match self.unless_stalled(arriving).await? {
                    Some(payload) => payload,
                    None => return Ok(Some(End::Closed)),
                }
            }
        };
        let mut asked = Asked::by(&header, command, &self.agreed);
        let op = match command {
            Command::Read { at, .. } => Op::Read { at },
            Command::Write {
                offset, durability, ..
            } => Op::Write {
                offset,
                data: payload,
                durability,
            },
            Command::Flush => Op::Flush,
            Command::Trim { at, durability } => Op::Discard { at, durability },
            Command::WriteZeroes {
                at,
                mode,
                durability,
            } => Op::WriteZeroes {
                at,
                mode,
                durability,
            },
            Command::Cache { at } => Op::Cache { at },
            Command::BlockStatus { at, one } => self.status(at, one, asked.contexts),
            Command::FilteredBlockStatus { offset, one } => {
                match status_filter(&payload, offset, &self.agreed) {
                    Ok((at, contexts)) => {
                        asked.contexts = contexts;
                        self.status(at, one, contexts)
                    }
                    Err(error) => {
                        self.reply(admitted, asked, Err(error));
                        return Ok(None);
                    }
                }
            }
            Command::Disconnect => unreachable!("handled by the receiver"),
        };
        let ticket = Ticket::new(header.cookie);
        let this = Rc::clone(self);
        env::start(async move {
            let request = Request { ticket, op };
            let Reply { result, .. } = this.volume.serve(&this.flow, request, turn).await;
            this.reply(admitted, asked, result.map_err(NbdError::from));
        });
        Ok(None)
    }

    fn status(&self, at: Extent, one: bool, contexts: Contexts) -> Op {
        let export = &self.agreed.export;
        let aspects = contexts.iter().map(|context| context.aspect(export));
        Op::Status {
            at,
            runs_max: runs_max(one, contexts.len()),
            aspects: aspects.collect(),
        }
    }

    /// Waits until there is room for a request, and where room is scarce for its turn, too. `None`
    /// if the client hangs up meanwhile: where limits hold back what it asked for before, that
    /// would else go on for long.
    async fn admit(&self, command: Command) -> Option<Result<(Admitted, Turn), Error>> {
        let bytes = data_bytes(command);
        if !self.volume.is_limited() {
            return Some(Ok((self.budget.admit(bytes).await, Turn::ToCome)));
        }
        let admitting = async {
            let turn = match direction(command) {
                Some(direction) => {
                    let waiting = self
                        .volume
                        .wait_without_memory(&self.flow, direction, bytes);
                    waiting.await?
                }
                None => Turn::ToCome,
            };
            Ok((self.budget.admit(bytes).await, turn))
        };
        match env::either(admitting, self.channel.hung_up()).await {
            Either::First(admitted) => Some(admitted),
            Either::Second(()) => None,
        }
    }

    /// Answers a bad request, after its payload, so that the stream stays in step.
    async fn refuse(
        &self,
        header: Header,
        error: NbdError,
        intake: &mut Intake,
    ) -> io::Result<Option<End>> {
        let framing = self.agreed.framing;
        let admitted = self.budget.admit(0).await;
        let payload_bytes = header.payload_bytes(framing);
        if !intake.skip(payload_bytes, &self.channel).await? {
            return Ok(Some(End::Closed));
        }
        let asked = Asked {
            reply_to: ReplyTo::new(framing, &header),
            fragments: false,
            contexts: Contexts::NONE,
        };
        self.reply(admitted, asked, Err(error));
        Ok(None)
    }

    fn reply(&self, admitted: Admitted, asked: Asked, result: Result<Answer, NbdError>) {
        if self.phase.get() == Phase::Broken {
            return;
        }
        let mut outgoing = self.outgoing.borrow_mut();
        let first = outgoing.held.is_nothing();
        outgoing.held.take_over(admitted);
        let out = &mut outgoing.outbox;
        match result {
            Ok(Answer::Done) => asked.reply_to.done(out),
            Ok(Answer::Data(data)) if asked.fragments => asked.reply_to.sparse_data(data, out),
            Ok(Answer::Data(data)) => asked.reply_to.data(data, out),
            Ok(Answer::Status(runs)) => asked.reply_to.status(asked.contexts, &runs, out),
            Err(error) => asked.reply_to.error(error, out),
        }
        drop(outgoing);
        if first {
            self.replied.wake_all();
        }
    }

    /// Waits for something to send; `false` when there will be nothing any more.
    async fn has_to_send(&self) -> bool {
        let replies = self.replied.wait_for(|| {
            let something = !self.outgoing.borrow().outbox.is_empty();
            let over = self.phase.get() != Phase::Open;
            (something || over).then_some(something)
        });
        match env::either(replies, self.channel.wants_to_send()).await {
            Either::First(something) => something,
            Either::Second(()) => true,
        }
    }

    /// Waits for `work`, which is the client's to finish, unless others need the memory that it
    /// occupies: then the client is cut off, and `work` ends in an error.
    async fn unless_stalled<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            match env::either(work.as_mut(), env::sleep(STALL)).await {
                Either::First(done) => return done,
                Either::Second(()) if budget::somebody_waits() => {
                    tracing::warn!("closing a client that stands still while others wait");
                    self.channel.shutdown();
                }
                Either::Second(()) => {}
            }
        }
    }

    async fn send_batch(&self, outbox: Outbox) -> Outbox {
        let (sent, outbox) = self.unless_stalled(self.channel.send(outbox)).await;
        if let Err(error) = sent {
            tracing::debug!(%error, "replies could not be sent");
            self.phase.set(Phase::Broken);
            self.drop_replies();
            // The receiver, if it still waits, has nothing to wait for.
            self.channel.shutdown();
        }
        outbox
    }

    fn drop_replies(&self) {
        let Outgoing { held, .. } = self.outgoing.take();
        self.budget.release(held);
    }
}

/// The data that a request holds in the server until its answer is sent, in bytes.
fn data_bytes(command: Command) -> usize {
    match command {
        Command::Read { at, .. } => at.len(),
        Command::Write { bytes, .. } => bytes,
        _ => 0,
    }
}

/// Which way the data of a request goes, if it has any.
fn direction(command: Command) -> Option<Direction> {
    match command {
        Command::Read { .. } => Some(Direction::Read),
        Command::Write { .. } => Some(Direction::Write),
        _ => None,
    }
}

/// How many runs are told in each of so many contexts.
fn runs_max(one: bool, contexts: usize) -> usize {
    match one {
        true => 1,
        false => (STATUS_RUNS_MAX / contexts.max(1)).max(1),
    }
}
