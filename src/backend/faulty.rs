//! A disk for tests that fails as real ones do, over memory that never does.
//!
//! Three images are kept. *Truth* is what a perfect disk would hold after every write that was
//! made: it lets a checker know what should be there, whatever was broken. *Seen* is what reads
//! get. *Durable* is what a power loss leaves at least; the writes since the last flush lie beside
//! it, and a [crash](Faulty::crash) applies any of them, in any order, torn at 512 bytes.
//!
//! In a simulation every call also takes a random time, so that calls overtake each other.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::pages::Pages;
use super::{Backend, Geometry};
use crate::base::{self, Buf, Error, Extent, Refusal, Result, StatusRun, ZeroMode};
use crate::env;
use crate::env::sim;

/// What a power loss may tear a write into, in bytes.
const SECTOR: u64 = 512;

/// A kind of call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A read.
    Read,
    /// A write, a discard or a writing of zeroes.
    Write,
    /// A flush.
    Flush,
}

/// What goes wrong with one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It fails and nothing happens.
    Fail,
    /// It happens, and is reported as if nobody knew: a timeout that came too early.
    TimeOutAfter,
    /// It is reported done and does not happen: a lost write, or a flush that is a lie.
    Lose,
    /// It happens this many bytes further on, as far as there is room: a misdirected read or
    /// write.
    Misdirect(u64),
    /// There is no space.
    NoSpace,
}

/// A disk in memory that does as told by a test. Clones are the same disk: a test keeps one while a
/// backend that is dropped with its power holds another.
#[derive(Clone)]
pub struct Faulty {
    size: u64,
    block: u64,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    truth: Pages,
    seen: Pages,
    durable: Pages,
    unflushed: Vec<Change>,
    /// Faults to come: the kind of call, how many of that kind go well first, and the fault.
    planned: Vec<(Kind, u64, Fault)>,
    calls: u64,
}

#[derive(Clone)]
enum Change {
    Write(u64, Box<[u8]>),
    Zero(Extent),
}

impl Faulty {
    /// A disk of `size` zero bytes whose requests are multiples of `block`.
    pub fn new(size: u64, block: u64) -> Self {
        Self {
            size,
            block,
            state: Arc::default(),
        }
    }

    /// Has `fault` befall a call of this `kind`, after `after` others of that kind.
    pub fn plan(&self, kind: Kind, after: u64, fault: Fault) {
        self.lock().planned.push((kind, after, fault));
    }

    /// What a perfect disk would hold in `at`.
    pub fn truth(&self, at: Extent) -> Vec<u8> {
        let mut bytes = vec![0; at.len()];
        self.lock().truth.read(at.offset(), &mut bytes);
        bytes
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Loses power. Of the writes since the last flush any may survive, in any order, in whole
    /// sectors or in part; what `choose` gives below its argument decides.
    pub fn crash(&self, choose: &mut dyn FnMut(u64) -> u64) {
        let mut state = self.lock();
        let mut left = std::mem::take(&mut state.unflushed);
        while !left.is_empty() {
            let next = choose(left.len() as u64);
            let change = left.swap_remove(usize::try_from(next).expect("below a count"));
            match choose(3) {
                0 => {}
                1 => state.durable.apply(&change),
                _ => state.durable.apply_torn(&change, choose),
            }
        }
        state.seen = state.durable.clone();
        state.truth = state.durable.clone();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn change(&self, change: Change) -> Result<()> {
        delay().await;
        let mut state = self.lock();
        let fault = state.fault(Kind::Write);
        if let Some(error) = fault.and_then(refusal) {
            return Err(error);
        }
        state.truth.apply(&change);
        let real = match fault {
            Some(Fault::Lose) => None,
            Some(Fault::Misdirect(by)) => Some(self.misdirected(change, by)),
            _ => Some(change),
        };
        if let Some(change) = real {
            state.seen.apply(&change);
            state.unflushed.push(change);
        }
        outcome(fault, "write")
    }

    fn misdirected(&self, change: Change, by: u64) -> Change {
        match change {
            Change::Write(offset, data) => {
                let at = Extent::new(offset, data.len() as u64).expect("on the disk");
                Change::Write(self.shifted(at, by).offset(), data)
            }
            Change::Zero(at) => Change::Zero(self.shifted(at, by)),
        }
    }

    fn shifted(&self, at: Extent, by: u64) -> Extent {
        let offset = (at.offset() + by).min(self.size - at.bytes());
        Extent::between(offset, offset + at.bytes())
    }
}

impl State {
    fn fault(&mut self, kind: Kind) -> Option<Fault> {
        self.calls += 1;
        let mut due = None;
        self.planned.retain_mut(|(of, after, fault)| {
            if *of != kind || due.is_some() {
                return true;
            }
            if *after > 0 {
                *after -= 1;
                return true;
            }
            due = Some(*fault);
            false
        });
        due
    }
}

impl Pages {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write(offset, data) => self.write(*offset, data),
            Change::Zero(at) => self.clear(*at),
        }
    }

    /// Applies only some sectors of `change`.
    fn apply_torn(&mut self, change: &Change, choose: &mut dyn FnMut(u64) -> u64) {
        let at = match change {
            Change::Write(offset, data) => {
                Extent::new(*offset, data.len() as u64).expect("on the disk")
            }
            Change::Zero(at) => *at,
        };
        let mut from = at.offset();
        while from < at.end() {
            let to = (from / SECTOR + 1).saturating_mul(SECTOR).min(at.end());
            if choose(2) == 0 {
                match change {
                    Change::Write(offset, data) => {
                        let within = |at: u64| usize::try_from(at - offset).expect("in memory");
                        self.write(from, &data[within(from)..within(to)]);
                    }
                    Change::Zero(_) => self.clear(Extent::between(from, to)),
                }
            }
            from = to;
        }
    }
}

impl Backend for Faulty {
    fn geometry(&self) -> Geometry {
        Geometry {
            size: self.size,
            block: self.block,
            preferred_block: self.block,
            fast_zeroes: true,
        }
    }

    async fn read(&self, at: Extent, mut buf: Buf) -> Result<Buf> {
        delay().await;
        let mut state = self.lock();
        let fault = state.fault(Kind::Read);
        if let Some(error) = fault.and_then(refusal) {
            return Err(error);
        }
        let at = match fault {
            Some(Fault::Misdirect(by)) => self.shifted(at, by),
            _ => at,
        };
        state.seen.read(at.offset(), &mut buf);
        match fault {
            Some(Fault::TimeOutAfter) => Err(Error::Failed(timed_out("read"))),
            _ => Ok(buf),
        }
    }

    async fn write(&self, offset: u64, data: Buf) -> Result<()> {
        self.change(Change::Write(offset, data[..].into())).await
    }

    async fn flush(&self) -> Result<()> {
        // Only what ended before the flush began is promised, so the count is taken now.
        let promised = self.lock().unflushed.len();
        delay().await;
        let mut state = self.lock();
        let fault = state.fault(Kind::Flush);
        if fault == Some(Fault::Fail) {
            return Err(Error::Unknown(timed_out("flush")));
        }
        if fault != Some(Fault::Lose) {
            // Another flush may have made some of it durable in the meantime.
            let promised = promised.min(state.unflushed.len());
            let flushed: Vec<Change> = state.unflushed.drain(..promised).collect();
            for change in &flushed {
                state.durable.apply(change);
            }
        }
        outcome(fault, "flush")
    }

    async fn discard(&self, at: Extent) -> Result<()> {
        self.change(Change::Zero(at)).await
    }

    async fn write_zeroes(&self, at: Extent, _: ZeroMode) -> Result<()> {
        self.change(Change::Zero(at)).await
    }

    async fn status(&self, at: Extent, runs_max: usize) -> Result<Vec<StatusRun>> {
        delay().await;
        Ok(self.lock().seen.status(at, runs_max))
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faulty({} bytes)", self.size)
    }
}

async fn delay() {
    if sim::is_simulated() {
        env::sleep(Duration::from_micros(sim::below(1000))).await;
    }
}

/// The error of a call that does not happen.
fn refusal(fault: Fault) -> Option<Error> {
    match fault {
        Fault::Fail => Some(Error::Failed(base::Fault {
            during: "a planned fault",
            errno: libc::EIO,
        })),
        Fault::NoSpace => Some(Error::Refused(Refusal::NoSpace)),
        Fault::TimeOutAfter | Fault::Lose | Fault::Misdirect(_) => None,
    }
}

fn outcome(fault: Option<Fault>, during: &'static str) -> Result<()> {
    match fault {
        Some(Fault::TimeOutAfter) => Err(Error::Unknown(timed_out(during))),
        _ => Ok(()),
    }
}

fn timed_out(during: &'static str) -> base::Fault {
    base::Fault {
        during,
        errno: libc::ETIMEDOUT,
    }
}
