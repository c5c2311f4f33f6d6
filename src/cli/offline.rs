//! Stores that nobody serves: opened for one command, and closed after it.

use std::future::Future;
use std::sync::Arc;

use clap::Args;

use super::keys::NamedKeys;
use super::names::parse_store;
use super::place;
use super::place::Place;
use crate::backend::Location;
use crate::base::OpenError;
use crate::control::{KeySource, StoreName, StoreSettings, close_stores, open_store};
use crate::env;
use crate::volume::Catalog;

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
    /// Whether none is named.
    pub(super) fn is_empty(&self) -> bool {
        self.stores.is_empty()
    }

    /// Opens the store `name`, or without a name all, does `work` and closes them, whether or not
    /// that went well.
    ///
    /// # Errors
    /// What `work` says; or one line that names the store, the cause and the remedy.
    pub(super) fn run<T: 'static>(
        &self,
        name: Option<&StoreName>,
        work: impl AsyncFnOnce(Place) -> Result<T, OpenError> + 'static,
    ) -> Result<T, OpenError> {
        let names = match name {
            Some(name) => vec![name],
            None => self.stores.iter().map(|(name, _)| name).collect(),
        };
        let mut wanted = Vec::with_capacity(names.len());
        for name in names {
            let mut settings = StoreSettings::new(self.find(name)?.clone());
            settings.key = self.key_of(name);
            wanted.push((name.clone(), settings));
        }
        on_reactor(async move { with_stores(wanted, work).await })
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
            None if self.stores.is_empty() => {
                let why = "this is done to a store that nobody serves only";
                let remedy = "stop its server, or have it close the store, and say where it is \
                    with --store NAME=URL";
                Err(OpenError::new(name.as_str(), why, remedy))
            }
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
}

/// Opens the stores `wanted`, does `work` and closes them, whether or not that went well.
///
/// # Errors
/// What `work` says; or one line that names the store, the cause and the remedy.
pub(super) async fn with_stores<T>(
    wanted: Vec<(StoreName, StoreSettings)>,
    work: impl AsyncFnOnce(Place) -> Result<T, OpenError>,
) -> Result<T, OpenError> {
    let catalog = Arc::new(Catalog::default());
    let mut opened = Ok(());
    for (name, settings) in &wanted {
        if opened.is_ok() {
            opened = open_store(&catalog, name, settings).await.map(drop);
        }
    }
    let done = match opened {
        Ok(()) => place::here(Arc::clone(&catalog), work).await,
        Err(error) => Err(error),
    };
    let closed = close_stores(&catalog).await;
    let done = done?;
    closed?;
    Ok(done)
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
