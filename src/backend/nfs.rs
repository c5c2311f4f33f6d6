//! A file on a server of NFS version 3, without a kernel's mount.
//!
//! Writes are sent as unstable: the server answers when it has them in memory, and COMMIT makes
//! them durable. All that is not committed is kept here, for a server that was started again
//! (`recovery.rs`). While the server does not answer requests wait, as on a slow disk, up to a time
//! that is set; then they fail, and so does every request after them until the disk is opened
//! again, since what was sent may still be done and no server of NFS version 3 can be told not to.
//!
//! Who may write is told by a lease, which is weaker than a lock (`lease.rs`).

mod files;
mod lease;
mod link;
mod place;
pub mod proto;
mod recovery;
mod talk;
mod unstable;

use std::sync::Arc;

use super::retry::Backoff;
use super::{Access, Backend, Geometry};
use crate::base::limits::NFS_TRANSFER_BYTES_MAX;
use crate::base::{
    Buf, Error, Extent, Fault, OpenError, Refusal, Result, Status, StatusRun, ZeroMode,
};
use crate::env::{self, Instant};

use files::{About, Reached};
use lease::Renewed;
use link::{Link, Urgently, later};
use proto::{ACCESS_EXTEND, ACCESS_MODIFY, ACCESS_READ, FileHandle};
use talk::{Ask, Payload, Talk, Trouble};

pub(super) use files::{grow, make, unmake};
pub use place::NfsPlace;

/// Parts of a large request that are under way at once.
const PARTS: usize = 8;

/// A file on an NFS server.
#[derive(Debug)]
pub struct Nfs {
    link: Arc<Link>,
    size: u64,
    read_bytes_max: usize,
    write_bytes_max: usize,
}

impl Nfs {
    /// Opens the file at `place`, and takes its lease if it is to be written.
    ///
    /// # Errors
    /// One line that says what is missing, who does not answer, or who has it.
    pub async fn open(place: &NfsPlace, access: Access) -> std::result::Result<Self, OpenError> {
        Box::pin(Self::open_here(place, access)).await
    }

    async fn open_here(place: &NfsPlace, access: Access) -> std::result::Result<Self, OpenError> {
        let about = About::new(place);
        let mut reached = about.reach().await?;
        let Some((file, _)) = about.find(&mut reached).await? else {
            return Err(about.missing());
        };
        let limits = may_be_used(&about, &mut reached.talk, &file, access).await?;
        let Reached {
            mut talk,
            address,
            folder,
        } = reached;
        let (_, name) = place.names();
        let lease = match access {
            Access::Write => Some(lease::acquire(&mut talk, &folder, name, &about.what).await?),
            Access::Read => {
                lease::refuse_if_held(&mut talk, &folder, name, &about.what).await?;
                None
            }
        };
        // Only now is it known that nobody makes it larger.
        let getattr = proto::getattr(&file);
        let found = talk.want(&getattr, None, proto::parse_getattr).await;
        let size = found.map_err(|trouble| about.failed("it cannot be looked at", &trouble));
        let size = match size {
            Ok(found) if found.size > 0 => found.size,
            unusable => {
                if let Some(held) = &lease {
                    let _ = lease::release(held, &mut talk).await;
                }
                let remedy = "give it a size with: truncate -s SIZE FILE";
                unusable?;
                return Err(about.refused("it is empty".to_owned(), remedy));
            }
        };
        let has_lease = lease.is_some();
        let of = (address, place.credentials());
        let link = Link::new(of, file, place.timeout, lease);
        env::spawn(Arc::clone(&link).run(talk));
        if has_lease {
            env::spawn(keep_lease(Arc::clone(&link)));
        }
        let usable = |bytes: u32| NFS_TRANSFER_BYTES_MAX.min(bytes as usize);
        Ok(Self {
            link,
            size,
            read_bytes_max: usable(limits.read_bytes_max),
            write_bytes_max: usable(limits.write_bytes_max),
        })
    }

    async fn write_parts(&self, offset: u64, data: Payload) -> Result<()> {
        let until = env::now() + self.link.timeout;
        let starts: Vec<usize> = (0..data.len()).step_by(self.write_bytes_max).collect();
        for starts in starts.chunks(PARTS) {
            let parts = starts.iter().map(|start| {
                let end = data.len().min(start + self.write_bytes_max);
                self.write_part(offset + *start as u64, data.part(*start, end), until)
            });
            for written in env::all(parts).await {
                written.map_err(|trouble| changed("write", &trouble))?;
            }
        }
        Ok(())
    }

    async fn write_part(
        &self,
        mut offset: u64,
        mut rest: Payload,
        until: Instant,
    ) -> std::result::Result<(), Trouble> {
        let mut backoff = Backoff::new();
        while rest.len() > 0 {
            match self.link.write(offset, rest.clone(), until).await {
                Ok(count) => {
                    // Here, for parts of the same request may wait for what this sets free.
                    self.link.commit_soon();
                    rest = rest.part(count, rest.len());
                    offset += count as u64;
                }
                Err(Trouble::Status(proto::Status::LATER)) => later(&mut backoff, until).await?,
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(())
    }

    async fn read_parts(&self, at: Extent, mut buf: Buf) -> Result<Buf> {
        let until = env::now() + self.link.timeout;
        if buf.len() <= self.read_bytes_max {
            return self.read_part(at.offset(), buf, until).await;
        }
        let starts: Vec<usize> = (0..buf.len()).step_by(self.read_bytes_max).collect();
        for starts in starts.chunks(PARTS) {
            let parts = starts.iter().map(|start| {
                let bytes = self.read_bytes_max.min(buf.len() - start);
                self.read_part(at.offset() + *start as u64, Buf::new(bytes), until)
            });
            for (start, part) in starts.iter().zip(env::all(parts).await) {
                let part = part?;
                buf[*start..*start + part.len()].copy_from_slice(&part);
            }
        }
        Ok(buf)
    }

    /// Fills `buf`, which one call may fill.
    async fn read_part(&self, offset: u64, buf: Buf, until: Instant) -> Result<Buf> {
        let failed = |trouble: &Trouble| Error::Failed(fault("read", trouble));
        let len = buf.len();
        let mut whole: Option<Buf> = None;
        let (mut done, mut next) = (0, buf);
        let mut backoff = Backoff::new();
        loop {
            let wanted = next.len();
            let read = self.link.read(offset + done as u64, next, until).await;
            let (part, count, is_end) = match read {
                Ok((part, count, is_end)) => (part, count, is_end),
                Err(Trouble::Status(proto::Status::LATER)) => {
                    later(&mut backoff, until)
                        .await
                        .map_err(|trouble| failed(&trouble))?;
                    next = Buf::new(wanted);
                    continue;
                }
                Err(trouble) => return Err(failed(&trouble)),
            };
            if count == len {
                return Ok(part);
            }
            let whole = whole.get_or_insert_with(|| Buf::new(len));
            whole[done..done + count].copy_from_slice(&part[..count]);
            done += count;
            if done == len {
                return Ok(std::mem::replace(whole, Buf::new(0)));
            }
            if is_end {
                tracing::error!("a file has become shorter while it is in use");
                let errno = libc::ENXIO;
                let during = "read";
                return Err(Error::Failed(Fault { during, errno }));
            }
            next = Buf::new(len - done);
        }
    }

    async fn write_zero_parts(&self, at: Extent) -> Result<()> {
        let zeroes = Payload::new(Buf::zeroed(self.write_bytes_max.min(at.len())));
        let until_end = at.end();
        let mut offset = at.offset();
        while offset < until_end {
            let step = (PARTS * zeroes.len()) as u64;
            let end = until_end.min(offset + step);
            let until = env::now() + self.link.timeout;
            let starts = (offset..end).step_by(zeroes.len());
            let parts = starts.map(|start| {
                let bytes = zeroes.len().min(Extent::between(start, end).len());
                self.write_part(start, zeroes.part(0, bytes), until)
            });
            for written in env::all(parts).await {
                written.map_err(|trouble| changed("write zeroes", &trouble))?;
            }
            offset = end;
        }
        Ok(())
    }
}

impl Backend for Nfs {
    fn geometry(&self) -> Geometry {
        Geometry {
            size: self.size,
            block: 1,
            preferred_block: 4096,
            fast_zeroes: false,
        }
    }

    // What is boxed below would make the futures of all requests larger, those of other backends
    // too.

    async fn read(&self, at: Extent, buf: Buf) -> Result<Buf> {
        Box::pin(self.read_parts(at, buf)).await
    }

    async fn write(&self, offset: u64, data: Buf) -> Result<()> {
        Box::pin(self.write_parts(offset, Payload::new(data))).await
    }

    async fn flush(&self) -> Result<()> {
        let committed = Box::pin(self.link.commit()).await;
        committed.map_err(|trouble| Error::Unknown(fault("flush", &trouble)))
    }

    /// NFS version 3 has nothing for it.
    async fn discard(&self, _: Extent) -> Result<()> {
        Ok(())
    }

    async fn write_zeroes(&self, at: Extent, mode: ZeroMode) -> Result<()> {
        match mode.only_if_fast {
            true => Err(Error::Refused(Refusal::NotSupported)),
            false => Box::pin(self.write_zero_parts(at)).await,
        }
    }

    /// NFS version 3 cannot tell.
    async fn status(&self, at: Extent, _: usize) -> Result<Vec<StatusRun>> {
        Ok(vec![StatusRun {
            bytes: at.bytes(),
            status: Status::Data,
        }])
    }
}

impl Drop for Nfs {
    /// Gives the lease back, unless something is under way that would then be done without it.
    fn drop(&mut self) {
        let is_idle = self.link.is_idle();
        let held = self.link.lock().lease.take();
        let was_lost = self.link.has_ended();
        self.link.end(libc::ESHUTDOWN);
        let Some(held) = held.filter(|held| is_idle && !was_lost && held.is_valid()) else {
            return;
        };
        let (to, who) = (self.link.to, self.link.who.clone());
        env::detached(move || {
            let released = env::block_on(async move {
                let mut talk = Talk::connect(to, &who).await?;
                lease::release(&held, &mut talk).await
            });
            match released {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "a lease was not given back"),
                Err(error) => tracing::warn!(%error, "a lease was not given back"),
            }
        });
    }
}

/// What one call may carry, where the file may be used as `access` says.
async fn may_be_used(
    about: &About<'_>,
    talk: &mut Talk,
    file: &FileHandle,
    access: Access,
) -> std::result::Result<proto::Limits, OpenError> {
    let failed = |trouble: Trouble| about.failed("it cannot be asked about", &trouble);
    let wanted = match access {
        Access::Read => ACCESS_READ,
        Access::Write => ACCESS_READ | ACCESS_MODIFY | ACCESS_EXTEND,
    };
    let asked = proto::access(file, wanted);
    let rights = talk.want(&asked, None, proto::parse_access).await;
    if rights.map_err(failed)? & wanted != wanted {
        let who = about.place.credentials();
        let what = match access {
            Access::Read => "read",
            Access::Write => "read and write",
        };
        return Err(about.refused(
            format!("user {} of group {} may not {what} it", who.uid, who.gid),
            "change its owner or mode or how it is exported, or name a user with ?uid=N&gid=N",
        ));
    }
    let fsinfo = proto::fsinfo(file);
    let limits = talk.want(&fsinfo, None, proto::parse_fsinfo).await;
    limits.map_err(failed)
}

/// Renews the lease until the end of the link.
async fn keep_lease(link: Arc<Link>) {
    loop {
        // The first moments after a start are spent opening stores; nothing is lost by a look more.
        env::sleep(lease::RENEW).await;
        let held = match &*link.lock() {
            state if state.lease.is_some() => state.lease.clone(),
            _ => None,
        };
        let Some(held) = held.filter(|_| !link.has_ended()) else {
            return;
        };
        match lease::renew(&held, &mut Urgently(&link)).await {
            Ok(Renewed::Ours(held)) => link.renewed(held),
            Ok(Renewed::Lost) => {
                lease::tell_lost(&held);
                return link.end(libc::ESHUTDOWN);
            }
            Err(error) => tracing::debug!(%error, "the lease could not be renewed"),
        }
    }
}

fn fault(during: &'static str, trouble: &Trouble) -> Fault {
    Fault {
        during,
        errno: trouble.errno(),
    }
}

/// The error behind `trouble`, for what changes something.
fn changed(during: &'static str, trouble: &Trouble) -> Error {
    match trouble.errno() {
        libc::ENOSPC | libc::EDQUOT | libc::EFBIG => Error::Refused(Refusal::NoSpace),
        _ => Error::Unknown(fault(during, trouble)),
    }
}
