//! Calls about the server as a whole.

use tonic::Request;

use super::proto::server_server::Server;
use super::proto::{OpenExport, RawExport, StatusRequest, StatusResponse, Store};
use super::{Answer, Api, Response, convert};
use crate::volume::Access;

#[tonic::async_trait]
impl Server for Api {
    async fn status(&self, _: Request<StatusRequest>) -> Answer<StatusResponse> {
        let inner = &self.0;
        let served = inner.catalog.stores();
        let stores: Vec<Store> = served.iter().map(|served| convert::store(served)).collect();
        let raws = inner.catalog.raws().into_iter();
        let raws = raws.map(|(volume, users)| RawExport {
            name: volume.name().to_string(),
            size: volume.size(),
            read_only: volume.access() == Access::Read,
            connections: users.connections as u64,
        });
        let users = served.iter().flat_map(|served| served.users());
        let open = users.map(|(name, users)| OpenExport {
            name,
            connections: users.connections as u64,
        });
        let broken = stores.iter().filter(|store| !store.problem.is_empty());
        let problems = broken.map(|store| format!("{}: {}", store.name, store.problem));
        let door = inner.door.as_ref();
        let addresses = door.map_or(&[][..], |door| &door.addresses);
        Ok(Response::new(StatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: inner.started,
            nbd: addresses.iter().map(ToString::to_string).collect(),
            connections: door.map_or(0, |door| door.nbd.connections()) as u64,
            problems: problems.collect(),
            raws: raws.collect(),
            open: open.collect(),
            jobs: inner.jobs.running() as u64,
            stores,
        }))
    }
}
