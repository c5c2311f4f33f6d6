//! One queue of a device: requests from the kernel, answers to it.
//!
//! A queue belongs to a reactor, since the driver wants all its commands from one thread. Each tag,
//! which is a place for one request, is a task: it waits for a request, serves it, answers, and
//! waits for the next with the same command. All commands of a turn leave with one system call.
//!
//! The driver copies the data of a write to the memory of its tag before it tells of the write, and
//! whoever wrote it cannot change that copy. So what is hashed is what is stored. Where nothing
//! looks at the data it lends the memory of the request instead, and nothing is copied.
//!
//! Whoever uses the device goes on when this server is killed and another takes over, and knows
//! nothing of it. So no write is answered while it is in the memory of this process only.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::device::Device;
use super::home::Home;
use super::uapi;
use super::uapi::{DESCRIPTOR_BYTES, Descriptor, What, io};
use crate::base::{Answer, Error, Refusal, Request, Ticket};
use crate::env;
use crate::env::{FileHandle, Mapping, Signal};
use crate::volume::qos::Direction;
use crate::volume::{Flow, Turn, Volume};

/// What a queue needs, made where the device is.
#[derive(Debug)]
pub(super) struct QueueParts {
    pub(super) device: Arc<Device>,
    pub(super) file: FileHandle,
    pub(super) index: u16,
    pub(super) descriptors: Mapping,
    /// Room for the data of every tag; `None` where the driver lends it.
    pub(super) memory: Option<Arc<Mapping>>,
}

/// A queue at work.
struct Queue {
    /// Whose it is, until its requests are left to the next server.
    device: RefCell<Option<Arc<Device>>>,
    file: FileHandle,
    index: u16,
    descriptors: Mapping,
    memory: Option<Arc<Mapping>>,
    request_bytes: usize,
    flow: Flow,
    /// Requests that are being served.
    serving: Cell<usize>,
    /// Tags that the driver may still tell something.
    tags: Cell<u16>,
    changed: Signal,
}

/// Serves a queue until the device is stopped, or left to the next server.
pub(super) async fn serve(parts: QueueParts) {
    let QueueParts {
        device,
        file,
        index,
        descriptors,
        memory,
    } = parts;
    let depth = device.depth();
    let queue = Rc::new(Queue {
        request_bytes: device.request_bytes(),
        flow: device.volume().new_flow(),
        device: RefCell::new(Some(Arc::clone(&device))),
        file,
        index,
        descriptors,
        memory,
        serving: Cell::new(0),
        tags: Cell::new(depth),
        changed: Signal::new(),
    });
    for tag in 0..depth {
        env::start(Rc::clone(&queue).serve_tag(tag));
    }
    env::either(queue.stopped(), device.leaving()).await;
    queue.flow.release();
    queue.settled().await;
    queue.device.take();
    device.queue_left();
}

impl Queue {
    async fn serve_tag(self: Rc<Self>, tag: u16) {
        let home = match self.home(tag) {
            Ok(home) => home,
            Err(error) => return self.tag_stopped(-error.raw_os_error().unwrap_or(libc::EIO)),
        };
        let address = home.address();
        let mut command = io::FETCH;
        let mut words = uapi::io_words(self.index, tag, 0, address);
        loop {
            let told = env::drive(&self.file, command, words, home.handed()).await;
            let device = match told {
                io::OK => self.device.borrow().clone(),
                _ => {
                    home.give_up();
                    return self.tag_stopped(told);
                }
            };
            let Some(device) = device.filter(|device| !device.is_leaving()) else {
                // Not answered, so it is asked again of the server that comes next.
                return;
            };
            self.serving.set(self.serving.get() + 1);
            let result = self.answer(device.volume(), tag, &home).await;
            self.serving.set(self.serving.get() - 1);
            if device.is_leaving() {
                self.changed.wake_all();
            }
            command = io::COMMIT_AND_FETCH;
            words = uapi::io_words(self.index, tag, result, address);
        }
    }

    /// Serves the request of `tag`: bytes moved, or a negative error number.
    async fn answer(&self, volume: &Volume, tag: u16, home: &Home) -> i32 {
        let mut descriptor = [0; DESCRIPTOR_BYTES];
        let at = usize::from(tag) * DESCRIPTOR_BYTES;
        self.descriptors.load(at, &mut descriptor);
        let done = match Descriptor::decode(&descriptor) {
            Some(asked) => self.request(volume, tag, home, asked).await,
            None => Err(Error::Refused(Refusal::NotSupported)),
        };
        match done {
            Ok(bytes) => i32::try_from(bytes).expect("no request is so long"),
            Err(error) => -error.errno(),
        }
    }

    async fn request(
        &self,
        volume: &Volume,
        tag: u16,
        home: &Home,
        asked: Descriptor,
    ) -> Result<usize, Error> {
        let direction = match asked.what {
            What::Read => Some(Direction::Read),
            What::Write => Some(Direction::Write),
            What::Flush | What::Discard | What::WriteZeroes => None,
        };
        let fits = direction.is_none() || asked.at.bytes() <= self.request_bytes as u64;
        if !fits || !asked.at.fits(volume.size()) {
            return Err(Error::Refused(Refusal::Invalid));
        }
        let turn = match direction {
            Some(direction) if volume.is_limited() && self.memory.is_some() => {
                let bytes = asked.at.len();
                let waiting = volume.wait_without_memory(&self.flow, direction, bytes);
                waiting.await?
            }
            _ => Turn::ToCome,
        };
        let request = Request {
            ticket: Ticket::new(tag.into()),
            op: home.op(asked),
        };
        let reply = volume.serve(&self.flow, request, turn).await;
        match reply.result? {
            Answer::Data(data) => {
                home.fill(&data);
                Ok(data.len())
            }
            Answer::Done if direction.is_some() => Ok(asked.at.len()),
            Answer::Done | Answer::Status(_) => Ok(0),
        }
    }

    fn home(&self, tag: u16) -> std::io::Result<Home> {
        let from = usize::from(tag) * self.request_bytes;
        match &self.memory {
            Some(memory) => Ok(Home::Memory(Arc::clone(memory), from)),
            None => Home::lent(),
        }
    }

    fn tag_stopped(&self, told: i32) {
        if told != io::ABORT
            && let Some(device) = self.device.borrow().as_ref()
        {
            device.fail(told);
        }
        self.tags.set(self.tags.get() - 1);
        if self.tags.get() == 0 {
            self.changed.wake_all();
        }
    }

    /// Waits until the driver has nothing more to tell.
    async fn stopped(&self) {
        let stopped = || (self.tags.get() == 0).then_some(());
        self.changed.wait_for(stopped).await;
    }

    /// Waits until everything that was begun is done.
    async fn settled(&self) {
        let settled = || (self.serving.get() == 0).then_some(());
        self.changed.wait_for(settled).await;
    }
}
