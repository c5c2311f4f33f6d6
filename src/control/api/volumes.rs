//! Calls about volumes.

use tonic::{Code, Request};

use super::proto::volumes_server::Volumes;
use super::proto::{
    CloneVolumeRequest, CloneVolumeResponse, CreateVolumeRequest, CreateVolumeResponse,
    DeleteVolumeRequest, DeleteVolumeResponse, GetVolumeRequest, GetVolumeResponse,
    ListVolumesRequest, ListVolumesResponse, RenameVolumeRequest, RenameVolumeResponse,
    ResizeVolumeRequest, ResizeVolumeResponse, SetVolumeRequest, SetVolumeResponse,
};
use super::{Answer, Api, Response, convert, status};
use crate::store::{Properties, StoreError, TreeKind};

#[tonic::async_trait]
impl Volumes for Api {
    async fn create(&self, request: Request<CreateVolumeRequest>) -> Answer<CreateVolumeResponse> {
        let CreateVolumeRequest {
            name,
            size,
            properties: wanted,
        } = request.into_inner();
        let (served, path) = self.volume(&name)?;
        let mut properties = Properties::default();
        convert::apply(wanted.as_ref(), &mut properties)?;
        self.on_reactor(move || async move {
            let store = served.store();
            let created = store.create_volume(path.tree.volume_name(), size, properties);
            created.await.map_err(|error| status::of(&name, error))
        })
        .await?;
        Ok(Response::new(CreateVolumeResponse {}))
    }

    async fn list(&self, request: Request<ListVolumesRequest>) -> Answer<ListVolumesResponse> {
        let name = request.into_inner().store;
        let stores = match name.as_str() {
            "" => self.0.catalog.stores(),
            name => vec![self.store(name)?],
        };
        let mut volumes = Vec::new();
        for served in stores {
            volumes.extend(convert::volumes(&served, |tree| {
                tree.kind == TreeKind::Volume
            }));
        }
        Ok(Response::new(ListVolumesResponse { volumes }))
    }

    async fn get(&self, request: Request<GetVolumeRequest>) -> Answer<GetVolumeResponse> {
        let name = request.into_inner().name;
        let (served, path) = self.volume(&name)?;
        let volume = path.tree.volume_name();
        let mut trees = convert::volumes(&served, |tree| tree.name.volume_name() == volume);
        let is_volume = |tree: &super::proto::Volume| tree.name == name;
        let Some(index) = trees.iter().position(is_volume) else {
            let missing = StoreError::NotFound(path.tree.to_string());
            return Err(status::of(&name, missing));
        };
        let volume = Some(trees.remove(index));
        let snapshots = trees;
        Ok(Response::new(GetVolumeResponse { volume, snapshots }))
    }

    async fn resize(&self, request: Request<ResizeVolumeRequest>) -> Answer<ResizeVolumeResponse> {
        let ResizeVolumeRequest { name, size } = request.into_inner();
        let (served, path) = self.volume(&name)?;
        let devices = self.devices().ok();
        let resized = self.on_reactor(move || async move {
            let resized = served.resize(&path.tree, size).await;
            let connections = resized.map_err(|error| status::of(&name, error))?;
            let told = match devices {
                Some(devices) => devices.resized(&name).await,
                None => None,
            };
            Ok((connections, told))
        });
        let (connections, told) = resized.await?;
        let problem = told.and_then(Result::err);
        Ok(Response::new(ResizeVolumeResponse {
            connections: connections as u64,
            device_problem: problem.map_or_else(String::new, |error| error.line.to_string()),
        }))
    }

    async fn delete(&self, request: Request<DeleteVolumeRequest>) -> Answer<DeleteVolumeResponse> {
        let name = request.into_inner().name;
        let (served, path) = self.volume(&name)?;
        self.on_reactor(move || async move {
            let deleted = served.delete(&path.tree).await;
            deleted.map_err(|error| match error {
                StoreError::Busy(why) => {
                    let remedy = "see 'bedplate snapshot list', and delete what is not needed";
                    status::new(Code::FailedPrecondition, &name, &why, remedy)
                }
                error => status::of(&name, error),
            })
        })
        .await?;
        Ok(Response::new(DeleteVolumeResponse {}))
    }

    async fn rename(&self, request: Request<RenameVolumeRequest>) -> Answer<RenameVolumeResponse> {
        let RenameVolumeRequest { name, new_name } = request.into_inner();
        let (served, path) = self.volume(&name)?;
        self.on_reactor(move || async move {
            let renamed = served.rename(path.tree.volume_name(), &new_name, false);
            renamed.await.map_err(|error| status::of(&name, error))
        })
        .await?;
        Ok(Response::new(RenameVolumeResponse {}))
    }

    async fn create_clone(
        &self,
        request: Request<CloneVolumeRequest>,
    ) -> Answer<CloneVolumeResponse> {
        let CloneVolumeRequest { origin, new_name } = request.into_inner();
        let (served, path) = self.tree(&origin)?;
        self.on_reactor(move || async move {
            let cloned = served.store().clone_volume(&path.tree, &new_name).await;
            cloned.map_err(|error| status::of(&origin, error))
        })
        .await?;
        Ok(Response::new(CloneVolumeResponse {}))
    }

    async fn set(&self, request: Request<SetVolumeRequest>) -> Answer<SetVolumeResponse> {
        let SetVolumeRequest {
            name,
            properties: wanted,
        } = request.into_inner();
        let (served, path) = self.volume(&name)?;
        // What it says is known to be right before anything is changed.
        convert::apply(wanted.as_ref(), &mut Properties::default())?;
        self.on_reactor(move || async move {
            let change = |properties: &mut Properties| {
                let _ = convert::apply(wanted.as_ref(), properties);
            };
            let store = served.store();
            let changed = store.change_properties(path.tree.volume_name(), change);
            changed.await.map_err(|error| status::of(&name, error))
        })
        .await?;
        Ok(Response::new(SetVolumeResponse {}))
    }
}
