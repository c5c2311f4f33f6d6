//! Operations on volumes whose users were counted before: a name may have become another's since.

use super::{Disk, Store, StoreError, TreeName};

impl Store {
    /// Deletes what is called `name`, as long as it is what `disk` uses.
    ///
    /// # Errors
    /// As [`delete`](Self::delete).
    pub async fn delete_disk(&self, name: &TreeName, disk: &Disk) -> Result<(), StoreError> {
        self.administer(|core| {
            core.demand(name, disk.id())?;
            core.delete(name)
        })
        .await
    }

    /// Gives volume `from` the name `to`, and deletes what is called so and in use as `old`, if
    /// that is given, both in one step.
    ///
    /// # Errors
    /// `NotFound`, `Exists`, `Invalid`, or `Busy` for an old volume with snapshots.
    pub async fn replace(
        &self,
        from: &str,
        to: &str,
        old: Option<&Disk>,
    ) -> Result<(), StoreError> {
        let (from, to) = (TreeName::volume(from)?, TreeName::volume(to)?);
        self.administer(|core| {
            core.find(&from)?;
            if let Some(old) = old {
                core.demand(&to, old.id())?;
                core.delete(&to)?;
            }
            core.rename(&from, &to)
        })
        .await
    }

    /// Makes the volume `name` larger, as long as it is what `disk` uses.
    ///
    /// # Errors
    /// As [`resize`](Self::resize).
    pub async fn resize_disk(
        &self,
        name: &TreeName,
        disk: &Disk,
        size: u64,
    ) -> Result<(), StoreError> {
        self.administer(|core| {
            core.demand(name, disk.id())?;
            core.resize(name, size)
        })
        .await
    }

    /// Gives a volume the content of one of its snapshots, as long as it is what `volume` uses.
    ///
    /// # Errors
    /// As [`rollback`](Self::rollback).
    pub async fn rollback_disk(
        &self,
        snapshot: &TreeName,
        volume: &Disk,
    ) -> Result<(), StoreError> {
        let name = TreeName::volume(snapshot.volume_name())?;
        self.administer(|core| {
            core.demand(&name, volume.id())?;
            core.rollback(snapshot)
        })
        .await
    }
}
