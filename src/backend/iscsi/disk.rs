//! What a disk says of itself.

use super::operation::Direction;
use super::scsi::{self, Cdb, number};
use super::session::{Failure, NotDone, Session};
use crate::base::{Buf, Extent};

/// Room for what is asked of a disk, in bytes: more than any answer here has.
const ROOM: u16 = 512;

/// The most that one command transfers, in bytes, if the disk allows it: targets keep all of it in
/// memory.
const TRANSFER_BYTES_MAX: u64 = 4 << 20;

/// The most that one command makes zero, in bytes, if the disk allows it: some targets do nothing
/// else meanwhile.
const ZERO_BYTES_MAX: u64 = 32 << 20;

/// The most ranges that one UNMAP is given, if the disk allows it.
const UNMAP_RANGES_MAX: u64 = 64;

/// A disk, as long as it is open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Disk {
    pub(super) blocks: u64,
    /// The size of a block, in bytes.
    pub(super) block: u64,
    /// The size of a block of the medium, in bytes.
    pub(super) physical_block: u64,
    /// What tells it from all others: its designators, or its serial number.
    name: Vec<u8>,
    /// Whether it takes UNMAP.
    pub(super) unmaps: bool,
    /// Whether what is unmapped reads as zeroes.
    pub(super) unmapped_is_zero: bool,
    /// Whether it tells what is unmapped.
    pub(super) is_thin: bool,
    /// Whether what is written may be lost until it is flushed.
    pub(super) has_cache: bool,
    pub(super) is_read_only: bool,
    /// Bytes of one READ or WRITE at most.
    pub(super) transfer_bytes_max: u64,
    /// Bytes of one WRITE SAME at most.
    pub(super) zero_bytes_max: u64,
    /// Bytes of one UNMAP, and ranges, at most.
    pub(super) unmap_bytes_max: u64,
    pub(super) unmap_ranges_max: usize,
}

impl Disk {
    /// How large it is, in bytes.
    pub(super) fn size(&self) -> u64 {
        self.blocks * self.block
    }

    /// The first block of `at`, which is aligned, and how many there are.
    pub(super) fn blocks_of(&self, at: Extent) -> (u64, u32) {
        let count = u32::try_from(at.bytes() / self.block).expect("transfers are split");
        (at.offset() / self.block, count)
    }

    /// Why this, after the connection was made anew, is not the `first` that it was.
    pub(super) fn differs_from(&self, first: &Self) -> Option<&'static str> {
        if self.name != first.name {
            return Some("another disk answers in its place");
        }
        if self.block != first.block || self.blocks < first.blocks {
            return Some("the disk has become smaller");
        }
        None
    }
}

/// Asks the disk.
pub(super) async fn identify(session: &Session) -> Result<Disk, Failure> {
    let missing = || {
        let why = format!("there is no LUN {}", session.identity.lun);
        Failure::new(
            why,
            "'iscsi-ls -s iscsi://PORTAL' lists those that are there",
        )
    };
    let standard = match ask(session, scsi::inquiry(ROOM)).await {
        Err(NotDone::Sense(_)) => return Err(missing()),
        other => other?,
    };
    match (standard[0] >> 5, standard[0] & 0x1f) {
        (0, 0) => {}
        (0, kind) => {
            let why = format!(
                "LUN {} is no disk but a device of type {kind}",
                session.identity.lun
            );
            return Err(Failure::new(why, "name the LUN of a disk"));
        }
        _ => return Err(missing()),
    }
    match ask(session, scsi::test_unit_ready()).await {
        Err(NotDone::Sense(sense)) if sense.code == 0x2500 => return Err(missing()),
        other => other?,
    };
    let capacity = ask(session, scsi::read_capacity(ROOM.into())).await?;
    let (last, block) = (number(&capacity, 0, 8), number(&capacity, 8, 4));
    if !block.is_power_of_two() || !(512..=4096).contains(&block) || last == u64::MAX {
        let why = format!("its blocks of {block} bytes are of no use");
        return Err(Failure::new(
            why,
            "make it with blocks of 512 or 4096 bytes",
        ));
    }
    let blocks = (last + 1).min(i64::MAX.unsigned_abs() / block);
    let exponent = u32::from(capacity[13] & 0xf);
    let limits = page(session, 0xb0).await?;
    let thin = page(session, 0xb2).await?;
    let bytes = |blocks: u64, most: u64| match blocks {
        0 => most,
        blocks => blocks.saturating_mul(block).min(most),
    };
    let ranges = number(&limits, 24, 4).clamp(1, UNMAP_RANGES_MAX);
    Ok(Disk {
        blocks,
        block,
        physical_block: (block << exponent).min(1 << 20),
        name: name(session).await?,
        unmaps: thin.get(5).is_some_and(|flags| flags & 0x80 != 0),
        unmapped_is_zero: capacity[14] & 0x40 != 0,
        is_thin: capacity[14] & 0x80 != 0,
        has_cache: true,
        is_read_only: false,
        transfer_bytes_max: bytes(number(&limits, 8, 4), TRANSFER_BYTES_MAX),
        zero_bytes_max: bytes(number(&limits, 36, 8), ZERO_BYTES_MAX),
        unmap_bytes_max: bytes(number(&limits, 20, 4), u32::MAX.into()),
        unmap_ranges_max: usize::try_from(ranges).expect("few"),
    })
}

/// Asks the disk whether it has a cache, and may be written. It tells only those for whom it is
/// reserved.
pub(super) async fn ask_mode(session: &Session, disk: &mut Disk) -> Result<(), Failure> {
    let answer = match ask(session, scsi::mode_sense(8, 255)).await {
        Ok(answer) => answer,
        Err(NotDone::Sense(_) | NotDone::Conflict) => return Ok(()),
        Err(other) => return Err(other.into()),
    };
    // A header of 4 bytes, with write protection in the third; block descriptors; the caching page.
    disk.is_read_only = answer[2] & 0x80 != 0;
    let page = 4 + usize::from(answer[3]);
    if answer[page] & 0x3f == 8 {
        disk.has_cache = answer[page + 2] & 4 != 0;
    }
    Ok(())
}

/// What tells the disk from others: the designators of the disk in page 0x83, or else page 0x80.
async fn name(session: &Session) -> Result<Vec<u8>, Failure> {
    let designators = page(session, 0x83).await?;
    let mut name = Vec::new();
    let mut rest = designators.get(4..).unwrap_or(&[]);
    while let [_, kind, _, len, data @ ..] = rest {
        let (data, behind) = data.split_at(usize::from(*len).min(data.len()));
        // Association 0: of the disk, not of the port by which it is reached.
        if kind & 0x30 == 0 {
            name.extend_from_slice(data);
        }
        rest = behind;
    }
    if name.is_empty() {
        name = page(session, 0x80).await?;
    }
    Ok(name)
}

/// A page of vital product data, empty if the disk does not have it.
async fn page(session: &Session, page: u8) -> Result<Vec<u8>, Failure> {
    match ask(session, scsi::inquiry_page(page, ROOM)).await {
        Ok(mut answer) if answer[1] == page => {
            let len = usize::try_from(number(&answer, 2, 2)).expect("16 bits");
            answer.truncate(4 + len);
            Ok(answer)
        }
        Ok(_) | Err(NotDone::Sense(_)) => Ok(Vec::new()),
        Err(other) => Err(other.into()),
    }
}

/// An answer of [`ROOM`] bytes, zeroes behind its end.
async fn ask(session: &Session, cdb: Cdb) -> Result<Vec<u8>, NotDone> {
    let direction = match cdb == scsi::test_unit_ready() {
        true => Direction::None,
        false => Direction::In,
    };
    // The room that MODE SENSE(6) can be told is what one byte says.
    let room = match cdb.bytes()[0] {
        0x1a => 255,
        _ => ROOM.into(),
    };
    let mut answer = session
        .ask(cdb, direction, Buf::zeroed(room))
        .await?
        .to_vec();
    answer.resize(ROOM.into(), 0);
    Ok(answer)
}
