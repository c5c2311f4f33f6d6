//! Pages of a tracker's file: in which era each region was written last.
//!
//! A page is [`PAGE_BYTES`]: [`REGIONS_PER_PAGE`] eras of four bytes, little-endian, then the
//! XXH3-128 of these, seeded with the number of the page. One that was never written is all zeroes.
//! One that is damaged, or was torn by a power loss, is one whose regions may all have been
//! written.

use std::sync::atomic::{AtomicU32, Ordering};

use twox_hash::XxHash3_128;

/// What a page takes, in bytes.
pub(super) const PAGE_BYTES: usize = 4096;

/// How many regions a page tells of: 63.75 MiB of the disk.
pub(super) const REGIONS_PER_PAGE: usize = (PAGE_BYTES - SUM_BYTES) / ERA_BYTES;

const SUM_BYTES: usize = 16;
const ERA_BYTES: usize = 4;

/// The bytes of page `index`, whose regions were written in `eras`; there may be fewer in the last.
pub(super) fn encode(index: usize, eras: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PAGE_BYTES);
    for era in eras {
        bytes.extend_from_slice(&era.to_le_bytes());
    }
    bytes.resize(PAGE_BYTES - SUM_BYTES, 0);
    let sum = XxHash3_128::oneshot_with_seed(index as u64, &bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// Fills `eras` from the bytes of page `index`; `false`, and nothing is filled, if it is damaged.
pub(super) fn decode(index: usize, bytes: &[u8], eras: &[AtomicU32]) -> bool {
    let (body, sum) = bytes.split_at(PAGE_BYTES - SUM_BYTES);
    if bytes.iter().all(|byte| *byte == 0) {
        return true;
    }
    if XxHash3_128::oneshot_with_seed(index as u64, body).to_le_bytes() != *sum {
        return false;
    }
    let told = body.as_chunks::<ERA_BYTES>().0;
    for (era, told) in eras.iter().zip(told) {
        era.store(u32::from_le_bytes(*told), Ordering::Relaxed);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(index: usize, bytes: &[u8]) -> Option<Vec<u32>> {
        let eras: Vec<AtomicU32> = (0..REGIONS_PER_PAGE).map(|_| AtomicU32::new(0)).collect();
        let is_good = decode(index, bytes, &eras);
        is_good.then(|| eras.iter().map(|era| era.load(Ordering::Relaxed)).collect())
    }

    #[test]
    fn a_page_tells_what_was_written_and_where_it_belongs() {
        let eras: Vec<u32> = (0..1020).collect();
        let bytes = encode(3, &eras);
        assert_eq!(bytes.len(), PAGE_BYTES);
        assert_eq!(read(3, &bytes), Some(eras));
        assert_eq!(read(4, &bytes), None, "misdirected");
        let mut torn = bytes;
        torn[512..].fill(0);
        assert_eq!(read(3, &torn), None);
        assert_eq!(read(3, &[0; PAGE_BYTES]), Some(vec![0; 1020]));
        let short = encode(0, &[9]);
        assert_eq!(read(0, &short).map(|eras| (eras[0], eras[1])), Some((9, 0)));
    }
}
