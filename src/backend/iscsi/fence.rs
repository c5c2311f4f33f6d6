//! Who may write to a disk: a persistent reservation of the type "write exclusive, registrants
//! only" (SPC-4, 5.13), which the target enforces.
//!
//! The one that holds it keeps saying that it lives: every second it changes its key, which others
//! can read. So a second server knows after [`SILENCE`] whether there is anybody, and refuses or
//! takes over. Taking over names the key that was seen last. So it fails, as a comparison and
//! exchange does, where the holder has just said something; and once it has been done the target
//! takes no write of the old holder any more, whatever that one has under way or thinks of itself.
//!
//! A target may forget all reservations when it is restarted. Whoever finds that takes the
//! reservation again, but only if it has never stood still itself for as long as it takes to be
//! replaced: else somebody may have written meanwhile, and is only not back yet.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::operation::{Command, Direction, Memory, Operation, Outcome};
use super::scsi::{self, Meaning, ReserveIn, ReserveOut};
use super::session::{Failure, NotDone, Session};
use crate::backend::Access;
use crate::base::Buf;
use crate::env;

/// How often a holder says that it lives.
pub(super) const BEAT: Duration = Duration::from_secs(1);

/// How long a holder must have been silent to be replaced, and how often it is looked for.
pub(super) const SILENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(250);

/// How often taking the reservation is begun anew because somebody else was at it, too.
const TRIES: u32 = 5;

/// The part of a key that stays, with which a server knows its own, and the part that changes.
const COUNTER: u64 = 0xff_ffff;

/// Room for the answers of PERSISTENT RESERVE IN, in bytes: 512 keys.
const ROOM: u16 = 8 + 8 * 512;

/// What a server has of a reservation.
pub(super) struct Ownership(Mutex<Owned>);

struct Owned {
    /// The key that is registered, as far as is known.
    key: u64,
    /// The one that was tried last: a try whose answer was lost may have been done.
    tried: u64,
    /// Whether the reservation is, or was, ours.
    held: bool,
    /// Whether the target keeps it when it loses power.
    survives: bool,
    /// How often this server has stood still for so long that it may have been replaced, and after
    /// how many of these times it was seen that it was not.
    stalls: u64,
    stalls_survived: u64,
}

impl Ownership {
    /// Of nothing yet, with a key that nobody else has.
    pub(super) fn new() -> Self {
        // A key of zero stands for none.
        let key = (env::random_u64() & !COUNTER).max(COUNTER + 1);
        Self(Mutex::new(Owned {
            key,
            tried: key,
            held: false,
            survives: false,
            stalls: 0,
            stalls_survived: 0,
        }))
    }

    /// Notes that this server has stood still.
    pub(super) fn note_stall(&self) {
        self.lock().stalls += 1;
    }

    /// The key that is registered, and one to register that never was.
    fn next(&self) -> (u64, u64) {
        let mut owned = self.lock();
        owned.tried = (owned.tried & !COUNTER) | (owned.tried.wrapping_add(1) & COUNTER);
        (owned.key, owned.tried)
    }

    /// Notes that `key` is registered.
    fn registered(&self, key: u64) {
        self.lock().key = key;
    }

    /// Notes the answer to a beat that was sent after so many `stalls`.
    fn answered(&self, key: u64, stalls: u64) {
        let mut owned = self.lock();
        (owned.key, owned.stalls_survived) = (key, stalls);
    }

    /// How often this server has stood still until now.
    fn stalls(&self) -> u64 {
        self.lock().stalls
    }

    /// Notes that the reservation is ours, as was asked after so many `stalls`.
    fn is_held(&self, stalls: u64) {
        let mut owned = self.lock();
        (owned.held, owned.stalls_survived) = (true, stalls);
    }

    fn is_ours(&self, key: u64) -> bool {
        self.lock().key & !COUNTER == key & !COUNTER
    }

    fn lock(&self) -> MutexGuard<'_, Owned> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes sure that the disk may be used as it is going to be, on a new connection.
pub(super) async fn secure(session: &Session) -> Result<(), Failure> {
    match session.access {
        _ if session.place.unfenced => Ok(()),
        Access::Read => look(session).await,
        Access::Write => take(session).await,
    }
}

/// Makes sure that nobody writes to what is going to be read.
async fn look(session: &Session) -> Result<(), Failure> {
    match holder(session).await {
        // A disk that cannot be reserved is written by nobody whom we could know.
        Err(NotDone::Sense(_)) => Ok(()),
        Err(other) => Err(other.into()),
        Ok(None) => Ok(()),
        Ok(Some(key)) if is_silent(session, key).await? => Ok(()),
        Ok(Some(key)) => Err(in_use(key)),
    }
}

async fn take(session: &Session) -> Result<(), Failure> {
    let ownership = &session.ownership;
    for _ in 0..TRIES {
        let stalls = ownership.stalls();
        let before = match holder(session).await {
            Err(NotDone::Sense(_)) => return Err(no_reservations()),
            other => other?,
        };
        let again = ownership.lock().held;
        match before {
            None if again => may_go_on(session)?,
            Some(key) if ownership.is_ours(key) => {}
            Some(_) if again => return Err(taken_over()),
            Some(key) if is_silent(session, key).await? => {
                let silent = format!("{key:x}");
                tracing::warn!(
                    key = silent,
                    "the owner of a disk is silent and is replaced"
                );
            }
            Some(key) => return Err(in_use(key)),
            None => {}
        }
        register(session).await?;
        let key = ownership.lock().key;
        let taken = match before {
            None => reserve(session, ReserveOut::Reserve, key, 0).await,
            Some(other) => replace(session, key, other).await,
        };
        match taken {
            Ok(()) => {}
            Err(NotDone::Conflict) => {
                unregister(session).await?;
                continue;
            }
            Err(other) => return Err(other.into()),
        }
        if holder(session).await? == Some(key) {
            ownership.is_held(stalls);
            return evict(session, key).await;
        }
        unregister(session).await?;
    }
    Err(Failure::new(
        "others try to take the disk at the same time",
        "start one server only",
    ))
}

/// Whether the reservation, which was ours and is gone, may be taken again.
fn may_go_on(session: &Session) -> Result<(), Failure> {
    let owned = session.ownership.lock();
    // A target that keeps reservations has not lost this one: somebody has taken it and let it go.
    match owned.survives || owned.stalls != owned.stalls_survived {
        true => Err(taken_over()),
        false => Ok(()),
    }
}

/// Takes the reservation from the holder with the key `other`, and has the target end what that one
/// has under way, where it can.
async fn replace(session: &Session, key: u64, other: u64) -> Result<(), NotDone> {
    if other == key {
        return Ok(());
    }
    match reserve(session, ReserveOut::PreemptAndAbort, key, other).await {
        Err(NotDone::Sense(_)) => reserve(session, ReserveOut::Preempt, key, other).await,
        other => other,
    }
}

/// Takes the registrations away that others have left: whoever is registered may write.
async fn evict(session: &Session, key: u64) -> Result<(), Failure> {
    let room = Buf::zeroed(ROOM.into());
    let cdb = scsi::reserve_in(ReserveIn::Keys, ROOM);
    let mut others = scsi::keys(&session.ask(cdb, Direction::In, room).await?);
    others.sort_unstable();
    others.dedup();
    for other in others.into_iter().filter(|other| *other != key) {
        match reserve(session, ReserveOut::Preempt, key, other).await {
            // It has gone by itself.
            Ok(()) | Err(NotDone::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether whoever holds the reservation with `key` says nothing for [`SILENCE`].
async fn is_silent(session: &Session, key: u64) -> Result<bool, Failure> {
    let looks = SILENCE.as_millis() / LOOK.as_millis();
    for _ in 0..looks {
        env::sleep(LOOK).await;
        match holder(session).await? {
            Some(now) if now == key => {}
            Some(_) => return Ok(false),
            // It has just let go.
            None => return Ok(true),
        }
    }
    Ok(true)
}

async fn register(session: &Session) -> Result<(), Failure> {
    let cdb = scsi::reserve_in(ReserveIn::Capabilities, 8);
    let survives = match session.ask(cdb, Direction::In, Buf::zeroed(8)).await {
        // Persist through power loss, capable.
        Ok(answer) => answer[2] & 1 != 0,
        Err(NotDone::Sense(_)) => false,
        Err(other) => return Err(other.into()),
    };
    session.ownership.lock().survives = survives;
    let (_, key) = session.ownership.next();
    reserve(session, ReserveOut::RegisterAndIgnore, 0, key).await?;
    session.ownership.registered(key);
    Ok(())
}

async fn unregister(session: &Session) -> Result<(), Failure> {
    Ok(reserve(session, ReserveOut::RegisterAndIgnore, 0, 0).await?)
}

/// PERSISTENT RESERVE OUT.
async fn reserve(session: &Session, what: ReserveOut, key: u64, other: u64) -> Result<(), NotDone> {
    session.repeat(&command(session, what, key, other)).await
}

fn command(session: &Session, what: ReserveOut, key: u64, other: u64) -> Command {
    let registers = matches!(what, ReserveOut::Register | ReserveOut::RegisterAndIgnore);
    let survives = registers && session.ownership.lock().survives;
    let list = scsi::reserve_list(key, other, survives);
    let memory = Memory::new(Buf::from(&list[..]));
    Command::whole(scsi::reserve_out(what), Direction::Out, &memory)
}

/// The key of whoever has the reservation.
async fn holder(session: &Session) -> Result<Option<u64>, NotDone> {
    let room = 64;
    let cdb = scsi::reserve_in(ReserveIn::Reservation, room);
    let answer = session.ask(cdb, Direction::In, Buf::zeroed(room.into()));
    Ok(scsi::holder(&answer.await?))
}

/// How long a target may leave a beat unanswered before the connection is taken for dead.
const ANSWER_BEATS: u32 = 10;

/// Says again and again that this server lives, and hears whether the target does; returns when the
/// connection is not to be trusted any more.
pub(super) async fn beat(session: &Session) {
    loop {
        env::sleep(BEAT).await;
        let (command, key) = pulse(session);
        let stalls = session.ownership.stalls();
        let operation = Operation::new(command, None, None);
        session.send_own(&operation);
        // Counted, not timed: a server that was stopped has not waited.
        let mut answer = None;
        for _ in 0..ANSWER_BEATS {
            answer = env::timeout(BEAT, operation.outcome()).await;
            if answer.is_some() {
                break;
            }
        }
        match answer {
            Some(Outcome::Good(_)) => session.ownership.answered(key, stalls),
            Some(Outcome::Busy) => {}
            Some(Outcome::Sense(sense)) if sense.meaning() == Meaning::Again => {}
            _ => return,
        }
    }
}

/// What a beat sends, and the key that is registered once it is done.
fn pulse(session: &Session) -> (Command, u64) {
    let (old, new) = session.ownership.next();
    if session.access == Access::Write && !session.place.unfenced {
        return (command(session, ReserveOut::Register, old, new), new);
    }
    let memory = Memory::new(Buf::new(0));
    let command = Command::whole(scsi::test_unit_ready(), Direction::None, &memory);
    (command, new)
}

/// What is sent at the end, so that the next one need not wait.
pub(super) fn farewell(session: &Session) -> Option<Command> {
    let owned = session.ownership.lock().held && !session.place.unfenced;
    owned.then(|| command(session, ReserveOut::RegisterAndIgnore, 0, 0))
}

fn in_use(key: u64) -> Failure {
    let why = format!("in use by another server, with the key {key:x}");
    Failure::new(why, "stop that one first")
}

fn taken_over() -> Failure {
    Failure::at_last("another server has taken over the disk", "")
}

fn no_reservations() -> Failure {
    Failure::new(
        "the target has no persistent reservations, so nobody can be kept from writing",
        "use a target that has, or, if nobody else ever writes there, ?fence=none",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::sim;

    #[test]
    fn a_key_changes_and_is_known_again() {
        sim::run(1, async {
            let (one, other) = (Ownership::new(), Ownership::new());
            let (old, new) = one.next();
            assert_ne!(old, new);
            assert!(one.is_ours(old) && one.is_ours(new) && !other.is_ours(new));
            one.registered(new);
            let (registered, lost) = one.next();
            assert_eq!(registered, new);
            assert_ne!(
                one.next().1,
                lost,
                "a key whose answer was lost is not used again"
            );
            one.lock().tried |= COUNTER;
            let (_, first) = one.next();
            assert!(one.is_ours(first) && first & COUNTER == 0 && first != 0);
        });
    }
}
