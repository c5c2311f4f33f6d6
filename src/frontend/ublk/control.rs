//! The control device of the ublk driver: makes devices, and takes them away.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use super::error::{UblkError, UblkErrorKind};
use super::uapi::{DeviceInfo, Known, Params, control, control_words, feature};
use crate::env;
use crate::env::FileHandle;

/// How long the driver may take to notice that a server is gone, and to show a device's file.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often is looked whether it has.
const NOTICE_PAUSE: Duration = Duration::from_millis(20);

/// The driver, as a server talks to it.
#[derive(Debug)]
pub(super) struct Control {
    file: FileHandle,
    features: u64,
}

impl Control {
    /// Opens the control device, and asks what the driver can do.
    pub(super) async fn open() -> Result<Self, UblkError> {
        let file = open("/dev/ublk-control").map_err(|error| UblkError::of_opening(&error))?;
        let mut control = Self { file, features: 0 };
        let asked = control.ask(control::GET_FEATURES, 0, 0, vec![0; 8]).await;
        let features = asked.map_err(|error| match error.raw_os_error() {
            Some(libc::EPERM) => UblkError::of_driver("/dev/ublk-control", &error),
            _ => {
                let why = format!("the driver does not tell what it can do ({error})");
                let remedy =
                    "ublk is used from Linux 6.5 on, and of a server that may use io_uring";
                UblkError::new(UblkErrorKind::Unable, "/dev/ublk-control", why, remedy)
            }
        })?;
        let features = features.first_chunk().expect("as long as it was");
        control.features = u64::from_ne_bytes(*features);
        match control.has(feature::CMD_IOCTL_ENCODE) {
            true => Ok(control),
            false => Err(UblkError::new(
                UblkErrorKind::Unable,
                "/dev/ublk-control",
                "the driver is too old",
                "ublk is used from Linux 6.5 on",
            )),
        }
    }

    /// Whether the driver has all of `features`.
    pub(super) fn has(&self, features: u64) -> bool {
        self.features & features == features
    }

    /// Makes a device like `wanted`; gives what the driver has made of it.
    pub(super) async fn add(&self, wanted: DeviceInfo) -> Result<DeviceInfo, UblkError> {
        let added = self.ask(control::ADD_DEV, wanted.number, 0, wanted.encode());
        let what = match wanted.number {
            super::uapi::ANY_DEVICE => "a new ublk device".to_owned(),
            number => format!("/dev/ublkb{number}"),
        };
        let added = added.await;
        added
            .map(|info| DeviceInfo::decode(&info))
            .map_err(|error| UblkError::of_driver(&what, &error))
    }

    /// Says what the disk of a new device is like.
    pub(super) async fn set_params(&self, number: u32, params: &Params) -> Result<(), UblkError> {
        self.done(control::SET_PARAMS, number, 0, params.encode())
            .await
    }

    /// What the disk of a device is like.
    pub(super) async fn params(&self, number: u32) -> Result<Known, UblkError> {
        let params = self
            .ask(control::GET_PARAMS, number, 0, Params::room())
            .await;
        params
            .map(|params| Params::decode(&params))
            .map_err(|error| of(number, &error))
    }

    /// What a device is.
    pub(super) async fn info(&self, number: u32) -> Result<DeviceInfo, UblkError> {
        let room = vec![0; DeviceInfo::BYTES];
        let info = self.ask(control::GET_DEV_INFO, number, 0, room).await;
        info.map(|info| DeviceInfo::decode(&info))
            .map_err(|error| of(number, &error))
    }

    /// Shows a device to the world, once all its queues are served.
    pub(super) async fn start(&self, number: u32) -> Result<(), UblkError> {
        let process = std::process::id().into();
        self.done(control::START_DEV, number, process, Vec::new())
            .await
    }

    /// Takes a device away, once what is under way is answered.
    pub(super) async fn stop(&self, number: u32) -> Result<(), UblkError> {
        self.done(control::STOP_DEV, number, 0, Vec::new()).await
    }

    /// Removes a device that is stopped, once nobody has it open.
    pub(super) async fn delete(&self, number: u32) -> Result<(), UblkError> {
        self.done(control::DEL_DEV, number, 0, Vec::new()).await
    }

    /// Tells a running device its new size.
    pub(super) async fn update_size(&self, number: u32, bytes: u64) -> Result<(), UblkError> {
        let sectors = bytes / super::uapi::SECTOR;
        self.done(control::UPDATE_SIZE, number, sectors, Vec::new())
            .await
    }

    /// Begins to take over a device, as soon as the driver has noticed that its server is gone.
    pub(super) async fn begin_recovery(&self, number: u32) -> Result<(), UblkError> {
        let begun = patiently(libc::EBUSY, || {
            self.ask(control::START_USER_RECOVERY, number, 0, Vec::new())
        });
        begun.await.map(drop).map_err(|error| of(number, &error))
    }

    /// Ends that, once all queues are served.
    pub(super) async fn end_recovery(&self, number: u32) -> Result<(), UblkError> {
        let process = std::process::id().into();
        self.done(control::END_USER_RECOVERY, number, process, Vec::new())
            .await
    }

    async fn done(
        &self,
        command: u32,
        number: u32,
        value: u64,
        data: Vec<u8>,
    ) -> Result<(), UblkError> {
        let done = self.ask(command, number, value, data).await;
        done.map(drop).map_err(|error| of(number, &error))
    }

    async fn ask(
        &self,
        command: u32,
        number: u32,
        value: u64,
        data: Vec<u8>,
    ) -> io::Result<Vec<u8>> {
        let bytes = u16::try_from(data.len()).expect("a small structure");
        let words = move |address| {
            let address = if bytes == 0 { 0 } else { address };
            control_words(number, value, address, bytes)
        };
        env::ask_driver(&self.file, command, data, words).await
    }
}

/// Opens the file through which the queues of a device are served, as soon as it is there.
pub(super) async fn open_queues(number: u32) -> Result<FileHandle, UblkError> {
    let path = format!("/dev/ublkc{number}");
    // Made by the kernel, but another process may have to give it its rights. While the server
    // before has not let go of it, it is busy.
    let opened = patiently(libc::ENOENT, || async {
        patiently(libc::EBUSY, || async { open(&path) }).await
    });
    let remedy = "the server has to see the kernel's /dev";
    opened
        .await
        .map_err(|error| UblkError::new(UblkErrorKind::Failed, &path, error, remedy))
}

fn open(path: &str) -> io::Result<FileHandle> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    Ok(Arc::new(rustix::fs::open(path, flags, Mode::empty())?))
}

/// Tries until it fails no more with `errno`, or for too long.
async fn patiently<T, F: Future<Output = io::Result<T>>>(
    errno: i32,
    mut work: impl FnMut() -> F,
) -> io::Result<T> {
    let deadline = env::now() + NOTICE_TIMEOUT;
    loop {
        match work().await {
            Err(error) if error.raw_os_error() == Some(errno) && env::now() < deadline => {
                env::sleep(NOTICE_PAUSE).await;
            }
            done => return done,
        }
    }
}

fn of(number: u32, error: &io::Error) -> UblkError {
    UblkError::of_driver(&format!("/dev/ublkb{number}"), error)
}
