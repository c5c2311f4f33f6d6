//! The stores of a running server, from open to close, and what they bring along.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, mpsc};

use super::settings::StoreSettings;
use super::{KeySource, StoreName};
use crate::backend;
use crate::backend::Location;
use crate::base::OpenError;
use crate::env::Handle;
use crate::store::{Store, TreeInfo, TreeKind, Tuning};
use crate::volume::{Access, StoredDisk, Volume};

/// Stores that are open, on the reactor that does their chores.
#[derive(Debug)]
pub(super) struct Stores {
    reactor: Handle,
    open: Vec<Arc<Store>>,
    /// Which is which, where something is said about it.
    names: Vec<StoreName>,
}

/// Opens the store at `location` for this process alone. Its chores run on the reactor of the
/// caller.
///
/// # Errors
/// One line that names it, the cause and the remedy.
pub async fn open_store(
    location: &Location,
    tuning: Tuning,
    key: Option<&KeySource>,
) -> Result<Arc<Store>, OpenError> {
    let key = key.map(KeySource::read).transpose()?;
    let backend = backend::open(location, backend::Access::Write).await?;
    let opened = Store::open(backend, tuning, key.as_ref()).await;
    opened.map_err(|error| error.of(&location.to_string()))
}

impl Stores {
    /// Opens all of `settings`, or none.
    pub(super) fn open(
        reactor: &Handle,
        settings: &BTreeMap<StoreName, StoreSettings>,
    ) -> Result<Self, OpenError> {
        let mut stores = Self {
            reactor: reactor.clone(),
            open: Vec::new(),
            names: Vec::new(),
        };
        for (name, of_store) in settings {
            let StoreSettings {
                location,
                tuning,
                key,
            } = of_store.clone();
            let opened = run_on(reactor, move || async move {
                open_store(&location, tuning, key.as_ref()).await
            });
            match opened {
                Ok(store) => {
                    stores.open.push(store);
                    stores.names.push(name.clone());
                }
                Err(error) => {
                    // What was opened before is as it was; that is not what went wrong.
                    let _ = stores.close();
                    return Err(error);
                }
            }
        }
        Ok(stores)
    }

    /// Every volume as `STORE/VOL` and every snapshot as `STORE/VOL@SNAP`.
    pub(super) fn volumes(&self) -> Result<Vec<Volume>, OpenError> {
        let mut volumes = Vec::new();
        for (name, store) in self.names.iter().zip(&self.open) {
            for tree in store.list() {
                volumes.push(volume(name, store, tree)?);
            }
        }
        Ok(volumes)
    }

    /// All that are open, by name.
    pub(super) fn all(&self) -> Vec<(StoreName, Arc<Store>)> {
        let names = self.names.iter().cloned();
        names.zip(self.open.iter().cloned()).collect()
    }

    /// Closes every store, so that the next open has nothing to recover.
    ///
    /// # Errors
    /// The first that could not be closed. The others are closed nevertheless.
    pub(super) fn close(self) -> Result<(), OpenError> {
        let Self {
            reactor,
            open,
            names,
        } = self;
        run_on(&reactor, move || async move {
            let mut outcome = Ok(());
            for (name, store) in names.iter().zip(open) {
                let closed = store.close().await;
                let closed = closed.map_err(|error| error.of(name.as_str()));
                outcome = outcome.and(closed);
            }
            outcome
        })
    }
}

fn volume(name: &StoreName, store: &Arc<Store>, tree: TreeInfo) -> Result<Volume, OpenError> {
    let export = format!("{name}/{}", tree.name);
    let disk = store.disk(&tree.name).map_err(|error| error.of(&export))?;
    let (access, what) = match tree.kind {
        TreeKind::Volume => (Access::Write, "volume"),
        TreeKind::Snapshot | TreeKind::Ghost => (Access::Read, "snapshot"),
    };
    let description = format!("{what} of store {name}");
    Ok(Volume::new(
        export,
        description,
        access,
        StoredDisk::new(disk),
    ))
}

/// Runs what `make` makes on `reactor` and waits, blocking this thread, for its outcome.
pub(super) fn run_on<T, F>(
    reactor: &Handle,
    make: impl FnOnce() -> F + Send + 'static,
) -> Result<T, OpenError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, OpenError>> + 'static,
{
    let (done, wait) = mpsc::channel();
    reactor.spawn(move || {
        let work = make();
        async move {
            // Whoever waits for it is there until it comes.
            let _ = done.send(work.await);
        }
    });
    let outcome = wait.recv();
    outcome.unwrap_or_else(|_| Err(OpenError::new("a reactor", "it ended early", "")))
}
