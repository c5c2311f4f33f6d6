//! Reactors: a thread, its ring and its tasks.
//!
//! A turn of a reactor runs every task that is ready, submits all the operations that they asked
//! for in one system call, which also waits for completions, and wakes the tasks whose operations
//! are done. A reactor without work sleeps in that call. Before it sleeps it may look for work for
//! a moment: a client at queue depth 1 waits for the wake-up of the server longer than for its
//! request. It looks only where that has paid: see [`Spin`].

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::crew::Crew;
use super::executor::{Executor, Inbox};
use super::ring::{Keep, Operation, Ring};
use super::timer::{Instant, Timers};
use super::wait::Signal;
use super::{Core, Outside, enter};
use crate::base::Buf;
use crate::base::limits::SPIN;

/// Tasks run between two looks at the ring, so that tasks that wake each other without end cannot
/// keep the kernel's completions waiting.
const TASKS_PER_TURN: usize = 1024;

/// The kernel's side of a reactor.
pub(super) struct Machine {
    pub(super) ring: Ring,
    pub(super) crew: Arc<Crew>,
}

/// The reactor threads of a process.
#[derive(Debug)]
pub struct Runtime {
    handles: Vec<Handle>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<Stop>,
}

#[derive(Debug, Default)]
struct Stop {
    asked: std::sync::atomic::AtomicBool,
    signal: Signal,
}

/// A way to send work to a reactor from any thread.
#[derive(Clone)]
pub struct Handle {
    inbox: Arc<Inbox>,
}

impl Runtime {
    /// Starts `count` reactor threads.
    ///
    /// # Errors
    /// If the kernel gives no ring or no thread.
    pub fn start(count: usize) -> io::Result<Self> {
        let crew = Arc::new(Crew::default());
        let mut runtime = Self {
            handles: Vec::new(),
            threads: Vec::new(),
            stop: Arc::default(),
        };
        for index in 0..count {
            let stop = Arc::clone(&runtime.stop);
            let (send, receive) = std::sync::mpsc::channel();
            let joined = Arc::clone(&crew);
            let run = move || {
                let reactor = match Reactor::new(joined) {
                    Ok(reactor) => reactor,
                    Err(error) => return drop(send.send(Err(error))),
                };
                let handle = reactor.handle();
                drop(send.send(Ok(handle)));
                reactor.run(async move { stop.wait().await });
            };
            let name = format!("reactor-{index}");
            runtime
                .threads
                .push(std::thread::Builder::new().name(name).spawn(run)?);
            let started = receive.recv().map_err(io::Error::other)??;
            crew.join(started.clone());
            runtime.handles.push(started);
        }
        Ok(runtime)
    }

    /// The reactors, each of which takes work.
    pub fn handles(&self) -> &[Handle] {
        &self.handles
    }

    /// Ends every reactor, dropping the tasks that are left.
    pub fn stop(mut self) {
        self.ask_to_stop();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a reactor thread panicked");
            }
        }
    }

    fn ask_to_stop(&self) {
        use std::sync::atomic::Ordering::SeqCst;
        self.stop.asked.store(true, SeqCst);
        self.stop.signal.wake_all();
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.ask_to_stop();
    }
}

impl Stop {
    async fn wait(&self) {
        use std::sync::atomic::Ordering::SeqCst;
        let asked = || self.asked.load(SeqCst).then_some(());
        self.signal.wait_for(asked).await;
    }
}

impl Handle {
    /// Has `make` make a task on the reactor and runs it there.
    pub fn spawn<F>(&self, make: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + 'static,
    {
        self.inbox.send(Box::new(|| super::spawn(make())));
    }

    /// Has the reactor do `work`, which waits for nothing.
    pub(super) fn run(&self, work: impl FnOnce() + Send + 'static) {
        self.inbox.send(Box::new(work));
    }

    /// Whether the reactor has nothing to do.
    pub(super) fn is_asleep(&self) -> bool {
        self.inbox.is_asleep()
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

/// The reactor that runs this thread.
pub fn this_reactor() -> Handle {
    let inbox = Arc::clone(super::current().executor.inbox());
    Handle { inbox }
}

/// Runs `work`, and the tasks that it spawns, on this thread until `work` is done. Tasks that are
/// left are dropped.
///
/// # Errors
/// If the kernel gives no ring: it is older than 6.1, or forbids io_uring.
pub fn block_on<T: 'static>(work: impl Future<Output = T> + 'static) -> io::Result<T> {
    let result = Rc::new(RefCell::new(None));
    let store = Rc::clone(&result);
    Reactor::new(Arc::default())?.run(async move {
        let done = work.await;
        *store.borrow_mut() = Some(done);
    });
    let done = result.borrow_mut().take();
    Ok(done.expect("a reactor runs until its work is done"))
}

/// The end of a reactor, by a panic too: what tasks hold is given back while there still is a
/// reactor to give it to, and the kernel lets go of their memory.
struct End<'a>(&'a Core);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.executor.clear();
        self.0
            .machine()
            .ring
            .quiesce()
            .expect("the ring works until it is dropped");
    }
}

struct Reactor {
    core: Rc<Core>,
    rouse: Arc<OwnedFd>,
}

impl Reactor {
    fn new(crew: Arc<Crew>) -> io::Result<Self> {
        let flags = rustix::event::EventfdFlags::CLOEXEC;
        let rouse = Arc::new(rustix::event::eventfd(0, flags)?);
        let write = Arc::clone(&rouse);
        let inbox = Inbox::new(Box::new(move || {
            // It fails only when the counter is full, and then the thread is being woken anyway.
            let _ = rustix::io::write(&write, &1_u64.to_ne_bytes());
        }));
        let core = Rc::new(Core {
            executor: Executor::new(inbox),
            timers: RefCell::new(Timers::default()),
            turn_began: Cell::new(super::timer::monotonic()),
            outside: Outside::Real(Box::new(Machine {
                ring: Ring::new()?,
                crew,
            })),
        });
        Ok(Self { core, rouse })
    }

    fn handle(&self) -> Handle {
        Handle {
            inbox: Arc::clone(self.core.executor.inbox()),
        }
    }

    fn run(self, work: impl Future<Output = ()> + 'static) {
        let core = &self.core;
        enter(core, || {
            core.executor.on_this_thread(|| {
                let _end = End(core);
                let ended = Rc::new(std::cell::Cell::new(false));
                let end = Rc::clone(&ended);
                super::spawn(async move {
                    work.await;
                    end.set(true);
                });
                super::spawn(drain_rouse(Arc::clone(&self.rouse)));
                let mut spin = Spin::new();
                loop {
                    self.run_tasks();
                    if ended.get() {
                        break;
                    }
                    self.wait_for_work(&mut spin);
                }
            });
        });
    }

    /// Submits what the tasks have asked for, waits for something to do, and makes it ready.
    fn wait_for_work(&self, spin: &mut Spin) {
        let core = &self.core;
        let mut before = core.now();
        let wait = self.time_to_wait(before);
        let found = match wait {
            Some(Duration::ZERO) => true,
            _ if spin.worth_it() && !core.machine().ring.waits_for_storage() => {
                let found = self.look_for_work(before, wait);
                spin.looked(found);
                before = core.now();
                found
            }
            _ => false,
        };
        let slept = self.enter_kernel(if found { Some(Duration::ZERO) } else { wait });
        let now = core.now();
        if slept {
            spin.slept(now - before);
        }
        core.turn_began.set(now);
        core.wake_due(now);
        for parcel in core.executor.inbox().take() {
            parcel();
        }
    }

    /// Runs ready tasks, and once there are none those that waited for the end of the turn.
    fn run_tasks(&self) {
        let executor = &self.core.executor;
        let mut ran = 0;
        while ran < TASKS_PER_TURN {
            if executor.run_next() {
                ran += 1;
            } else if !executor.end_turn() {
                break;
            }
        }
    }

    /// How long the ring may wait for completions; `None` for as long as it takes.
    fn time_to_wait(&self, now: Instant) -> Option<Duration> {
        let core = &self.core;
        if core.executor.has_ready() || core.executor.inbox().has_parcels() {
            return Some(Duration::ZERO);
        }
        let next = core.timers.borrow().next()?;
        Some(next - now)
    }

    /// Submits, and enters the kernel for `limit`, asleep for other threads if that is not zero
    /// and nobody has anything for this one; whether it was.
    fn enter_kernel(&self, limit: Option<Duration>) -> bool {
        let ring = &self.core.machine().ring;
        let inbox = self.core.executor.inbox();
        let asleep = limit != Some(Duration::ZERO) && inbox.fall_asleep();
        let limit = if asleep { limit } else { Some(Duration::ZERO) };
        ring.turn(limit).expect("the ring works while it is open");
        inbox.wake_up();
        asleep
    }

    /// Looks for completions and parcels, for [`SPIN`] at most; whether there are any.
    fn look_for_work(&self, now: Instant, wait: Option<Duration>) -> bool {
        let core = &self.core;
        let ring = &core.machine().ring;
        ring.turn(Some(Duration::ZERO))
            .expect("the ring works while it is open");
        let deadline = now + wait.unwrap_or(SPIN).min(SPIN);
        loop {
            for _ in 0..64 {
                let found = core.executor.has_ready()
                    || ring.has_completions()
                    || core.executor.inbox().has_parcels();
                if found {
                    return true;
                }
                std::hint::spin_loop();
            }
            if core.now() >= deadline {
                return false;
            }
        }
    }
}

/// Keeps a read waiting on the event that rouses the reactor.
async fn drain_rouse(rouse: Arc<OwnedFd>) {
    loop {
        let (result, _) = super::fs::read_raw(&rouse, Buf::new(8)).await;
        if result.is_err() {
            return;
        }
    }
}

/// Whether looking for work before sleeping pays.
///
/// It pays where recent sleeps were short: a sleep and a wake-up cost more than a look of that
/// length, and the client, which gets its replies later for it, too. Measured on a null disk at
/// depth 32, client and server on a core each: with looks at depth 1 only 408 k reads a second at
/// 1.63 us of CPU, with looks at every depth 623 k at 1.45. It does not pay while storage works,
/// which is rarely as quick as a look is long; nor where client and server share a core: then
/// looking keeps away what is looked for. So a look in vain doubles the number of short sleeps that
/// must come before the next, a successful one halves it, and one long sleep ends all looking: an
/// idle server sleeps.
struct Spin {
    short_sleeps: u32,
    needed: u32,
}

/// Short sleeps in a row before a first look, and before one that follows many in vain.
const SHORT_SLEEPS_MIN: u32 = 8;
const SHORT_SLEEPS_MAX: u32 = 4096;

impl Spin {
    fn new() -> Self {
        Self {
            short_sleeps: 0,
            needed: SHORT_SLEEPS_MIN,
        }
    }

    fn worth_it(&self) -> bool {
        self.short_sleeps >= self.needed
    }

    fn looked(&mut self, found: bool) {
        if found {
            self.needed = (self.needed / 2).max(SHORT_SLEEPS_MIN);
        } else {
            self.short_sleeps = 0;
            self.needed = (self.needed * 2).min(SHORT_SLEEPS_MAX);
        }
    }

    fn slept(&mut self, duration: Duration) {
        if duration <= 2 * SPIN {
            self.short_sleeps = (self.short_sleeps + 1).min(SHORT_SLEEPS_MAX);
        } else {
            self.short_sleeps = 0;
        }
    }
}

/// Runs an operation that owns nothing but its file.
pub(super) async fn plain(file: &Arc<OwnedFd>, entry: io_uring::squeue::Entry) -> i32 {
    let operation = Operation::new(Some(Arc::clone(file)), entry, Keep::Nothing);
    operation.await.0
}
