//! A device that this server serves, as all threads see it.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};

use super::uapi::DeviceInfo;
use crate::env::Signal;
use crate::volume::{Lease, Volume};

/// A device, its volume, and what its queues have come to.
#[derive(Debug)]
pub(super) struct Device {
    info: DeviceInfo,
    volume: Lease,
    /// Queues that are at work.
    queues: AtomicUsize,
    is_leaving: AtomicBool,
    /// What the driver said that it never should, or 0.
    failure: AtomicI32,
    changed: Signal,
}

impl Device {
    /// The device `info`, whose queues are about to be served from `volume`.
    pub(super) fn new(info: DeviceInfo, volume: Lease) -> Self {
        Self {
            queues: AtomicUsize::new(info.queues.into()),
            info,
            volume,
            is_leaving: AtomicBool::new(false),
            failure: AtomicI32::new(0),
            changed: Signal::new(),
        }
    }

    /// What the driver says it is.
    pub(super) fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// What it shows.
    pub(super) fn volume(&self) -> &Volume {
        &self.volume
    }

    /// Requests of each queue at most.
    pub(super) fn depth(&self) -> u16 {
        self.info.depth
    }

    /// What a request moves at most, in bytes.
    pub(super) fn request_bytes(&self) -> usize {
        self.info.request_bytes as usize
    }

    /// Has the queues begin no further request: what comes is for the server that comes next.
    pub(super) fn leave(&self) {
        self.is_leaving.store(true, Ordering::SeqCst);
        self.changed.wake_all();
    }

    /// Whether that was asked for.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::SeqCst)
    }

    /// Waits until it is.
    pub(super) async fn leaving(&self) {
        let leaving = || self.is_leaving().then_some(());
        self.changed.wait_for(leaving).await;
    }

    /// A queue is at work no more, and has let go of the volume.
    pub(super) fn queue_left(&self) {
        self.queues.fetch_sub(1, Ordering::SeqCst);
        self.changed.wake_all();
    }

    /// Waits until no queue is at work.
    pub(super) async fn left(&self) {
        let left = || (self.queues.load(Ordering::SeqCst) == 0).then_some(());
        self.changed.wait_for(left).await;
    }

    /// Notes that a queue cannot be served: the driver's answer says why.
    pub(super) fn fail(&self, answer: i32) {
        tracing::error!(
            device = self.info.number,
            answer,
            "a queue cannot be served"
        );
        self.failure.store(answer, Ordering::SeqCst);
        self.changed.wake_all();
    }

    /// Waits until a queue cannot be served.
    pub(super) async fn failed(&self) -> std::io::Error {
        let failure = || match self.failure.load(Ordering::SeqCst) {
            0 => None,
            answer => Some(std::io::Error::from_raw_os_error(-answer)),
        };
        self.changed.wait_for(failure).await
    }
}
