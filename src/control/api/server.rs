//! Calls about the server as a whole.

use std::collections::BTreeMap;

use tonic::{Code, Request};

use super::proto::server_server::Server;
use super::proto::{
    CountsRequest, CountsResponse, ExportCounts, OpenExport, RawExport, StatusRequest,
    StatusResponse, Store, Tls,
};
use super::{Answer, Api, Response, convert, status};
use crate::env;
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
        let devices = door.map_or_else(Vec::new, |door| door.devices.list());
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
            devices: devices.into_iter().map(convert::device).collect(),
            tls: door
                .map_or(Tls::Unspecified, |door| convert::tls(door.nbd.tls_policy()))
                .into(),
            stores,
        }))
    }

    async fn counts(&self, request: Request<CountsRequest>) -> Answer<CountsResponse> {
        let name = request.into_inner().name;
        let catalog = &self.0.catalog;
        let of_store = format!("{name}/");
        let wanted =
            |export: &str| name.is_empty() || export == name || export.starts_with(&of_store);
        let stores = catalog.stores().into_iter();
        let stores: Vec<Store> = stores
            .filter(|served| wanted(served.name()))
            .map(|served| convert::store(&served))
            .collect();
        let is_export = !name.is_empty() && catalog.names().contains(&name);
        if !name.is_empty() && stores.is_empty() && !is_export {
            let why = "there is no store or export of this name";
            let remedy = "see 'bedplate status' and 'bedplate volume list'";
            return Err(status::new(Code::NotFound, &name, why, remedy));
        }
        let mut exports = self.exports();
        exports.retain(|export, _| wanted(export));
        if is_export {
            let asked = exports.entry(name.clone()).or_default();
            asked.name.clone_from(&name);
        }
        let door = self.0.door.as_ref();
        Ok(Response::new(CountsResponse {
            at: env::now().as_nanos(),
            cpu: u64::try_from(env::cpu_time().as_nanos()).unwrap_or(u64::MAX),
            connections: door.map_or(0, |door| door.nbd.connections()) as u64,
            exports: exports.into_values().collect(),
            stores,
        }))
    }
}

impl Api {
    /// What was counted of all exports that are or were used, by name.
    fn exports(&self) -> BTreeMap<String, ExportCounts> {
        let catalog = &self.0.catalog;
        let mut exports = BTreeMap::<String, ExportCounts>::new();
        let raws = catalog.raws().into_iter();
        let raws = raws.map(|(volume, users)| (volume.name().to_string(), users));
        let stored = catalog.stores();
        let stored = stored.iter().flat_map(|served| served.users());
        for (name, users) in raws.chain(stored) {
            exports.entry(name).or_default().connections = users.connections as u64;
        }
        for (name, kind, counts) in catalog.counts() {
            let ops = &mut exports.entry(name).or_default().ops;
            ops.push(convert::op(kind, &counts));
        }
        for (name, export) in &mut exports {
            export.name.clone_from(name);
            export.waits = Some(catalog.qos().show(name).waits.into());
        }
        exports
    }
}
