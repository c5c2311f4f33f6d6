//! A simulated world: one thread, virtual time, and every choice from one seed.
//!
//! A simulation runs the same tasks as a reactor. Which of the ready tasks runs next is drawn at
//! random, so tasks interleave in ways that a quiet machine never shows; time stands still while
//! anything is ready and then jumps to the next timer, so an hour takes no time. The same seed
//! gives the same run, to the last step.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::rc::Rc;

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::executor::{Executor, Inbox};
use super::timer::Timers;
use super::wait::Signal;
use super::{Core, Instant, Outside, Stream, current, enter};
use crate::base::Buf;

/// Steps after which a simulation is taken to run in circles.
const STEPS_MAX: u64 = 100_000_000;

/// The outside of a simulated thread.
pub(super) struct World {
    now: Cell<Instant>,
    random: RefCell<Xoshiro256PlusPlus>,
}

impl World {
    pub(super) fn now(&self) -> Instant {
        self.now.get()
    }

    pub(super) fn random_u64(&self) -> u64 {
        self.random.borrow_mut().next_u64()
    }
}

/// Runs `work`, and the tasks that it spawns, in the world of `seed` until `work` is done. Tasks
/// that are left are dropped.
///
/// # Panics
/// If `work` waits for something that never happens.
pub fn run<T: 'static>(seed: u64, work: impl Future<Output = T> + 'static) -> T {
    let core = Rc::new(Core {
        executor: Executor::new(Inbox::new(Box::new(|| {}))),
        timers: RefCell::new(Timers::default()),
        turn_began: Cell::new(Instant::from_nanos(0)),
        outside: Outside::Simulated(World {
            now: Cell::new(Instant::from_nanos(0)),
            random: RefCell::new(Xoshiro256PlusPlus::seed_from_u64(seed)),
        }),
    });
    let result = Rc::new(RefCell::new(None));
    let store = Rc::clone(&result);
    enter(&core, || {
        core.executor.on_this_thread(|| {
            super::spawn(async move {
                let done = work.await;
                *store.borrow_mut() = Some(done);
            });
            let ended = || result.borrow().is_some();
            drive(&core, seed, &ended);
            core.executor.clear();
        });
    });
    let done = result.borrow_mut().take();
    done.expect("driven until it is there")
}

/// A random number below `bound`, which is not zero.
pub fn below(bound: u64) -> u64 {
    // The bias of a remainder does not matter for bounds as small as a simulation's.
    super::random_u64() % bound
}

/// True once in `n` times.
pub fn one_in(n: u64) -> bool {
    below(n) == 0
}

fn drive(core: &Core, seed: u64, ended: &dyn Fn() -> bool) {
    let Outside::Simulated(world) = &core.outside else {
        unreachable!("made above")
    };
    let choose = |count: usize| {
        let drawn = world.random_u64() % (count as u64);
        usize::try_from(drawn).expect("below a count")
    };
    for _ in 0..STEPS_MAX {
        if ended() {
            return;
        }
        for parcel in core.executor.inbox().take() {
            parcel();
        }
        if core.executor.run_chosen(choose) || core.executor.end_turn() {
            continue;
        }
        let next = core.timers.borrow().next();
        let Some(next) = next else {
            panic!("seed {seed}: everybody waits, and for nothing");
        };
        world.now.set(next);
        core.wake_due(next);
    }
    panic!("seed {seed}: no end after {STEPS_MAX} steps");
}

/// A connection within a simulation: two ends, each of which holds at most `capacity` bytes that
/// the other has not taken.
pub fn pipe(capacity: usize) -> (Stream, Stream) {
    let one = Rc::new(Half::new(capacity));
    let other = Rc::new(Half::new(capacity));
    let end = |incoming: &Rc<Half>, outgoing: &Rc<Half>| {
        Stream::simulated(PipeEnd {
            incoming: Rc::clone(incoming),
            outgoing: Rc::clone(outgoing),
        })
    };
    (end(&one, &other), end(&other, &one))
}

/// One end of a simulated connection.
#[derive(Debug)]
pub(super) struct PipeEnd {
    incoming: Rc<Half>,
    outgoing: Rc<Half>,
}

#[derive(Debug)]
struct Half {
    bytes: RefCell<VecDeque<u8>>,
    capacity: usize,
    closed: Cell<bool>,
    changed: Signal,
}

impl Half {
    fn new(capacity: usize) -> Self {
        Self {
            bytes: RefCell::default(),
            capacity,
            closed: Cell::new(false),
            changed: Signal::new(),
        }
    }

    fn close(&self) {
        self.closed.set(true);
        self.changed.wake_all();
    }
}

impl PipeEnd {
    pub(super) async fn receive(&self, mut buf: Buf, from: usize) -> (io::Result<usize>, Buf) {
        let half = &self.incoming;
        let arrived = || {
            let bytes = half.bytes.borrow();
            (!bytes.is_empty() || half.closed.get()).then_some(())
        };
        half.changed.wait_for(arrived).await;
        let mut bytes = half.bytes.borrow_mut();
        let room = buf.len() - from;
        let count = some_of(bytes.len().min(room));
        for (to, byte) in buf[from..].iter_mut().zip(bytes.drain(..count)) {
            *to = byte;
        }
        drop(bytes);
        half.changed.wake_all();
        (Ok(count), buf)
    }

    pub(super) async fn send(&self, mut data: &[u8]) -> io::Result<()> {
        let half = &self.outgoing;
        while !data.is_empty() {
            let room = || {
                let room = half.capacity - half.bytes.borrow().len();
                (room > 0 || half.closed.get()).then_some(room)
            };
            let room = half.changed.wait_for(room).await;
            if half.closed.get() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let (now, later) = data.split_at(some_of(room.min(data.len())));
            half.bytes.borrow_mut().extend(now);
            half.changed.wake_all();
            data = later;
        }
        Ok(())
    }

    pub(super) async fn hung_up(&self) {
        let half = &self.incoming;
        let closed = || half.closed.get().then_some(());
        half.changed.wait_for(closed).await;
    }

    pub(super) fn shutdown(&self) {
        self.incoming.close();
        self.outgoing.close();
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// All of `most`, or often less: a network splits what it carries anywhere.
fn some_of(most: usize) -> usize {
    if most < 2 || one_in(2) {
        return most;
    }
    let part = 1 + below(most as u64 - 1);
    usize::try_from(part).expect("below a count")
}

/// Whether this thread runs in a simulation.
pub fn is_simulated() -> bool {
    matches!(current().outside, Outside::Simulated(_))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{end_of_turn, now, sleep, spawn, timeout};
    use super::*;

    /// The order in which ten tasks of equal right come to run.
    fn order(seed: u64) -> Vec<u64> {
        run(seed, async {
            let seen = Rc::new(RefCell::new(Vec::new()));
            for task in 0..10 {
                let seen = Rc::clone(&seen);
                spawn(async move { seen.borrow_mut().push(task) });
            }
            sleep(Duration::from_secs(1)).await;
            seen.take()
        })
    }

    #[test]
    fn a_seed_repeats_and_another_differs() {
        assert_eq!(order(1), order(1));
        assert!((2..10).any(|seed| order(seed) != order(1)));
    }

    #[test]
    fn time_passes_only_by_waiting() {
        run(1, async {
            let start = now();
            end_of_turn().await;
            assert_eq!(now(), start);
            sleep(Duration::from_secs(3600)).await;
            assert_eq!(now() - start, Duration::from_secs(3600));
        });
    }

    #[test]
    fn a_timeout_ends_what_never_ends() {
        run(1, async {
            let never = std::future::pending::<()>();
            assert_eq!(timeout(Duration::from_secs(5), never).await, None);
            assert_eq!(timeout(Duration::from_secs(5), async { 7 }).await, Some(7));
        });
    }

    #[test]
    fn a_pipe_carries_all_bytes_in_order_and_ends() {
        for seed in 0..50 {
            run(seed, async {
                let (near, far) = pipe(100);
                let sent: Vec<u8> = (0..=255).cycle().take(5000).collect();
                let expected = sent.clone();
                spawn(async move {
                    let (result, _) = near.send(sent).await;
                    result.expect("the other end listens");
                });
                let mut received = Vec::new();
                loop {
                    let (count, buf) = far.receive(Buf::new(64), 0).await;
                    match count.expect("a pipe does not fail") {
                        0 => break,
                        count => received.extend_from_slice(&buf[..count]),
                    }
                }
                assert_eq!(received, expected);
            });
        }
    }

    #[test]
    #[should_panic(expected = "everybody waits")]
    fn waiting_for_nothing_is_noticed() {
        run(1, std::future::pending::<()>());
    }
}
