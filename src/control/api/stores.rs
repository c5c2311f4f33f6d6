//! Calls about stores.

use std::sync::Arc;
use std::time::Duration;

use tonic::Request;

use super::proto::open_store_request::Key;
use super::proto::stores_server::Stores;
use super::proto::{
    AwaitRenewalRequest, AwaitRenewalResponse, CloseStoreRequest, CloseStoreResponse,
    CollectStoreRequest, CollectStoreResponse, GetStoreRequest, GetStoreResponse, GrowStoreRequest,
    GrowStoreResponse, ListStoresRequest, ListStoresResponse, OpenStoreRequest, OpenStoreResponse,
    RepackStoreRequest, RepackStoreResponse, StopRenewalRequest, StopRenewalResponse,
};
use super::{Answer, Api, Response, Status, convert, status};
use crate::backend::Location;
use crate::control::settings::StoreSettings;
use crate::control::{KeySource, StoreName, stores};
use crate::env;

/// How long a caller waits at once for something that takes long.
const AWAIT_MAX: Duration = Duration::from_secs(1);

#[tonic::async_trait]
impl Stores for Api {
    async fn list(&self, _: Request<ListStoresRequest>) -> Answer<ListStoresResponse> {
        let served = self.0.catalog.stores();
        let stores = served.iter().map(|served| convert::store(served));
        let stores = stores.collect();
        Ok(Response::new(ListStoresResponse { stores }))
    }

    async fn get(&self, request: Request<GetStoreRequest>) -> Answer<GetStoreResponse> {
        let served = self.store(&request.into_inner().name)?;
        let store = Some(convert::store(&served));
        Ok(Response::new(GetStoreResponse { store }))
    }

    async fn open(&self, request: Request<OpenStoreRequest>) -> Answer<OpenStoreResponse> {
        let OpenStoreRequest { name, url, key } = request.into_inner();
        let name = StoreName::new(&name).map_err(Status::invalid_argument)?;
        let location = Location::parse(&url).map_err(|error| status::of_open(&error))?;
        if self.0.catalog.store(name.as_str()).is_some() {
            let taken = stores::name_taken(name.as_str()).to_string();
            return Err(Status::already_exists(taken));
        }
        let mut settings = StoreSettings::new(location);
        settings.key = key.map(|key| match key {
            Key::KeyFile(path) => KeySource::KeyFile(path.into()),
            Key::PassphraseFile(path) => KeySource::PassphraseFile(path.into()),
        });
        let catalog = Arc::clone(&self.0.catalog);
        let devices = self.devices().ok();
        let opened = self.on_reactor(move || async move {
            let opened = stores::open_store(&catalog, &name, &settings).await;
            if let (Ok(_), Some(devices)) = (&opened, devices) {
                devices.take_back().await;
            }
            opened.map_err(|error| status::of_open(&error))
        });
        let store = Some(convert::store(&*opened.await?));
        Ok(Response::new(OpenStoreResponse { store }))
    }

    async fn grow(&self, request: Request<GrowStoreRequest>) -> Answer<GrowStoreResponse> {
        let GrowStoreRequest { name, size } = request.into_inner();
        let served = self.store(&name)?;
        self.on_reactor(move || async move {
            let grown = served.store().grow(size).await;
            grown.map_err(|error| status::of(served.url(), error))
        })
        .await?;
        Ok(Response::new(GrowStoreResponse {}))
    }

    async fn collect(&self, request: Request<CollectStoreRequest>) -> Answer<CollectStoreResponse> {
        let served = self.store(&request.into_inner().name)?;
        let store = self.on_reactor(move || async move {
            let collected = served.store().collect().await;
            collected.map_err(|error| status::of(served.url(), error))?;
            Ok(convert::store(&served))
        });
        let store = Some(store.await?);
        Ok(Response::new(CollectStoreResponse { store }))
    }

    async fn repack(&self, request: Request<RepackStoreRequest>) -> Answer<RepackStoreResponse> {
        let served = self.store(&request.into_inner().name)?;
        let begun = self.on_reactor(move || async move {
            let begun = served.store().repack().await;
            begun.map_err(|error| status::of(served.url(), error))
        });
        let renewal = begun.await?;
        Ok(Response::new(RepackStoreResponse { renewal }))
    }

    async fn await_renewal(
        &self,
        request: Request<AwaitRenewalRequest>,
    ) -> Answer<AwaitRenewalResponse> {
        let AwaitRenewalRequest { name, renewal } = request.into_inner();
        let served = self.store(&name)?;
        let left = self.on_reactor(move || async move {
            let store = served.store();
            match env::timeout(AWAIT_MAX, store.renewed(renewal)).await {
                Some(Ok(())) => Ok(None),
                Some(Err(error)) => Err(status::of(served.url(), error)),
                None => Ok(Some(convert::renewal(store).unwrap_or_default())),
            }
        });
        let renewal = left.await?;
        Ok(Response::new(AwaitRenewalResponse { renewal }))
    }

    async fn stop_renewal(
        &self,
        request: Request<StopRenewalRequest>,
    ) -> Answer<StopRenewalResponse> {
        let served = self.store(&request.into_inner().name)?;
        let stopped = self.on_reactor(move || async move {
            served.store().stop_renewal();
            Ok(())
        });
        stopped.await?;
        Ok(Response::new(StopRenewalResponse {}))
    }

    async fn close(&self, request: Request<CloseStoreRequest>) -> Answer<CloseStoreResponse> {
        let CloseStoreRequest { name, disconnect } = request.into_inner();
        let served = self.store(&name)?;
        let catalog = Arc::clone(&self.0.catalog);
        let disconnected = self.on_reactor(move || async move {
            let alone = match disconnect {
                true => served.dismiss().await,
                false => served.withdraw().await.map(|()| 0),
            };
            let connections = alone.map_err(|error| status::of(&name, error))?;
            let closed = stores::close_store(&catalog, &served).await;
            closed.map_err(|error| Status::internal(error.to_string()))?;
            Ok(connections)
        });
        let disconnected = disconnected.await? as u64;
        Ok(Response::new(CloseStoreResponse { disconnected }))
    }
}
