//! Accepts connections, spreads them over the reactors, and lets them go at the end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::proto::TlsPolicy;
use super::session;
use super::tls::TlsServer;
use crate::base::limits::CONNECTIONS_MAX;
use crate::env::{self, Either, Handle, Listener, Signal, Stream};
use crate::volume::Catalog;

/// How long accepting pauses when the process is out of something, such as descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all connections share. Used by all threads.
#[derive(Debug)]
pub struct Server {
    catalog: Arc<Catalog>,
    tls: Option<TlsServer>,
    tls_policy: TlsPolicy,
    connections: AtomicUsize,
    left: Signal,
    is_draining: AtomicBool,
    drained: Signal,
}

impl Server {
    /// A server of the volumes in `catalog`. With `tls`, clients may use it; whether they must is
    /// for `tls_policy` to say.
    ///
    /// # Panics
    /// If the policy offers TLS and there is none.
    pub fn new(catalog: Arc<Catalog>, tls: Option<TlsServer>, tls_policy: TlsPolicy) -> Arc<Self> {
        assert_eq!(tls.is_some(), tls_policy != TlsPolicy::Off);
        Arc::new(Self {
            catalog,
            tls,
            tls_policy,
            connections: AtomicUsize::new(0),
            left: Signal::new(),
            is_draining: AtomicBool::new(false),
            drained: Signal::new(),
        })
    }

    /// Accepts clients of `listener` until the server is drained, and gives each to the next of
    /// `reactors`.
    pub async fn accept(self: Arc<Self>, listener: Listener, reactors: Vec<Handle>) {
        for reactor in reactors.iter().cycle() {
            let socket = match env::either(listener.accept(), self.draining()).await {
                Either::First(Ok(socket)) => socket,
                Either::First(Err(error)) => {
                    pause_after(&error).await;
                    continue;
                }
                Either::Second(()) => return,
            };
            let Some(place) = Place::take(&self) else {
                tracing::warn!(CONNECTIONS_MAX, "too many connections; closed a new one");
                continue;
            };
            let server = Arc::clone(&self);
            reactor.spawn(move || async move {
                let _place = place;
                session::serve(Stream::new(socket), server).await;
            });
        }
    }

    /// Stops accepting and receiving, and waits until every connection has been answered and let
    /// go.
    pub async fn drain(&self) {
        self.is_draining.store(true, Ordering::SeqCst);
        self.drained.wake_all();
        let none = || (self.connections.load(Ordering::SeqCst) == 0).then_some(());
        self.left.wait_for(none).await;
    }

    /// Whether it has been asked to let everybody go.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::SeqCst)
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The volumes that clients may choose from.
    pub(super) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Whether clients use TLS.
    pub fn tls_policy(&self) -> TlsPolicy {
        self.tls_policy
    }

    pub(super) fn tls_config(&self) -> Option<&Arc<rustls::ServerConfig>> {
        self.tls.as_ref().map(|tls| &tls.config)
    }

    /// Waits until the server is being drained.
    pub(super) async fn draining(&self) {
        let draining = || self.is_draining.load(Ordering::SeqCst).then_some(());
        self.drained.wait_for(draining).await;
    }
}

/// The right to be one of the connections.
struct Place(Arc<Server>);

impl Place {
    fn take(server: &Arc<Server>) -> Option<Self> {
        let before = server.connections.fetch_add(1, Ordering::SeqCst);
        let place = Self(Arc::clone(server));
        (before < CONNECTIONS_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::SeqCst);
        self.0.left.wake_all();
    }
}

async fn pause_after(error: &io::Error) {
    // The client itself may be gone already, which is no trouble of ours.
    if error.raw_os_error() == Some(libc::ECONNABORTED) {
        return;
    }
    tracing::warn!(%error, "cannot accept connections for the moment");
    env::sleep(ACCEPT_PAUSE).await;
}
