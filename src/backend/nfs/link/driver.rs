//! The task that keeps a link's connection up, sends what waits, and hands out what comes back.
//!
//! A server that was started again may have lost what it had not committed. So nothing goes over a
//! new connection, no read either, before [`recover`] has seen to that.

use std::sync::Arc;
use std::time::Duration;

use super::{Link, Waiting};
use crate::backend::nfs::proto::parse_reply;
use crate::backend::nfs::recovery::recover;
use crate::backend::nfs::talk::{Talk, Trouble, receive};
use crate::backend::nfs::unstable::Instance;
use crate::backend::retry::Backoff;
use crate::env::{self, Either, Stream};

/// How long a server that owes answers may say nothing before the connection is made again.
const SILENCE: Duration = Duration::from_secs(20);

/// How often it is looked whether calls have waited too long.
const LOOK: Duration = Duration::from_millis(500);

/// A connection that has held for so long was a good one: the next is tried soon.
const GOOD: Duration = Duration::from_secs(2);

/// Why no more comes over a connection.
struct Broken(Trouble);

impl Link {
    /// Keeps the link up until its end, on the connection in `talk` at first.
    pub(in crate::backend::nfs) async fn run(self: Arc<Self>, talk: Talk) {
        let serve = self.serve(talk);
        env::either(serve, self.watch()).await;
    }

    /// Gives up once a call has waited for too long.
    async fn watch(&self) {
        while !self.has_ended() {
            env::either(env::sleep(LOOK), self.changed_to_end()).await;
            let now = env::now();
            let state = self.lock();
            let all = state.waiting.iter().chain(state.sent.values());
            let is_late = |one: &Waiting| one.deadline.is_some_and(|deadline| deadline <= now);
            let has_late = all.into_iter().any(is_late);
            drop(state);
            if has_late {
                let seconds = self.timeout.as_secs();
                tracing::error!(
                    server = %self.to,
                    "no answer for {seconds} s; the disk takes no more requests until it is \
                     opened again, since what was sent may still be done"
                );
                self.end(libc::ETIMEDOUT);
            }
        }
    }

    async fn changed_to_end(&self) {
        let ended = || self.lock().end.map(drop);
        self.changed.wait_for(ended).await;
    }

    async fn serve(&self, talk: Talk) {
        let mut first = Some(talk);
        let mut backoff = Backoff::new();
        while !self.has_ended() {
            let talk = match first.take() {
                Some(talk) => Ok(talk),
                None => self.come_back().await,
            };
            let trouble = match talk {
                Ok(talk) => {
                    let began = env::now();
                    let Broken(trouble) = self.carry(talk).await;
                    if env::now() - began > GOOD {
                        backoff = Backoff::new();
                    }
                    trouble
                }
                Err(trouble) => trouble,
            };
            if self.has_ended() {
                return;
            }
            tracing::warn!(server = %self.to, %trouble, "the connection is made again");
            self.take_back();
            backoff.pause().await;
        }
    }

    /// A new connection, over which requests may go.
    async fn come_back(&self) -> Result<Talk, Trouble> {
        let mut talk = Talk::connect(self.to, &self.who).await?;
        recover(self, &mut talk).await?;
        let mut state = self.lock();
        state.is_stale = false;
        state.heard = env::now();
        Ok(talk)
    }

    /// Puts what has no answer back to what waits. What is urgent is for its connection only.
    fn take_back(&self) {
        let mut state = self.lock();
        let mut lost = std::mem::take(&mut state.urgent);
        for waiting in std::mem::take(&mut state.sent).into_values().rev() {
            match waiting.deadline {
                Some(_) => state.waiting.push_front(waiting),
                None => lost.push_back(waiting),
            }
        }
        drop(state);
        for waiting in lost {
            waiting.answer.put(Err(Trouble::Restarted));
        }
    }

    /// Carries calls and answers over a connection until it breaks.
    async fn carry(&self, talk: Talk) -> Broken {
        let Talk {
            stream, mut inbox, ..
        } = talk;
        let both = env::either(self.send_all(&stream), async {
            loop {
                loop {
                    match inbox.record() {
                        Ok(Some(record)) => {
                            if let Err(trouble) = self.answered(record) {
                                return Broken(trouble);
                            }
                        }
                        Ok(None) => break,
                        Err(malformed) => return Broken(malformed.into()),
                    }
                }
                self.changed.wake_all();
                if let Err(trouble) = receive(&stream, &mut inbox).await {
                    return Broken(trouble);
                }
            }
        });
        match env::either(both, self.heard_nothing()).await {
            Either::First(Either::First(broken) | Either::Second(broken)) => broken,
            Either::Second(broken) => broken,
        }
    }

    async fn heard_nothing(&self) -> Broken {
        loop {
            env::sleep(LOOK).await;
            let mut state = self.lock();
            if state.sent.is_empty() {
                state.heard = env::now();
            }
            if env::now() - state.heard > SILENCE {
                return Broken(Trouble::Silent);
            }
        }
    }

    async fn send_all(&self, stream: &Stream) -> Broken {
        loop {
            let wanted = || {
                let state = self.lock();
                (state.is_stale || state.end.is_some() || state.may_send()).then_some(())
            };
            self.changed.wait_for(wanted).await;
            env::end_of_turn().await;
            let outgoing = {
                let mut state = self.lock();
                if let Some(errno) = state.end {
                    return Broken(Trouble::Ended(errno));
                }
                if state.is_stale {
                    return Broken(Trouble::Restarted);
                }
                state.take_outgoing(&self.who)
            };
            if outgoing.is_empty() {
                continue;
            }
            if let (Err(error), _) = stream.send(outgoing).await {
                return Broken(Trouble::Io(error));
            }
        }
    }

    /// Hands out what was received.
    fn answered(&self, record: &[u8]) -> Result<(), Trouble> {
        let reply = parse_reply(record)?;
        let mut state = self.lock();
        state.heard = env::turn_began();
        let Some(mut waiting) = state.sent.remove(&reply.xid) else {
            return Err(Trouble::Malformed);
        };
        let mut instance = Instance::Same;
        let answer = match reply.results {
            Err(refused) => Err(Trouble::Refused(refused)),
            Ok(results) => match waiting.take_answer(results, &mut state.unstable) {
                Ok((answer, found)) => {
                    instance = found;
                    answer
                }
                // Somebody else may give a better answer to the same call.
                Err(trouble) => {
                    state.sent.insert(waiting.xid, waiting);
                    return Err(trouble);
                }
            },
        };
        drop(state);
        waiting.answer.put(answer);
        match instance {
            Instance::Same => Ok(()),
            Instance::Another => Err(Trouble::Restarted),
        }
    }
}
