//! Where the stores of a command are: in a running server, or on a backend that nobody serves.
//!
//! Both answer the same calls of the control API, so a command does not know which it is.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use clap::Args;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::offline::{StoreChoice, on_reactor};
use crate::base::OpenError;
use crate::control::api::Api;
use crate::control::api::proto;
use crate::control::api::proto::bitmaps_client::BitmapsClient;
use crate::control::api::proto::bitmaps_server::Bitmaps;
use crate::control::api::proto::devices_client::DevicesClient;
use crate::control::api::proto::devices_server::Devices;
use crate::control::api::proto::jobs_client::JobsClient;
use crate::control::api::proto::jobs_server::Jobs;
use crate::control::api::proto::keys_client::KeysClient;
use crate::control::api::proto::keys_server::Keys;
use crate::control::api::proto::qos_client::QosClient;
use crate::control::api::proto::qos_server::Qos;
use crate::control::api::proto::server_client::ServerClient;
use crate::control::api::proto::server_server::Server;
use crate::control::api::proto::snapshots_client::SnapshotsClient;
use crate::control::api::proto::snapshots_server::Snapshots;
use crate::control::api::proto::stores_client::StoresClient;
use crate::control::api::proto::stores_server::Stores;
use crate::control::api::proto::volumes_client::VolumesClient;
use crate::control::api::proto::volumes_server::Volumes;
use crate::control::{Remote, StoreName, default_control_path};
use crate::volume::Catalog;

/// Which server a command is for.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ServerChoice {
    /// The control socket of the server; without it /run/bedplate/control.sock for root, and
    /// $XDG_RUNTIME_DIR/bedplate/control.sock for others.
    #[arg(long, global = true, value_name = "PATH", env = "BEDPLATE_CONTROL")]
    control: Option<PathBuf>,
}

/// Where the stores of a command are: those that --store names, else those of a server.
#[derive(Args, Clone, Debug)]
pub(super) struct PlaceChoice {
    #[command(flatten)]
    stores: StoreChoice,

    #[command(flatten)]
    server: ServerChoice,
}

/// What answers the calls of a command. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// This process, which has opened the stores.
    Here(Api),
    /// A running server.
    There(Remote),
}

/// What is told of a job while it is kept.
pub(super) type Told = Pin<Box<dyn Stream<Item = Result<proto::Job, Status>> + Send>>;

impl PlaceChoice {
    /// Does `work` where the store `name` is; without a name, where all stores are.
    ///
    /// # Errors
    /// What `work` says; or one line that names the store or the server, the cause and the remedy.
    pub(super) fn run<T: 'static>(
        &self,
        name: Option<&StoreName>,
        work: impl AsyncFnOnce(Place) -> Result<T, OpenError> + 'static,
    ) -> Result<T, OpenError> {
        match self.stores.is_empty() {
            true => self.server.run(work),
            false => self.stores.run(name, work),
        }
    }
}

impl ServerChoice {
    /// Does `work` with the server.
    ///
    /// # Errors
    /// What `work` says; or one line that names the server, the cause and the remedy.
    pub(super) fn run<T: 'static>(
        &self,
        work: impl AsyncFnOnce(Place) -> Result<T, OpenError> + 'static,
    ) -> Result<T, OpenError> {
        let path = self.control.clone().or_else(default_control_path);
        let path = path.ok_or_else(|| {
            let why = "no server is named, and XDG_RUNTIME_DIR is not set";
            let remedy = "name its --control socket, or say where a store is that nobody serves \
                with --store NAME=URL";
            OpenError::new("the control socket", why, remedy)
        })?;
        let remote = Remote::connect(&path)?;
        on_reactor(async move { work(Place::There(remote)).await })
    }
}

/// Makes a method of [`Place`] for a call: in this process the server's side of the service, else
/// the client's.
macro_rules! calls {
    ($($name:ident: $Server:ident $Client:ident $call:ident $Request:ident $Response:ident;)*) => {
        impl Place {
            $(
                pub(super) async fn $name(
                    &self,
                    message: proto::$Request,
                ) -> Result<proto::$Response, OpenError> {
                    let here = async |api: &Api, message| {
                        let answer = $Server::$call(api, Request::new(message)).await;
                        answer.map(Response::into_inner)
                    };
                    let there = async |remote: &Remote, message| {
                        let call = |channel| async move {
                            let answer = $Client::new(channel).$call(message).await;
                            answer.map(Response::into_inner)
                        };
                        remote.call(call).await
                    };
                    told(match self {
                        Self::Here(api) => here(api, message).await,
                        Self::There(remote) => there(remote, message).await,
                    })
                }
            )*
        }
    };
}

calls! {
    create_volume: Volumes VolumesClient create CreateVolumeRequest CreateVolumeResponse;
    list_volumes: Volumes VolumesClient list ListVolumesRequest ListVolumesResponse;
    get_volume: Volumes VolumesClient get GetVolumeRequest GetVolumeResponse;
    resize_volume: Volumes VolumesClient resize ResizeVolumeRequest ResizeVolumeResponse;
    delete_volume: Volumes VolumesClient delete DeleteVolumeRequest DeleteVolumeResponse;
    rename_volume: Volumes VolumesClient rename RenameVolumeRequest RenameVolumeResponse;
    clone_volume: Volumes VolumesClient create_clone CloneVolumeRequest CloneVolumeResponse;
    set_volume: Volumes VolumesClient set SetVolumeRequest SetVolumeResponse;
    create_snapshots: Snapshots SnapshotsClient create CreateSnapshotsRequest
        CreateSnapshotsResponse;
    list_snapshots: Snapshots SnapshotsClient list ListSnapshotsRequest ListSnapshotsResponse;
    delete_snapshot: Snapshots SnapshotsClient delete DeleteSnapshotRequest DeleteSnapshotResponse;
    roll_back: Snapshots SnapshotsClient rollback RollbackSnapshotRequest RollbackSnapshotResponse;
    create_bitmap: Bitmaps BitmapsClient create CreateBitmapRequest CreateBitmapResponse;
    list_bitmaps: Bitmaps BitmapsClient list ListBitmapsRequest ListBitmapsResponse;
    clear_bitmap: Bitmaps BitmapsClient clear ClearBitmapRequest ClearBitmapResponse;
    delete_bitmap: Bitmaps BitmapsClient delete DeleteBitmapRequest DeleteBitmapResponse;
    diff: Bitmaps BitmapsClient diff DiffRequest DiffResponse;
    list_stores: Stores StoresClient list ListStoresRequest ListStoresResponse;
    get_store: Stores StoresClient get GetStoreRequest GetStoreResponse;
    open_store: Stores StoresClient open OpenStoreRequest OpenStoreResponse;
    grow_store: Stores StoresClient grow GrowStoreRequest GrowStoreResponse;
    collect_store: Stores StoresClient collect CollectStoreRequest CollectStoreResponse;
    repack_store: Stores StoresClient repack RepackStoreRequest RepackStoreResponse;
    await_renewal: Stores StoresClient await_renewal AwaitRenewalRequest AwaitRenewalResponse;
    stop_renewal: Stores StoresClient stop_renewal StopRenewalRequest StopRenewalResponse;
    close_store: Stores StoresClient close CloseStoreRequest CloseStoreResponse;
    list_keys: Keys KeysClient list ListKeysRequest ListKeysResponse;
    add_key: Keys KeysClient add AddKeyRequest AddKeyResponse;
    remove_key: Keys KeysClient remove RemoveKeyRequest RemoveKeyResponse;
    rotate_key: Keys KeysClient rotate RotateKeyRequest RotateKeyResponse;
    reencrypt: Keys KeysClient reencrypt ReencryptRequest ReencryptResponse;
    set_qos: Qos QosClient set SetQosRequest SetQosResponse;
    set_group_qos: Qos QosClient set_group SetGroupQosRequest SetGroupQosResponse;
    clear_qos: Qos QosClient clear ClearQosRequest ClearQosResponse;
    delete_group_qos: Qos QosClient delete_group DeleteGroupQosRequest DeleteGroupQosResponse;
    get_qos: Qos QosClient get GetQosRequest GetQosResponse;
    list_qos: Qos QosClient list ListQosRequest ListQosResponse;
    attach: Devices DevicesClient attach AttachRequest AttachResponse;
    detach: Devices DevicesClient detach DetachRequest DetachResponse;
    status: Server ServerClient status StatusRequest StatusResponse;
    counts: Server ServerClient counts CountsRequest CountsResponse;
    write_piece: Jobs JobsClient write WriteRequest WriteResponse;
    read_piece: Jobs JobsClient read ReadRequest ReadResponse;
    extents: Jobs JobsClient extents ExtentsRequest ExtentsResponse;
    finish_import: Jobs JobsClient finish_import FinishImportRequest FinishImportResponse;
    finish_export: Jobs JobsClient finish_export FinishExportRequest FinishExportResponse;
    list_jobs: Jobs JobsClient list ListJobsRequest ListJobsResponse;
    get_job: Jobs JobsClient get GetJobRequest GetJobResponse;
    cancel_job: Jobs JobsClient cancel CancelJobRequest CancelJobResponse;
}

/// The same for a call that answers with what becomes of a job.
macro_rules! jobs {
    ($($name:ident: $call:ident $Request:ident;)*) => {
        impl Place {
            $(
                pub(super) async fn $name(
                    &self,
                    message: proto::$Request,
                ) -> Result<Told, OpenError> {
                    told(match self {
                        Self::Here(api) => {
                            let answer = Jobs::$call(api, Request::new(message)).await;
                            answer.map(Response::into_inner)
                        }
                        Self::There(remote) => {
                            let call = |channel| async move {
                                let answer = JobsClient::new(channel).$call(message).await;
                                answer.map(|answer| Box::pin(answer.into_inner()) as Told)
                            };
                            remote.call(call).await
                        }
                    })
                }
            )*
        }
    };
}

jobs! {
    import: import ImportRequest;
    export: export ExportRequest;
}

/// What was answered, or the one line about why not.
pub(super) fn told<T>(answer: Result<T, Status>) -> Result<T, OpenError> {
    use std::error::Error;
    answer.map_err(|status| match status.source() {
        // Said by no server, but by what carries its words.
        Some(_) => {
            let remedy = "see its log, and whether what was asked for is done";
            OpenError::new("the server", "it ended in the middle of a call", remedy)
        }
        None => OpenError::relayed(status.message()),
    })
}

/// Does `work`, whose calls this process answers, about the stores in `catalog`.
pub(super) async fn here<T>(
    catalog: Arc<Catalog>,
    work: impl AsyncFnOnce(Place) -> Result<T, OpenError>,
) -> Result<T, OpenError> {
    let api = Api::for_this_process(catalog);
    let done = work(Place::Here(api.clone())).await;
    api.end_jobs().await;
    done
}
