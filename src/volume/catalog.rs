//! The volumes that a server offers.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::Volume;
use super::qos::QosTable;

/// Volumes by name, and how much of them clients may use. Shared by all threads.
#[derive(Debug, Default)]
pub struct Catalog {
    volumes: RwLock<BTreeMap<String, Arc<Volume>>>,
    qos: Arc<QosTable>,
}

impl Catalog {
    /// Offers `volume`; `false` if there is one of that name.
    pub fn add(&self, volume: Arc<Volume>) -> bool {
        use std::collections::btree_map::Entry;
        let mut volumes = self.volumes.write().unwrap_or_else(PoisonError::into_inner);
        match volumes.entry(volume.name().to_owned()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(volume);
                true
            }
        }
    }

    /// The volume `name`. The empty name is the only volume, where there is only one.
    pub fn find(&self, name: &str) -> Option<Arc<Volume>> {
        let volumes = self.volumes.read().unwrap_or_else(PoisonError::into_inner);
        if name.is_empty() && volumes.len() == 1 {
            return volumes.values().next().cloned();
        }
        volumes.get(name).cloned()
    }

    /// The limits of all volumes, those that are not there included.
    pub fn qos(&self) -> &Arc<QosTable> {
        &self.qos
    }

    /// All volumes, by name.
    pub fn all(&self) -> Vec<Arc<Volume>> {
        let volumes = self.volumes.read().unwrap_or_else(PoisonError::into_inner);
        volumes.values().cloned().collect()
    }
}
