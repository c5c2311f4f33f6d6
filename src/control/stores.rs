//! The stores of a running server, from open to close, and what they bring along.

use std::sync::Arc;

use super::settings::StoreSettings;
use super::{KeySource, StoreName};
use crate::backend;
use crate::base::OpenError;
use crate::store::Store;
use crate::volume::{Catalog, Served};

/// Opens the store `name` for this process alone, and offers what is in it. Its chores run on the
/// reactor of the caller.
///
/// # Errors
/// One line that names it, the cause and the remedy.
pub async fn open_store(
    catalog: &Catalog,
    name: &StoreName,
    settings: &StoreSettings,
) -> Result<Arc<Served>, OpenError> {
    let StoreSettings {
        location,
        tuning,
        key,
    } = settings;
    let key = key.as_ref().map(KeySource::read).transpose()?;
    let backend = backend::open(location, backend::Access::Write).await?;
    let url = location.to_string();
    let store = Store::open(backend, *tuning, key.as_ref()).await;
    let store = store.map_err(|error| error.of(&url))?;
    match catalog.add_store(name.as_str(), url, Arc::clone(&store)) {
        Ok(served) => Ok(served),
        Err(taken) => {
            // It is as it was; that is not what went wrong.
            let _ = store.close().await;
            Err(name_taken(&taken))
        }
    }
}

/// Says that there is a store, or an export as of a store, called `name` already.
pub(super) fn name_taken(name: &str) -> OpenError {
    let why = match name.split_once('/') {
        None => "there is a store of this name already".to_owned(),
        Some((store, _)) => format!("an export of the store {store} may have the same name"),
    };
    OpenError::new(name, why, "give each its own")
}

/// Closes a store that nobody uses any more, so that the next open has nothing to recover.
///
/// # Errors
/// If what was not flushed may be lost. It is closed nevertheless.
pub(super) async fn close_store(catalog: &Catalog, served: &Served) -> Result<(), OpenError> {
    let closed = served.store().close().await;
    catalog.remove_store(served.name());
    closed.map_err(|error| error.of(served.name()))
}

/// Closes all stores, which nobody uses any more.
///
/// # Errors
/// The first of what was wrong. All are closed nevertheless.
pub async fn close_stores(catalog: &Catalog) -> Result<(), OpenError> {
    let mut outcome = Ok(());
    for served in catalog.stores() {
        outcome = outcome.and(close_store(catalog, &served).await);
    }
    outcome
}
