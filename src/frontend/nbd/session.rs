//! The life of one connection, from the greeting to the end.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use super::channel::Channel;
use super::connection::{Connection, End};
use super::intake::Intake;
use super::proto::{Agreed, Handshake, HandshakeError, Outbox, Step};
use super::server::Server;
use crate::base::limits::{HANDSHAKE_DRAIN_TIMEOUT, HANDSHAKE_TIMEOUT};
use crate::env::{self, Either, Stream};
use crate::volume::{Access, Lease, Purpose};

/// Serves the client at the other end of `stream` until it leaves or `server` is drained.
///
/// Whatever the client does ends here: in the protocol's errors, or in a closed connection and a
/// line in the log.
pub async fn serve(stream: Stream, server: Arc<Server>) {
    let mut channel = Channel::new(stream);
    let mut intake = Intake::new();
    let shaken = {
        let shaking = handshake(&mut channel, &mut intake, &server);
        match env::either(env::timeout(HANDSHAKE_TIMEOUT, shaking), gone(&server)).await {
            Either::First(Some(shaken)) => shaken,
            Either::First(None) => Err(Unshaken::TooSlow),
            Either::Second(()) => Err(Unshaken::Left),
        }
    };
    let agreed = match shaken {
        Ok(agreed) => agreed,
        Err(Unshaken::Left) => return channel.shutdown(),
        Err(why) => {
            tracing::info!(%why, "a client was turned away");
            return channel.shutdown();
        }
    };
    let Some(volume) = open(&agreed, &server) else {
        // It was withdrawn since the client chose it.
        return channel.shutdown();
    };
    let export = agreed.export.name.clone();
    tracing::debug!(export, framing = ?agreed.framing, "a client came");
    let connection = Connection::new(channel, agreed, volume);
    env::spawn(connection.clone().send());
    let leaving = env::either(server.draining(), connection.leaving());
    let end = env::either(connection.receive(intake), leaving).await;
    match &end {
        Either::First(End::Disconnected) => tracing::debug!(export, "a client left"),
        Either::First(End::Closed) => tracing::debug!(export, "a client hung up"),
        Either::First(End::Broken(error)) => tracing::debug!(export, %error, "a client broke off"),
        Either::First(End::BadMagic(bad)) => tracing::info!(export, %bad, "a client was cut off"),
        Either::Second(_) => tracing::debug!(export, "a client is asked to leave"),
    }
    match end {
        // It wants what it asked for, as far as it comes in good time.
        Either::First(End::Disconnected) => {}
        // Nobody waits for it any more.
        Either::First(_) => connection.abandon_waiting(),
        // What was begun is finished, and soon.
        Either::Second(_) => connection.release_waiting(),
    }
    connection.finish().await;
}

/// The volume that client and server have agreed on, if it is still what the client was told of it:
/// another may have been given its name since.
fn open(agreed: &Agreed, server: &Server) -> Option<Lease> {
    let told = &agreed.export;
    let volume = server.catalog().open(&told.name, Purpose::Connection)?;
    let is_read_only = volume.access() == Access::Read;
    (told.size <= volume.size() && told.read_only == is_read_only).then_some(volume)
}

/// Why a handshake came to nothing.
#[derive(Debug)]
enum Unshaken {
    /// The client went, in good order or not; that is its business.
    Left,
    TooSlow,
    Broken(io::Error),
    Tls(io::Error),
    Wrong(HandshakeError),
}

impl std::fmt::Display for Unshaken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Left => f.write_str("it left"),
            Self::TooSlow => f.write_str("its handshake took too long"),
            Self::Broken(error) => write!(f, "its connection broke: {error}"),
            Self::Tls(error) => write!(f, "TLS failed: {error}"),
            Self::Wrong(error) => error.fmt(f),
        }
    }
}

/// Waits until the server is being drained, and for the time that clients have in their handshake
/// then.
async fn gone(server: &Server) {
    server.draining().await;
    env::sleep(HANDSHAKE_DRAIN_TIMEOUT).await;
}

async fn handshake(
    channel: &mut Channel,
    intake: &mut Intake,
    server: &Server,
) -> Result<Agreed, Unshaken> {
    let mut handshake = Handshake::new(server.tls_policy());
    loop {
        let mut input = intake.bytes();
        let before = input.len();
        let mut out = Vec::new();
        let step = handshake.advance(&mut input, server.catalog(), &mut out);
        let used = before - input.len();
        intake.consume(used);
        if !out.is_empty() {
            let mut outbox = Outbox::new();
            outbox.push_head(&out);
            channel.send(outbox).await.0.map_err(Unshaken::Broken)?;
        }
        match step.map_err(Unshaken::Wrong)? {
            Step::NeedOutput => {}
            Step::NeedInput => {
                let mut filling = pin!(intake.fill(channel));
                let filled = match env::either(filling.as_mut(), server.draining()).await {
                    Either::First(filled) => filled,
                    Either::Second(()) => {
                        handshake.shut_down();
                        filling.await
                    }
                };
                match filled {
                    Ok(true) => {}
                    Ok(false) => return Err(Unshaken::Left),
                    Err(error) => return Err(Unshaken::Broken(error)),
                }
            }
            Step::StartTls => {
                let config = server
                    .tls_config()
                    .expect("offered only where it is set up");
                // What came with the request for TLS is part of TLS, never of the protocol inside:
                // anybody on the way could have put it there.
                let arrived = intake.bytes().to_vec();
                intake.consume(arrived.len());
                let started = channel.start_tls(config, &arrived).await;
                started.map_err(Unshaken::Tls)?;
                handshake.tls_established();
            }
            Step::Transmission(agreed) => return Ok(agreed),
            Step::Closed => return Err(Unshaken::Left),
        }
    }
}
