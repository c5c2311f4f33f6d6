//! The devices of a server: attached, detached, left to the next server and taken back from the
//! last.
//!
//! Which device shows which volume is written down nowhere but in the driver: a device carries a
//! number that its server chooses, and that is what its volume is, whatever it is called
//! ([`Volume::identity`]). So there is no list that could differ from what there is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::control::{Control, open_queues};
use super::device::Device;
use super::error::{UblkError, UblkErrorKind};
use super::occupants::{device_numbers, is_running, occupants, openers};
use super::queue::{self, QueueParts};
use super::shape::{Shape, can_show, is_ours, note, params};
use super::uapi::{self, DeviceInfo, feature, state};
use crate::base::limits::{TAKEN_PAUSE, TAKEN_TRIES, UBLK_DEVICES_MAX};
use crate::env::{self, Either, Handle, Mapping, TaskLock};
use crate::volume::{Access, Catalog, Lease, Purpose, Volume};

/// How long the kernel may take to show a device, which includes that it looks for partitions.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The devices of a server. Shared by all threads.
#[derive(Debug)]
pub struct Devices {
    catalog: Arc<Catalog>,
    reactors: Vec<Handle>,
    desk: Mutex<BTreeMap<u32, Arc<Device>>>,
    /// Held by who changes what devices there are.
    turn: TaskLock,
}

/// A device that is served.
#[derive(Clone, Debug)]
pub struct Attached {
    /// The N of `/dev/ublkbN`.
    pub number: u32,
    /// The volume or snapshot.
    pub volume: String,
    /// Its queues.
    pub queues: u16,
    /// Requests of each of them at most.
    pub depth: u16,
    /// Whether it may only be read.
    pub is_read_only: bool,
    /// Whether data moves between who uses it and the storage without a copy.
    pub is_zero_copy: bool,
}

/// How the queues of a device come to be served.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beginning {
    New,
    Recovered,
}

impl Devices {
    /// No devices as yet, of volumes in `catalog`, whose queues `reactors` will serve.
    pub fn new(catalog: Arc<Catalog>, reactors: Vec<Handle>) -> Arc<Self> {
        Arc::new(Self {
            catalog,
            reactors,
            desk: Mutex::default(),
            turn: TaskLock::default(),
        })
    }

    /// Shows the volume `name` as a block device.
    ///
    /// # Errors
    /// If there is no such volume, if it is attached already, or if the kernel cannot.
    pub async fn attach(&self, name: &str, shape: Shape) -> Result<Attached, UblkError> {
        let _turn = self.turn.lock().await;
        let Some(volume) = self.catalog.open(name, Purpose::Device) else {
            let remedy = "see 'bedplate volume list'";
            let why = "there is no volume or snapshot of this name, or it is going away";
            return Err(UblkError::new(UblkErrorKind::NotFound, name, why, remedy));
        };
        if let Some(device) = self.showing(&volume) {
            let why = format!("it is attached already, as /dev/ublkb{}", device.number);
            let kind = UblkErrorKind::Exists;
            return Err(UblkError::new(
                kind,
                name,
                why,
                "use that, or detach it first",
            ));
        }
        if self.desk().len() >= UBLK_DEVICES_MAX {
            let why = format!("this server has {UBLK_DEVICES_MAX} devices");
            let remedy = "detach one, or attach with another server";
            return Err(UblkError::new(UblkErrorKind::Unable, name, why, remedy));
        }
        let control = Control::open().await?;
        let wanted = shape.wanted(&control, &volume, self.reactors.len(), self.lent());
        let info = control.add(wanted).await?;
        let number = info.number;
        let begun = async {
            control.set_params(number, &params(&info, &volume)).await?;
            self.begin(&control, info, volume, Beginning::New).await
        };
        match begun.await {
            Ok(device) => Ok(device),
            Err(error) => {
                // What it was is what the caller is told; that it went is not.
                let _ = control.stop(number).await;
                let _ = control.delete(number).await;
                Err(error)
            }
        }
    }

    /// Takes `/dev/ublkbN` away; gives what it showed.
    ///
    /// # Errors
    /// If there is no such device, if somebody uses it, or if another server has it.
    pub async fn detach(&self, number: u32) -> Result<String, UblkError> {
        let _turn = self.turn.lock().await;
        let what = format!("/dev/ublkb{number}");
        let device = self.desk().get(&number).cloned();
        let control = Control::open().await?;
        if device.is_none() {
            self.check_orphan(&control, number).await?;
        }
        refuse_if_used(number).await?;
        let Some(device) = device else {
            control.stop(number).await?;
            control.delete(number).await?;
            return Ok("a volume that this server does not have".to_owned());
        };
        // Nobody may begin to use it from here on.
        let claim = env::blocking(move || claim_and_flush(number)).await;
        let claim = claim.map_err(|error| {
            let remedy = "stop what uses it first";
            UblkError::new(UblkErrorKind::InUse, &what, error, remedy)
        })?;
        // Whoever opens it as a file does, as QEMU, is not kept out by that.
        refuse_if_used(number).await?;
        control.stop(number).await?;
        drop(claim);
        device.left().await;
        self.desk().remove(&number);
        control.delete(number).await?;
        Ok(device.volume().name().to_string())
    }

    /// Tells the kernel the size of the volume `name` if it is attached; whether the kernel could
    /// be told, if so.
    pub async fn resized(&self, name: &str) -> Option<Result<u32, UblkError>> {
        let attached = self.list();
        let number = attached.iter().find(|device| device.volume == name)?.number;
        let device = self.desk().get(&number).cloned()?;
        let told = async {
            let control = Control::open().await?;
            if !control.has(feature::UPDATE_SIZE) {
                let why = "this kernel tells a running device no new size; Linux 6.16 does";
                let remedy = "detach and attach it to see the new size";
                let what = format!("/dev/ublkb{number}");
                return Err(UblkError::new(UblkErrorKind::Unable, what, why, remedy));
            }
            let size = device.volume().size();
            control.update_size(number, size).await.map(|()| number)
        };
        Some(told.await)
    }

    /// All devices that are served, by number.
    pub fn list(&self) -> Vec<Attached> {
        let desk = self.desk();
        desk.values().map(|device| told(device)).collect()
    }

    /// Takes back what a server before this one has left, as far as its volumes are here; gives how
    /// many devices that are.
    pub async fn take_back(&self) -> usize {
        let _turn = self.turn.lock().await;
        let numbers = device_numbers();
        if numbers.is_empty() {
            return 0;
        }
        let control = match Control::open().await {
            Ok(control) => control,
            Err(error) => {
                tracing::warn!(error = %error.line, "devices cannot be looked for");
                return 0;
            }
        };
        let mut count = 0;
        for number in numbers {
            if self.desk().contains_key(&number) {
                continue;
            }
            match self.take_back_one(&control, number).await {
                Ok(Some(device)) => {
                    count += 1;
                    tracing::info!(
                        device = number,
                        volume = device.volume,
                        "took a device back"
                    );
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(error = %error.line, "a device cannot be taken back");
                }
            }
        }
        count
    }

    /// Begins no further request, and waits until those under way are answered. The devices stay,
    /// and what is asked of them waits for the server that comes next.
    pub async fn leave(&self) {
        let _turn = self.turn.lock().await;
        let devices = std::mem::take(&mut *self.desk());
        for device in devices.values() {
            device.leave();
        }
        for device in devices.values() {
            device.left().await;
        }
    }

    async fn take_back_one(
        &self,
        control: &Control,
        number: u32,
    ) -> Result<Option<Attached>, UblkError> {
        let info = control.info(number).await?;
        if !is_ours(&info) || (info.state == state::LIVE && is_running(info.server)) {
            return Ok(None);
        }
        if info.features & feature::USER_RECOVERY == 0 {
            // Its content went with its server.
            control.stop(number).await?;
            control.delete(number).await?;
            return Ok(None);
        }
        let Some(volume) = self.of_note(info.note) else {
            tracing::warn!(
                device = number,
                "a device waits for a volume that is not served here; detach removes it"
            );
            return Ok(None);
        };
        let known = control.params(number).await?;
        if !can_show(&info, known, &volume) {
            let why = format!("it is not what {} is now", volume.name());
            let what = format!("/dev/ublkb{number}");
            let remedy = "detach it";
            return Err(UblkError::new(UblkErrorKind::Failed, what, why, remedy));
        }
        control.begin_recovery(number).await?;
        let begun = self.begin(control, info, volume, Beginning::Recovered);
        begun.await.map(Some)
    }

    /// Has the queues of a device served, and the kernel show it.
    async fn begin(
        &self,
        control: &Control,
        info: DeviceInfo,
        volume: Lease,
        beginning: Beginning,
    ) -> Result<Attached, UblkError> {
        let number = info.number;
        let device = Arc::new(Device::new(info, volume));
        self.start_queues(&device).await?;
        let shown = async {
            match beginning {
                Beginning::New => control.start(number).await,
                Beginning::Recovered => control.end_recovery(number).await,
            }
        };
        let what = || format!("/dev/ublkb{number}");
        match env::either(env::timeout(START_TIMEOUT, shown), device.failed()).await {
            Either::First(Some(shown)) => shown?,
            Either::First(None) => {
                let why = "the kernel does not show it";
                let remedy = "see the kernel's log";
                return Err(UblkError::new(UblkErrorKind::Failed, what(), why, remedy));
            }
            Either::Second(error) => return Err(UblkError::of_driver(&what(), &error)),
        }
        let attached = told(&device);
        self.desk().insert(number, device);
        Ok(attached)
    }

    async fn start_queues(&self, device: &Arc<Device>) -> Result<(), UblkError> {
        let info = *device.info();
        let file = open_queues(info.number).await?;
        let mut queues = Vec::new();
        let unmapped = |error| UblkError::of_driver("the memory of a queue", &error);
        let memory = |bytes| match info.lends() {
            true => Ok(None),
            false => Mapping::anonymous(bytes).map(|memory| Some(Arc::new(memory))),
        };
        for index in 0..info.queues {
            let (offset, bytes) = uapi::descriptors_of(index, info.depth);
            let room = usize::from(info.depth) * device.request_bytes();
            queues.push(QueueParts {
                device: Arc::clone(device),
                file: Arc::clone(&file),
                index,
                descriptors: Mapping::of_driver(&file, offset, bytes).map_err(unmapped)?,
                memory: memory(room).map_err(unmapped)?,
            });
        }
        // Devices begin on different reactors, so that many with one queue share the work.
        let reactors = self.reactors.iter().cycle();
        let first = info.number as usize % self.reactors.len();
        for (parts, reactor) in queues.into_iter().zip(reactors.skip(first)) {
            reactor.spawn(move || queue::serve(parts));
        }
        Ok(())
    }

    /// For how many tags of all devices it is lent memory.
    fn lent(&self) -> u32 {
        let desk = self.desk();
        let infos = desk.values().map(|device| device.info());
        let lent = infos.filter(|info| info.lends());
        lent.map(|info| u32::from(info.queues) * u32::from(info.depth))
            .sum()
    }

    /// The volume that a device of a server before this one shows.
    fn of_note(&self, wanted: u64) -> Option<Lease> {
        let names = self.catalog.names();
        let name = names.into_iter().find(|name| {
            let identity = self.catalog.look(name).and_then(|found| found.identity());
            identity.is_some_and(|identity| note(identity) == wanted)
        })?;
        self.catalog.open(&name, Purpose::Device)
    }

    fn showing(&self, volume: &Volume) -> Option<Attached> {
        let desk = self.desk();
        let device = desk
            .values()
            .find(|device| device.volume().name() == volume.name())?;
        Some(told(device))
    }

    /// Whether a device that is not of this server may be removed: its server is gone.
    async fn check_orphan(&self, control: &Control, number: u32) -> Result<(), UblkError> {
        let info = control.info(number).await?;
        let kind = UblkErrorKind::InUse;
        let what = format!("/dev/ublkb{number}");
        if info.state == state::LIVE && is_running(info.server) {
            let why = format!("another server has it, process {}", info.server);
            return Err(UblkError::new(kind, what, why, "ask that one"));
        }
        if !is_ours(&info) {
            let why = "it was made by another kind of server";
            return Err(UblkError::new(kind, what, why, "ask that one"));
        }
        Ok(())
    }

    fn desk(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<Device>>> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn told(device: &Device) -> Attached {
    let info = device.info();
    Attached {
        number: info.number,
        volume: device.volume().name().to_string(),
        queues: info.queues,
        depth: info.depth,
        is_read_only: device.volume().access() == Access::Read,
        is_zero_copy: info.lends(),
    }
}

/// Demands that nobody uses `/dev/ublkbN`. Who has it open may have it so for a moment only, as
/// udev has after everybody who could have written to it, and is waited for.
async fn refuse_if_used(number: u32) -> Result<(), UblkError> {
    let until = env::now() + TAKEN_PAUSE * TAKEN_TRIES;
    loop {
        let used = env::blocking(move || occupants(number)).await;
        let (open, unseen) = env::blocking(move || openers(number)).await;
        if used.is_empty() && !open.is_empty() && env::now() < until {
            env::sleep(TAKEN_PAUSE).await;
            continue;
        }
        let all = [used, open].concat();
        let Some(first) = all.first() else {
            if unseen > 0 {
                tracing::warn!(
                    processes = unseen,
                    "not seen whether they have a device open that is detached: that wants \
                     CAP_SYS_PTRACE"
                );
            }
            return Ok(());
        };
        let what = format!("/dev/ublkb{number}");
        let remedy = "unmount it, or stop what uses it, first";
        let kind = UblkErrorKind::InUse;
        return Err(UblkError::new(kind, what, used_by(first, &all), remedy));
    }
}

fn used_by(first: &str, all: &[String]) -> String {
    match all.len() {
        1 => first.to_owned(),
        count => format!("{first}, and {} more", count - 1),
    }
}

/// Takes `/dev/ublkbN` for this process alone, and has the kernel write what it holds back.
fn claim_and_flush(number: u32) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = format!("/dev/ublkb{number}");
    let options = std::fs::File::options()
        .read(true)
        .custom_flags(libc::O_EXCL)
        .open(path);
    let file = options?;
    file.sync_all()?;
    Ok(file)
}
