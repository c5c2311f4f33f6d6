//! Calls about snapshots.

use tonic::{Code, Request};

use super::proto::snapshots_server::Snapshots;
use super::proto::{
    CreateSnapshotsRequest, CreateSnapshotsResponse, DeleteSnapshotRequest, DeleteSnapshotResponse,
    ListSnapshotsRequest, ListSnapshotsResponse, RollbackSnapshotRequest, RollbackSnapshotResponse,
};
use super::{Answer, Api, Response, Status, convert, status};
use crate::control::TreePath;
use crate::store::{StoreError, TreeKind, TreeName};

#[tonic::async_trait]
impl Snapshots for Api {
    async fn create(
        &self,
        request: Request<CreateSnapshotsRequest>,
    ) -> Answer<CreateSnapshotsResponse> {
        let CreateSnapshotsRequest { names, bitmap } = request.into_inner();
        let Some(first) = names.first() else {
            return Err(Status::invalid_argument("no snapshot is named"));
        };
        let (served, of_first) = self.snapshot(first)?;
        let mut trees: Vec<TreeName> = Vec::with_capacity(names.len());
        for name in &names {
            let path = TreePath::parse_snapshot(name).map_err(Status::invalid_argument)?;
            if path.store != of_first.store {
                let why = format!("it is not of the same store as {first}");
                let remedy = "take the snapshots of one store at a time";
                return Err(status::new(Code::InvalidArgument, name, &why, remedy));
            }
            trees.push(path.tree);
        }
        self.on_reactor(move || async move {
            let store = served.store();
            let taken = match bitmap {
                Some(bitmap) => store.snapshot_with_bitmaps(&trees, &bitmap).await,
                None => store.snapshot(&trees).await,
            };
            taken.map_err(|error| status::of(&names.join(" "), error))
        })
        .await?;
        Ok(Response::new(CreateSnapshotsResponse {}))
    }

    async fn list(&self, request: Request<ListSnapshotsRequest>) -> Answer<ListSnapshotsResponse> {
        let name = request.into_inner().volume;
        let (served, path) = self.volume(&name)?;
        let found = served.store().disk(&path.tree);
        found.map_err(|error: StoreError| status::of(&name, error))?;
        let volume = path.tree.volume_name();
        let snapshots = convert::volumes(&served, |tree| {
            tree.kind == TreeKind::Snapshot && tree.name.volume_name() == volume
        });
        Ok(Response::new(ListSnapshotsResponse { snapshots }))
    }

    async fn delete(
        &self,
        request: Request<DeleteSnapshotRequest>,
    ) -> Answer<DeleteSnapshotResponse> {
        let name = request.into_inner().name;
        let (served, path) = self.snapshot(&name)?;
        self.on_reactor(move || async move {
            let deleted = served.delete(&path.tree).await;
            deleted.map_err(|error| status::of(&name, error))
        })
        .await?;
        Ok(Response::new(DeleteSnapshotResponse {}))
    }

    async fn rollback(
        &self,
        request: Request<RollbackSnapshotRequest>,
    ) -> Answer<RollbackSnapshotResponse> {
        let name = request.into_inner().name;
        let (served, path) = self.snapshot(&name)?;
        self.on_reactor(move || async move {
            let done = served.rollback(&path.tree).await;
            done.map_err(|error| match error {
                // Who uses the volume is in the way, not who reads the snapshot.
                StoreError::InUse(_) => {
                    let volume = format!("{}/{}", path.store, path.tree.volume_name());
                    status::of(&volume, error)
                }
                error => status::of(&name, error),
            })
        })
        .await?;
        Ok(Response::new(RollbackSnapshotResponse {}))
    }
}
