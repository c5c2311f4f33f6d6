//! Calls about jobs, and what keeps a job going.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request};

use super::proto;
use super::proto::jobs_server::Jobs;
use super::proto::{
    CancelJobRequest, CancelJobResponse, ExportRequest, ExtentsRequest, ExtentsResponse,
    FinishExportRequest, FinishExportResponse, FinishImportRequest, FinishImportResponse,
    GetJobRequest, GetJobResponse, ImportRequest, ListJobsRequest, ListJobsResponse, ReadRequest,
    ReadResponse, Run, WriteRequest, WriteResponse,
};
use super::{Answer, Api, Response, Status, convert, status};
use crate::base::limits::{JOB_PIECE_BYTES_MAX, STATUS_RUNS_MAX};
use crate::base::{Buf, Durability, Extent};
use crate::control::import;
use crate::control::jobs::{Job, Kind, Material, NoJob, NoMore, Outcome, Phase, Step};
use crate::env;
use crate::env::Either;
use crate::store::{Properties, StoreError};
use crate::volume::{Lease, Purpose};

/// How often a caller is told how far its job is.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// What a caller that does not listen may leave unheard. At the bound it is told less often.
const UNHEARD_MAX: usize = 4;

/// What is told of a job while it is kept.
type Told = Pin<Box<dyn Stream<Item = Result<proto::Job, Status>> + Send>>;

#[tonic::async_trait]
impl Jobs for Api {
    type ImportStream = Told;
    type ExportStream = Told;

    async fn import(&self, request: Request<ImportRequest>) -> Answer<Told> {
        let ImportRequest {
            name,
            size,
            properties: wanted,
            replace,
        } = request.into_inner();
        let (served, path) = self.volume(&name)?;
        let mut properties = Properties::default();
        convert::apply(wanted.as_ref(), &mut properties)?;
        self.0.jobs.check_room().map_err(no_more)?;
        let api = self.clone();
        let told = self.on_reactor(move || async move {
            let plan = import::plan(&served, &path.tree, replace);
            let plan = plan.map_err(|error| status::of(&name, error))?;
            let staged = import::stage(&plan, size, properties).await;
            let lease = staged.map_err(|error| status::of(&name, error))?;
            match api.0.jobs.begin(name, lease, Some(plan)) {
                Ok(job) => Ok(api.keep(job)),
                Err((why, plan)) => {
                    if let Some(plan) = plan {
                        import::clean_up(&plan).await;
                    }
                    Err(no_more(why))
                }
            }
        });
        Ok(Response::new(told.await?))
    }

    async fn export(&self, request: Request<ExportRequest>) -> Answer<Told> {
        let name = request.into_inner().name;
        let (served, path) = self.tree(&name)?;
        let Some(lease) = served.open(&path.tree, Purpose::Job) else {
            let missing = StoreError::NotFound(path.tree.to_string());
            return Err(status::of(&name, missing));
        };
        let begun = self.0.jobs.begin(name, lease, None);
        let job = begun.map_err(|(why, _)| no_more(why))?;
        Ok(Response::new(self.keep(job)))
    }

    async fn write(&self, request: Request<WriteRequest>) -> Answer<WriteResponse> {
        let WriteRequest { job, offset, data } = request.into_inner();
        let step = self.step(job, Kind::Import)?;
        let at = piece(&step.lease, offset, data.len() as u64)?;
        self.on_reactor(move || async move {
            let data = Buf::from(&data[..]);
            let disk = step.lease.disk();
            let written = disk.write(at.offset(), data, Durability::Cached).await;
            written.map_err(|error| failed(&step.job, error))?;
            step.job.reach(at.end());
            Ok(())
        })
        .await?;
        Ok(Response::new(WriteResponse {}))
    }

    async fn finish_import(
        &self,
        request: Request<FinishImportRequest>,
    ) -> Answer<FinishImportResponse> {
        let FinishImportRequest { job: id, checksum } = request.into_inner();
        let job = self.job(id, Kind::Import)?;
        job.begin_finish().map_err(|why| no_job(id, &why))?;
        let api = self.clone();
        self.on_reactor(move || async move {
            let finished = import::finish(&job).await;
            let outcome = match &finished {
                Ok(()) => Outcome::Done(checksum),
                Err(error) => Outcome::Failed(error.to_string()),
            };
            api.0.jobs.end(&job, outcome);
            finished.map_err(|error| status::of(&job.name, error))
        })
        .await?;
        Ok(Response::new(FinishImportResponse {}))
    }

    async fn read(&self, request: Request<ReadRequest>) -> Answer<ReadResponse> {
        let ReadRequest {
            job,
            offset,
            length,
        } = request.into_inner();
        let step = self.step(job, Kind::Export)?;
        let at = piece(&step.lease, offset, length)?;
        let data = self.on_reactor(move || async move {
            let read = step.lease.disk().read(at).await;
            let data = read.map_err(|error| failed(&step.job, error))?;
            step.job.reach(at.end());
            Ok(Bytes::from_owner(data))
        });
        let data = data.await?;
        Ok(Response::new(ReadResponse { data }))
    }

    async fn extents(&self, request: Request<ExtentsRequest>) -> Answer<ExtentsResponse> {
        let ExtentsRequest {
            job,
            offset,
            length,
        } = request.into_inner();
        let step = self.step(job, Kind::Export)?;
        let at = inside(&step.lease, offset, length)?;
        let runs = self.on_reactor(move || async move {
            step.job.reach(at.offset());
            let found = step.lease.disk().status(at, STATUS_RUNS_MAX).await;
            found.map_err(|error| failed(&step.job, error))
        });
        let runs = runs.await?.into_iter().map(|run| Run {
            length: run.bytes,
            is_hole: run.status != crate::base::Status::Data,
        });
        let runs = runs.collect();
        Ok(Response::new(ExtentsResponse { runs }))
    }

    async fn finish_export(
        &self,
        request: Request<FinishExportRequest>,
    ) -> Answer<FinishExportResponse> {
        let id = request.into_inner().job;
        let job = self.job(id, Kind::Export)?;
        job.begin_finish().map_err(|why| no_job(id, &why))?;
        drop(job.settle().await);
        job.reach(job.size);
        self.0.jobs.end(&job, Outcome::Done(String::new()));
        Ok(Response::new(FinishExportResponse {}))
    }

    async fn list(&self, _: Request<ListJobsRequest>) -> Answer<ListJobsResponse> {
        let jobs = self.0.jobs.all();
        let jobs = jobs.iter().map(|job| message(job)).collect();
        Ok(Response::new(ListJobsResponse { jobs }))
    }

    async fn get(&self, request: Request<GetJobRequest>) -> Answer<GetJobResponse> {
        let id = request.into_inner().id;
        let found = self.0.jobs.find(id);
        let job = found.ok_or_else(|| no_job(id, &NoJob::Unknown))?;
        let job = Some(message(&job));
        Ok(Response::new(GetJobResponse { job }))
    }

    async fn cancel(&self, request: Request<CancelJobRequest>) -> Answer<CancelJobResponse> {
        let id = request.into_inner().id;
        let found = self.0.jobs.find(id);
        let job = found.ok_or_else(|| no_job(id, &NoJob::Unknown))?;
        if let phase @ Phase::Ended(..) = job.phase() {
            return Err(no_job(id, &NoJob::Over(phase)));
        }
        job.cancel();
        match job.until_over().await {
            Outcome::Done(_) => Err(no_job(id, &NoJob::Over(job.phase()))),
            Outcome::Failed(_) | Outcome::Cancelled => Ok(Response::new(CancelJobResponse {})),
        }
    }
}

impl Api {
    /// Keeps `job` going as long as somebody listens to what is told of it.
    fn keep(&self, job: Arc<Job>) -> Told {
        let (tell, told) = mpsc::channel(UNHEARD_MAX);
        let jobs = Arc::clone(&self.0.jobs);
        self.0.reactor.spawn(move || async move {
            let first = tell.try_send(Ok(message(&job)));
            drop(first);
            let why = loop {
                let change = env::either(job.until_not_running(), tell.closed());
                match env::timeout(TELL_INTERVAL, change).await {
                    // Who does not listen is told next time.
                    None => drop(tell.try_send(Ok(message(&job)))),
                    Some(Either::First(Phase::Cancelling)) => break Outcome::Cancelled,
                    Some(Either::First(_)) => return say_the_end(&job, &tell).await,
                    Some(Either::Second(())) => {
                        break Outcome::Failed("its caller went away".to_owned());
                    }
                }
            };
            if job.begin_end() {
                if let Some(Material { lease, import }) = job.settle().await {
                    drop(lease);
                    if let Some(plan) = import {
                        import::clean_up(&plan).await;
                    }
                }
                jobs.end(&job, why);
            }
            job.until_over().await;
            say_the_end(&job, &tell).await;
        });
        Box::pin(ReceiverStream::new(told))
    }

    /// The job of this number, if it is of this kind.
    fn job(&self, id: u64, kind: Kind) -> Result<Arc<Job>, Status> {
        let job = self.0.jobs.find(id);
        let right = |job: &Arc<Job>| job.kind == kind;
        job.filter(right).ok_or_else(|| no_job(id, &NoJob::Unknown))
    }

    fn step(&self, id: u64, kind: Kind) -> Result<Step, Status> {
        let step = self.job(id, kind)?.step();
        step.map_err(|why| no_job(id, &why))
    }
}

/// Tells how `job` has ended, unless nobody listens any more.
async fn say_the_end(job: &Job, tell: &mpsc::Sender<Result<proto::Job, Status>>) {
    let last = match job.phase() {
        Phase::Ended(Outcome::Cancelled, _) => Err(cancelled(job.id)),
        Phase::Ended(Outcome::Failed(why), _) => Err(Status::failed_precondition(why)),
        _ => Ok(message(job)),
    };
    let _ = tell.send(last).await;
}

/// What is told of a job.
fn message(job: &Job) -> proto::Job {
    let kind = match job.kind {
        Kind::Import => proto::job::Kind::Import,
        Kind::Export => proto::job::Kind::Export,
    };
    let (mut ended, mut checksum, mut error) = (0, String::new(), String::new());
    let state = match job.phase() {
        Phase::Running | Phase::Cancelling | Phase::Ending => proto::job::State::Running,
        Phase::Ended(outcome, at) => {
            ended = at;
            match outcome {
                Outcome::Done(sum) => {
                    checksum = sum;
                    proto::job::State::Done
                }
                Outcome::Failed(why) => {
                    error = why;
                    proto::job::State::Failed
                }
                Outcome::Cancelled => proto::job::State::Cancelled,
            }
        }
    };
    proto::Job {
        id: job.id,
        kind: kind.into(),
        name: job.name.clone(),
        state: state.into(),
        size: job.size,
        done: job.done_bytes(),
        started: job.started,
        ended,
        checksum,
        error,
    }
}

/// The range of a piece that is moved at once.
fn piece(lease: &Lease, offset: u64, length: u64) -> Result<Extent, Status> {
    match length {
        0..=JOB_PIECE_BYTES_MAX => inside(lease, offset, length),
        _ => Err(Status::invalid_argument(format!(
            "{length} bytes at once are more than {JOB_PIECE_BYTES_MAX}"
        ))),
    }
}

/// A range that is not empty and lies on the disk.
fn inside(lease: &Lease, offset: u64, length: u64) -> Result<Extent, Status> {
    let size = lease.size();
    match offset.checked_add(length) {
        Some(end) if length > 0 && end <= size => Ok(Extent::between(offset, end)),
        _ => Err(Status::invalid_argument(format!(
            "{length} bytes from {offset} on are not on a disk of {size}"
        ))),
    }
}

fn failed(job: &Job, error: crate::base::Error) -> Status {
    let code = status::code_of_request(error);
    status::new(code, &job.name, &error.to_string(), "")
}

fn no_more(why: NoMore) -> Status {
    match why {
        NoMore::Full => {
            let remedy = "wait for one to end, or cancel one; see 'bedplate job list'";
            status::new(
                Code::ResourceExhausted,
                "jobs",
                "too many are running",
                remedy,
            )
        }
        NoMore::Closed => Status::unavailable("the server is stopping"),
    }
}

fn cancelled(id: u64) -> Status {
    status::new(
        Code::Cancelled,
        &format!("job {id}"),
        "somebody cancelled it",
        "",
    )
}

fn no_job(id: u64, why: &NoJob) -> Status {
    let what = format!("job {id}");
    let remedy = "see 'bedplate job list'";
    match why {
        NoJob::Unknown => status::new(Code::NotFound, &what, "there is no such job", remedy),
        NoJob::Over(Phase::Cancelling | Phase::Ended(Outcome::Cancelled, _)) => cancelled(id),
        NoJob::Over(Phase::Ended(Outcome::Failed(why), _)) => status::new(
            Code::FailedPrecondition,
            &what,
            &format!("it failed: {why}"),
            "",
        ),
        NoJob::Over(_) => status::new(
            Code::FailedPrecondition,
            &what,
            "it has ended already",
            remedy,
        ),
    }
}
