//! How much a connection, and all connections of a reactor, may hold.
//!
//! A request is admitted before its payload is read from the socket, and leaves when its reply has
//! been sent. While there is no room the connection is not read from, so a client that asks faster
//! than it takes answers is held back by its own socket, and the memory of the server is bounded.

use std::cell::Cell;
use std::rc::Rc;

use crate::base::limits::{CONNECTION_BYTES_MAX, CONNECTION_REQUESTS_MAX, REACTOR_BYTES_MAX};
use crate::env::Signal;

thread_local! {
    static REACTOR: Reactor = const { Reactor::new() };
}

/// What the connections of this thread hold together.
struct Reactor {
    bytes: Cell<usize>,
    waiting: Cell<usize>,
}

impl Reactor {
    const fn new() -> Self {
        Self {
            bytes: Cell::new(0),
            waiting: Cell::new(0),
        }
    }
}

/// Wakes the connections that wait for memory, of whatever thread; it is rare.
static FREED: Signal = Signal::new();

/// What one connection holds.
#[derive(Debug, Default)]
pub(super) struct Budget {
    requests: Cell<usize>,
    bytes: Cell<usize>,
    freed: Signal,
}

/// What some requests hold.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Held {
    requests: usize,
    bytes: usize,
}

impl Held {
    /// Whether no request holds anything.
    pub(super) fn is_nothing(self) -> bool {
        self.requests == 0
    }

    /// Takes over what `admitted` holds: from here on it is this that is to be released.
    pub(super) fn take_over(&mut self, mut admitted: Admitted) {
        let held = std::mem::take(&mut admitted.held);
        self.requests += held.requests;
        self.bytes += held.bytes;
    }
}

/// A request that was admitted. Dropped, it gives back what it holds, as when its client goes
/// away in the middle of its payload.
#[derive(Debug)]
#[must_use]
pub(super) struct Admitted {
    budget: Rc<Budget>,
    held: Held,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if !self.held.is_nothing() {
            self.budget.release(self.held);
        }
    }
}

impl Budget {
    /// Waits until there is room for one request that holds `bytes`, and takes it.
    pub(super) async fn admit(self: &Rc<Self>, bytes: usize) -> Admitted {
        self.wait_for_room(bytes).await;
        let budget = Rc::clone(self);
        let requests = 1;
        let held = Held { requests, bytes };
        Admitted { budget, held }
    }

    async fn wait_for_room(&self, bytes: usize) {
        if self.try_admit(bytes) {
            return;
        }
        let room = || self.has_room(bytes).then_some(());
        loop {
            self.freed.wait_for(room).await;
            if self.try_admit(bytes) {
                return;
            }
            // The reactor as a whole is full: somebody else has to be answered first.
            let _waiting = Waiting::new();
            let freed = || reactor_has_room(bytes).then_some(());
            FREED.wait_for(freed).await;
        }
    }

    /// Gives back what answered requests held.
    pub(super) fn release(&self, held: Held) {
        self.requests.set(self.requests.get() - held.requests);
        self.bytes.set(self.bytes.get() - held.bytes);
        self.freed.wake_all();
        REACTOR.with(|reactor| {
            reactor.bytes.set(reactor.bytes.get() - held.bytes);
            if reactor.waiting.get() > 0 {
                FREED.wake_all();
            }
        });
    }

    /// Waits until every request has been answered.
    pub(super) async fn settled(&self) {
        let none = || (self.requests.get() == 0).then_some(());
        self.freed.wait_for(none).await;
    }

    fn try_admit(&self, bytes: usize) -> bool {
        let admitted = self.has_room(bytes) && reactor_has_room(bytes);
        if admitted {
            self.requests.set(self.requests.get() + 1);
            self.bytes.set(self.bytes.get() + bytes);
            REACTOR.with(|reactor| reactor.bytes.set(reactor.bytes.get() + bytes));
        }
        admitted
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.requests.get() < CONNECTION_REQUESTS_MAX
            && self.bytes.get() + bytes <= CONNECTION_BYTES_MAX
    }
}

/// Whether a connection of this thread waits for memory that others hold.
pub(super) fn somebody_waits() -> bool {
    REACTOR.with(|reactor| reactor.waiting.get() > 0)
}

fn reactor_has_room(bytes: usize) -> bool {
    REACTOR.with(|reactor| reactor.bytes.get() + bytes <= REACTOR_BYTES_MAX)
}

/// Counts a waiting connection for as long as it waits.
struct Waiting;

impl Waiting {
    fn new() -> Self {
        REACTOR.with(|reactor| reactor.waiting.set(reactor.waiting.get() + 1));
        Self
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        REACTOR.with(|reactor| reactor.waiting.set(reactor.waiting.get() - 1));
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        // A connection that is dropped unanswered, as at the end of a reactor, frees its share.
        let bytes = self.bytes.get();
        let _ = REACTOR.try_with(|reactor| reactor.bytes.set(reactor.bytes.get() - bytes));
    }
}
