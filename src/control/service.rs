//! A running server: volumes open, sockets bound, reactors at work.

use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;

use super::api::{Api, Door};
use super::export_name::percent_encode;
use super::metrics::Sources;
use super::on_reactor::run_on;
use super::settings::{ControlSettings, RawSettings, Settings};
use super::socket::ControlSocket;
use super::{ExportName, metrics, stores};
use crate::backend;
use crate::backend::Location;
use crate::base::OpenError;
use crate::env::{Address, Handle, Listener, Runtime};
use crate::frontend::nbd::proto::TlsPolicy;
use crate::frontend::nbd::{Server, TlsServer};
use crate::frontend::ublk::{Devices, Shape};
use crate::volume::qos::QosTable;
use crate::volume::{Access, Catalog, Disk, RawDisk, Tracker, Volume, open_luks};

/// A server at work.
#[derive(Debug)]
pub struct Service {
    runtime: Runtime,
    nbd: Arc<Server>,
    devices: Arc<Devices>,
    catalog: Arc<Catalog>,
    control: Option<ControlSocket>,
    addresses: Vec<Address>,
    tls: bool,
}

impl Service {
    /// Opens everything that `settings` names and serves it. Nothing listens before everything is
    /// open.
    ///
    /// # Errors
    /// One line that says what could not be opened and what to do.
    pub fn start(settings: &Settings) -> Result<Self, OpenError> {
        let catalog = Arc::new(Catalog::default());
        let tls = settings.tls.as_ref();
        let policy = match tls {
            None => TlsPolicy::Off,
            Some(tls) if tls.optional => TlsPolicy::Optional,
            Some(_) => TlsPolicy::Required,
        };
        let loaded = tls.map(|tls| TlsServer::load(&tls.files)).transpose()?;
        limit(&catalog, settings)?;
        let runtime = start_runtime(settings.threads)?;
        let nbd = Server::new(Arc::clone(&catalog), loaded, policy);
        let reactors = runtime.handles().to_vec();
        let mut service = Self {
            devices: Devices::new(Arc::clone(&catalog), reactors),
            runtime,
            nbd,
            catalog,
            control: None,
            addresses: Vec::new(),
            tls: tls.is_some(),
        };
        match service.open(settings) {
            Ok(()) => Ok(service),
            Err(error) => {
                // What was opened before is as it was; that is not what went wrong.
                let _ = service.stop();
                Err(error)
            }
        }
    }

    /// Looks for what is wrong with `settings` as far as that shows without opening a store or a
    /// disk: in certificates, keys and limits.
    ///
    /// # Errors
    /// One line that says what is wrong and what to do.
    pub fn check(settings: &Settings) -> Result<(), OpenError> {
        if let Some(tls) = &settings.tls {
            TlsServer::load(&tls.files)?;
        }
        let of_stores = settings.stores.values().map(|store| &store.key);
        let of_disks = settings.raw.values().map(|raw| &raw.key);
        for key in of_stores.chain(of_disks).flatten() {
            key.read()?;
        }
        limit(&Catalog::default(), settings)
    }

    fn open(&mut self, settings: &Settings) -> Result<(), OpenError> {
        let reactor = &self.runtime.handles()[0];
        for (name, raw) in &settings.raw {
            offer(&self.catalog, open_raw(reactor, name, raw)?)?;
        }
        for (name, of_store) in &settings.stores {
            let (catalog, name) = (Arc::clone(&self.catalog), name.clone());
            let of_store = of_store.clone();
            run_on(reactor, move || async move {
                let opened = stores::open_store(&catalog, &name, &of_store).await;
                opened.map(drop)
            })?;
        }
        warn_of_limits_for_nothing(&self.catalog);
        self.attach(reactor, &settings.attach)?;
        let listeners = bind(&settings.nbd)?;
        let addresses = listeners.iter().map(|listener| listener.address().clone());
        self.addresses = addresses.collect();
        if let Some(address) = &settings.metrics {
            let listener = Listener::bind(address)?;
            tracing::info!(metrics = %listener.address(), "telling how it goes");
            let sources = Sources {
                catalog: Arc::clone(&self.catalog),
                nbd: Arc::clone(&self.nbd),
            };
            metrics::listen(reactor, listener, sources);
        }
        if let Some(control) = &settings.control {
            self.control = self.listen_for_control(control)?;
        }
        for listener in listeners {
            listen(&self.nbd, listener, self.runtime.handles());
        }
        Ok(())
    }

    /// Takes back what a server before this one has left, and attaches what is not attached yet.
    fn attach(&self, reactor: &Handle, names: &[ExportName]) -> Result<(), OpenError> {
        let (devices, names) = (Arc::clone(&self.devices), names.to_vec());
        run_on(reactor, move || async move {
            devices.take_back().await;
            let there = devices.list();
            for name in names {
                if there.iter().all(|device| device.volume != name.as_str()) {
                    let attached = devices.attach(name.as_str(), Shape::default()).await;
                    let device = attached.map_err(|error| error.line)?.number;
                    tracing::info!(%name, device, "attached");
                }
            }
            Ok(())
        })
    }

    fn listen_for_control(
        &self,
        settings: &ControlSettings,
    ) -> Result<Option<ControlSocket>, OpenError> {
        let door = Door {
            nbd: Arc::clone(&self.nbd),
            devices: Arc::clone(&self.devices),
            addresses: self.addresses.clone(),
        };
        let reactor = self.runtime.handles()[0].clone();
        let api = Api::new(Arc::clone(&self.catalog), reactor, Some(door));
        let (path, is_demanded) = match settings {
            ControlSettings::At(path) => (path, true),
            ControlSettings::Usual(path) => {
                make_folder(path);
                (path, false)
            }
        };
        match ControlSocket::listen(path, api) {
            Ok(socket) => Ok(Some(socket)),
            Err(error) if is_demanded => Err(error),
            Err(error) => {
                tracing::warn!(%error, "this server cannot be controlled; see --control");
                Ok(None)
            }
        }
    }

    /// Where NBD clients can connect.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Every way to reach every export, as NBD URIs.
    pub fn uris(&self) -> Vec<String> {
        let secure = if self.tls { "s" } else { "" };
        let uri = |address: &Address, name: &str| match address {
            Address::Unix(path) => {
                let path = percent_encode(&path.display().to_string());
                format!("nbd{secure}+unix:///{name}?socket={path}")
            }
            Address::Tcp(address) => format!("nbd{secure}://{address}/{name}"),
        };
        let names = self.catalog.names();
        let names: Vec<String> = names.iter().map(|name| percent_encode(name)).collect();
        self.addresses
            .iter()
            .flat_map(|address| names.iter().map(move |name| uri(address, name)))
            .collect()
    }

    /// The limits of all exports and groups, to be looked at and changed.
    pub fn qos(&self) -> &QosTable {
        self.catalog.qos()
    }

    /// Stops: takes no more calls, ends all jobs, accepts no more, finishes what is in flight,
    /// flushes every volume, closes every store, ends. Block devices stay, and wait for the server
    /// that comes next.
    ///
    /// # Errors
    /// If a volume could not be flushed, so that something may be lost that was not promised, or
    /// a store not closed.
    pub fn stop(mut self) -> Result<(), OpenError> {
        if let Some(control) = self.control.take() {
            control.stop();
        }
        let (nbd, catalog) = (Arc::clone(&self.nbd), Arc::clone(&self.catalog));
        let devices = Arc::clone(&self.devices);
        let stopped = run_on(&self.runtime.handles()[0], move || async move {
            devices.leave().await;
            nbd.drain().await;
            let mut outcome = Ok(());
            for (volume, _) in catalog.raws() {
                if let Err(error) = volume.flush().await {
                    let remedy = "check the disk beneath it before it is used again";
                    outcome = Err(OpenError::new(&*volume.name(), error, remedy));
                }
            }
            outcome.and(stores::close_stores(&catalog).await)
        });
        self.runtime.stop();
        stopped
    }
}

fn offer(catalog: &Catalog, volume: Volume) -> Result<(), OpenError> {
    let name = volume.name();
    let limits = catalog.qos().of(&name);
    match catalog.add(Arc::new(volume.limited_by(limits))) {
        true => Ok(()),
        false => {
            let why = "there are two exports of this name";
            Err(OpenError::new(&*name, why, "give each its own"))
        }
    }
}

/// Limits what will be in `catalog` as `settings` say.
fn limit(catalog: &Catalog, settings: &Settings) -> Result<(), OpenError> {
    for (name, limits) in &settings.groups {
        catalog.qos().set_group(name, *limits);
    }
    for (name, settings) in &settings.qos {
        let set = catalog.qos().set(name.as_str(), settings);
        let remedy = "name one that the config file makes";
        set.map_err(|error| OpenError::new(name.as_str(), error, remedy))?;
    }
    Ok(())
}

fn warn_of_limits_for_nothing(catalog: &Catalog) {
    for limited in catalog.qos().volumes() {
        if catalog.look(&limited.name).is_none() {
            // It may come later; if it was misspelt, something else is not limited.
            tracing::warn!(
                export = limited.name,
                "limits are set for what is not there"
            );
        }
    }
}

/// Makes the folder of a control socket, for this user, if it is missing.
fn make_folder(path: &Path) {
    use std::os::unix::fs::DirBuilderExt;
    let Some(folder) = path.parent() else {
        return;
    };
    // Whether it is there shows when the socket is made.
    let _ = std::fs::DirBuilder::new().mode(0o700).create(folder);
}

fn bind(addresses: &[Address]) -> Result<Vec<Listener>, OpenError> {
    addresses.iter().map(Listener::bind).collect()
}

fn open_raw(reactor: &Handle, name: &ExportName, raw: &RawSettings) -> Result<Volume, OpenError> {
    let (access, backend_access) = match raw.read_only {
        true => (Access::Read, backend::Access::Read),
        false => (Access::Write, backend::Access::Write),
    };
    let (called, location, key) = (name.to_string(), raw.location.clone(), raw.key.clone());
    let disk = run_on(reactor, move || async move {
        let disk = RawDisk::new(backend::open(&location, backend_access).await?);
        let Some(source) = key else {
            return Ok(Disk::from(disk));
        };
        let opened = open_luks(disk, &source.read()?, &called).await;
        let opened = opened.map_err(|error| OpenError::new(&called, &error, error.remedy()));
        opened.map(Disk::from)
    })?;
    let description = match raw.description.as_str() {
        "" => format!("raw {}", raw.location),
        text => text.to_owned(),
    };
    let tracker = match &raw.bitmaps {
        Some(location) => Some(open_tracker(reactor, location.clone(), disk.size())?),
        None => None,
    };
    let mut volume = Volume::new(name.as_str().to_owned(), description, access, disk);
    if let Some(tracker) = tracker {
        volume = volume.tracked_by(tracker);
    }
    Ok(match origin(name, &raw.location) {
        Some(origin) => volume.coming_from(origin),
        None => volume,
    })
}

/// Opens what tells of the changes of a disk of `disk_bytes`, and makes it if there is none.
fn open_tracker(
    reactor: &Handle,
    location: Location,
    disk_bytes: u64,
) -> Result<Arc<Tracker>, OpenError> {
    run_on(reactor, move || async move {
        let bytes = Tracker::file_bytes(disk_bytes);
        backend::make(&location, Some(bytes)).await?;
        backend::grow(&location, bytes).await?;
        let file = backend::open(&location, backend::Access::Write).await?;
        let tracker = Tracker::open(file, disk_bytes).await;
        tracker.map_err(|error| error.of(&location.to_string()))
    })
}

/// What a raw disk is, for as long as it is exported by the same name from the same place; `None`
/// if it goes with this process.
fn origin(name: &ExportName, location: &Location) -> Option<String> {
    match location {
        Location::File(path) => {
            let path = path.canonicalize().ok()?;
            Some(format!("{name} file:{}", path.display()))
        }
        Location::Mem(_) | Location::Null(_) => None,
        Location::Rbd(_) | Location::Nfs(_) | Location::Iscsi(_) => {
            Some(format!("{name} {location}"))
        }
    }
}

fn start_runtime(threads: Option<usize>) -> Result<Runtime, OpenError> {
    let threads = threads.unwrap_or_else(|| available_parallelism().map_or(1, usize::from));
    Runtime::start(threads).map_err(|error| {
        let remedy = "io_uring needs Linux 6.1 or newer and kernel.io_uring_disabled=0";
        OpenError::new("starting the reactors", error, remedy)
    })
}

fn listen(nbd: &Arc<Server>, listener: Listener, reactors: &[Handle]) {
    let nbd = Arc::clone(nbd);
    let all = reactors.to_vec();
    reactors[0].spawn(move || nbd.accept(listener, all));
}
