//! Calls one after the other on a connection: to find a file, and after a connection was lost.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::proto::{Call, Credentials, Inbox, Malformed, Outcome, Refused, Status, parse_reply};
use crate::backend::retry::Backoff;
use crate::base::Buf;
use crate::base::limits::NFS_RECORD_BYTES_MAX;
use crate::env::{self, Pieces, Ports, Stream};

/// How long a server may take to take a connection, or to answer a call of these.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a call of these is made again that could be done later.
const LATER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a call came to nothing.
#[derive(Debug)]
pub(super) enum Trouble {
    /// There is no connection.
    Io(io::Error),
    /// The server does not answer.
    Silent,
    /// What it answers is not what it should be.
    Malformed,
    /// It does not do such calls.
    Refused(Refused),
    /// It says why not.
    Status(Status),
    /// It is another instance than before, and may have lost what was not committed.
    Restarted,
    /// Nothing more is sent, and this is the error for it.
    Ended(i32),
}

impl Trouble {
    /// The nearest error of the operating system.
    pub(super) fn errno(&self) -> i32 {
        match self {
            Self::Io(error) => error.raw_os_error().unwrap_or(libc::EIO),
            Self::Silent => libc::ETIMEDOUT,
            Self::Malformed => libc::EPROTO,
            Self::Refused(Refused::Credentials) => libc::EACCES,
            Self::Refused(_) => libc::EPROTO,
            Self::Status(status) => status.errno(),
            Self::Restarted => libc::ECONNRESET,
            Self::Ended(errno) => *errno,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the server has ended the connection")
            }
            Self::Io(error) => error.fmt(f),
            Self::Silent => f.write_str("the server does not answer"),
            Self::Malformed => f.write_str("what answers does not speak the protocol"),
            Self::Refused(Refused::Unavailable) => f.write_str("the server lacks NFS version 3"),
            Self::Refused(Refused::Credentials) => f.write_str("the server refuses the user"),
            Self::Refused(_) => f.write_str("the server does not understand"),
            Self::Status(status) => status.fmt(f),
            Self::Restarted => f.write_str("the server was started again"),
            Self::Ended(errno) => io::Error::from_raw_os_error(*errno).fmt(f),
        }
    }
}

impl From<Malformed> for Trouble {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Bytes that follow a call: a part of a buffer that somebody may need again.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    buf: Arc<Buf>,
    from: usize,
    to: usize,
}

impl Payload {
    /// All of `buf`.
    pub(super) fn new(buf: Buf) -> Self {
        let to = buf.len();
        Self {
            buf: Arc::new(buf),
            from: 0,
            to,
        }
    }

    /// What is in it from `from` up to `to`.
    pub(super) fn part(&self, from: usize, to: usize) -> Self {
        assert!(from <= to && to <= self.len(), "a part of it");
        Self {
            buf: Arc::clone(&self.buf),
            from: self.from + from,
            to: self.from + to,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.to - self.from
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.buf[self.from..self.to]
    }
}

/// Calls that are sent together.
#[derive(Debug, Default)]
pub(super) struct Outgoing(Vec<(Vec<u8>, Option<Payload>)>);

impl Outgoing {
    pub(super) fn add(
        &mut self,
        xid: u32,
        who: &Credentials,
        call: &Call,
        payload: Option<Payload>,
    ) {
        let bytes = payload.as_ref().map_or(0, Payload::len);
        self.0.push((call.encode(xid, who, bytes), payload));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Pieces for Outgoing {
    fn each<'a>(&'a self, show: &mut dyn FnMut(&'a [u8])) {
        for (head, payload) in &self.0 {
            show(head);
            if let Some(payload) = payload {
                show(payload.bytes());
                let padding = Call::padding(payload.len());
                if !padding.is_empty() {
                    show(padding);
                }
            }
        }
    }
}

/// Who answers calls.
pub(super) trait Ask {
    /// Makes a call and gives what the procedure gave.
    ///
    /// # Errors
    /// If it gave nothing.
    async fn ask(&mut self, call: &Call, payload: Option<Payload>) -> Result<Vec<u8>, Trouble>;

    /// Makes a call, again and again where the server asks for that, and reads what it gave.
    ///
    /// # Errors
    /// If it gave nothing, or not this.
    async fn want<T>(
        &mut self,
        call: &Call,
        payload: Option<Payload>,
        parse: impl Fn(&[u8]) -> Outcome<T>,
    ) -> Result<T, Trouble> {
        let until = env::now() + LATER_TIMEOUT;
        let mut backoff = Backoff::new();
        loop {
            let results = self.ask(call, payload.clone()).await?;
            match parse(&results)? {
                Ok(given) => return Ok(given),
                Err(Status::LATER) if env::now() < until => backoff.pause().await,
                Err(status) => return Err(Trouble::Status(status)),
            }
        }
    }
}

/// A connection on which one call is under way at a time.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) stream: Stream,
    pub(super) inbox: Inbox,
    who: Credentials,
    xid: u32,
    /// Somebody has stopped waiting for an answer, which may still come.
    is_silent: bool,
}

impl Talk {
    /// Connects to a server.
    ///
    /// # Errors
    /// If it takes no connection.
    pub(super) async fn connect(to: SocketAddr, who: &Credentials) -> Result<Self, Trouble> {
        let reached = env::timeout(ANSWER_TIMEOUT, Stream::reach(to, Ports::Reserved)).await;
        let stream = reached.ok_or(Trouble::Silent)?.map_err(Trouble::Io)?;
        Ok(Self {
            stream,
            inbox: Inbox::new(2 * NFS_RECORD_BYTES_MAX),
            who: who.clone(),
            xid: first_xid(),
            is_silent: false,
        })
    }

    async fn exchange(
        &mut self,
        call: &Call,
        payload: Option<Payload>,
    ) -> Result<Vec<u8>, Trouble> {
        self.xid = self.xid.wrapping_add(1);
        let mut outgoing = Outgoing::default();
        outgoing.add(self.xid, &self.who, call, payload);
        let (sent, _) = self.stream.send(outgoing).await;
        sent.map_err(Trouble::Io)?;
        loop {
            if let Some(record) = self.inbox.record()? {
                let reply = parse_reply(record)?;
                if reply.xid != self.xid {
                    return Err(Trouble::Malformed);
                }
                return reply.results.map(<[u8]>::to_vec).map_err(Trouble::Refused);
            }
            receive(&self.stream, &mut self.inbox).await?;
        }
    }
}

impl Ask for Talk {
    async fn ask(&mut self, call: &Call, payload: Option<Payload>) -> Result<Vec<u8>, Trouble> {
        if self.is_silent {
            return Err(Trouble::Silent);
        }
        let answered = env::timeout(ANSWER_TIMEOUT, self.exchange(call, payload)).await;
        self.is_silent = answered.is_none();
        answered.ok_or(Trouble::Silent)?
    }
}

/// Receives more into `inbox`.
///
/// # Errors
/// If the connection has ended.
pub(super) async fn receive(stream: &Stream, inbox: &mut Inbox) -> Result<(), Trouble> {
    let (buf, from) = inbox.take();
    let (received, buf) = stream.receive(buf, from).await;
    let count = received.as_ref().map_or(0, |count| *count);
    inbox.received(buf, count);
    match received {
        Ok(0) => Err(Trouble::Io(io::ErrorKind::UnexpectedEof.into())),
        Ok(_) => Ok(()),
        Err(error) => Err(Trouble::Io(error)),
    }
}

/// The number before the first call. It differs from process to process, so that a server that
/// remembers replies takes no call for one of another process.
pub(super) fn first_xid() -> u32 {
    u32::try_from(env::random_u64() >> 32).expect("32 bits")
}
