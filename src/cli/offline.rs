//! Stores that nobody serves: opened for one command, and closed after it.

use std::future::Future;
use std::sync::Arc;

use clap::Args;

use super::keys::NamedKeys;
use super::names::parse_store;
use crate::backend::Location;
use crate::base::OpenError;
use crate::control::{KeySource, StoreName, open_store};
use crate::env;
use crate::store::{Store, Tuning};

/// The stores that a command may open.
#[derive(Args, Clone, Debug)]
pub(super) struct StoreChoice {
    /// The store NAME, which nobody serves, is at URL.
    #[arg(long = "store", global = true, value_name = "NAME=URL", value_parser = parse_store)]
    stores: Vec<(StoreName, Location)>,

    #[command(flatten)]
    keys: NamedKeys,
}

impl StoreChoice {
    /// Opens the store `name`, does `work` with it and closes it, whether or not that went well.
    ///
    /// # Errors
    /// What `work` says; or one line that names the store, the cause and the remedy.
    pub(super) fn run<T: 'static>(
        &self,
        name: &StoreName,
        work: impl AsyncFnOnce(Arc<Store>) -> Result<T, OpenError> + 'static,
    ) -> Result<T, OpenError> {
        with_store(self.find(name)?, self.key_of(name), work)
    }

    /// Where the store `name` is.
    ///
    /// # Errors
    /// If nobody said so, or twice.
    pub(super) fn find(&self, name: &StoreName) -> Result<&Location, OpenError> {
        let mut of_that_name = self.stores.iter().filter(|(known, _)| known == name);
        let found = of_that_name.next();
        if of_that_name.next().is_some() {
            let why = "there are two stores of this name";
            return Err(OpenError::new(name.as_str(), why, "give each its own"));
        }
        match found {
            Some((_, location)) => Ok(location),
            None if self.stores.is_empty() => Err(no_server(name.as_str())),
            None => {
                let why = "no --store is called so";
                let remedy = "say where it is with --store NAME=URL";
                Err(OpenError::new(name.as_str(), why, remedy))
            }
        }
    }

    /// Where the key of the store `name` is, if one was named.
    pub(super) fn key_of(&self, name: &StoreName) -> Option<KeySource> {
        self.keys.of(name)
    }

    /// The names of all stores that the command may open.
    ///
    /// # Errors
    /// If there are none.
    pub(super) fn names(&self) -> Result<Vec<StoreName>, OpenError> {
        match self.stores.as_slice() {
            [] => Err(no_server("no store is named")),
            stores => Ok(stores.iter().map(|(name, _)| name.clone()).collect()),
        }
    }
}

/// Opens the store at `location`, does `work` with it and closes it, whether or not that went
/// well.
///
/// # Errors
/// What `work` says; or one line that names the store, the cause and the remedy.
pub(super) fn with_store<T: 'static>(
    location: &Location,
    key: Option<KeySource>,
    work: impl AsyncFnOnce(Arc<Store>) -> Result<T, OpenError> + 'static,
) -> Result<T, OpenError> {
    let location = location.clone();
    on_reactor(async move {
        let store = open_store(&location, Tuning::default(), key.as_ref()).await?;
        let done = work(Arc::clone(&store)).await;
        let closed = store.close().await;
        let done = done?;
        closed.map_err(|error| error.of(&location.to_string()))?;
        Ok(done)
    })
}

/// Runs `work` on a reactor of this thread.
///
/// # Errors
/// What `work` says, or that the kernel gives no reactor.
pub(super) fn on_reactor<T: 'static>(
    work: impl Future<Output = Result<T, OpenError>> + 'static,
) -> Result<T, OpenError> {
    let done = env::block_on(work);
    done.unwrap_or_else(|error| {
        let remedy = "io_uring needs Linux 6.1 or newer and kernel.io_uring_disabled=0";
        Err(OpenError::new("starting a reactor", error, remedy))
    })
}

fn no_server(what: &str) -> OpenError {
    let why = "commands do not talk to a running server yet";
    let remedy = "stop it, and say where the store is with --store NAME=URL";
    OpenError::new(what, why, remedy)
}
