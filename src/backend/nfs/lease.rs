//! Who may write: whoever renews a lease, a small file beside the disk's. NFS version 3 has no lock
//! that a server keeps, and none of its programs that could be relied on; so this is **weaker than
//! a lock**.
//!
//! The owner writes its name and a count into the file, every [`RENEW`]. It may send writes for
//! [`VALID`] from when it last began to see that the lease is its own; then it holds them back
//! until it has seen that again. Whoever else wants the disk:
//!
//! 1. makes the file, where there is none: exclusively, so one of several succeeds;
//! 2. is refused, where the file changes: the owner lives;
//! 3. where it does not change for [`SILENCE`], puts its own name into it, waits for as long once
//!    more, and has the disk if its name is still there. An owner that wakes meanwhile finds that
//!    name when it renews, and writes no more. Of several who put their names there the last is
//!    found, and an owner that renewed at the same moment, without having seen any.
//! 4. where the owner was a process of this machine that is gone, gives the file another name, by
//!    its handle, which one of several can; then takes it away, and makes its own. What the dead
//!    process sent is given [`GRACE`] to arrive.
//!
//! So two never both believe that they may write, as long as clocks run at nearly the same rate.
//! Weaker than a lock is this: a write that was sent in time, and is kept back in the network or in
//! the server for longer than `SILENCE`, is done all the same. No server of NFS version 3 can be
//! told to take nothing more from somebody.

mod content;

use std::time::Duration;

use super::proto::{self, FileHandle, Stable, Status};
use super::talk::{Ask, Payload, Talk, Trouble};
use crate::base::{Buf, OpenError};
use crate::env::{self, Instant};

use content::{CONTENT_BYTES, Content, Owner};

/// How often a lease is renewed.
pub(super) const RENEW: Duration = Duration::from_millis(2500);

/// For how long an owner may write after it has begun to renew its lease.
const VALID: Duration = Duration::from_secs(8);

/// How long a lease must be unchanged before it may be taken over. What this is longer than
/// [`VALID`] is for clocks that run differently, and for writes that are on their way.
const SILENCE: Duration = Duration::from_secs(10);

/// How long what a dead process sent may take to arrive.
const GRACE: Duration = Duration::from_secs(2);

/// How often a lease is looked at by somebody who waits for it.
const LOOK: Duration = Duration::from_millis(200);

/// How often it is begun anew, where others come between.
const TRIES: u32 = 20;

/// What the lease of the file `name` is called.
pub(super) fn lease_name(name: &str) -> String {
    format!("{name}.lease")
}

/// A lease that is ours.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) folder: FileHandle,
    pub(super) name: String,
    content: Content,
    valid_until: Instant,
}

/// What became of a lease.
pub(super) enum Renewed {
    /// It is still ours.
    Ours(Held),
    /// It is somebody else's, or gone.
    Lost,
}

/// What a lease is found to be.
#[derive(Clone, PartialEq, Eq)]
struct Found {
    file: FileHandle,
    bytes: Vec<u8>,
}

impl Found {
    fn content(&self) -> Option<Content> {
        Content::parse(&self.bytes)
    }
}

impl Held {
    /// Whether writes may be sent.
    pub(super) fn is_valid(&self) -> bool {
        env::since_boot() < self.valid_until
    }
}

/// Takes the lease of the file `name` in `folder`, which `what` is called.
///
/// # Errors
/// If somebody has it, or it cannot be taken.
pub(super) async fn acquire(
    talk: &mut Talk,
    folder: &FileHandle,
    name: &str,
    what: &str,
) -> Result<Held, OpenError> {
    let at = Place {
        folder,
        name: lease_name(name),
    };
    for _ in 0..TRIES {
        let owner = Owner::this_process();
        match at.try_acquire(talk, &owner).await {
            Ok(Tried::Held(held)) => return Ok(held),
            Ok(Tried::Again) => {}
            Ok(Tried::Busy(owner)) => return Err(in_use(what, &at.name, owner.as_ref())),
            Err(trouble) => return Err(cannot(what, &at.name, &trouble)),
        }
    }
    Err(in_use(what, &at.name, None))
}

/// Makes sure that nobody has the lease who writes, for somebody who reads.
///
/// # Errors
/// If somebody has it, or that cannot be told.
pub(super) async fn refuse_if_held(
    talk: &mut Talk,
    folder: &FileHandle,
    name: &str,
    what: &str,
) -> Result<(), OpenError> {
    let at = Place {
        folder,
        name: lease_name(name),
    };
    let look = async {
        let Some(found) = at.look(talk).await? else {
            return Ok(None);
        };
        let content = found.content();
        if content.as_ref().is_some_and(|c| c.owner.is_dead_here()) {
            return Ok(None);
        }
        match at.watch(talk, &found).await? {
            Watched::Gone | Watched::Unchanged => Ok(None),
            Watched::Changed => Ok(Some(content)),
        }
    };
    match look.await {
        Ok(None) => Ok(()),
        Ok(Some(owner)) => Err(in_use(what, &at.name, owner.as_ref())),
        Err(trouble) => Err(cannot(what, &at.name, &trouble)),
    }
}

/// Renews a lease, if it is still ours.
///
/// # Errors
/// If the server did not say.
pub(super) async fn renew(held: &Held, ask: &mut impl Ask) -> Result<Renewed, Trouble> {
    let at = Place {
        folder: &held.folder,
        name: held.name.clone(),
    };
    let began = env::since_boot();
    let found = at.look(ask).await?;
    let ours = found.filter(|found| {
        let content = found.content();
        content.is_some_and(|content| content.owner == held.content.owner)
    });
    let Some(found) = ours else {
        return Ok(Renewed::Lost);
    };
    let mut held = held.clone();
    held.content.count += 1;
    match put(ask, &found.file, &held.content).await {
        Ok(()) => {}
        Err(Trouble::Status(status)) if status.errno() == libc::ESTALE => {
            return Ok(Renewed::Lost);
        }
        Err(trouble) => return Err(trouble),
    }
    held.valid_until = began + VALID;
    Ok(Renewed::Ours(held))
}

/// Gives a lease back that is valid.
///
/// # Errors
/// If the server did not take it; then it ends by itself.
pub(super) async fn release(held: &Held, talk: &mut Talk) -> Result<(), Trouble> {
    match renew(held, talk).await? {
        Renewed::Ours(held) => {
            let call = proto::remove(&held.folder, &held.name);
            talk.want(&call, None, proto::parse_done).await
        }
        Renewed::Lost => Ok(()),
    }
}

/// Says for the log that a lease is lost.
pub(super) fn tell_lost(held: &Held) {
    tracing::error!(
        lease = held.name,
        "another server has taken over the lease of a disk, or somebody removed it; this one \
         writes no more"
    );
}

fn in_use(what: &str, lease: &str, owner: Option<&Content>) -> OpenError {
    let who = owner.map_or_else(|| "another".to_owned(), |content| content.owner.shown());
    let why = format!("in use by another process: {who}, which renews {lease}");
    OpenError::new(what, why, "stop that one first")
}

fn cannot(what: &str, lease: &str, trouble: &Trouble) -> OpenError {
    let why = format!("its lease {lease}, which is weaker than a lock, cannot be taken: {trouble}");
    let remedy = match trouble.errno() {
        libc::EACCES | libc::EPERM => {
            "let the user write to the folder, or name another with ?uid=N&gid=N"
        }
        libc::EROFS => "export it for writing",
        libc::ENOSPC | libc::EDQUOT => "a lease takes a file of 512 bytes; make room for it",
        _ => "",
    };
    OpenError::new(what, why, remedy)
}

async fn put(ask: &mut impl Ask, file: &FileHandle, content: &Content) -> Result<(), Trouble> {
    let payload = Payload::new(Buf::from(&content.encode()[..]));
    let call = proto::write(file, 0, payload.len(), Stable::File);
    let parse = |results: &[u8]| proto::parse_write(results, CONTENT_BYTES);
    let written = ask.want(&call, Some(payload), parse).await?;
    match written.count as usize == CONTENT_BYTES && written.stable == Stable::File {
        true => Ok(()),
        false => Err(Trouble::Malformed),
    }
}

/// Where a lease is.
struct Place<'a> {
    folder: &'a FileHandle,
    name: String,
}

enum Tried {
    Held(Held),
    Busy(Option<Content>),
    Again,
}

enum Watched {
    Unchanged,
    Changed,
    Gone,
}

impl Place<'_> {
    async fn try_acquire(&self, talk: &mut Talk, owner: &Owner) -> Result<Tried, Trouble> {
        let began = env::since_boot();
        let create = proto::create_exclusive(self.folder, &self.name, owner.verifier());
        match talk.want(&create, None, proto::parse_create).await {
            Ok(file) => return self.fill(talk, owner, file, began).await,
            Err(Trouble::Status(Status::EXISTS)) => {}
            Err(trouble) => return Err(trouble),
        }
        let Some(found) = self.look(talk).await? else {
            return Ok(Tried::Again);
        };
        let content = found.content();
        if let Some(old) = content.as_ref().filter(|c| c.owner.is_dead_here())
            && self.bury(talk, &found, old).await?
        {
            return Ok(Tried::Again);
        }
        match self.watch(talk, &found).await? {
            Watched::Gone => Ok(Tried::Again),
            Watched::Changed => Ok(Tried::Busy(content)),
            Watched::Unchanged => self.claim(talk, owner, &found).await,
        }
    }

    /// Puts our name into a file that was just made.
    async fn fill(
        &self,
        talk: &mut Talk,
        owner: &Owner,
        file: Option<FileHandle>,
        began: Instant,
    ) -> Result<Tried, Trouble> {
        let file = match file {
            Some(file) => file,
            None => {
                let lookup = proto::lookup(self.folder, &self.name);
                talk.want(&lookup, None, proto::parse_lookup).await?
            }
        };
        let settle = proto::settle_new(&file, 0);
        talk.want(&settle, None, proto::parse_done).await?;
        let content = Content::new(owner);
        put(talk, &file, &content).await?;
        // Somebody who saw an empty file for so long may have put another name there.
        if env::since_boot() - began > VALID / 2 {
            return Ok(Tried::Again);
        }
        Ok(Tried::Held(self.held(content, began)))
    }

    fn held(&self, content: Content, began: Instant) -> Held {
        Held {
            folder: self.folder.clone(),
            name: self.name.clone(),
            content,
            valid_until: began + VALID,
        }
    }

    async fn look(&self, ask: &mut impl Ask) -> Result<Option<Found>, Trouble> {
        let gone = |trouble| match trouble {
            Trouble::Status(status) if matches!(status.errno(), libc::ENOENT | libc::ESTALE) => {
                Ok(None)
            }
            trouble => Err(trouble),
        };
        let lookup = proto::lookup(self.folder, &self.name);
        let file = match ask.want(&lookup, None, proto::parse_lookup).await {
            Ok(file) => file,
            Err(trouble) => return gone(trouble),
        };
        let read = proto::read(&file, 0, CONTENT_BYTES);
        let parse = |results: &[u8]| {
            let read = proto::parse_read(results, CONTENT_BYTES)?;
            Ok(read.map(|read| read.data.to_vec()))
        };
        match ask.want(&read, None, parse).await {
            Ok(bytes) => Ok(Some(Found { file, bytes })),
            Err(trouble) => gone(trouble),
        }
    }

    /// Looks whether the lease changes for so long.
    async fn watch(&self, talk: &mut Talk, first: &Found) -> Result<Watched, Trouble> {
        let began = env::since_boot();
        while env::since_boot() - began < SILENCE {
            env::sleep(LOOK).await;
            match self.look(talk).await? {
                None => return Ok(Watched::Gone),
                Some(found) if found != *first => return Ok(Watched::Changed),
                Some(_) => {}
            }
        }
        Ok(Watched::Unchanged)
    }

    /// Puts our name into a lease that nobody has renewed, and sees whether it stays there.
    async fn claim(&self, talk: &mut Talk, owner: &Owner, found: &Found) -> Result<Tried, Trouble> {
        tracing::warn!(lease = self.name, "nobody renews it; taking it over");
        let content = Content::new(owner);
        match put(talk, &found.file, &content).await {
            Ok(()) => {}
            Err(Trouble::Status(status)) if status.errno() == libc::ESTALE => {
                return Ok(Tried::Again);
            }
            Err(trouble) => return Err(trouble),
        }
        let claimed = Found {
            file: found.file.clone(),
            bytes: content.encode().to_vec(),
        };
        env::sleep(SILENCE).await;
        let began = env::since_boot();
        match self.look(talk).await? {
            Some(now) if now == claimed => {}
            now => return Ok(Tried::Busy(now.and_then(|now| now.content()))),
        }
        if let Some(old) = found.content() {
            // Somebody may have died while burying it.
            let remove = proto::remove(self.folder, &self.grave(&old));
            let _ = talk.want(&remove, None, proto::parse_done).await;
        }
        Ok(Tried::Held(self.held(content, began)))
    }

    fn grave(&self, old: &Content) -> String {
        format!("{}.{}", self.name, old.owner.short())
    }

    /// Takes the lease of a dead process away; whether that is done.
    async fn bury(&self, talk: &mut Talk, found: &Found, old: &Content) -> Result<bool, Trouble> {
        env::sleep(GRACE).await;
        let began = env::since_boot();
        if self.look(talk).await?.as_ref() != Some(found) {
            return Ok(true);
        }
        let grave = self.grave(old);
        let link = proto::link(&found.file, self.folder, &grave);
        match talk.want(&link, None, proto::parse_done).await {
            Ok(()) => {}
            // Somebody is at it or died at it, or there are no links here; time tells.
            Err(Trouble::Status(_)) => return Ok(false),
            Err(trouble) => return Err(trouble),
        }
        // So long after somebody else may have taken it over in the other way.
        if env::since_boot() - began < VALID / 2 {
            let remove = proto::remove(self.folder, &self.name);
            talk.want(&remove, None, proto::parse_done).await?;
        }
        let remove = proto::remove(self.folder, &grave);
        talk.want(&remove, None, proto::parse_done).await?;
        Ok(true)
    }
}
