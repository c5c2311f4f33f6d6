//! Finds the holes in data that was read: whole blocks of zeroes.
//!
//! Blocks are aligned on the disk, not in the buffer, so that neighbouring reads agree on what a
//! hole is. A block that is not zero costs a look at its first bytes.

use std::ops::Range;

/// The smallest hole, in bytes. A hole costs a header of its own and one more for the data after
/// it, 60 to 76 bytes: worth it from a few hundred bytes on, and nothing smaller than a page is
/// ever unmapped on disk.
pub(super) const HOLE_BYTES_MIN: usize = 4096;

/// How much is looked at before the first decision, in bytes.
const PEEK_BYTES: usize = 64;

/// The first `count_max` runs of zero blocks in `data`, which was read from `offset`; in order,
/// not empty, and never touching.
pub(super) fn holes(data: &[u8], offset: u64, count_max: usize) -> Vec<Range<usize>> {
    let lead = bytes_to_boundary(offset);
    let blocks = data.get(lead..).unwrap_or_default();
    let (blocks, _) = blocks.as_chunks::<HOLE_BYTES_MIN>();
    let mut holes: Vec<Range<usize>> = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        if !is_zero(block) {
            continue;
        }
        let start = lead + index * HOLE_BYTES_MIN;
        let end = start + HOLE_BYTES_MIN;
        if let Some(last) = holes.last_mut().filter(|last| last.end == start) {
            last.end = end;
            continue;
        }
        if holes.len() == count_max {
            break;
        }
        holes.push(start..end);
    }
    holes
}

/// How far it is from `offset` to the next block.
fn bytes_to_boundary(offset: u64) -> usize {
    let block = u64::try_from(HOLE_BYTES_MIN).expect("a small constant");
    let bytes = offset.wrapping_neg() % block;
    usize::try_from(bytes).expect("less than a block")
}

fn is_zero(block: &[u8; HOLE_BYTES_MIN]) -> bool {
    let (peeks, _) = block.as_chunks::<PEEK_BYTES>();
    // Folding a peek without leaving early lets it be done in a few vector instructions.
    peeks
        .iter()
        .all(|peek| peek.iter().fold(0, |seen, byte| seen | byte) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = HOLE_BYTES_MIN;

    #[test]
    fn holes_are_whole_blocks_of_the_disk() {
        let zeroes = vec![0; 3 * BLOCK];
        let cases = [
            (0, 0..3 * BLOCK),
            (1, BLOCK - 1..3 * BLOCK - 1),
            (4095, 1..2 * BLOCK + 1),
            (4096, 0..3 * BLOCK),
            (u64::MAX - 3 * 4096 + 1, 0..3 * BLOCK),
        ];
        for (offset, hole) in cases {
            assert_eq!(holes(&zeroes, offset, 9), [hole], "{offset}");
        }
        for (offset, bytes) in [(0, 0), (0, 4095), (1, 4096), (1, 8190), (4095, 4096)] {
            assert!(
                holes(&zeroes[..bytes], offset, 9).is_empty(),
                "{offset}+{bytes}"
            );
        }
    }

    #[test]
    fn one_byte_anywhere_fills_its_block() {
        for at in [0, 63, 64, BLOCK - 1] {
            let mut data = vec![0; 3 * BLOCK];
            data[BLOCK + at] = 1;
            assert_eq!(holes(&data, 0, 9), [0..BLOCK, 2 * BLOCK..3 * BLOCK]);
        }
    }

    #[test]
    fn there_are_no_more_holes_than_asked_for() {
        let mut data = vec![0; 10 * BLOCK];
        for block in (0..10).step_by(2) {
            data[block * BLOCK] = 1;
        }
        assert_eq!(holes(&data, 0, 9).len(), 5);
        assert_eq!(holes(&data, 0, 2), [BLOCK..2 * BLOCK, 3 * BLOCK..4 * BLOCK]);
        assert!(holes(&data, 0, 0).is_empty());
        assert_eq!(holes(&data[BLOCK..2 * BLOCK], 0, 1).len(), 1);
    }
}
