//! Tasks of one thread, and waking them, also from other threads.
//!
//! A task is polled only by the thread that spawned it. Its waker may travel: woken on its own
//! thread, a task goes to the end of the ready queue; woken elsewhere, it goes into the thread's
//! [`Inbox`], and the thread is roused if it sleeps. A waker belongs to a place in the table of
//! tasks and is used again by the next task in that place; waking too often is harmless.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Work that another thread sends: it makes a task of this thread.
pub(super) type Parcel = Box<dyn FnOnce() + Send>;

thread_local! {
    /// The identity of the executor that runs on this thread, 0 for none.
    static RUNNING: Cell<u64> = const { Cell::new(0) };
}

/// The tasks of one thread.
pub(super) struct Executor {
    places: RefCell<Vec<Place>>,
    free: RefCell<Vec<usize>>,
    ready: Arc<Ready>,
    late: RefCell<Vec<Waker>>,
    inbox: Arc<Inbox>,
}

struct Place {
    /// `None` while the task is being polled, or if there is none.
    task: Option<Task>,
    waker: Waker,
    occupied: bool,
}

impl Executor {
    pub(super) fn new(inbox: Arc<Inbox>) -> Self {
        Self {
            places: RefCell::default(),
            free: RefCell::default(),
            ready: Arc::new(Ready::default()),
            late: RefCell::default(),
            inbox,
        }
    }

    pub(super) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// Marks this thread as the one whose tasks these are, for as long as `work` takes.
    pub(super) fn on_this_thread<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = RUNNING.replace(self.inbox.id);
        let done = work();
        RUNNING.set(before);
        done
    }

    pub(super) fn spawn(&self, task: Task) {
        let place = self.occupy();
        let waker = {
            let mut places = self.places.borrow_mut();
            places[place].task = Some(task);
            places[place].waker.clone()
        };
        waker.wake();
    }

    pub(super) fn start(&self, task: Task) {
        let place = self.occupy();
        let waker = self.places.borrow()[place].waker.clone();
        self.poll(place, task, waker);
    }

    /// Wakes `waker` once no task is ready any more.
    pub(super) fn wake_late(&self, waker: Waker) {
        self.late.borrow_mut().push(waker);
    }

    /// Runs the task that has been ready longest; `false` if there is none.
    pub(super) fn run_next(&self) -> bool {
        self.run(VecDeque::pop_front)
    }

    /// Runs the ready task that `choose` picks of that many; `false` if there is none.
    pub(super) fn run_chosen(&self, choose: impl FnOnce(usize) -> usize) -> bool {
        self.run(|ready| {
            let count = ready.len();
            (count > 0).then(|| {
                ready
                    .swap_remove_back(choose(count))
                    .expect("chosen of count")
            })
        })
    }

    /// Whether tasks that waited for the end of the turn are ready now.
    pub(super) fn end_turn(&self) -> bool {
        let late = self.late.take();
        let any = !late.is_empty();
        late.into_iter().for_each(Waker::wake);
        any
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.lock().is_empty() || !self.late.borrow().is_empty()
    }

    /// Drops every task where it waits.
    pub(super) fn clear(&self) {
        loop {
            // A task that is dropped may wake or spawn others, so no borrow is held meanwhile.
            let tasks: Vec<Task> = self
                .places
                .borrow_mut()
                .iter_mut()
                .filter_map(|place| place.task.take())
                .collect();
            if tasks.is_empty() {
                return;
            }
        }
    }

    fn run(&self, take: impl FnOnce(&mut VecDeque<usize>) -> Option<usize>) -> bool {
        let Some(place) = take(&mut self.ready.lock()) else {
            return false;
        };
        let taken = {
            let mut places = self.places.borrow_mut();
            let taken = places[place].task.take();
            taken.map(|task| (task, places[place].waker.clone()))
        };
        // Without a task this was a late wake-up of one that has ended.
        if let Some((task, waker)) = taken {
            self.poll(place, task, waker);
        }
        true
    }

    fn poll(&self, place: usize, mut task: Task, waker: Waker) {
        let state = task.as_mut().poll(&mut Context::from_waker(&waker));
        match state {
            Poll::Pending => self.places.borrow_mut()[place].task = Some(task),
            Poll::Ready(()) => {
                drop(task);
                self.places.borrow_mut()[place].occupied = false;
                self.free.borrow_mut().push(place);
            }
        }
    }

    fn occupy(&self) -> usize {
        let mut places = self.places.borrow_mut();
        let place = self.free.borrow_mut().pop().unwrap_or_else(|| {
            let index = places.len();
            places.push(Place {
                task: None,
                waker: Waker::from(Arc::new(TaskWaker {
                    place: index,
                    ready: Arc::clone(&self.ready),
                    inbox: Arc::clone(&self.inbox),
                })),
                occupied: false,
            });
            index
        });
        debug_assert!(!places[place].occupied, "a place holds one task");
        places[place].occupied = true;
        place
    }
}

/// The ready queue. Only its own thread touches it; the lock, never contended, is what lets a
/// waker hold it.
#[derive(Default)]
struct Ready(Mutex<VecDeque<usize>>);

impl Ready {
    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct TaskWaker {
    place: usize,
    ready: Arc<Ready>,
    inbox: Arc<Inbox>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if RUNNING.get() != self.inbox.id {
            let this = Arc::clone(self);
            return self.inbox.send(Box::new(move || this.wake_by_ref()));
        }
        let mut ready = self.ready.lock();
        // Woken twice in a row is the common repetition, and worth no second poll.
        if ready.back() != Some(&self.place) {
            ready.push_back(self.place);
        }
    }
}

/// What other threads send to a thread of tasks.
pub(super) struct Inbox {
    id: u64,
    parcels: Mutex<Vec<Parcel>>,
    waiting: AtomicBool,
    asleep: AtomicBool,
    rouse: Box<dyn Fn() + Send + Sync>,
}

impl Inbox {
    /// An inbox whose thread, if it sleeps, is woken by `rouse`.
    pub(super) fn new(rouse: Box<dyn Fn() + Send + Sync>) -> Arc<Self> {
        static CREATED: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self {
            id: CREATED.fetch_add(1, Ordering::Relaxed) + 1,
            parcels: Mutex::default(),
            waiting: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            rouse,
        })
    }

    pub(super) fn send(&self, parcel: Parcel) {
        self.parcels
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(parcel);
        self.waiting.store(true, Ordering::SeqCst);
        // Sequentially consistent with `fall_asleep`: either this sees the sleeper, or the sleeper
        // sees the parcel.
        if self.asleep.swap(false, Ordering::SeqCst) {
            (self.rouse)();
        }
    }

    pub(super) fn has_parcels(&self) -> bool {
        self.waiting.load(Ordering::SeqCst)
    }

    pub(super) fn take(&self) -> Vec<Parcel> {
        if !self.waiting.swap(false, Ordering::SeqCst) {
            return Vec::new();
        }
        let mut parcels = self.parcels.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *parcels)
    }

    /// Whether the thread sleeps and nobody has roused it.
    pub(super) fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::Relaxed)
    }

    /// Says that the thread is about to sleep; `false` if there is something to do first.
    pub(super) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        !self.has_parcels()
    }

    pub(super) fn wake_up(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }
}
