//! Calls about bitmaps, and about what differs.

use std::future::Future;
use std::sync::Arc;

use tonic::{Code, Request};

use super::proto;
use super::proto::bitmaps_server::Bitmaps;
use super::{Answer, Api, Response, Status, status};
use crate::base;
use crate::control::BitmapPath;
use crate::store::format::BLOCK;
use crate::store::{Store, StoreError};
use crate::volume::{REGION_BYTES, Volume};

/// Runs of changed and unchanged blocks that one call tells of.
const RUNS: usize = 4096;

#[tonic::async_trait]
impl Bitmaps for Api {
    async fn create(
        &self,
        request: Request<proto::CreateBitmapRequest>,
    ) -> Answer<proto::CreateBitmapResponse> {
        let name = request.into_inner().name;
        let create = |store: Arc<Store>, path: BitmapPath| async move {
            store.create_bitmap(&path.bitmap).await
        };
        match self.raw_bitmap(&name)? {
            Some(bitmap) => self.begin_raw(name, bitmap, true).await?,
            None => self.change(name, create).await?,
        }
        Ok(Response::new(proto::CreateBitmapResponse {}))
    }

    async fn list(
        &self,
        request: Request<proto::ListBitmapsRequest>,
    ) -> Answer<proto::ListBitmapsResponse> {
        let name = request.into_inner().volume;
        let tracked = self.tracked(&name)?;
        if let Some(tracker) = tracked.as_deref().and_then(Volume::tracker) {
            let told = tracker.bitmaps().into_iter().map(|bitmap| proto::Bitmap {
                name: format!("{name}:{}", bitmap.name),
                since: bitmap.since,
                given_up: false,
                granularity: REGION_BYTES,
            });
            let bitmaps = told.collect();
            return Ok(Response::new(proto::ListBitmapsResponse { bitmaps }));
        }
        let (served, path) = self.volume(&name)?;
        let found = served.store().disk(&path.tree);
        found.map_err(|error| status::of(&name, error))?;
        let mut known = served.store().list_bitmaps();
        known.retain(|bitmap| bitmap.name.volume_name() == path.tree.volume_name());
        let told = known.into_iter().map(|bitmap| proto::Bitmap {
            name: format!("{}/{}", path.store, bitmap.name),
            since: bitmap.created,
            given_up: bitmap.given_up,
            granularity: BLOCK as u64,
        });
        let bitmaps = told.collect();
        Ok(Response::new(proto::ListBitmapsResponse { bitmaps }))
    }

    async fn clear(
        &self,
        request: Request<proto::ClearBitmapRequest>,
    ) -> Answer<proto::ClearBitmapResponse> {
        let name = request.into_inner().name;
        let clear = |store: Arc<Store>, path: BitmapPath| async move {
            store.clear_bitmap(&path.bitmap).await
        };
        match self.raw_bitmap(&name)? {
            Some(bitmap) => self.begin_raw(name, bitmap, false).await?,
            None => self.change(name, clear).await?,
        }
        Ok(Response::new(proto::ClearBitmapResponse {}))
    }

    async fn delete(
        &self,
        request: Request<proto::DeleteBitmapRequest>,
    ) -> Answer<proto::DeleteBitmapResponse> {
        let name = request.into_inner().name;
        let delete = |store: Arc<Store>, path: BitmapPath| async move {
            store.delete_bitmap(&path.bitmap).await
        };
        match self.raw_bitmap(&name)? {
            Some(bitmap) => self.delete_raw(name, bitmap).await?,
            None => self.change(name, delete).await?,
        }
        Ok(Response::new(proto::DeleteBitmapResponse {}))
    }

    async fn diff(&self, request: Request<proto::DiffRequest>) -> Answer<proto::DiffResponse> {
        let proto::DiffRequest { from, to, offset } = request.into_inner();
        let (served, older) = self.snapshot(&from)?;
        let (_, newer) = self.tree(&to)?;
        if newer.store != older.store {
            let why = format!("it is not of the same store as {from}");
            let remedy = "compare what is in one store";
            return Err(status::new(Code::InvalidArgument, &to, &why, remedy));
        }
        let mark = served.store().mark(&older.tree);
        let mark = mark.map_err(|error| status::of(&from, error))?;
        let disk = served.store().disk(&newer.tree);
        let disk = disk.map_err(|error| status::of(&to, error))?;
        let size = disk.size();
        let (first, blocks) = (offset / BLOCK as u64, size.div_ceil(BLOCK as u64));
        if first >= blocks {
            return Ok(Response::new(proto::DiffResponse {
                changed: Vec::new(),
                end: size,
                size,
            }));
        }
        let find = move || async move {
            let found = disk.changes(mark, first, blocks - first, RUNS).await;
            found.map_err(|error| {
                let remedy = "see 'bedplate store check'";
                status::new(Code::DataLoss, &to, &error.to_string(), remedy)
            })
        };
        let runs = self.on_reactor(find).await?;
        let mut changed = Vec::new();
        let mut at = first * BLOCK as u64;
        for run in runs {
            if run.status == base::Status::Dirty {
                let (offset, length) = (at, run.bytes.min(size - at));
                changed.push(proto::Changed { offset, length });
            }
            at += run.bytes;
        }
        let end = at.min(size);
        Ok(Response::new(proto::DiffResponse { changed, end, size }))
    }
}

impl Api {
    /// Does `work` with the bitmap `name`.
    async fn change<F>(
        &self,
        name: String,
        work: impl FnOnce(Arc<Store>, BitmapPath) -> F + Send + 'static,
    ) -> Result<(), Status>
    where
        F: Future<Output = Result<(), StoreError>> + 'static,
    {
        let path = BitmapPath::parse(&name).map_err(Status::invalid_argument)?;
        let store = Arc::clone(self.store(path.store.as_str())?.store());
        self.on_reactor(move || async move {
            let done = work(store, path).await;
            done.map_err(|error| status::of(&name, error))
        })
        .await
    }

    /// The raw disk `name`, whose changes something tells of; `None` if it is not a raw disk.
    fn tracked(&self, name: &str) -> Result<Option<Arc<Volume>>, Status> {
        let raws = self.0.catalog.raws().into_iter();
        let mut raws = raws.map(|(volume, _)| volume);
        match raws.find(|volume| *volume.name() == *name) {
            Some(volume) if volume.tracker().is_none() => {
                let why = "nothing remembers what of this disk changes";
                let remedy =
                    "name a file for that in the config file: 'bitmaps' of its [raw] table";
                Err(status::new(Code::FailedPrecondition, name, why, remedy))
            }
            found => Ok(found),
        }
    }

    /// The raw disk and the name of its bitmap that `text` names, if it is one of a raw disk.
    fn raw_bitmap(&self, text: &str) -> Result<Option<RawBitmap>, Status> {
        let Some((export, name)) = text.rsplit_once(':') else {
            return Ok(None);
        };
        let name = name.to_owned();
        Ok(self.tracked(export)?.map(|disk| RawBitmap { disk, name }))
    }

    async fn begin_raw(&self, name: String, bitmap: RawBitmap, is_new: bool) -> Result<(), Status> {
        self.on_reactor(move || async move {
            let begun = bitmap.disk.begin_bitmap(&bitmap.name, is_new).await;
            begun.map_err(|error| status::of(&name, error))
        })
        .await
    }

    async fn delete_raw(&self, name: String, bitmap: RawBitmap) -> Result<(), Status> {
        self.on_reactor(move || async move {
            let tracker = bitmap.disk.tracker().expect("it was looked for");
            let deleted = tracker.delete_bitmap(&bitmap.name).await;
            deleted.map_err(|error| status::of(&name, error))
        })
        .await
    }
}

/// A bitmap of a raw disk that has a tracker.
struct RawBitmap {
    disk: Arc<Volume>,
    name: String,
}
