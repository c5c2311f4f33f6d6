//! Whoever drives the connection: a task on the reactor where the disk was opened. It connects,
//! sends what is queued, hears the answers, and connects again when the connection is lost, for as
//! long as the disk is open.
//!
//! What is done on a new connection before requests are sent on it, in this order: it is made sure
//! that this is the same disk, and that the reservation is ours; and what was not flushed is
//! written again.

use std::ffi::CString;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use super::context::{Context, Gone};
use super::disk;
use super::fence;
use super::library::{STATUS_GOOD, STATUS_REDIRECT};
use super::session::{Failure, Session, Wish};
use crate::backend::retry::Backoff;
use crate::env::{self, Either};

/// How long connecting and logging in may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a target may send one elsewhere.
const REDIRECTIONS_MAX: u32 = 4;

/// Connects and does all that comes before requests.
///
/// # Errors
/// Why it cannot be used now, or ever.
pub(super) async fn bring_up(session: &Session) -> Result<Context, Failure> {
    let mut context = connect(session).await?;
    let prepared = match env::either(pump(session, &mut context), prepare(session)).await {
        Either::First(_) => Err(Failure::gone()),
        Either::Second(prepared) => prepared,
    };
    match prepared {
        Ok(()) => Ok(context),
        Err(failure) => {
            drop(context);
            session.set_down();
            Err(failure)
        }
    }
}

async fn prepare(session: &Session) -> Result<(), Failure> {
    let mut found = disk::identify(session).await?;
    let first = session.disk.get();
    if let Some(why) = first.and_then(|first| found.differs_from(first)) {
        return Err(Failure::new(why, "restore what was there"));
    }
    fence::secure(session).await?;
    disk::ask_mode(session, &mut found).await?;
    session.disk.get_or_init(|| found);
    let commands = session.unflushed.all();
    if !commands.is_empty() {
        let count = commands.len();
        tracing::warn!(count, "writes that were not flushed are written again");
    }
    for command in commands {
        session.repeat(&command).await?;
    }
    Ok(())
}

/// Connects and logs in.
async fn connect(session: &Session) -> Result<Context, Failure> {
    let unanswered = || {
        let seconds = CONNECT_TIMEOUT.as_secs();
        let portal = session.place.portal();
        let why = format!("the target at {portal} did not answer for {seconds} s");
        Failure::new(
            why,
            "see whether it is the right address and port, and the target runs",
        )
    };
    let connected = env::timeout(CONNECT_TIMEOUT, connect_now(session)).await;
    connected.unwrap_or_else(|| Err(unanswered()))
}

async fn connect_now(session: &Session) -> Result<Context, Failure> {
    let mut portal = address(session).await?;
    for _ in 0..REDIRECTIONS_MAX {
        let out_of_memory = || Failure::new("libiscsi has no memory", "");
        let mut context = Context::new(&session.identity).ok_or_else(out_of_memory)?;
        let begun = context.connect(&portal);
        match finish(&mut context, begun).await {
            Some(STATUS_GOOD) => {}
            _ => return Err(no_answer(session, &context)),
        }
        let begun = context.log_in();
        match finish(&mut context, begun).await {
            Some(STATUS_GOOD) => return Ok(context),
            Some(STATUS_REDIRECT) => portal = context.redirected_to(),
            _ => return Err(refused(session, &context)),
        }
    }
    Err(Failure::new(
        "it sends one from portal to portal",
        "see its configuration",
    ))
}

/// The address of the target, in numbers: libiscsi would block to look it up.
async fn address(session: &Session) -> Result<CString, Failure> {
    let (host, port) = (session.place.host.clone(), session.place.port);
    let name = host.trim_matches(['[', ']']).to_owned();
    let looked = move || -> std::io::Result<Option<SocketAddr>> {
        Ok((name.as_str(), port).to_socket_addrs()?.next())
    };
    match env::blocking(looked).await {
        Ok(Some(address)) => Ok(CString::new(address.to_string()).expect("no zeroes")),
        Ok(None) | Err(_) => Err(Failure::new(
            format!("there is no host {host}"),
            "see the name in the URL, or write its address",
        )),
    }
}

/// Waits for the end of what was begun; `None` if the connection was lost.
async fn finish(context: &mut Context, begun: Result<(), Gone>) -> Option<i32> {
    begun.ok()?;
    loop {
        if let Some(status) = context.progress() {
            return Some(status);
        }
        let (socket, events) = context.awaits().ok()?;
        let events = env::ready(&socket, events).await.ok()?;
        let served = context.service(events);
        if served.is_err() && context.progress().is_none() {
            return None;
        }
    }
}

fn no_answer(session: &Session, context: &Context) -> Failure {
    let (portal, error) = (session.place.portal(), context.error());
    // "... error Connection refused(111) while connecting."
    let number = number_in(&error);
    let error = match number {
        Some(number) => std::io::Error::from_raw_os_error(number).to_string(),
        None => error,
    };
    let why = format!("no target answers at {portal}: {error}");
    Failure::new(
        why,
        "see whether it is the right address and port, and the target runs",
    )
}

/// The number in parentheses that libiscsi ends an error with.
fn number_in(error: &str) -> Option<i32> {
    let (_, behind) = error.rsplit_once('(')?;
    behind.split_once(')')?.0.parse().ok()
}

/// Why a login failed: class and detail of its status (RFC 7143, 11.13.5) are in libiscsi's words.
fn refused(session: &Session, context: &Context) -> Failure {
    let (place, error) = (&session.place, context.error());
    let initiator = session.identity.initiator.to_string_lossy();
    match (number_in(&error), &place.user, &place.target_user) {
        (Some(0x0201), Some(user), _) => Failure::new(
            format!("the target refuses user {user}, or the secret"),
            "see what the target has for that user, and the file that secret-file names",
        ),
        (Some(0x0201), None, _) => Failure::new(
            "the target wants a login",
            "name the user, and the file with the secret: iscsi://USER@...?secret-file=FILE",
        ),
        (Some(0x0202), ..) => Failure::new(
            format!("the target does not let the initiator {initiator} in"),
            "allow it there, or name another with ?initiator=IQN",
        ),
        (Some(0x0203), ..) => Failure::new(
            format!("there is no target {}", place.target),
            "'iscsi-ls iscsi://PORTAL' lists those that are there",
        ),
        (_, _, Some(user)) if error.to_ascii_lowercase().contains("chap") => Failure::new(
            format!("the target does not prove that it is {user}"),
            "see target-user, and the file that target-secret-file names",
        ),
        _ if error.is_empty() => Failure::new(
            "the target ended the connection at the login",
            "see what the target says of it in its log",
        ),
        _ => Failure::new(
            format!("the login failed: {error}"),
            "see what the target says of it in its log",
        ),
    }
}

/// Sends what is queued and hears the answers, until the connection is lost or given up.
async fn pump(session: &Session, context: &mut Context) -> Option<Wish> {
    let mut waiting: Option<(i16, Pin<Box<dyn Future<Output = _>>>)> = None;
    loop {
        for operation in session.take_queue() {
            context.submit(operation);
        }
        let (_, events) = context.awaits().ok()?;
        if events & libc::POLLOUT != 0 {
            // Nearly always the socket takes it at once.
            context.service(libc::POLLOUT).ok()?;
        }
        let (socket, events) = context.awaits().ok()?;
        if waiting.as_ref().is_none_or(|(of, _)| *of != events) {
            let ready = async move { env::ready(&socket, events).await };
            waiting = Some((events, Box::pin(ready)));
        }
        let (_, ready) = waiting.as_mut().expect("made above");
        match env::either(ready.as_mut(), session.work()).await {
            Either::First(events) => {
                waiting = None;
                context.service(events.ok()?).ok()?;
            }
            Either::Second(Some(wish)) => return Some(wish),
            Either::Second(None) => {}
        }
    }
}

/// A connection that says goodbye when it is dropped, unless it is lost.
struct Link {
    session: Arc<Session>,
    context: Option<Context>,
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(context) = self.context.take() {
            let last = fence::farewell(&self.session);
            env::detached(move || context.say_goodbye(last));
        }
    }
}

/// Drives the session, from the connection `context` that is up on, until the disk is closed.
pub(super) async fn drive(session: Arc<Session>, context: Context) {
    let mut stalls = pin!(watch_stalls(&session));
    env::either(drive_on(&session, context), stalls.as_mut()).await;
}

/// Notes whenever this thread has stood still for so long that another server may have taken over.
async fn watch_stalls(session: &Session) {
    loop {
        let before = env::now();
        env::sleep(fence::BEAT).await;
        if env::now() - before >= fence::SILENCE {
            session.ownership.note_stall();
        }
    }
}

async fn drive_on(session: &Arc<Session>, context: Context) {
    let mut context = context;
    loop {
        let mut link = Link {
            session: Arc::clone(session),
            context: Some(context),
        };
        session.set_up();
        let live = link.context.as_mut().expect("put there above");
        let ended = env::either(pump(session, live), fence::beat(session)).await;
        session.set_down();
        if let Either::First(Some(Wish::Close)) = ended {
            return;
        }
        // Before anything is sent again nothing is under way any more.
        drop(link.context.take());
        let place = session.place.to_string();
        tracing::warn!(place, "the connection to a target is lost; requests wait");
        let again = env::either(reconnect(session), session.closing()).await;
        context = match again {
            Either::First(Ok(context)) => context,
            Either::First(Err(failure)) => {
                tracing::error!(place, "{}; this one writes no more", failure.why());
                return session.set_over();
            }
            Either::Second(()) => return,
        };
        tracing::info!(place, "the target is there again");
    }
}

/// Connects again, for as long as it takes.
async fn reconnect(session: &Session) -> Result<Context, Failure> {
    let mut backoff = Backoff::new();
    let mut said = String::new();
    loop {
        backoff.pause().await;
        match bring_up(session).await {
            Ok(context) => return Ok(context),
            Err(failure) if failure.is_final => return Err(failure),
            Err(failure) => {
                if failure.why() != said {
                    said = failure.why().to_owned();
                    tracing::warn!("a target is not back yet: {said}");
                }
            }
        }
    }
}
