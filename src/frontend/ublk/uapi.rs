//! What the ublk driver and its servers tell each other, as bytes: `linux/ublk_cmd.h`.
//!
//! Pure: nothing here asks the kernel anything. Numbers are in the byte order of the machine.

use crate::base::Extent;

/// Commands of the control device, as `ioctl(2)` would encode them.
pub(super) mod control {
    /// Reads what a device is.
    pub(in super::super) const GET_DEV_INFO: u32 = super::encode(READ, 0x02);
    /// Makes a device.
    pub(in super::super) const ADD_DEV: u32 = super::encode(BOTH, 0x04);
    /// Removes one.
    pub(in super::super) const DEL_DEV: u32 = super::encode(BOTH, 0x05);
    /// Shows a device to the world; ends when all its queues are served.
    pub(in super::super) const START_DEV: u32 = super::encode(BOTH, 0x06);
    /// Takes it away.
    pub(in super::super) const STOP_DEV: u32 = super::encode(BOTH, 0x07);
    /// Says what its disk is like.
    pub(in super::super) const SET_PARAMS: u32 = super::encode(BOTH, 0x08);
    /// Reads what its disk is like.
    pub(in super::super) const GET_PARAMS: u32 = super::encode(READ, 0x09);
    /// Begins to take over a device whose server is gone.
    pub(in super::super) const START_USER_RECOVERY: u32 = super::encode(BOTH, 0x10);
    /// Ends that; when all its queues are served.
    pub(in super::super) const END_USER_RECOVERY: u32 = super::encode(BOTH, 0x11);
    /// Reads what the driver can do.
    pub(in super::super) const GET_FEATURES: u32 = super::encode(READ, 0x13);
    /// Tells a running device its new size.
    pub(in super::super) const UPDATE_SIZE: u32 = super::encode(BOTH, 0x15);

    const READ: u32 = 2;
    const BOTH: u32 = 3;
}

/// Commands of a queue.
pub(super) mod io {
    /// Waits for the first request of a tag.
    pub(in super::super) const FETCH: u32 = super::encode(3, 0x20) & !super::SIZE | (16 << 16);
    /// Answers the request of a tag, and waits for the next.
    pub(in super::super) const COMMIT_AND_FETCH: u32 =
        super::encode(3, 0x21) & !super::SIZE | (16 << 16);
    /// There is a request.
    pub(in super::super) const OK: i32 = 0;
    /// There will be none any more.
    pub(in super::super) const ABORT: i32 = -libc::ENODEV;
}

/// Where the size stands in an encoded command.
const SIZE: u32 = 0x3fff << 16;

/// `_IOC(direction, 'u', number, sizeof(struct ublksrv_ctrl_cmd))`.
const fn encode(direction: u32, number: u32) -> u32 {
    direction << 30 | CONTROL_BYTES << 16 | (b'u' as u32) << 8 | number
}

/// What the driver can do, and what a device wants of it: bits of `UBLK_F_*`.
pub(super) mod feature {
    /// Who serves a device may be lent the memory of requests, instead of getting a copy.
    pub(in super::super) const SUPPORT_ZERO_COPY: u64 = 1 << 0;
    /// A device outlives its server, and waits for the next.
    pub(in super::super) const USER_RECOVERY: u64 = 1 << 3;
    /// What a server had not answered is asked again of the next.
    pub(in super::super) const USER_RECOVERY_REISSUE: u64 = 1 << 4;
    /// Commands are encoded as above.
    pub(in super::super) const CMD_IOCTL_ENCODE: u64 = 1 << 6;
    /// A running device can be told a new size.
    pub(in super::super) const UPDATE_SIZE: u64 = 1 << 10;
    /// That memory comes with the request, and goes with its answer.
    pub(in super::super) const AUTO_BUF_REG: u64 = 1 << 11;
}

/// `struct ublksrv_ctrl_cmd`, in bytes.
const CONTROL_BYTES: u32 = 32;

/// `struct ublksrv_io_desc`, in bytes.
pub(super) const DESCRIPTOR_BYTES: usize = 24;

/// How many requests a queue may have at most: `UBLK_MAX_QUEUE_DEPTH`.
pub const DEPTH_MAX: u16 = 4096;

/// Any number will do for a new device.
pub(super) const ANY_DEVICE: u32 = u32::MAX;

/// The sectors that the kernel counts in, in bytes, whatever the disk's are.
pub(super) const SECTOR: u64 = 512;

/// A command of the control device: `struct ublksrv_ctrl_cmd`, in the room of an entry.
pub(super) fn control_words(device: u32, value: u64, address: u64, bytes: u16) -> [u8; 80] {
    let mut words = [0; 80];
    put(&mut words, 0, &device.to_ne_bytes());
    put(&mut words, 4, &u16::MAX.to_ne_bytes());
    put(&mut words, 6, &bytes.to_ne_bytes());
    put(&mut words, 8, &address.to_ne_bytes());
    put(&mut words, 16, &value.to_ne_bytes());
    words
}

/// A command of a queue: `struct ublksrv_io_cmd`.
pub(super) fn io_words(queue: u16, tag: u16, result: i32, address: u64) -> [u8; 16] {
    let mut words = [0; 16];
    put(&mut words, 0, &queue.to_ne_bytes());
    put(&mut words, 2, &tag.to_ne_bytes());
    put(&mut words, 4, &result.to_ne_bytes());
    put(&mut words, 8, &address.to_ne_bytes());
    words
}

/// Where the descriptors of a queue are in the file of its device, and how many bytes are mapped.
pub(super) fn descriptors_of(queue: u16, depth: u16) -> (u64, usize) {
    let most = u64::from(DEPTH_MAX) * DESCRIPTOR_BYTES as u64;
    let bytes = usize::from(depth) * DESCRIPTOR_BYTES;
    (u64::from(queue) * most, bytes.next_multiple_of(4096))
}

/// What a device is: `struct ublksrv_ctrl_dev_info`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct DeviceInfo {
    pub(super) queues: u16,
    pub(super) depth: u16,
    pub(super) state: u16,
    /// What a request moves at most.
    pub(super) request_bytes: u32,
    pub(super) number: u32,
    pub(super) features: u64,
    /// Whatever its server wants to remember.
    pub(super) note: u64,
    /// The process that serves it, or did.
    pub(super) server: i32,
}

/// States of a device.
pub(super) mod state {
    /// It is served.
    pub(in super::super) const LIVE: u16 = 1;
}

impl DeviceInfo {
    pub(super) const BYTES: usize = 64;

    /// Whether its server is lent the memory of requests.
    pub(super) fn lends(&self) -> bool {
        self.features & feature::AUTO_BUF_REG != 0
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut to = vec![0; Self::BYTES];
        put(&mut to, 0, &self.queues.to_ne_bytes());
        put(&mut to, 2, &self.depth.to_ne_bytes());
        put(&mut to, 4, &self.state.to_ne_bytes());
        put(&mut to, 8, &self.request_bytes.to_ne_bytes());
        put(&mut to, 12, &self.number.to_ne_bytes());
        put(&mut to, 24, &self.features.to_ne_bytes());
        put(&mut to, 32, &self.note.to_ne_bytes());
        put(&mut to, 16, &self.server.to_ne_bytes());
        to
    }

    pub(super) fn decode(from: &[u8]) -> Self {
        Self {
            queues: u16::from_ne_bytes(take(from, 0)),
            depth: u16::from_ne_bytes(take(from, 2)),
            state: u16::from_ne_bytes(take(from, 4)),
            request_bytes: u32::from_ne_bytes(take(from, 8)),
            number: u32::from_ne_bytes(take(from, 12)),
            features: u64::from_ne_bytes(take(from, 24)),
            note: u64::from_ne_bytes(take(from, 32)),
            server: i32::from_ne_bytes(take(from, 16)),
        }
    }
}

/// What a device's disk is like: `struct ublk_params`, as far as `dma`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Params {
    pub(super) is_read_only: bool,
    /// The smallest request, as a power of two.
    pub(super) logical_shift: u8,
    /// The smallest request that is not slow, as a power of two.
    pub(super) physical_shift: u8,
    pub(super) request_bytes: u32,
    pub(super) size: u64,
    /// What one discard or writing of zeroes is about at most, in bytes.
    pub(super) discard_bytes: u64,
    /// What the memory of requests is aligned to, in bytes, where that matters: it is lent.
    pub(super) memory_align: Option<u32>,
}

impl Params {
    pub(super) const BYTES: usize = Self::LENGTH as usize;
    const LENGTH: u32 = 116;
    const TYPE_BASIC: u32 = 1;
    const TYPE_DISCARD: u32 = 1 << 1;
    const TYPE_DMA_ALIGN: u32 = 1 << 4;
    const READ_ONLY: u32 = 1;
    const VOLATILE_CACHE: u32 = 1 << 2;
    const FUA: u32 = 1 << 3;

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut to = vec![0; Self::BYTES];
        let (attributes, mut types) = match self.is_read_only {
            true => (Self::READ_ONLY, Self::TYPE_BASIC),
            false => (
                Self::VOLATILE_CACHE | Self::FUA,
                Self::TYPE_BASIC | Self::TYPE_DISCARD,
            ),
        };
        let sectors = |bytes: u64| {
            u32::try_from(bytes / SECTOR)
                .unwrap_or(u32::MAX)
                .to_ne_bytes()
        };
        if let Some(align) = self.memory_align {
            types |= Self::TYPE_DMA_ALIGN;
            // A mask, as the kernel has it (`queue_limits.dma_alignment`).
            put(&mut to, 108, &(align - 1).to_ne_bytes());
        }
        put(&mut to, 0, &Self::LENGTH.to_ne_bytes());
        put(&mut to, 4, &types.to_ne_bytes());
        put(&mut to, 8, &attributes.to_ne_bytes());
        let optimal = self.physical_shift;
        let shifts = [self.logical_shift, self.physical_shift, optimal, optimal];
        put(&mut to, 12, &shifts);
        put(&mut to, 16, &sectors(self.request_bytes.into()));
        put(&mut to, 24, &(self.size / SECTOR).to_ne_bytes());
        if !self.is_read_only {
            let granularity = 1_u32 << self.physical_shift;
            put(&mut to, 44, &granularity.to_ne_bytes());
            put(&mut to, 48, &sectors(self.discard_bytes));
            put(&mut to, 52, &sectors(self.discard_bytes));
            put(&mut to, 56, &1_u16.to_ne_bytes());
        }
        to
    }

    /// Room for what the driver says.
    pub(super) fn room() -> Vec<u8> {
        let mut room = vec![0; Self::BYTES];
        put(&mut room, 0, &Self::LENGTH.to_ne_bytes());
        room
    }

    /// What the driver says, as far as [`Known`] has it.
    pub(super) fn decode(from: &[u8]) -> Known {
        let types = u32::from_ne_bytes(take(from, 4));
        let attributes = u32::from_ne_bytes(take(from, 8));
        let sectors = u64::from_ne_bytes(take(from, 24));
        let align_mask = u32::from_ne_bytes(take(from, 108));
        Known {
            size: sectors * SECTOR,
            is_read_only: attributes & Self::READ_ONLY != 0,
            logical_shift: from[12],
            memory_align: match types & Self::TYPE_DMA_ALIGN {
                0 => None,
                _ => align_mask.checked_add(1),
            },
        }
    }
}

/// What a server wants to know of a disk that one before it has shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Known {
    pub(super) size: u64,
    pub(super) is_read_only: bool,
    pub(super) logical_shift: u8,
    pub(super) memory_align: Option<u32>,
}

/// A request, as its descriptor tells it: `struct ublksrv_io_desc`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Descriptor {
    pub(super) what: What,
    pub(super) is_durable: bool,
    /// Whether zeroes may not become holes.
    pub(super) keeps_space: bool,
    pub(super) at: Extent,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum What {
    Read,
    Write,
    Flush,
    Discard,
    WriteZeroes,
}

impl Descriptor {
    const FUA: u32 = 1 << 13;
    const NOUNMAP: u32 = 1 << 15;

    /// Understands a descriptor; `None` if it is none of what was offered.
    pub(super) fn decode(from: &[u8; DESCRIPTOR_BYTES]) -> Option<Self> {
        let flags = u32::from_ne_bytes(take(from, 0));
        let sectors = u64::from(u32::from_ne_bytes(take(from, 4)));
        let first = u64::from_ne_bytes(take(from, 8));
        let what = match flags & 0xff {
            0 => What::Read,
            1 => What::Write,
            // The rest of the descriptor is not set.
            2 => What::Flush,
            3 => What::Discard,
            5 => What::WriteZeroes,
            _ => return None,
        };
        let at = match what {
            What::Flush => Extent::between(0, 0),
            _ => Extent::new(first.checked_mul(SECTOR)?, sectors * SECTOR)?,
        };
        Some(Self {
            what,
            is_durable: flags & Self::FUA != 0,
            keeps_space: flags & Self::NOUNMAP != 0,
            at,
        })
    }
}

fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    to[at..at + bytes.len()].copy_from_slice(bytes);
}

fn take<const N: usize>(from: &[u8], at: usize) -> [u8; N] {
    from[at..at + N].try_into().expect("N bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_encoded_as_in_the_header() {
        // _IOR('u', 0x02, struct ublksrv_ctrl_cmd) and so on, as a C compiler gives them.
        assert_eq!(control::GET_DEV_INFO, 0x8020_7502);
        assert_eq!(control::ADD_DEV, 0xc020_7504);
        assert_eq!(io::FETCH, 0xc010_7520);
        assert_eq!(io::COMMIT_AND_FETCH, 0xc010_7521);
    }

    #[test]
    fn what_a_device_is_survives() {
        let info = DeviceInfo {
            queues: 2,
            depth: 128,
            state: state::LIVE,
            request_bytes: 1 << 19,
            number: 7,
            features: feature::USER_RECOVERY,
            note: 0x0123_4567_89ab_cdef,
            server: 4711,
        };
        assert_eq!(DeviceInfo::decode(&info.encode()), info);
    }

    #[test]
    fn a_disk_is_described() {
        let mut params = Params {
            is_read_only: false,
            logical_shift: 9,
            physical_shift: 12,
            request_bytes: 1 << 19,
            size: 1 << 30,
            discard_bytes: 1 << 30,
            memory_align: None,
        };
        let known = |size, is_read_only, memory_align| Known {
            size,
            is_read_only,
            logical_shift: 9,
            memory_align,
        };
        let bytes = params.encode();
        assert_eq!(bytes[4..8], 3_u32.to_ne_bytes());
        assert_eq!(bytes[44..48], 4096_u32.to_ne_bytes());
        assert_eq!(Params::decode(&bytes), known(1 << 30, false, None));
        params.is_read_only = true;
        let bytes = params.encode();
        assert_eq!(bytes[4..12], [1, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(Params::decode(&bytes), known(1 << 30, true, None));
        params.memory_align = Some(512);
        let bytes = params.encode();
        assert_eq!(bytes[4..8], 0x11_u32.to_ne_bytes());
        assert_eq!(bytes[108..112], 511_u32.to_ne_bytes());
        assert_eq!(Params::decode(&bytes), known(1 << 30, true, Some(512)));
    }

    fn descriptor(flags: u32, sectors: u32, first: u64) -> Option<Descriptor> {
        let mut bytes = [0; DESCRIPTOR_BYTES];
        put(&mut bytes, 0, &flags.to_ne_bytes());
        put(&mut bytes, 4, &sectors.to_ne_bytes());
        put(&mut bytes, 8, &first.to_ne_bytes());
        Descriptor::decode(&bytes)
    }

    #[test]
    fn requests_are_understood() {
        let write = descriptor(1 | Descriptor::FUA, 8, 16).expect("a write");
        assert_eq!(write.what, What::Write);
        assert!(write.is_durable && !write.keeps_space);
        assert_eq!(write.at, Extent::between(8192, 12288));
        let zeroes = descriptor(5 | Descriptor::NOUNMAP, 1, 0).expect("zeroes");
        assert!(zeroes.keeps_space);
        let flush = descriptor(2, u32::MAX, u64::MAX).expect("a flush");
        assert!(flush.at.is_empty());
    }

    #[test]
    fn what_is_no_request_is_none() {
        assert_eq!(descriptor(4, 1, 0), None);
        assert_eq!(descriptor(13, 1, 0), None);
        assert_eq!(descriptor(0, 1, u64::MAX), None);
        assert_eq!(descriptor(0, u32::MAX, (1 << 55) - 1), None);
    }
}
