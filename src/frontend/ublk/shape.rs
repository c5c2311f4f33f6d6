//! What a new device is to be like, and what one that there is says of itself.

use super::control::Control;
use super::uapi::{self, DeviceInfo, Known, Params, feature};
use crate::base::limits::{BUFFER_PLACES, UBLK_DEPTH, UBLK_DISCARD_BYTES, UBLK_REQUEST_BYTES};
use crate::volume::{Access, Volume};

/// Says that a device is of a server like this, in the lower bits of what it carries.
const MARK: u64 = 0xbed9;
const MARK_BITS: u64 = 0xffff;

/// How a device is to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shape {
    /// The N of `/dev/ublkbN`; the first that is free without it.
    pub number: Option<u32>,
    /// Queues, each of which a reactor serves; one a reactor without it.
    pub queues: Option<u16>,
    /// Requests of each queue at most.
    pub depth: Option<u16>,
}

impl Shape {
    /// What is asked of the driver for `volume`, by a server of so many `reactors`, which is lent
    /// memory for `lent` tags of other devices.
    pub(super) fn wanted(
        self,
        control: &Control,
        volume: &Volume,
        reactors: usize,
        lent: u32,
    ) -> DeviceInfo {
        let queues = u16::try_from(reactors).unwrap_or(u16::MAX);
        let queues = self.queues.unwrap_or(queues);
        let depth = self.depth.unwrap_or(UBLK_DEPTH);
        let identity = volume.identity();
        let mut features = 0;
        let recovery = feature::USER_RECOVERY | feature::USER_RECOVERY_REISSUE;
        if control.has(recovery) && identity.is_some() {
            features |= recovery;
        }
        let zero_copy = feature::SUPPORT_ZERO_COPY | feature::AUTO_BUF_REG;
        // Wherever they are served; so those that are taken back all find a place again.
        let tags = lent + u32::from(queues) * u32::from(depth);
        let has_places = tags <= BUFFER_PLACES.into();
        if control.has(zero_copy) && has_places && volume.lent_align().is_some() {
            features |= zero_copy;
        }
        DeviceInfo {
            queues,
            depth,
            state: 0,
            request_bytes: UBLK_REQUEST_BYTES,
            number: self.number.unwrap_or(uapi::ANY_DEVICE),
            features,
            note: note(identity.unwrap_or_default()),
            server: 0,
        }
    }
}

/// What a device carries that shows the volume of this identity.
pub(super) fn note(identity: u64) -> u64 {
    identity & !MARK_BITS | MARK
}

/// Whether a device was made by a server like this.
pub(super) fn is_ours(info: &DeviceInfo) -> bool {
    info.note & MARK_BITS == MARK
}

/// What the disk of a device is like that shows `volume`.
pub(super) fn params(info: &DeviceInfo, volume: &Volume) -> Params {
    Params {
        memory_align: volume.lent_align().filter(|_| info.lends()),
        is_read_only: volume.access() == Access::Read,
        logical_shift: sector_shift(volume),
        physical_shift: 12,
        request_bytes: UBLK_REQUEST_BYTES,
        size: volume.size(),
        discard_bytes: UBLK_DISCARD_BYTES,
    }
}

/// Whether a device that is `known` to be like this can show `volume`.
pub(super) fn can_show(info: &DeviceInfo, known: Known, volume: &Volume) -> bool {
    let now = params(info, volume);
    known.size <= now.size
        && known.logical_shift == now.logical_shift
        && known.is_read_only == now.is_read_only
        && now.memory_align.is_some() == info.lends()
        && known.memory_align >= now.memory_align
}

/// The sector of a device that shows `volume`, as a power of two.
fn sector_shift(volume: &Volume) -> u8 {
    u8::try_from(volume.sector().trailing_zeros()).expect("there are 64 bits")
}
