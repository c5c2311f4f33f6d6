//! A lock that tasks wait for.

use std::sync::atomic::{AtomicBool, Ordering};

use super::wait::Signal;

/// What one task has at a time, of whichever thread, also while it waits for something else.
#[derive(Debug, Default)]
pub struct TaskLock {
    is_taken: AtomicBool,
    given_back: Signal,
}

/// Having a [`TaskLock`], until this is dropped.
#[derive(Debug)]
pub struct TaskLockGuard<'a>(&'a TaskLock);

impl TaskLock {
    /// Waits until nobody else has it. Who waits gets it in no particular order.
    pub async fn lock(&self) -> TaskLockGuard<'_> {
        let take = || (!self.is_taken.swap(true, Ordering::SeqCst)).then_some(());
        self.given_back.wait_for(take).await;
        TaskLockGuard(self)
    }
}

impl Drop for TaskLockGuard<'_> {
    fn drop(&mut self) {
        self.0.is_taken.store(false, Ordering::SeqCst);
        self.0.given_back.wake_all();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;

    use super::*;
    use crate::env;
    use crate::env::sim;

    #[test]
    fn one_task_has_it_at_a_time_and_all_get_it() {
        for seed in 0..20 {
            sim::run(seed, async {
                let (lock, inside) = (Rc::new(TaskLock::default()), Rc::new(Cell::new(0)));
                let visits = Rc::new(Cell::new(0));
                for _ in 0..5 {
                    let (lock, inside) = (Rc::clone(&lock), Rc::clone(&inside));
                    let visits = Rc::clone(&visits);
                    env::spawn(async move {
                        for _ in 0..10 {
                            let _guard = lock.lock().await;
                            assert_eq!(inside.replace(1), 0, "two at once");
                            env::sleep(Duration::from_millis(sim::below(3))).await;
                            inside.set(0);
                            visits.set(visits.get() + 1);
                        }
                    });
                }
                env::sleep(Duration::from_secs(10)).await;
                assert_eq!(visits.get(), 50);
            });
        }
    }
}
