//! System calls that a ring has no operation for, run by a few threads of their own.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::slot::Slot;
use super::{CURRENT, Outside};
use crate::base::limits::BLOCKING_THREADS;

type Job = Box<dyn FnOnce() + Send>;

/// Runs `work` on a thread that may block and gives its result; in a simulation, at once.
///
/// For rare calls: each costs two thread switches. Their number is bounded by the requests in
/// flight.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let simulated = CURRENT.with_borrow(|core| {
        let outside = core.as_ref().map(|core| &core.outside);
        matches!(outside, Some(Outside::Simulated(_)))
    });
    if simulated {
        return work();
    }
    let slot = Arc::new(Slot::new());
    let give = Arc::clone(&slot);
    pool().push(Box::new(move || give.put(work())));
    slot.take().await
}

/// Runs `work`, which may take as long as a storage server likes, on a thread of its own and gives
/// its result. For rare calls, whose number the caller bounds: [`blocking`] has few threads, and
/// such work would keep them from all others. The [end](detached_done) of the process waits for it.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let slot = Arc::new(Slot::new());
    let give = Arc::clone(&slot);
    if let Err((work, _)) = on_own_thread("aside", Box::new(move || give.put(work()))) {
        pool().push(work);
    }
    slot.take().await
}

/// Runs `work`, which nobody waits for but the [end](detached_done) of the process, on a thread of
/// its own. For what ends something that is used no more and may take long, such as saying goodbye
/// to a storage server.
pub fn detached(work: impl FnOnce() + Send + 'static) {
    if let Err((_, error)) = on_own_thread("detached", Box::new(work)) {
        tracing::error!(%error, "no thread to end something with; it is left as it is");
    }
}

/// Runs `work` on a new thread.
///
/// # Errors
/// What the system says if there is none, and the work.
fn on_own_thread(name: &str, work: Job) -> Result<(), (Job, io::Error)> {
    *lock(&DETACHED.0) += 1;
    let kept = Arc::new(Mutex::new(Some(work)));
    let given = Arc::clone(&kept);
    let run = move || {
        let work = lock(&given).take();
        work.expect("only this takes it")();
        *lock(&DETACHED.0) -= 1;
        DETACHED.1.notify_all();
    };
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(run).map(drop).map_err(|error| {
        *lock(&DETACHED.0) -= 1;
        (lock(&kept).take().expect("no thread has taken it"), error)
    })
}

/// Waits until everything [`detached`] or [`aside`] is done, `limit` at most. Blocks the thread:
/// for the end of a process.
pub fn detached_done(limit: Duration) {
    let under_way = lock(&DETACHED.0);
    let wait = DETACHED
        .1
        .wait_timeout_while(under_way, limit, |count| *count > 0);
    drop(wait);
}

/// How much work on threads of its own is under way.
static DETACHED: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Pool {
    jobs: Mutex<VecDeque<Job>>,
    arrived: Condvar,
}

fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    static THREADS: OnceLock<()> = OnceLock::new();
    let pool = POOL.get_or_init(|| Pool {
        jobs: Mutex::default(),
        arrived: Condvar::new(),
    });
    THREADS.get_or_init(|| {
        for index in 0..BLOCKING_THREADS {
            std::thread::Builder::new()
                .name(format!("blocking-{index}"))
                .spawn(|| POOL.get().expect("made above").run())
                .expect("the system gives a thread");
        }
    });
    pool
}

impl Pool {
    fn push(&self, job: Job) {
        lock(&self.jobs).push_back(job);
        self.arrived.notify_one();
    }

    fn run(&self) -> ! {
        loop {
            let mut jobs = lock(&self.jobs);
            let job = loop {
                if let Some(job) = jobs.pop_front() {
                    break job;
                }
                jobs = self
                    .arrived
                    .wait(jobs)
                    .unwrap_or_else(PoisonError::into_inner);
            };
            drop(jobs);
            job();
        }
    }
}
