//! What is done on a new connection before anything else goes over it.
//!
//! 1. The lease is looked at and renewed: somebody may have taken the disk over meanwhile, and then
//!    nothing more is written.
//! 2. What was not committed is committed. If the server is the same instance, it has all of it.
//! 3. If not, it is sent again, in order, and committed again, until one instance has taken all.
//!
//! A stop between any of these leaves everything kept, and the next connection begins anew. Only
//! after that do reads go on, since a server that has forgotten writes would show what was there
//! before them; and calls that were under way are sent again, since they came after.

use super::lease::{self, Renewed};
use super::link::Link;
use super::proto::{self, Stable, Verifier};
use super::talk::{Ask, Payload, Talk, Trouble};
use super::unstable::Instance;

/// How often everything is sent again on one connection.
const TRIES: u32 = 3;

/// Makes `talk` fit for the requests of `link`.
///
/// # Errors
/// If it is not; the link has ended if none ever will be.
pub(super) async fn recover(link: &Link, talk: &mut Talk) -> Result<(), Trouble> {
    let held = link.lock().lease.clone();
    if let Some(held) = held {
        match lease::renew(&held, talk).await? {
            Renewed::Ours(held) => link.renewed(held),
            Renewed::Lost => {
                lease::tell_lost(&held);
                link.end(libc::ESHUTDOWN);
                return Err(Trouble::Ended(libc::ESHUTDOWN));
            }
        }
    }
    for _ in 0..TRIES {
        if link.lock().unstable.is_empty() {
            return Ok(());
        }
        let committed = talk
            .want(&proto::commit(&link.file), None, proto::parse_commit)
            .await;
        let verifier = end_on_status(link, committed)?;
        let instance = {
            let mut state = link.lock();
            let mark = state.unstable.mark();
            state.unstable.committed(mark, verifier)
        };
        match instance {
            Instance::Same => return Ok(()),
            Instance::Another => send_again(link, talk).await?,
        }
    }
    Err(Trouble::Restarted)
}

async fn send_again(link: &Link, talk: &mut Talk) -> Result<(), Trouble> {
    let all = link.lock().unstable.all();
    tracing::warn!(server = %link.to, writes = all.len(), "the server has forgotten; sent again");
    for (index, (offset, payload)) in all.into_iter().enumerate() {
        let written = write_all(link, talk, offset, payload).await;
        let verifier = end_on_status(link, written)?;
        link.lock().unstable.sent_again(index, verifier);
    }
    Ok(())
}

/// Writes all of `payload`. If several calls are needed and the server changes between them, the
/// verifier is that of the first, so the next commit shows that.
async fn write_all(
    link: &Link,
    talk: &mut Talk,
    offset: u64,
    payload: Payload,
) -> Result<Verifier, Trouble> {
    let (mut done, mut first) = (0, None);
    while done < payload.len() {
        let rest = payload.part(done, payload.len());
        let at = offset + u64::try_from(done).expect("a part of a request");
        let call = proto::write(&link.file, at, rest.len(), Stable::Unstable);
        let parse = |results: &[u8]| proto::parse_write(results, rest.len());
        let written = talk.want(&call, Some(rest.clone()), parse).await?;
        done += usize::try_from(written.count).expect("no more than was sent");
        first.get_or_insert(written.verifier);
    }
    Ok(first.expect("a write is not empty"))
}

/// What was answered and cannot be made durable any more is lost: then the link ends, so that no
/// flush is answered.
fn end_on_status<T>(link: &Link, done: Result<T, Trouble>) -> Result<T, Trouble> {
    if let Err(Trouble::Status(status)) = &done
        && *status != proto::Status::LATER
    {
        tracing::error!(server = %link.to, %status, "what was written is lost");
        link.end(status.errno());
    }
    done
}
