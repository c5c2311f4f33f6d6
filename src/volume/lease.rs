//! The right to use a volume, which its owner counts.

use std::ops::Deref;
use std::sync::Arc;

use super::users::Purpose;
use super::{Served, Volume};

/// A volume that somebody uses, until this is dropped. As long as there is one, the volume is
/// neither deleted nor rolled back, and its store stays open.
#[derive(Debug)]
pub struct Lease {
    volume: Arc<Volume>,
    purpose: Purpose,
    /// Whose it is, unless it is of no store.
    owner: Option<Arc<Served>>,
}

impl Lease {
    /// Counts a user of `volume`, which is `owner`'s.
    pub(super) fn new(volume: Arc<Volume>, purpose: Purpose, owner: Option<Arc<Served>>) -> Self {
        volume.users.come(purpose);
        Self {
            volume,
            purpose,
            owner,
        }
    }

    /// Waits until the user is asked to leave.
    pub async fn leaving(&self) {
        self.volume.users.leaving().await;
    }
}

impl Deref for Lease {
    type Target = Volume;

    fn deref(&self) -> &Volume {
        &self.volume
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match &self.owner {
            None => self.volume.users.go(self.purpose),
            Some(owner) => owner.give_back(&self.volume, self.purpose),
        }
    }
}
