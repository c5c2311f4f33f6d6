//! Everything that enters from outside: time, chance, other threads, the kernel.
//!
//! Code above this floor is `async` and single-threaded: it runs on a reactor, one per core, and
//! asks this module for the time, a random number, a timer, a task or I/O. The same code runs in a
//! [simulation](sim), where time is virtual, the order of tasks comes from a seed and the kernel
//! does not take part. Which of the two it is, is a property of the thread, so nothing has to be
//! passed around.
//!
//! Nothing else in the crate reads a clock, draws a random number or starts a thread;
//! `clippy.toml` and `tests/it/tidy.rs` keep it so.

mod address;
mod blocking;
mod crew;
mod driver;
mod executor;
mod fs;
mod lent;
mod mapping;
mod net;
mod outskirts;
mod reactor;
mod ring;
mod signal;
pub mod sim;
mod slot;
mod task_lock;
mod timer;
mod wait;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

pub use address::Address;
pub use blocking::{aside, blocking, detached, detached_done};
pub use crew::side_by_side;
pub use driver::{Handed, ask_driver, drive};
pub use fs::{FileHandle, fallocate, fdatasync, read_at, write_at};
pub use lent::{BufferPlace, read_to, write_from};
pub use mapping::Mapping;
pub use net::{Listener, Pieces, Ports, Socket, Stream, corked, ready};
pub use outskirts::Outskirts;
pub use reactor::{Handle, Runtime, block_on, this_reactor};
pub use signal::{Asked, Operator, forbid_core_dumps, raise_descriptor_limit};
pub use slot::Slot;
pub use task_lock::{TaskLock, TaskLockGuard};
pub use timer::{Instant, Sleep};
pub use wait::Signal;

use executor::Executor;
use reactor::Machine;
use sim::World;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

/// What the thread of a reactor or a simulation keeps.
struct Core {
    executor: Executor,
    timers: RefCell<timer::Timers>,
    turn_began: Cell<Instant>,
    outside: Outside,
}

/// What stands behind the time, the randomness and the I/O of this thread.
enum Outside {
    Real(Box<Machine>),
    Simulated(World),
}

/// The reactor or simulation that runs this thread.
///
/// # Panics
/// On a thread that has none.
fn current() -> Rc<Core> {
    CURRENT
        .with_borrow(Clone::clone)
        .expect("this runs on a reactor or in a simulation only")
}

/// Runs `work` with `core` as this thread's reactor or simulation.
fn enter<T>(core: &Rc<Core>, work: impl FnOnce() -> T) -> T {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            CURRENT.set(None);
        }
    }
    CURRENT.with_borrow_mut(|current| {
        assert!(current.is_none(), "one reactor a thread");
        *current = Some(Rc::clone(core));
    });
    let _leave = Leave;
    work()
}

/// The time of this thread's world; outside a reactor, the monotonic clock.
pub fn now() -> Instant {
    CURRENT.with_borrow(|current| match current {
        Some(core) => core.now(),
        None => timer::monotonic(),
    })
}

/// The time since the machine was started, times in which it was suspended included; not to be
/// compared with [`now`]. For what others count on while this machine sleeps. In a simulation, its
/// time.
pub fn since_boot() -> Instant {
    CURRENT.with_borrow(|current| match current.as_deref() {
        Some(
            core @ Core {
                outside: Outside::Simulated(_),
                ..
            },
        ) => core.now(),
        _ => timer::since_boot(),
    })
}

/// When this turn of the reactor began, as far as is known: the time, but for how long the turn has
/// taken, and without the price of asking the clock. In a simulation, and outside a reactor, the
/// time itself.
pub fn turn_began() -> Instant {
    CURRENT.with_borrow(|current| match current.as_deref() {
        Some(Core {
            outside: Outside::Real(_),
            turn_began,
            ..
        }) => turn_began.get(),
        Some(core) => core.now(),
        None => timer::monotonic(),
    })
}

/// The time of day, in seconds since 1970; in a simulation, seconds since it began.
pub fn wall_clock() -> u64 {
    CURRENT.with_borrow(|current| match current.as_deref() {
        Some(
            core @ Core {
                outside: Outside::Simulated(_),
                ..
            },
        ) => core.now().since(Instant::from_nanos(0)).as_secs(),
        _ => timer::wall_clock(),
    })
}

/// The CPU time that this process has used.
pub fn cpu_time() -> Duration {
    timer::cpu_time()
}

/// 64 random bits: from the kernel, or in a simulation from its seed.
pub fn random_u64() -> u64 {
    CURRENT.with_borrow(|current| match current.as_deref() {
        Some(Core {
            outside: Outside::Simulated(world),
            ..
        }) => world.random_u64(),
        _ => getrandom::u64().expect("the kernel gives random numbers"),
    })
}

/// Runs `task` beside the caller, from the next turn on.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    current().executor.spawn(Box::pin(task));
}

/// Runs `task` at once, up to where it first has to wait, and beside the caller from there.
///
/// The caller must hold no borrow that the task takes. This is how a request that needs no waiting
/// costs no turn of the executor.
pub fn start(task: impl Future<Output = ()> + 'static) {
    current().executor.start(Box::pin(task));
}

/// Waits until `duration` has passed.
pub fn sleep(duration: Duration) -> Sleep {
    Sleep::until(now() + duration)
}

/// Waits until every task that can run now has run.
///
/// Whoever gathers the work of many tasks, as the sender of a connection gathers replies, waits
/// with this first and so takes all of a turn at once.
pub async fn end_of_turn() {
    let mut waited = false;
    poll_fn(|context| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        current().executor.wake_late(context.waker().clone());
        Poll::Pending
    })
    .await;
}

/// The result of `work`, or `None` if `limit` passes first; `work` is then dropped where it waits.
pub async fn timeout<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut limit = pin!(sleep(limit));
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(Some(done));
        }
        limit.as_mut().poll(context).map(|()| None)
    })
    .await
}

/// The results of all of `work`, done side by side, in its order.
pub async fn all<T>(work: impl IntoIterator<Item: Future<Output = T>>) -> Vec<T> {
    let mut work: Vec<_> = work.into_iter().map(|one| (Box::pin(one), None)).collect();
    poll_fn(|context| {
        let mut is_done = true;
        for (one, result) in &mut work {
            if result.is_none() {
                match one.as_mut().poll(context) {
                    Poll::Ready(done) => *result = Some(done),
                    Poll::Pending => is_done = false,
                }
            }
        }
        if is_done {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    let results = work.into_iter().map(|(_, result)| result);
    results
        .map(|result| result.expect("all are done"))
        .collect()
}

/// What came first of two.
#[derive(Debug, PartialEq, Eq)]
pub enum Either<A, B> {
    /// The first one.
    First(A),
    /// The second one.
    Second(B),
}

/// Whichever of `first` and `second` is done first; the other is dropped where it waits. Where
/// both are, `first`.
pub async fn either<A, B>(
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> Either<A, B> {
    let mut first = pin!(first);
    let mut second = pin!(second);
    poll_fn(|context| {
        if let Poll::Ready(done) = first.as_mut().poll(context) {
            return Poll::Ready(Either::First(done));
        }
        second.as_mut().poll(context).map(Either::Second)
    })
    .await
}

impl Core {
    fn now(&self) -> Instant {
        match &self.outside {
            Outside::Real(_) => timer::monotonic(),
            Outside::Simulated(world) => world.now(),
        }
    }

    /// Wakes every task whose timer is due at `now`.
    fn wake_due(&self, now: Instant) {
        if self.timers.borrow().next().is_some_and(|next| next <= now) {
            let due = self.timers.borrow_mut().take_due(now);
            due.for_each(std::task::Waker::wake);
        }
    }

    /// The reactor's machine.
    ///
    /// # Panics
    /// In a simulation, which has no kernel.
    fn machine(&self) -> &Machine {
        match &self.outside {
            Outside::Real(machine) => machine,
            Outside::Simulated(_) => panic!("a simulation does no system calls"),
        }
    }
}
