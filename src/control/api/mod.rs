//! The control API: what its calls do, on whichever way they come.
//!
//! The `.proto` files here are its documentation. [`Api`] answers the calls: a server's socket
//! hands them to it, and a command that works on a store that nobody serves calls it directly. So
//! there is one way of doing each thing. It runs on any thread; what touches a store hops to the
//! store's reactor, where a call that has begun goes on to its end whatever becomes of the caller.

mod bitmaps;
mod convert;
mod devices;
mod jobs;
mod keys;
mod qos;
mod server;
mod snapshots;
mod status;
mod stores;
mod volumes;

use std::future::Future;
use std::sync::Arc;

use tonic::{Response, Status};

use super::jobs::Jobs;
use super::on_reactor::call_on;
use super::{StoreName, TreePath};
use crate::env;
use crate::env::{Address, Handle};
use crate::frontend::nbd::Server;
use crate::frontend::ublk::Devices;
use crate::volume::{Catalog, Served};

/// The messages, and both ends of the services, as `build.rs` makes them of the `.proto` files.
#[allow(missing_docs, unreachable_pub)]
#[allow(clippy::all, clippy::pedantic)]
pub mod proto {
    tonic::include_proto!("bedplate.v1");
}

/// What a call answers.
type Answer<T> = Result<Response<T>, Status>;

/// Answers the calls of the API. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Api(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Whose stores the calls are about.
    catalog: Arc<Catalog>,
    /// Where the chores of the stores run.
    reactor: Handle,
    /// How clients come in; a command that works on a store by itself has none.
    door: Option<Door>,
    jobs: Arc<Jobs>,
    /// Held by who changes keys.
    key_turn: Arc<tokio::sync::Mutex<()>>,
    started: u64,
}

/// How clients of a server come in.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) nbd: Arc<Server>,
    pub(super) devices: Arc<Devices>,
    pub(super) addresses: Vec<Address>,
}

impl Api {
    /// Answers calls about the stores in `catalog`, whose chores run on `reactor`.
    pub(super) fn new(catalog: Arc<Catalog>, reactor: Handle, door: Option<Door>) -> Self {
        Self(Arc::new(Inner {
            catalog,
            reactor,
            door,
            jobs: Arc::default(),
            key_turn: Arc::default(),
            started: env::wall_clock(),
        }))
    }

    /// Answers calls of this process about the stores in `catalog`, which it opened on this
    /// thread's reactor.
    pub fn for_this_process(catalog: Arc<Catalog>) -> Self {
        Self::new(catalog, env::this_reactor(), None)
    }

    /// Ends all jobs, and waits until nothing of them remains.
    pub async fn end_jobs(&self) {
        self.0.jobs.end_all().await;
    }

    /// Does on the stores' reactor what `make` makes.
    async fn on_reactor<T, F>(&self, make: impl FnOnce() -> F + Send + 'static) -> Result<T, Status>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Status>> + 'static,
    {
        let done = call_on(&self.0.reactor, make).await;
        done.unwrap_or_else(|| Err(Status::unavailable("the server is stopping")))
    }

    /// The store of this name.
    fn store(&self, name: &str) -> Result<Arc<Served>, Status> {
        StoreName::new(name).map_err(Status::invalid_argument)?;
        let served = self.0.catalog.store(name);
        served.ok_or_else(|| status::no_such_store(name))
    }

    /// The volume or snapshot that `text` names, and its store.
    fn tree(&self, text: &str) -> Result<(Arc<Served>, TreePath), Status> {
        let path = TreePath::parse(text).map_err(Status::invalid_argument)?;
        Ok((self.store(path.store.as_str())?, path))
    }

    /// The volume that `text` names, and its store.
    fn volume(&self, text: &str) -> Result<(Arc<Served>, TreePath), Status> {
        TreePath::parse_volume(text).map_err(Status::invalid_argument)?;
        self.tree(text)
    }

    /// The snapshot that `text` names, and its store.
    fn snapshot(&self, text: &str) -> Result<(Arc<Served>, TreePath), Status> {
        TreePath::parse_snapshot(text).map_err(Status::invalid_argument)?;
        self.tree(text)
    }
}
