//! Work that goes on at the same time, whose results come in the order of starting.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::rc::Rc;

use crate::env;
use crate::env::Signal;

/// Tasks under way. Whoever starts them sees to it that they are not too many.
pub(super) struct Flight<T> {
    started: VecDeque<Rc<Cell<Option<T>>>>,
    ended: Rc<Signal>,
}

impl<T: 'static> Flight<T> {
    /// None.
    pub(super) fn new() -> Self {
        Self {
            started: VecDeque::new(),
            ended: Rc::default(),
        }
    }

    /// How many tasks there are whose results were not taken.
    pub(super) fn count(&self) -> usize {
        self.started.len()
    }

    /// Starts `work`.
    pub(super) fn start(&mut self, work: impl Future<Output = T> + 'static) {
        let slot = Rc::new(Cell::new(None));
        self.started.push_back(Rc::clone(&slot));
        let ended = Rc::clone(&self.ended);
        env::spawn(async move {
            slot.set(Some(work.await));
            ended.wake_all();
        });
    }

    /// The result of the task that was started first, once it has ended; `None` if there is none.
    pub(super) async fn next(&mut self) -> Option<T> {
        let first = Rc::clone(self.started.front()?);
        let result = self.ended.wait_for(|| first.take()).await;
        self.started.pop_front();
        Some(result)
    }

    /// Waits until all tasks have ended.
    pub(super) async fn land(&mut self) {
        while self.next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::env::sim;

    #[test]
    fn results_come_in_the_order_of_starting() {
        for seed in 0..20 {
            sim::run(seed, async {
                let mut flight = Flight::new();
                for index in 0..10 {
                    flight.start(async move {
                        env::sleep(Duration::from_millis(sim::below(10))).await;
                        index
                    });
                }
                assert_eq!(flight.count(), 10);
                for index in 0..10 {
                    assert_eq!(flight.next().await, Some(index));
                }
                assert_eq!(flight.next().await, None);
            });
        }
    }
}
