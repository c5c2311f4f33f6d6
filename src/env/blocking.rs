//! System calls that a ring has no operation for, run by a few threads of their own.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};

use super::wait::Signal;
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
    let result = Arc::new((Mutex::new(None), Signal::new()));
    let give = Arc::clone(&result);
    pool().push(Box::new(move || {
        let done = work();
        *give.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
        give.1.wake_all();
    }));
    let (slot, signal) = &*result;
    let take = || slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    signal.wait_for(take).await
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
        self.jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(job);
        self.arrived.notify_one();
    }

    fn run(&self) -> ! {
        loop {
            let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
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
