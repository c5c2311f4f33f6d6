//! The volumes that a server offers.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::lease::Lease;
use super::qos::QosTable;
use super::served::Served;
use super::users::Purpose;
use super::{OpCounts, OpKind, UserCount, Volume};
use crate::store::{Store, TreeName};

/// Volumes by name: those of stores, as the stores know them now, and others; and how much of them
/// clients may use. Shared by all threads.
#[derive(Debug, Default)]
pub struct Catalog {
    offers: RwLock<Offers>,
    qos: Arc<QosTable>,
}

#[derive(Debug, Default)]
struct Offers {
    raws: BTreeMap<String, Arc<Volume>>,
    stores: BTreeMap<String, Arc<Served>>,
}

impl Catalog {
    /// Offers `volume`, which is of no store; `false` if there is one of that name.
    pub fn add(&self, volume: Arc<Volume>) -> bool {
        use std::collections::btree_map::Entry;
        match self.write().raws.entry(volume.name().to_string()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(volume);
                true
            }
        }
    }

    /// Offers what is in `store`, which is at `url`, under `name`.
    ///
    /// # Errors
    /// The name of what is in the way: a store, or another volume that is called as one of this
    /// store could be.
    pub fn add_store(
        &self,
        name: &str,
        url: String,
        store: Arc<Store>,
    ) -> Result<Arc<Served>, String> {
        let mut offers = self.write();
        if offers.stores.contains_key(name) {
            return Err(name.to_owned());
        }
        let mine = format!("{name}/");
        if let Some(raw) = offers.raws.keys().find(|raw| raw.starts_with(&mine)) {
            return Err(raw.clone());
        }
        let qos = Arc::clone(&self.qos);
        let served = Served::new(name.to_owned(), url, store, qos);
        offers.stores.insert(name.to_owned(), Arc::clone(&served));
        Ok(served)
    }

    /// The limits of all volumes, those that are not there included.
    pub fn qos(&self) -> &Arc<QosTable> {
        &self.qos
    }

    /// Offers what is in the store `name` no more.
    pub fn remove_store(&self, name: &str) {
        self.write().stores.remove(name);
    }

    /// The store `name`.
    pub fn store(&self, name: &str) -> Option<Arc<Served>> {
        self.read().stores.get(name).cloned()
    }

    /// All stores, by name.
    pub fn stores(&self) -> Vec<Arc<Served>> {
        self.read().stores.values().cloned().collect()
    }

    /// All volumes that are of no store, by name, and who uses them.
    pub fn raws(&self) -> Vec<(Arc<Volume>, UserCount)> {
        let raws = self.read();
        let raws = raws.raws.values();
        let raws = raws.map(|volume| (Arc::clone(volume), volume.users.count()));
        raws.collect()
    }

    /// The requests of all volumes that were used, by name.
    pub fn counts(&self) -> Vec<(String, OpKind, OpCounts)> {
        let mut meters = Vec::new();
        {
            let offers = self.read();
            for volume in offers.raws.values() {
                meters.push((volume.name().to_string(), Arc::clone(&volume.meter)));
            }
            for served in offers.stores.values() {
                meters.extend(served.meters());
            }
        }
        let mut counts = Vec::new();
        for (name, meter) in meters {
            for kind in OpKind::ALL {
                let of_kind = meter.counts(kind);
                if of_kind.requests() > 0 {
                    counts.push((name.clone(), kind, of_kind));
                }
            }
        }
        counts
    }

    /// The names of all volumes, sorted.
    pub fn names(&self) -> Vec<String> {
        let offers = self.read();
        let mut names: Vec<String> = offers.raws.keys().cloned().collect();
        for served in offers.stores.values() {
            names.extend(served.names());
        }
        names.sort();
        names
    }

    /// The volume `name`, to be looked at only. The empty name is the only volume, where there is
    /// only one.
    pub fn look(&self, name: &str) -> Option<Arc<Volume>> {
        match self.find(name)? {
            Found::Raw(volume) => Some(volume),
            Found::Stored(served, tree) => served.look(&tree),
        }
    }

    /// The volume `name`, to be used.
    pub fn open(&self, name: &str, purpose: Purpose) -> Option<Lease> {
        match self.find(name)? {
            Found::Raw(volume) => Some(Lease::new(volume, purpose, None)),
            Found::Stored(served, tree) => served.open(&tree, purpose),
        }
    }

    fn find(&self, name: &str) -> Option<Found> {
        if name.is_empty() {
            return match &self.names()[..] {
                [only] if !only.is_empty() => self.find(only),
                _ => None,
            };
        }
        let offers = self.read();
        if let Some(volume) = offers.raws.get(name) {
            return Some(Found::Raw(Arc::clone(volume)));
        }
        let (store, tree) = name.split_once('/')?;
        let served = offers.stores.get(store)?;
        let tree = TreeName::parse(tree).ok()?;
        Some(Found::Stored(Arc::clone(served), tree))
    }

    fn read(&self) -> RwLockReadGuard<'_, Offers> {
        self.offers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Offers> {
        self.offers.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a name stands for.
enum Found {
    Raw(Arc<Volume>),
    Stored(Arc<Served>, TreeName),
}
