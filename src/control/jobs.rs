//! Work that takes long, from its beginning to a while after its end.
//!
//! A job runs as long as its caller keeps it. Steps of it are done side by side; its end begins
//! when no more are let in, and comes when those that were have left.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::limits::{JOBS_ENDED_MAX, JOBS_MAX};
use crate::env;
use crate::env::Signal;
use crate::store::TreeName;
use crate::volume::{Lease, Served};

/// The jobs of a server. Shared by all threads.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    list: Mutex<List>,
    ended: Signal,
}

#[derive(Debug, Default)]
struct List {
    last_id: u64,
    jobs: BTreeMap<u64, Arc<Job>>,
    is_closed: bool,
}

/// A job.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) kind: Kind,
    /// What clients call the volume or snapshot that it is about.
    pub(super) name: String,
    /// Of that, in bytes.
    pub(super) size: u64,
    /// When it began, in seconds since 1970.
    pub(super) started: u64,
    done_bytes: AtomicU64,
    progress: Mutex<Progress>,
    changed: Signal,
}

/// What a job does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Import,
    Export,
}

/// What a job works on. It is given back before the end of the job, which is remembered longer than
/// its store may be open.
#[derive(Debug)]
pub(super) struct Material {
    pub(super) lease: Arc<Lease>,
    /// What becomes of what is imported.
    pub(super) import: Option<Import>,
}

/// What an import is to become.
#[derive(Debug)]
pub(super) struct Import {
    pub(super) served: Arc<Served>,
    /// What the volume is called until it is complete.
    pub(super) staged: TreeName,
    pub(super) volume: TreeName,
    pub(super) replace: bool,
}

#[derive(Debug)]
struct Progress {
    phase: Phase,
    /// Steps under way.
    steps: usize,
    material: Option<Material>,
}

/// How far a job is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Steps are let in.
    Running,
    /// Somebody wants it to end.
    Cancelling,
    /// Its last step is under way.
    Ending,
    /// It is over since this time, in seconds since 1970.
    Ended(Outcome, u64),
}

/// How a job ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// Well; and what its caller said of the content.
    Done(String),
    Failed(String),
    Cancelled,
}

/// Why there is no such job to work on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum NoJob {
    /// There is none of this number, or it is of another kind.
    Unknown,
    /// It is ending, or has ended.
    Over(Phase),
}

/// Why no job is begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoMore {
    /// As many are running as may.
    Full,
    /// The server is stopping.
    Closed,
}

/// A step of a job under way.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) job: Arc<Job>,
    pub(super) lease: Arc<Lease>,
}

impl Jobs {
    /// Refuses what [`begin`](Self::begin) would, before anything is made for it.
    pub(super) fn check_room(&self) -> Result<(), NoMore> {
        self.list().check_room()
    }

    /// Begins a job, an export unless there is an `import`, that works on what is leased; if it may
    /// not begin, gives that back.
    pub(super) fn begin(
        &self,
        name: String,
        lease: Lease,
        import: Option<Import>,
    ) -> Result<Arc<Job>, (NoMore, Option<Import>)> {
        let mut list = self.list();
        if let Err(why) = list.check_room() {
            return Err((why, import));
        }
        let kind = match import {
            Some(_) => Kind::Import,
            None => Kind::Export,
        };
        list.last_id += 1;
        let job = Arc::new(Job {
            id: list.last_id,
            kind,
            name,
            size: lease.size(),
            started: env::wall_clock(),
            done_bytes: AtomicU64::new(0),
            progress: Mutex::new(Progress {
                phase: Phase::Running,
                steps: 0,
                material: Some(Material {
                    lease: Arc::new(lease),
                    import,
                }),
            }),
            changed: Signal::new(),
        });
        list.jobs.insert(job.id, Arc::clone(&job));
        list.forget_oldest();
        Ok(job)
    }

    /// The job of this number.
    pub(super) fn find(&self, id: u64) -> Option<Arc<Job>> {
        self.list().jobs.get(&id).cloned()
    }

    /// All jobs, by number.
    pub(super) fn all(&self) -> Vec<Arc<Job>> {
        self.list().jobs.values().cloned().collect()
    }

    /// How many are not over.
    pub(super) fn running(&self) -> usize {
        self.list().running()
    }

    /// Notes how `job`, which is ending, has ended.
    pub(super) fn end(&self, job: &Job, outcome: Outcome) {
        job.progress().phase = Phase::Ended(outcome, env::wall_clock());
        job.changed.wake_all();
        self.ended.wake_all();
    }

    /// Begins no more, cancels all, and waits until all are over.
    pub(super) async fn end_all(&self) {
        self.list().is_closed = true;
        for job in self.all() {
            job.cancel();
        }
        let none = || (self.running() == 0).then_some(());
        self.ended.wait_for(none).await;
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl List {
    fn check_room(&self) -> Result<(), NoMore> {
        match self.running() {
            _ if self.is_closed => Err(NoMore::Closed),
            JOBS_MAX.. => Err(NoMore::Full),
            _ => Ok(()),
        }
    }

    fn running(&self) -> usize {
        let jobs = self.jobs.values();
        jobs.filter(|job| !job.is_over()).count()
    }

    fn forget_oldest(&mut self) {
        let over: Vec<u64> = self
            .jobs
            .values()
            .filter(|job| job.is_over())
            .map(|job| job.id)
            .collect();
        let surplus = over.len().saturating_sub(JOBS_ENDED_MAX);
        for id in &over[..surplus] {
            self.jobs.remove(id);
        }
    }
}

impl Job {
    /// Begins a step.
    pub(super) fn step(self: &Arc<Self>) -> Result<Step, NoJob> {
        let mut progress = self.progress();
        match (&progress.phase, &progress.material) {
            (Phase::Running, Some(material)) => {
                let lease = Arc::clone(&material.lease);
                progress.steps += 1;
                Ok(Step {
                    job: Arc::clone(self),
                    lease,
                })
            }
            (phase, _) => Err(NoJob::Over(phase.clone())),
        }
    }

    /// Notes that everything before `offset` is done.
    pub(super) fn reach(&self, offset: u64) {
        self.done_bytes.fetch_max(offset, Ordering::Relaxed);
    }

    /// Up to where it is done, in bytes.
    pub(super) fn done_bytes(&self) -> u64 {
        self.done_bytes.load(Ordering::Relaxed)
    }

    /// How far it is.
    pub(super) fn phase(&self) -> Phase {
        self.progress().phase.clone()
    }

    /// Asks that it ends, if it runs.
    pub(super) fn cancel(&self) {
        {
            let mut progress = self.progress();
            if progress.phase == Phase::Running {
                progress.phase = Phase::Cancelling;
            }
        }
        self.changed.wake_all();
    }

    /// Begins its end; `false` if somebody else has. No more steps are let in then.
    pub(super) fn begin_end(&self) -> bool {
        let mut progress = self.progress();
        match progress.phase {
            Phase::Running | Phase::Cancelling => {
                progress.phase = Phase::Ending;
                true
            }
            Phase::Ending | Phase::Ended(..) => false,
        }
    }

    /// The same, unless somebody wants it to be cancelled.
    ///
    /// # Errors
    /// How far it is.
    pub(super) fn begin_finish(&self) -> Result<(), NoJob> {
        let mut progress = self.progress();
        match progress.phase {
            Phase::Running => {
                progress.phase = Phase::Ending;
                Ok(())
            }
            ref phase => Err(NoJob::Over(phase.clone())),
        }
    }

    /// Waits until no step is under way, and gives what it works on.
    pub(super) async fn settle(&self) -> Option<Material> {
        let none = || (self.progress().steps == 0).then_some(());
        self.changed.wait_for(none).await;
        self.progress().material.take()
    }

    /// Waits until somebody wants it to end, or it is over.
    pub(super) async fn until_not_running(&self) -> Phase {
        let look = || match self.phase() {
            Phase::Running | Phase::Ending => None,
            phase => Some(phase),
        };
        self.changed.wait_for(look).await
    }

    /// Waits until it is over.
    pub(super) async fn until_over(&self) -> Outcome {
        let look = || match self.phase() {
            Phase::Ended(outcome, _) => Some(outcome),
            _ => None,
        };
        self.changed.wait_for(look).await
    }

    fn is_over(&self) -> bool {
        matches!(self.progress().phase, Phase::Ended(..))
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.job.progress().steps -= 1;
        self.job.changed.wake_all();
    }
}
