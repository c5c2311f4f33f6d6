//! What becomes of a volume that is being imported.
//!
//! The content goes into a volume of another name, which gets its own once everything is there and
//! durable. So a volume of that name is whole, whatever ends the import; what is left of one whose
//! server was killed is replaced by the next.

use std::sync::Arc;

use super::jobs::{Import, Job, Material};
use crate::store::{Properties, StoreError, TreeKind, TreeName};
use crate::volume::{Lease, Purpose, Served};

/// Says what is to be done for a volume `volume`, which `replace`s another of that name.
///
/// # Errors
/// `Exists` if it may not, `Busy` if that one has snapshots.
pub(super) fn plan(
    served: &Arc<Served>,
    volume: &TreeName,
    replace: bool,
) -> Result<Import, StoreError> {
    let name = volume.volume_name();
    let trees = served.store().list();
    let of_volume = trees.iter().filter(|tree| tree.name.volume_name() == name);
    for tree in of_volume {
        match tree.kind {
            TreeKind::Volume if !replace => return Err(StoreError::Exists(name.to_owned())),
            TreeKind::Volume | TreeKind::Ghost => {}
            TreeKind::Snapshot => {
                let why = "it has snapshots, so it is not replaced; delete them first";
                return Err(StoreError::Busy(why.to_owned()));
            }
        }
    }
    Ok(Import {
        served: Arc::clone(served),
        staged: TreeName::volume(&format!("{name}.importing"))?,
        volume: volume.clone(),
        replace,
    })
}

/// Makes the volume that the content goes into.
///
/// # Errors
/// `InUse` if another import is at it, else as for a volume that is made.
pub(super) async fn stage(
    plan: &Import,
    size: u64,
    properties: Properties,
) -> Result<Lease, StoreError> {
    let store = plan.served.store();
    if store.disk(&plan.staged).is_ok() {
        plan.served.delete(&plan.staged).await?;
    }
    let name = plan.staged.volume_name();
    store.create_volume(name, size, properties).await?;
    let lease = plan.served.open(&plan.staged, Purpose::Job);
    lease.ok_or_else(|| StoreError::NotFound(name.to_owned()))
}

/// Makes the content of `job`, which is ending, durable, and gives it its name. What cannot be
/// finished is deleted.
///
/// # Errors
/// As for a flush and a rename.
pub(super) async fn finish(job: &Job) -> Result<(), StoreError> {
    let Some(Material {
        lease,
        import: Some(plan),
    }) = job.settle().await
    else {
        return Ok(());
    };
    let flushed = lease.flush().await;
    drop(lease);
    // Deleting the old volume and renaming the new one are one step: a stop leaves either.
    let finished = match flushed {
        Ok(()) => {
            let (from, to) = (plan.staged.volume_name(), plan.volume.volume_name());
            plan.served.rename(from, to, plan.replace).await
        }
        Err(error) => Err(error.into()),
    };
    match finished {
        Ok(()) => job.reach(job.size),
        Err(_) => clean_up(&plan).await,
    }
    finished
}

/// Deletes what was to become a volume.
pub(super) async fn clean_up(plan: &Import) {
    if let Err(error) = plan.served.delete(&plan.staged).await {
        // Its name says that it is not whole.
        let volume = plan.served.export_name(&plan.staged);
        tracing::warn!(volume, %error, "what is left of an import stays behind");
    }
}
