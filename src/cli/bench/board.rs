//! Where the connections, each on its thread, and the one who leads the run meet.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use super::error::BenchError;
use super::plan::Plan;
use super::tally::Tally;
use super::worker::Stage;
use crate::env::Signal;
use crate::frontend::nbd::proto::ClientExport;

/// What all connections and their leader see.
#[derive(Debug)]
pub(super) struct Board {
    state: Mutex<State>,
    changed: Signal,
    /// Operations that each connection has done so far.
    finished: Vec<AtomicU64>,
}

#[derive(Debug, Default)]
struct State {
    exports: Vec<ClientExport>,
    orders: Vec<Order>,
    /// Connections that have carried out each order.
    obeyed: Vec<usize>,
    tallies: Vec<Tally>,
    failure: Option<BenchError>,
}

/// What the connections are to do next.
#[derive(Clone, Debug)]
pub(super) enum Order {
    /// A stage of this plan.
    Stage(Arc<Plan>, Stage),
    /// Hand in what was counted, and close.
    Leave,
}

impl Board {
    pub(super) fn new(connections: u64) -> Self {
        Self {
            state: Mutex::default(),
            changed: Signal::new(),
            finished: (0..connections).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// How far a connection is, for it to update.
    pub(super) fn finished_by(&self, connection: u64) -> &AtomicU64 {
        &self.finished[usize::try_from(connection).expect("bounded by the arguments")]
    }

    /// Operations that all connections have done so far.
    pub(super) fn finished(&self) -> u64 {
        let each = self.finished.iter();
        each.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// A connection stands.
    pub(super) fn connected(&self, export: ClientExport) {
        self.change(|state| state.exports.push(export));
    }

    /// The order with this number, once it is given.
    pub(super) async fn order(&self, number: usize) -> Order {
        let given = || self.lock().orders.get(number).cloned();
        self.changed.wait_for(given).await
    }

    /// A connection has carried out the order with this number.
    pub(super) fn obeyed(&self, number: usize) {
        self.change(|state| state.obeyed[number] += 1);
    }

    /// A connection hands in what it counted.
    pub(super) fn hand_in(&self, tally: Tally) {
        self.change(|state| state.tallies.push(tally));
    }

    /// A connection cannot go on. The first one's reason is kept.
    pub(super) fn failed(&self, error: BenchError) {
        self.change(|state| {
            state.failure.get_or_insert(error);
        });
    }

    /// Gives an order to all connections and says its number.
    pub(super) fn give(&self, order: Order) -> usize {
        self.change(|state| {
            state.orders.push(order);
            state.obeyed.push(0);
            state.orders.len() - 1
        })
    }

    /// What the server said to each connection, once all of them stand.
    pub(super) async fn exports(&self) -> Result<Vec<ClientExport>, BenchError> {
        self.once(|state| {
            let all = state.exports.len() == self.finished.len();
            all.then(|| std::mem::take(&mut state.exports))
        })
        .await
    }

    /// Waits until all connections have carried out the order with this number.
    pub(super) async fn all_obeyed(&self, number: usize) -> Result<(), BenchError> {
        self.once(|state| (state.obeyed[number] == self.finished.len()).then_some(()))
            .await
    }

    /// Waits for the failure of a connection.
    pub(super) async fn failure(&self) -> BenchError {
        let Err(failure) = self.once(|_| None::<Infallible>).await;
        failure
    }

    /// What all connections have counted.
    pub(super) fn tallies(&self) -> Vec<Tally> {
        std::mem::take(&mut self.lock().tallies)
    }

    /// Waits for what `check` gives, or for a failure.
    async fn once<T>(&self, check: impl Fn(&mut State) -> Option<T>) -> Result<T, BenchError> {
        let look = || {
            let mut state = self.lock();
            if let Some(failure) = state.failure.take() {
                return Some(Err(failure));
            }
            check(&mut state).map(Ok)
        };
        self.changed.wait_for(look).await
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.lock());
        self.changed.wake_all();
        changed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
