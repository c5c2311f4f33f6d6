//! Finds a store on a backend: the newest superblock, and the root that it names.

use super::error::{StoreError, damaged};
use super::format::root::Root;
use super::format::superblock::{self, SLOTS, Superblock, Unusable};
use super::format::{Malformed, Shape};
use super::shell::read_chunk;
use crate::backend::{Backend, Checked};
use crate::base::{Buf, Extent};
use crate::codec::{Place, Sealer, TAG_BYTES};

/// The newest superblock that opens.
///
/// # Errors
/// If none does: why.
pub(super) async fn newest_superblock(backend: &Checked) -> Result<Superblock, StoreError> {
    if backend.geometry().size < Superblock::slot_offset(SLOTS) {
        return Err(StoreError::NotAStore);
    }
    let mut newest: Option<Superblock> = None;
    let mut newer = None;
    let mut broken = None;
    for slot in 0..SLOTS {
        let offset = Superblock::slot_offset(slot);
        let at = Extent::between(offset, offset + superblock::BYTES as u64);
        let bytes = backend.read(at, Buf::new(superblock::BYTES)).await?;
        match Superblock::decode(slot, &bytes) {
            Ok(found) => {
                let is_newer = newest
                    .as_ref()
                    .is_none_or(|known| known.generation < found.generation);
                if is_newer {
                    newest = Some(found);
                }
            }
            Err(Unusable::Newer(what)) => newer = Some(what),
            Err(Unusable::Damaged(why)) => broken = Some((slot, why)),
            Err(Unusable::Foreign) => {}
        }
    }
    match (newest, newer, broken) {
        (_, Some(what), _) => Err(StoreError::Newer(what)),
        (Some(superblock), None, _) => Ok(superblock),
        (None, None, Some((slot, why))) => {
            Err(damaged(format!("superblock slot {slot}"), Malformed(why)))
        }
        (None, None, None) => Err(StoreError::NotAStore),
    }
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
    sealer: Sealer,
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
    Root::decode(shape, bytes).map_err(|error| damaged(what(), error))
}
