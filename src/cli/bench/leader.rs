//! Leads a run: opens the connections, has them go through the stages, measures around them.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::args::BenchArgs;
use super::args::Op;
use super::board::Board;
use super::board::Order;
use super::connection::Connection;
use super::cpu::Process;
use super::error::BenchError;
use super::plan::Plan;
use super::plan::wants;
use super::progress::Progress;
use super::tally::Tally;
use super::worker::Stage;
use super::worker::Window;
use super::worker::Worker;
use crate::base::OpenError;
use crate::env;
use crate::env::Handle;
use crate::env::Instant;
use crate::frontend::nbd::proto::ClientExport;

/// How long a server may take for a reply. Slower ones are not worth measuring.
const STALL: Duration = Duration::from_secs(30);

/// What a run found.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) plan: Arc<Plan>,
    pub(super) export: ClientExport,
    pub(super) tally: Tally,
    pub(super) client_cpu: Duration,
    pub(super) server_cpu: Option<Duration>,
}

/// Runs what `args` ask for, with the connections on the reactors of `threads`.
pub(super) async fn run(
    args: Rc<BenchArgs>,
    seed: u64,
    threads: Vec<Handle>,
) -> Result<Outcome, BenchError> {
    let board = Arc::new(Board::new(args.connections));
    for (connection, thread) in (0..args.connections).zip(threads.iter().cycle()) {
        let (board, args) = (Arc::clone(&board), BenchArgs::clone(&args));
        thread.spawn(move || async move {
            if let Err(error) = take_part(&board, &args, connection).await {
                board.failed(error);
            }
        });
    }
    let mut leader = Leader {
        board: &board,
        progress: Progress::new(),
        reached: 0,
        since: env::now(),
    };
    let outcome = leader.lead(&args, seed).await;
    leader.progress.clear();
    outcome
}

/// The whole life of one connection.
async fn take_part(board: &Board, args: &BenchArgs, number: u64) -> Result<(), BenchError> {
    let connection = Connection::open(&args.uri, wants(args.framing)).await?;
    board.connected(connection.export());
    let mut worker = None;
    for order in 0.. {
        match board.order(order).await {
            Order::Stage(plan, stage) => {
                let worker = worker.get_or_insert_with(|| Worker::new(plan, number));
                worker.begin(stage);
                connection
                    .carry_out(worker, board.finished_by(number))
                    .await?;
                board.obeyed(order);
            }
            Order::Leave => {
                connection.close().await;
                worker
                    .into_iter()
                    .for_each(|worker| board.hand_in(worker.into_tally()));
                board.obeyed(order);
                break;
            }
        }
    }
    Ok(())
}

struct Leader<'a> {
    board: &'a Board,
    progress: Progress,
    /// Operations done when it was last looked, and since when that many.
    reached: u64,
    since: Instant,
}

impl Leader<'_> {
    async fn lead(&mut self, args: &BenchArgs, seed: u64) -> Result<Outcome, BenchError> {
        let export = one_export(args, &self.board.exports().await?)?;
        let plan = Arc::new(Plan::new(args, &export, seed)?);
        if plan.verify {
            self.stage(&plan, Stage::Fill).await?;
        }
        let (client_cpu, server_cpu) = self.load(&plan, args).await?;
        if plan.verify && plan.op != Op::Read {
            self.stage(&plan, Stage::ReadBack).await?;
        }
        let leave = self.board.give(Order::Leave);
        self.wait_for(leave).await?;
        let mut tally = Tally::new();
        self.board
            .tallies()
            .into_iter()
            .for_each(|part| tally.add(part));
        Ok(Outcome {
            plan,
            export,
            tally,
            client_cpu,
            server_cpu,
        })
    }

    /// Has the connections go through a stage.
    async fn stage(&mut self, plan: &Arc<Plan>, stage: Stage) -> Result<(), BenchError> {
        let what = match stage {
            Stage::Fill => "writing the range",
            Stage::Load(_) => "finishing",
            Stage::ReadBack => "reading it back",
        };
        let blocks = self.board.finished() + plan.block_count;
        self.progress.begin(what, Some(blocks));
        self.since = env::now();
        let order = self.board.give(Order::Stage(Arc::clone(plan), stage));
        self.wait_for(order).await
    }

    /// Puts on the load. Gives the CPU time that client and server spent in the window.
    async fn load(
        &mut self,
        plan: &Arc<Plan>,
        args: &BenchArgs,
    ) -> Result<(Duration, Option<Duration>), BenchError> {
        self.since = env::now();
        let start = self.since + plan.warm_up;
        let window = Window {
            start,
            end: start + plan.window,
        };
        let stage = Stage::Load(window);
        let order = self.board.give(Order::Stage(Arc::clone(plan), stage));
        let server = args.pid.map(Process::Other);
        self.progress.begin("warming up", None);
        self.wait_until(window.start).await?;
        let before = Sample::take(server)?;
        self.progress.begin("measuring", None);
        self.wait_until(window.end).await?;
        let after = Sample::take(server)?;
        self.progress.begin("finishing", None);
        self.wait_for(order).await?;
        Ok(after.since(&before, plan.window))
    }

    /// Waits until the connections have carried out an order, and watches them.
    async fn wait_for(&mut self, order: usize) -> Result<(), BenchError> {
        loop {
            let obeyed = self.board.all_obeyed(order);
            match env::timeout(Progress::INTERVAL, obeyed).await {
                Some(obeyed) => return obeyed,
                None => self.watch()?,
            }
        }
    }

    /// Waits for a time, and watches the connections, unless one fails.
    async fn wait_until(&mut self, time: Instant) -> Result<(), BenchError> {
        loop {
            let left = time - env::now();
            if left.is_zero() {
                return Ok(());
            }
            env::timeout(left.min(Progress::INTERVAL), self.board.failure())
                .await
                .map_or(Ok(()), Err)?;
            self.watch()?;
        }
    }

    /// Shows how far they are. A server that does not answer ends the run.
    fn watch(&mut self) -> Result<(), BenchError> {
        let (finished, now) = (self.board.finished(), env::now());
        if finished != self.reached {
            (self.reached, self.since) = (finished, now);
        }
        if now - self.since > STALL {
            return Err(BenchError::Stalled(STALL));
        }
        self.progress.show(finished, now);
        Ok(())
    }
}

/// What all connections were told, which must be the same.
fn one_export(args: &BenchArgs, exports: &[ClientExport]) -> Result<ClientExport, OpenError> {
    let first = exports[0];
    if exports.iter().any(|export| *export != first) {
        let why = "the server says different things to different connections";
        return Err(OpenError::new(
            args.uri.to_string(),
            why,
            "try --connections 1",
        ));
    }
    Ok(first)
}

/// The CPU times at some moment.
struct Sample {
    at: Instant,
    client: Duration,
    server: Option<Duration>,
}

impl Sample {
    fn take(server: Option<Process>) -> Result<Self, BenchError> {
        let read = |process: Process| {
            process.cpu_time().map_err(|error| {
                let what = match process {
                    Process::Own => "/proc/self".to_owned(),
                    Process::Other(id) => format!("--pid {id}"),
                };
                let why = format!("cannot read its CPU time: {error}");
                OpenError::new(what, why, "give the number of a running process")
            })
        };
        Ok(Self {
            server: server.map(read).transpose()?,
            client: read(Process::Own)?,
            at: env::now(),
        })
    }

    /// What was spent since `before`, in proportion for a window of this length: on a busy machine
    /// a sample is taken late.
    fn since(&self, before: &Self, window: Duration) -> (Duration, Option<Duration>) {
        let share = window.as_secs_f64() / (self.at - before.at).as_secs_f64();
        let spent = |after: Duration, before: Duration| after.saturating_sub(before).mul_f64(share);
        let server = self.server.zip(before.server);
        (
            spent(self.client, before.client),
            server.map(|(after, before)| spent(after, before)),
        )
    }
}
