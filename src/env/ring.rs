//! Operations that the kernel carries out for tasks of this thread, through one io_uring.
//!
//! An operation owns what the kernel touches, its file and its memory, until the kernel says that
//! it is done. So a task may be dropped while it waits: its operation is cancelled and forgotten,
//! and what it owned is dropped when the kernel lets go.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use io_uring::{IoUring, opcode, squeue, types};

use super::current;
use super::mapping::Mapping;
use crate::base::Buf;
use crate::base::limits::{BUFFER_PLACES, RING_ENTRIES};

/// The completion of a cancellation, which nobody waits for.
const NOBODY: u64 = u64::MAX;

/// What an operation owns while the kernel works on it.
pub(super) enum Keep {
    /// Nothing but its file.
    Nothing,
    /// A buffer.
    Buf(Buf),
    /// Several pieces of memory, which stay where they are.
    Pieces(Box<dyn Any>),
    /// Memory that a driver may touch until it answers, which nothing can make it do. `None` if it
    /// lends memory of its own.
    Driver(#[expect(dead_code)] Option<Arc<Mapping>>),
}

/// The ring of one thread and its operations under way.
pub(super) struct Ring {
    io: RefCell<IoUring>,
    operations: RefCell<Operations>,
    storage: Cell<usize>,
    /// The free places of the table of registered buffers, if there is a table.
    buffer_places: RefCell<Option<Vec<u16>>>,
}

#[derive(Default)]
struct Operations {
    places: Vec<Place>,
    free: Vec<usize>,
}

enum Place {
    Free,
    UnderWay {
        keep: Keep,
        _file: Option<Arc<OwnedFd>>,
        waker: Option<Waker>,
    },
    Done {
        keep: Keep,
        result: i32,
    },
    /// The task was dropped; the kernel is not done.
    Abandoned {
        _keep: Keep,
        _file: Option<Arc<OwnedFd>>,
    },
}

impl Ring {
    /// A ring for this thread alone.
    ///
    /// # Errors
    /// If the kernel is older than 6.1 or forbids io_uring.
    pub(super) fn new() -> io::Result<Self> {
        let io = IoUring::builder()
            // Completions are handled when this thread asks for them, not whenever they happen:
            // one batch a turn instead of an interruption each. The flag tells that there are any.
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(4 * RING_ENTRIES)
            .build(RING_ENTRIES)?;
        Ok(Self {
            io: RefCell::new(io),
            operations: RefCell::default(),
            storage: Cell::new(0),
            buffer_places: RefCell::default(),
        })
    }

    /// Whether completions wait to be collected.
    pub(super) fn has_completions(&self) -> bool {
        let mut io = self.io.borrow_mut();
        io.submission().taskrun() || !io.completion().is_empty()
    }

    /// Starts the operations on storage that are queued, once there are enough of them. The kernel
    /// hands a device all that one system call submits at the end of that call, and preparing a
    /// request takes it some 3 us: submitted all at once, a batch of 32 would leave the device idle
    /// for as long as it then takes to serve a quarter of it.
    fn start_storage(&self) {
        let mut io = self.io.borrow_mut();
        if io.submission().len() >= STORAGE_BATCH {
            // Should it fail, they are submitted with the rest at the end of the turn.
            let _ = io.submit();
        }
    }

    /// Takes a free place of the table of registered buffers, which is made when one is wanted.
    pub(super) fn take_buffer_place(&self) -> io::Result<u16> {
        let mut places = self.buffer_places.borrow_mut();
        if places.is_none() {
            let io = self.io.borrow();
            io.submitter()
                .register_buffers_sparse(BUFFER_PLACES.into())?;
        }
        let free = places.get_or_insert_with(|| (0..BUFFER_PLACES).rev().collect());
        let full = || io::Error::from_raw_os_error(libc::ENOBUFS);
        free.pop().ok_or_else(full)
    }

    pub(super) fn give_buffer_place_back(&self, place: u16) {
        let mut places = self.buffer_places.borrow_mut();
        let free = places.as_mut().expect("a table that it was taken from");
        free.push(place);
    }

    /// Whether an operation on storage is under way, which takes its time whoever waits for it.
    pub(super) fn waits_for_storage(&self) -> bool {
        self.storage.get() > 0
    }

    /// Submits what is queued and collects completions; waits for one as long as `limit` says,
    /// `None` for ever and zero not at all. Wakes the tasks whose operations are done.
    pub(super) fn turn(&self, limit: Option<Duration>) -> io::Result<()> {
        self.enter(limit)?;
        self.collect();
        Ok(())
    }

    /// Cancels what is under way and waits until the kernel has let go of all memory; of what a
    /// driver has, this process lets go only with its end.
    pub(super) fn quiesce(&self) -> io::Result<()> {
        let busy = |operations: &Operations| operations.places.iter().any(Place::is_cancellable);
        if busy(&self.operations.borrow()) {
            let all = types::CancelBuilder::any();
            self.push(&opcode::AsyncCancel2::new(all).build().user_data(NOBODY));
        }
        while busy(&self.operations.borrow()) {
            self.turn(None)?;
        }
        let places = self.operations.take().places.into_iter();
        places
            .filter(Place::is_with_driver)
            .for_each(std::mem::forget);
        Ok(())
    }

    fn enter(&self, limit: Option<Duration>) -> io::Result<()> {
        let mut io = self.io.borrow_mut();
        let submitted = match limit {
            Some(Duration::ZERO) => {
                let (submitter, mut queue, _) = io.split();
                queue.sync();
                let queued = u32::try_from(queue.len()).expect("a ring is smaller than this");
                // With deferred task work only an enter that asks for events runs it.
                // SAFETY: no argument is passed, so there is no memory to keep valid; entries in
                // the queue own their memory through `operations`.
                unsafe { submitter.enter::<libc::sigset_t>(queued, 0, GET_EVENTS, None) }
            }
            Some(limit) => {
                let limit = types::Timespec::from(limit);
                let arguments = types::SubmitArgs::new().timespec(&limit);
                io.submitter().submit_with_args(1, &arguments)
            }
            None => io.submitter().submit_and_wait(1),
        };
        match submitted {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // Time is up, a signal came, or completions must be collected first.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    fn collect(&self) {
        let mut io = self.io.borrow_mut();
        let mut operations = self.operations.borrow_mut();
        for completion in io.completion() {
            if completion.user_data() != NOBODY {
                let place = usize::try_from(completion.user_data()).expect("a place we gave");
                operations.finish(place, completion.result());
            }
        }
    }

    fn push(&self, entry: &squeue::Entry) {
        let mut io = self.io.borrow_mut();
        loop {
            // SAFETY: what the entry points to is owned by its place in `operations` until its
            // completion is collected.
            if unsafe { io.submission().push(entry) }.is_ok() {
                return;
            }
            io.submit().expect("a full queue can be submitted");
        }
    }

    fn begin(&self, file: Option<Arc<OwnedFd>>, entry: squeue::Entry, keep: Keep) -> Operation {
        let place = self.operations.borrow_mut().occupy(Place::UnderWay {
            keep,
            _file: file,
            waker: None,
        });
        self.push(&entry.user_data(place as u64));
        Operation { place: Some(place) }
    }

    fn abandon(&self, place: usize) {
        let mut operations = self.operations.borrow_mut();
        match std::mem::replace(&mut operations.places[place], Place::Free) {
            Place::UnderWay { keep, _file, .. } => {
                operations.places[place] = Place::Abandoned { _keep: keep, _file };
                drop(operations);
                let cancel = opcode::AsyncCancel::new(place as u64);
                self.push(&cancel.build().user_data(NOBODY));
            }
            Place::Done { .. } => operations.free.push(place),
            Place::Free | Place::Abandoned { .. } => {
                unreachable!("an operation has one future, which is dropped once")
            }
        }
    }
}

/// `IORING_ENTER_GETEVENTS` of `linux/io_uring.h`.
const GET_EVENTS: u32 = 1;

impl Place {
    /// Whether the kernel has something that it gives back when it is asked to.
    fn is_cancellable(&self) -> bool {
        let is_under_way = matches!(self, Self::UnderWay { .. } | Self::Abandoned { .. });
        is_under_way && !self.is_with_driver()
    }

    /// Whether a driver has something that it gives back when it likes.
    fn is_with_driver(&self) -> bool {
        match self {
            Self::UnderWay { keep, .. } | Self::Abandoned { _keep: keep, .. } => {
                matches!(keep, Keep::Driver(_))
            }
            Self::Free | Self::Done { .. } => false,
        }
    }
}

impl Operations {
    fn occupy(&mut self, state: Place) -> usize {
        if let Some(place) = self.free.pop() {
            self.places[place] = state;
            return place;
        }
        self.places.push(state);
        self.places.len() - 1
    }

    fn finish(&mut self, place: usize, result: i32) {
        match std::mem::replace(&mut self.places[place], Place::Free) {
            Place::UnderWay { keep, waker, .. } => {
                self.places[place] = Place::Done { keep, result };
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Place::Abandoned { .. } => self.free.push(place),
            Place::Free | Place::Done { .. } => unreachable!("an operation completes once"),
        }
    }
}

/// An operation under way. Gives the kernel's result, negative for an error number, and what the
/// operation owned.
pub(super) struct Operation {
    place: Option<usize>,
}

impl Operation {
    /// Queues `entry`, which works on `file` and on the memory in `keep` only.
    pub(super) fn new(file: Option<Arc<OwnedFd>>, entry: squeue::Entry, keep: Keep) -> Self {
        current().machine().ring.begin(file, entry, keep)
    }
}

impl Future for Operation {
    type Output = (i32, Keep);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let place = self.place.expect("not polled after it was ready");
        let core = current();
        let mut operations = core.machine().ring.operations.borrow_mut();
        if let Place::UnderWay { waker, .. } = &mut operations.places[place] {
            match waker {
                Some(known) => known.clone_from(context.waker()),
                None => *waker = Some(context.waker().clone()),
            }
            return Poll::Pending;
        }
        self.place = None;
        operations.free.push(place);
        match std::mem::replace(&mut operations.places[place], Place::Free) {
            Place::Done { keep, result } => Poll::Ready((result, keep)),
            _ => unreachable!("an operation that is polled is under way or done"),
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            current().machine().ring.abandon(place);
        }
    }
}

/// Queued operations that are worth a system call of their own where storage is concerned.
const STORAGE_BATCH: usize = 8;

/// Notes that an operation on storage is under way, until this is dropped.
pub(super) struct StorageNote;

impl StorageNote {
    pub(super) fn new() -> Self {
        Self::add(1);
        current().machine().ring.start_storage();
        Self
    }

    fn add(change: isize) {
        let core = current();
        let storage = &core.machine().ring.storage;
        storage.set(storage.get().wrapping_add_signed(change));
    }
}

impl Drop for StorageNote {
    fn drop(&mut self) {
        Self::add(-1);
    }
}

/// The kernel's result as a count, or as the error that it stands for.
pub(super) fn count(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}
