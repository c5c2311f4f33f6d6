//! The control socket: who may connect, and what answers.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tonic::service::Interceptor;
use tonic::transport::Server;
use tonic::transport::server::{Connected, UdsConnectInfo};
use tonic::{Request, Status};

use super::api::Api;
use super::api::proto::bitmaps_server::BitmapsServer;
use super::api::proto::devices_server::DevicesServer;
use super::api::proto::jobs_server::JobsServer;
use super::api::proto::keys_server::KeysServer;
use super::api::proto::qos_server::QosServer;
use super::api::proto::server_server::ServerServer;
use super::api::proto::snapshots_server::SnapshotsServer;
use super::api::proto::stores_server::StoresServer;
use super::api::proto::volumes_server::VolumesServer;
use crate::base::OpenError;
use crate::base::limits::{CONTROL_CALLS_MAX, CONTROL_CONNECTIONS_MAX};
use crate::env::{Listener, Outskirts};

/// What one stream may have under way, in bytes: a few pieces of a job.
const WINDOW_BYTES: u32 = 8 << 20;

/// How long calls may take to end when the server does. Then they are dropped; what they began on a
/// reactor goes on to its end.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// How long accepting pauses when the process is out of something, such as descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A control socket at work. Its path is removed when this is dropped.
#[derive(Debug)]
pub(super) struct ControlSocket {
    outskirts: Outskirts,
    _listener: Listener,
    api: Api,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

/// Where a control socket is by default: for root below `/run`, for others in their own folder for
/// such things, if there is one.
pub fn default_control_path() -> Option<PathBuf> {
    let folder = match rustix::process::geteuid().is_root() {
        true => PathBuf::from("/run"),
        false => PathBuf::from(std::env::var_os("XDG_RUNTIME_DIR")?),
    };
    Some(folder.join("bedplate").join("control.sock"))
}

impl ControlSocket {
    /// Listens at `path`, and has `api` answer.
    ///
    /// # Errors
    /// One line that says why not: another server listens there, for example.
    pub(super) fn listen(path: &Path, api: Api) -> Result<Self, OpenError> {
        let fail = |error: io::Error| OpenError::new(path.display().to_string(), error, "");
        let listener = Listener::bind_private(path)?;
        let outskirts = Outskirts::start().map_err(fail)?;
        let socket = listener.for_others().map_err(fail)?;
        let socket = {
            // Registered with the runtime that will wait for it.
            let _inside = outskirts.handle().enter();
            UnixListener::from_std(socket).map_err(fail)?
        };
        let (stop, asked_to_stop) = oneshot::channel();
        let served = outskirts.spawn(serve(socket, api.clone(), asked_to_stop));
        Ok(Self {
            outskirts,
            _listener: listener,
            api,
            stop,
            served,
        })
    }

    /// Ends all jobs and calls.
    pub(super) fn stop(self) {
        let Self {
            outskirts,
            api,
            stop,
            served,
            ..
        } = self;
        outskirts.block_on(async move {
            api.end_jobs().await;
            let _ = stop.send(());
            if tokio::time::timeout(END_TIMEOUT, served).await.is_err() {
                tracing::warn!("control calls that do not end are dropped");
            }
        });
    }
}

async fn serve(socket: UnixListener, api: Api, asked_to_stop: oneshot::Receiver<()>) {
    let server = Server::builder()
        .concurrency_limit_per_connection(CONTROL_CALLS_MAX)
        .max_concurrent_streams(u32::try_from(CONTROL_CALLS_MAX).ok())
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .add_service(VolumesServer::with_interceptor(api.clone(), Doorkeeper))
        .add_service(SnapshotsServer::with_interceptor(api.clone(), Doorkeeper))
        .add_service(BitmapsServer::with_interceptor(api.clone(), Doorkeeper))
        .add_service(KeysServer::with_interceptor(api.clone(), Doorkeeper))
        .add_service(QosServer::with_interceptor(api.clone(), Doorkeeper))
        .add_service(StoresServer::with_interceptor(api.clone(), Doorkeeper))
        .add_service(DevicesServer::with_interceptor(api.clone(), Doorkeeper))
        .add_service(JobsServer::with_interceptor(api.clone(), Doorkeeper))
        .add_service(ServerServer::with_interceptor(api, Doorkeeper));
    let stopped = async move {
        let _ = asked_to_stop.await;
    };
    let done = server.serve_with_incoming_shutdown(Incoming::new(socket), stopped);
    if let Err(error) = done.await {
        tracing::error!(%error, "the control socket is closed");
    }
}

/// Lets in root and the user that the server runs as: `SO_PEERCRED`, `unix(7)`.
#[derive(Clone, Copy)]
struct Doorkeeper;

impl Interceptor for Doorkeeper {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let info = request.extensions().get::<UdsConnectInfo>();
        let peer = info.and_then(|info| info.peer_cred).map(|peer| peer.uid());
        match peer {
            Some(uid) if uid == 0 || uid == rustix::process::geteuid().as_raw() => Ok(request),
            _ => {
                tracing::warn!(uid = peer, "a control call was refused");
                let why = "only root and the user that the server runs as may control it";
                Err(Status::permission_denied(why))
            }
        }
    }
}

/// Connections, as many at once as may be.
struct Incoming {
    socket: UnixListener,
    places: Arc<Semaphore>,
    /// A place for the next.
    place: Option<OwnedSemaphorePermit>,
    waiting: Option<Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>>,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Incoming {
    fn new(socket: UnixListener) -> Self {
        Self {
            socket,
            places: Arc::new(Semaphore::new(CONTROL_CONNECTIONS_MAX)),
            place: None,
            waiting: None,
            pause: None,
        }
    }

    fn poll_place(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.place.is_none() {
            let places = Arc::clone(&self.places);
            let acquire = || Box::pin(async move { places.acquire_owned().await.ok() }) as _;
            let waiting = self.waiting.get_or_insert_with(acquire);
            self.place = std::task::ready!(waiting.as_mut().poll(context));
            self.waiting = None;
        }
        Poll::Ready(())
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            std::task::ready!(self.poll_place(context));
            match std::task::ready!(self.socket.poll_accept(context)) {
                Ok((stream, _)) => {
                    let place = self.place.take();
                    return Poll::Ready(Some(Ok(Connection {
                        stream,
                        _place: place,
                    })));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept control connections for the moment");
                    self.pause = Some(Box::pin(tokio::time::sleep(ACCEPT_PAUSE)));
                }
            }
        }
    }
}

/// A connection, and its place among all.
struct Connection {
    stream: UnixStream,
    _place: Option<OwnedSemaphorePermit>,
}

impl Connected for Connection {
    type ConnectInfo = UdsConnectInfo;

    fn connect_info(&self) -> UdsConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
