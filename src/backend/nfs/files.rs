//! Finding, making and changing a file by its place.

use std::net::{SocketAddr, ToSocketAddrs};

use super::lease::lease_name;
use super::place::NfsPlace;
use super::proto::{self, FileHandle, FileKind, Outcome, Status};
use super::talk::{Ask, Payload, Talk, Trouble};
use crate::backend::Made;
use crate::base::OpenError;
use crate::env;

/// How many addresses of a server are tried.
const ADDRESSES_MAX: usize = 4;

/// The folder of a file, and a connection to its server.
pub(super) struct Reached {
    pub(super) talk: Talk,
    pub(super) address: SocketAddr,
    pub(super) folder: FileHandle,
}

/// What is said of a file.
pub(super) struct About<'a> {
    pub(super) place: &'a NfsPlace,
    pub(super) what: String,
}

impl<'a> About<'a> {
    pub(super) fn new(place: &'a NfsPlace) -> Self {
        let what = place.to_string();
        Self { place, what }
    }

    pub(super) fn refused(&self, why: String, remedy: &'static str) -> OpenError {
        OpenError::new(&self.what, why, remedy)
    }

    /// Why something about the file could not be done.
    pub(super) fn failed(&self, doing: &str, trouble: &Trouble) -> OpenError {
        let remedy = match trouble.errno() {
            libc::EACCES | libc::EPERM => {
                "give the user the right, or name another with ?uid=N&gid=N"
            }
            libc::EROFS => "export it for writing",
            libc::ENOSPC | libc::EDQUOT | libc::EFBIG => "name a smaller size, or find the space",
            _ => "",
        };
        self.refused(format!("{doing}: {trouble}"), remedy)
    }

    async fn want<T>(
        &self,
        talk: &mut Talk,
        doing: &str,
        call: &proto::Call,
        parse: impl Fn(&[u8]) -> Outcome<T>,
    ) -> Result<T, OpenError> {
        let wanted = talk.want(call, None::<Payload>, parse).await;
        wanted.map_err(|trouble| self.failed(doing, &trouble))
    }

    /// Connects, and finds the folder.
    ///
    /// # Errors
    /// One line that says who does not answer, or what is not there.
    pub(super) async fn reach(&self) -> Result<Reached, OpenError> {
        let (mut talk, address) = self.connect(self.place.nfs_port()).await?;
        let (folders, _) = self.place.names();
        let (mut folder, mounted) = self.mount(address, &folders).await?;
        for name in &folders[mounted..] {
            let doing = format!("the folder {name} cannot be reached");
            let call = proto::lookup(&folder, name);
            folder = self
                .want(&mut talk, &doing, &call, proto::parse_lookup)
                .await?;
        }
        Ok(Reached {
            talk,
            address,
            folder,
        })
    }

    async fn connect(&self, port: u16) -> Result<(Talk, SocketAddr), OpenError> {
        let host = &self.place.host;
        let name = (host.clone(), port);
        let found = env::blocking(move || name.to_socket_addrs().map(Iterator::collect)).await;
        let addresses: Vec<SocketAddr> = found.map_err(|error| {
            let why = format!("the server {host} cannot be found: {error}");
            self.refused(
                why,
                "name it by an address, or see whether the name is right",
            )
        })?;
        let mut last = Trouble::Silent;
        for address in addresses.into_iter().take(ADDRESSES_MAX) {
            match Talk::connect(address, &self.place.credentials()).await {
                Ok(talk) => return Ok((talk, address)),
                Err(trouble) => last = trouble,
            }
        }
        Err(self.refused(
            format!("no NFS server at {host} port {port}: {last}"),
            "see whether it runs, and name its port as nfs://HOST:PORT/...",
        ))
    }

    /// The handle of the innermost of `folders` that the server lets be mounted, and how many that
    /// takes.
    async fn mount(
        &self,
        server: SocketAddr,
        folders: &[&str],
    ) -> Result<(FileHandle, usize), OpenError> {
        let port = match self.place.mount_port {
            Some(port) => port,
            None => self.ask_for_port(server).await?,
        };
        let remedy = "see whether it is the port of mountd, as named with ?mountport=N";
        let failed = |trouble: Trouble| {
            self.refused(
                format!("no MOUNT service at port {port}: {trouble}"),
                remedy,
            )
        };
        let to = SocketAddr::new(server.ip(), port);
        let talk = Talk::connect(to, &self.place.credentials()).await;
        let mut talk = talk.map_err(failed)?;
        let mut first = None;
        for count in (0..=folders.len()).rev() {
            let path = format!("/{}", folders[..count].join("/"));
            match talk
                .want(&proto::mount(&path), None, proto::parse_mount)
                .await
            {
                Ok(handle) => return Ok((handle, count)),
                Err(Trouble::Status(status)) => {
                    first.get_or_insert(status);
                }
                Err(trouble) => return Err(failed(trouble)),
            }
        }
        let status = first.expect("one path at least was tried");
        let why = format!(
            "the server exports nothing at /{}: {status}",
            folders.join("/")
        );
        let remedy = "see what 'showmount -e' says, and whether this machine may mount it";
        Err(self.refused(why, remedy))
    }

    async fn ask_for_port(&self, server: SocketAddr) -> Result<u16, OpenError> {
        let to = SocketAddr::new(server.ip(), proto::PORTMAP_PORT);
        let ask = async {
            let mut talk = Talk::connect(to, &self.place.credentials()).await?;
            let results = talk.ask(&proto::get_port(), None).await?;
            Ok::<_, Trouble>(proto::parse_port(&results)?)
        };
        let remedy = "name the port of its mountd with ?mountport=N";
        match ask.await {
            Ok(Some(port)) => Ok(port),
            Ok(None) => Err(self.refused("the server has no MOUNT service".to_owned(), remedy)),
            Err(trouble) => {
                let why = format!("no port mapper at port {}: {trouble}", proto::PORTMAP_PORT);
                Err(self.refused(why, remedy))
            }
        }
    }

    /// The file, and how large it is, if it is there.
    pub(super) async fn find(
        &self,
        reached: &mut Reached,
    ) -> Result<Option<(FileHandle, u64)>, OpenError> {
        let (_, name) = self.place.names();
        let call = proto::lookup(&reached.folder, name);
        let file = match reached.talk.want(&call, None, proto::parse_lookup).await {
            Ok(file) => file,
            Err(Trouble::Status(Status::NO_ENTRY)) => return Ok(None),
            Err(trouble) => return Err(self.failed("the file cannot be looked for", &trouble)),
        };
        let call = proto::getattr(&file);
        let doing = "the file cannot be looked at";
        let found = self
            .want(&mut reached.talk, doing, &call, proto::parse_getattr)
            .await?;
        match found.kind {
            FileKind::Regular => Ok(Some((file, found.size))),
            FileKind::Directory => {
                Err(self.refused("it is a folder".to_owned(), "name a file in it"))
            }
            FileKind::Other => Err(self.refused("it is no file".to_owned(), "name a file")),
        }
    }

    pub(super) fn missing(&self) -> OpenError {
        self.refused(
            "there is no such file".to_owned(),
            "make it first, for example with: bedplate store create URL --size SIZE",
        )
    }

    async fn resize(&self, talk: &mut Talk, call: &proto::Call) -> Result<(), OpenError> {
        let doing = "it cannot be made so large";
        self.want(talk, doing, call, proto::parse_done).await
    }
}

/// Makes the file at `place` with `size` bytes if there is none.
///
/// # Errors
/// One line that says what is missing or who does not answer.
pub(in crate::backend) async fn make(
    place: &NfsPlace,
    size: Option<u64>,
) -> Result<Made, OpenError> {
    let about = About::new(place);
    let mut reached = about.reach().await?;
    if about.find(&mut reached).await?.is_some() {
        return Ok(Made::Before);
    }
    let Some(size) = size else {
        let remedy = "say how large with --size SIZE, and it is made";
        return Err(about.refused("there is no such file".to_owned(), remedy));
    };
    let (_, name) = place.names();
    let verifier = env::random_u64().to_be_bytes();
    let create = proto::create_exclusive(&reached.folder, name, verifier);
    let doing = "it cannot be made";
    let talk = &mut reached.talk;
    let made = about
        .want(talk, doing, &create, proto::parse_create)
        .await?;
    let file = match made {
        Some(file) => file,
        None => {
            let lookup = proto::lookup(&reached.folder, name);
            about
                .want(talk, doing, &lookup, proto::parse_lookup)
                .await?
        }
    };
    let settled = about.resize(talk, &proto::settle_new(&file, size)).await;
    if settled.is_err() {
        let remove = proto::remove(&reached.folder, name);
        let _ = talk.want(&remove, None, proto::parse_done).await;
    }
    settled.map(|()| Made::Here)
}

/// Makes the file at `place` at least `size` bytes large.
///
/// # Errors
/// One line that says what is missing or who does not answer.
pub(in crate::backend) async fn grow(place: &NfsPlace, size: u64) -> Result<(), OpenError> {
    let about = About::new(place);
    let mut reached = about.reach().await?;
    let Some((file, now)) = about.find(&mut reached).await? else {
        return Err(about.missing());
    };
    if now >= size {
        return Ok(());
    }
    about
        .resize(&mut reached.talk, &proto::resize(&file, size))
        .await
}

/// Takes the file at `place` away, and its lease.
pub(in crate::backend) async fn unmake(place: &NfsPlace) {
    let about = About::new(place);
    let (_, name) = place.names();
    let remove = async {
        let mut reached = about.reach().await?;
        for name in [name, &lease_name(name)] {
            let call = proto::remove(&reached.folder, name);
            let removed = reached.talk.want(&call, None, proto::parse_done).await;
            match removed {
                Ok(()) | Err(Trouble::Status(Status::NO_ENTRY)) => {}
                Err(trouble) => return Err(about.failed("it cannot be removed", &trouble)),
            }
        }
        Ok::<_, OpenError>(())
    };
    if let Err(error) = remove.await {
        tracing::warn!(%error, "a file that was just made could not be removed");
    }
}
