//! The bytes of a connection, in the clear or through TLS.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use rustls::ServerConnection;

use super::proto::Outbox;
use super::tls::Session;
use crate::base::Buf;
use crate::base::limits::TLS_SEND_BYTES;
use crate::env::{Pieces, Signal, Stream};

/// One end of a connection. One task may receive while another sends.
#[derive(Debug)]
pub(super) struct Channel {
    stream: Stream,
    tls: Option<Tls>,
}

#[derive(Debug)]
struct Tls {
    session: RefCell<Session>,
    /// Rouses the sender when the session itself has something to say.
    wants_to_send: Signal,
}

impl Pieces for Outbox {
    fn each<'a>(&'a self, show: &mut dyn FnMut(&'a [u8])) {
        self.pieces().for_each(show);
    }
}

impl Channel {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, tls: None }
    }

    /// Begins TLS as the server. `arrived` is what the client has sent since it asked for TLS.
    ///
    /// # Errors
    /// If the client does not keep to TLS, or is not who it has to be.
    pub(super) async fn start_tls(
        &mut self,
        config: &Arc<rustls::ServerConfig>,
        arrived: &[u8],
    ) -> io::Result<()> {
        let connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        let mut session = Session::new(connection);
        let mut outcome = session.take_in(arrived);
        loop {
            let out = session.take_out();
            if !out.is_empty() {
                self.stream.send(out).await.0?;
            }
            // An alert that says why has been sent by now.
            outcome?;
            if !session.is_handshaking() {
                break;
            }
            let (count, buf) = self
                .stream
                .receive(Buf::new(Session::RECORD_BYTES), 0)
                .await;
            outcome = match count? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => session.take_in(&buf[..count]),
            };
        }
        self.tls = Some(Tls {
            session: RefCell::new(session),
            wants_to_send: Signal::new(),
        });
        Ok(())
    }

    /// Receives what has arrived, at least one byte, into `buf` from `from` on. Gives the count,
    /// zero when the other end has finished, and the buffer.
    pub(super) async fn receive(&self, buf: Buf, from: usize) -> (io::Result<usize>, Buf) {
        match &self.tls {
            None => self.stream.receive(buf, from).await,
            Some(tls) => self.receive_sealed(tls, buf, from).await,
        }
    }

    /// Sends all of `outbox` and gives it back.
    pub(super) async fn send(&self, outbox: Outbox) -> (io::Result<()>, Outbox) {
        match &self.tls {
            None => self.stream.send(outbox).await,
            Some(tls) => (self.send_sealed(tls, &outbox).await, outbox),
        }
    }

    /// Waits until the channel itself, rather than its user, has something to send.
    pub(super) async fn wants_to_send(&self) {
        match &self.tls {
            None => std::future::pending().await,
            Some(tls) => {
                let wants = || tls.session.borrow().wants_to_send().then_some(());
                tls.wants_to_send.wait_for(wants).await;
            }
        }
    }

    /// Waits until the client has finished sending, or is gone.
    pub(super) async fn hung_up(&self) {
        self.stream.hung_up().await;
    }

    /// Ends the connection in both directions.
    pub(super) fn shutdown(&self) {
        self.stream.shutdown();
    }

    async fn receive_sealed(
        &self,
        tls: &Tls,
        mut buf: Buf,
        from: usize,
    ) -> (io::Result<usize>, Buf) {
        let mut sealed = Buf::new(Session::RECORD_BYTES);
        loop {
            let opened = tls.session.borrow_mut().read(&mut buf[from..]);
            match opened {
                Ok(None) => {}
                Ok(Some(count)) => return (Ok(count), buf),
                Err(error) => return (Err(error), buf),
            }
            let (count, back) = self.stream.receive(sealed, 0).await;
            sealed = back;
            let taken = match count {
                Ok(0) => return (Ok(0), buf),
                Ok(count) => tls.session.borrow_mut().take_in(&sealed[..count]),
                Err(error) => Err(error),
            };
            if let Err(error) = taken {
                return (Err(error), buf);
            }
            if tls.session.borrow().wants_to_send() {
                tls.wants_to_send.wake_all();
            }
        }
    }

    async fn send_sealed(&self, tls: &Tls, outbox: &Outbox) -> io::Result<()> {
        for piece in outbox.pieces() {
            for part in piece.chunks(TLS_SEND_BYTES) {
                let ready = {
                    let mut session = tls.session.borrow_mut();
                    session.write(part)?;
                    session.waiting_bytes() >= TLS_SEND_BYTES
                };
                if ready {
                    self.send_waiting(tls).await?;
                }
            }
        }
        self.send_waiting(tls).await
    }

    async fn send_waiting(&self, tls: &Tls) -> io::Result<()> {
        let out = tls.session.borrow_mut().take_out();
        match out.is_empty() {
            true => Ok(()),
            false => self.stream.send(out).await.0,
        }
    }
}
