//! The other end of the control socket: calls to a running server.

use std::future::Future;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::base::OpenError;
use crate::env::Outskirts;

/// What one stream may have under way, in bytes: a few pieces of a job.
const WINDOW_BYTES: u32 = 8 << 20;

/// A server that is reached through its control socket. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Remote {
    outskirts: Arc<Outskirts>,
    channel: Channel,
}

impl Remote {
    /// Connects to the server whose control socket is at `path`.
    ///
    /// # Errors
    /// One line that says what is there, or is not, and what to do.
    pub fn connect(path: &Path) -> Result<Self, OpenError> {
        let what = path.display().to_string();
        let refused = |why: &str, remedy| OpenError::new(&what, why, remedy);
        // Asked first without gRPC, which has one answer for all that may be wrong.
        if let Err(error) = UnixStream::connect(path) {
            let start = "start one with 'bedplate serve', name its --control socket, or say where \
                a store is that nobody serves with --store NAME=URL";
            return Err(match error.kind() {
                ErrorKind::NotFound => refused("there is no running server", start),
                ErrorKind::ConnectionRefused => {
                    refused("the server that was there has ended", start)
                }
                ErrorKind::PermissionDenied => {
                    let remedy = "be root, or the user that the server runs as";
                    refused("you may not control the server", remedy)
                }
                _ => OpenError::new(&what, error, start),
            });
        }
        let text = path.to_str();
        let text = text.ok_or_else(|| refused("the path is no UTF-8", "name another"))?;
        let fail = |error: &dyn std::fmt::Display| OpenError::new(&what, error, "");
        let outskirts = Outskirts::start().map_err(|error| fail(&error))?;
        let endpoint = Endpoint::from_shared(format!("unix:{text}"));
        let endpoint = endpoint.map_err(|error| fail(&error))?;
        let endpoint = endpoint
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES);
        let channel = outskirts.block_on(async { endpoint.connect().await });
        let channel = channel.map_err(|error| fail(&error))?;
        Ok(Self {
            outskirts: Arc::new(outskirts),
            channel,
        })
    }

    /// Makes a call, on whatever thread it is awaited.
    ///
    /// # Errors
    /// What the server says, or that it is gone.
    pub async fn call<T, F>(&self, make: impl FnOnce(Channel) -> F) -> Result<T, Status>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Status>> + Send + 'static,
    {
        let call = self.outskirts.spawn(make(self.channel.clone()));
        let gone = |_| Status::unavailable("the call was dropped");
        call.await.map_err(gone).flatten()
    }
}
