//! Finds a store on a backend: the newest superblock, and the root that it names.

use zeroize::Zeroizing;

use super::error::{StoreError, damaged};
use super::format::root::Root;
use super::format::superblock::{self, SLOTS, Slots, Superblock, Unusable};
use super::format::{Malformed, Shape};
use super::shell::read_chunk;
use crate::backend::{Backend, Checked};
use crate::base::{Buf, Extent};
use crate::codec::{Place, Sealer, TAG_BYTES};

/// Reads all slots of superblocks, none of which is smaller than a block of the backend.
///
/// # Errors
/// `NotAStore` if there is no room for them; and if one cannot be read, since it may be the newest.
pub(super) async fn read_slots(backend: &Checked) -> Result<Slots, StoreError> {
    if backend.geometry().size < Superblock::slot_offset(SLOTS) {
        return Err(StoreError::NotAStore);
    }
    let mut slots = superblock::NOTHING;
    for (slot, found) in slots.iter_mut().enumerate() {
        let offset = Superblock::slot_offset(slot);
        let at = Extent::between(offset, offset + superblock::ROOM as u64);
        let bytes = backend.read(at, Buf::new(superblock::ROOM)).await?;
        *found = Superblock::decode(slot, &bytes);
    }
    Ok(slots)
}

/// The newest superblock. A copy of one that is damaged is told and not used.
///
/// # Errors
/// If none opens, and if both copies of one do not that may have been newer.
pub(super) fn newest_superblock(slots: &Slots) -> Result<&Superblock, StoreError> {
    let newest = superblock::choose(slots)?;
    for (slot, found) in slots.iter().enumerate() {
        if let Err(Unusable::Damaged(why)) = found {
            tracing::warn!(slot, why, "a superblock is damaged; its copy is used");
        }
    }
    Ok(newest)
}

/// Writes the copy of the newest superblock that is damaged, or that a power loss kept from being
/// written, of the `slots` that were read. The caller's next flush makes it durable.
///
/// # Errors
/// As [`newest_superblock`], or if it cannot be written.
pub(super) async fn complete_superblock(
    backend: &Checked,
    slots: &Slots,
) -> Result<(), StoreError> {
    let newest = superblock::choose(slots)?;
    for slot in Superblock::slots(newest.generation) {
        if slots[slot].as_ref() != Ok(newest) {
            let mut buf = Buf::new(superblock::ROOM);
            newest.encode(slot, &mut buf);
            backend.write(Superblock::slot_offset(slot), buf).await?;
        }
    }
    Ok(())
}

/// Refuses a backend that the store does not fit.
pub(super) fn check_backend(backend: &Checked, shape: Shape) -> Result<(), StoreError> {
    let geometry = backend.geometry();
    if geometry.size < shape.bytes() {
        return Err(StoreError::Damaged(format!(
            "the store has {} bytes, what it lies on only {}",
            shape.bytes(),
            geometry.size
        )));
    }
    if geometry.block > u64::from(shape.block()) {
        return Err(StoreError::Invalid(format!(
            "the store was made for blocks of {} bytes, what it lies on has {}",
            shape.block(),
            geometry.block
        )));
    }
    Ok(())
}

/// The root blob that `superblock` names.
pub(super) async fn read_root(
    backend: &Checked,
    sealer: &Sealer,
    superblock: &Superblock,
) -> Result<Root, StoreError> {
    let (at, shape) = (superblock.root, superblock.shape);
    let len = at.len as usize + TAG_BYTES;
    let sealed = read_chunk(backend, shape, (at.seg, at.offset), len).await?;
    let place = Place {
        seq: at.seq.bits(),
        offset: at.offset,
    };
    let what = || format!("the root of generation {}", superblock.generation);
    let broken = |_| damaged(what(), Malformed("it does not open"));
    let bytes = sealer.open(place, &sealed).map_err(broken)?;
    let bytes = Zeroizing::new(bytes.into_owned());
    Root::decode(shape, &bytes).map_err(|error| damaged(what(), error))
}
