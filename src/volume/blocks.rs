//! Any range of bytes, on what takes whole blocks only.
//!
//! Clients may ask for single bytes. The ends of a request that do not fill a block are read,
//! changed and written back, under a lock on these blocks that keeps every other write away.

use super::range_lock::RangeLock;
use crate::base::{Buf, Extent, Result, Status, StatusRun};

/// Where blocks are read and written, and nothing smaller.
pub(super) trait Blocks {
    /// What ranges are multiples of, in bytes: a power of two.
    fn block(&self) -> u64;

    /// Reads the whole blocks of `at`.
    async fn read_blocks(&self, at: Extent) -> Result<Buf>;

    /// Writes whole blocks from `offset`. Nothing is promised for a power loss.
    async fn write_blocks(&self, offset: u64, data: Buf) -> Result<()>;
}

/// The bytes of `at` in `buf`, which has the bytes of `whole`.
pub(super) fn window(buf: Buf, whole: Extent, at: Extent) -> Buf {
    let from = Extent::between(whole.offset(), at.offset()).len();
    buf.window(from, from + at.len())
}

/// Writes `data` to `at`, which does not fill its blocks.
pub(super) async fn write_part(
    blocks: &impl Blocks,
    ranges: &RangeLock,
    at: Extent,
    data: &[u8],
) -> Result<()> {
    let block_bytes = blocks.block();
    let whole = at.grow(block_bytes);
    let _guard = ranges.exclusive(whole).await;
    let mut buf = Buf::new(whole.len());
    let first_block = Extent::between(whole.offset(), whole.offset() + block_bytes);
    let block = first_block.len();
    let last = whole.len() - block;
    let head = blocks.read_blocks(first_block).await?;
    buf[..block].copy_from_slice(&head);
    if last > 0 {
        let last_block = Extent::between(whole.end() - block_bytes, whole.end());
        let tail = blocks.read_blocks(last_block).await?;
        buf[last..].copy_from_slice(&tail);
    }
    let from = Extent::between(whole.offset(), at.offset()).len();
    buf[from..from + data.len()].copy_from_slice(data);
    blocks.write_blocks(whole.offset(), buf).await
}

/// Makes `ends` read as zeroes, none of which fills its blocks.
pub(super) async fn zero_ends(
    blocks: &impl Blocks,
    ranges: &RangeLock,
    ends: impl Iterator<Item = Extent>,
) -> Result<()> {
    for end in ends {
        write_part(blocks, ranges, end, &Buf::zeroed(end.len())).await?;
    }
    Ok(())
}

/// What `whole`, the blocks that `at` fills, leaves of it: at most a head and a tail. `whole` may
/// reach beyond `at` where a disk ends inside a block.
pub(super) fn ends(at: Extent, whole: Extent) -> impl Iterator<Item = Extent> {
    let (head, tail) = match whole.is_empty() {
        true => (at, Extent::between(at.end(), at.end())),
        false => (
            Extent::between(at.offset(), whole.offset()),
            Extent::between(whole.end().min(at.end()), at.end()),
        ),
    };
    [head, tail].into_iter().filter(|end| !end.is_empty())
}

/// The part of `runs`, which describe `whole` from its start, that describes `at`.
pub(super) fn clip(runs: Vec<StatusRun>, whole: Extent, at: Extent) -> Vec<StatusRun> {
    let mut clipped = Vec::with_capacity(runs.len());
    let mut from = whole.offset();
    for run in runs {
        let end = (from + run.bytes).min(at.end());
        let start = from.max(at.offset());
        if start < end {
            clipped.push(StatusRun {
                bytes: end - start,
                status: run.status,
            });
        }
        from += run.bytes;
    }
    // The runs may have ended before `at` begins. What is not known is data.
    if clipped.is_empty() {
        let bytes = at.bytes().min(4096);
        let status = Status::Data;
        clipped.push(StatusRun { bytes, status });
    }
    clipped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends_of(at: (u64, u64), whole: (u64, u64)) -> Vec<Extent> {
        let between = |(start, end)| Extent::between(start, end);
        ends(between(at), between(whole)).collect()
    }

    #[test]
    fn what_fills_no_block_is_one_end() {
        assert_eq!(ends_of((1, 9), (4096, 4096)), [Extent::between(1, 9)]);
    }

    #[test]
    fn a_head_and_a_tail_are_left() {
        let left = [Extent::between(5, 4096), Extent::between(8192, 8200)];
        assert_eq!(ends_of((5, 8200), (4096, 8192)), left);
        assert_eq!(ends_of((4096, 8192), (4096, 8192)), []);
    }

    #[test]
    fn a_last_block_that_the_disk_does_not_fill_leaves_no_tail() {
        assert_eq!(ends_of((0, 4608), (0, 8192)), []);
    }

    #[test]
    fn a_status_that_ends_early_is_data() {
        let run = StatusRun {
            bytes: 4096,
            status: Status::Hole,
        };
        let whole = Extent::between(0, 8192);
        let at = Extent::between(100, 8000);
        assert_eq!(clip(vec![run], whole, at)[0].bytes, 3996);
        let behind = Extent::between(5000, 8000);
        assert_eq!(clip(vec![run], whole, behind)[0].status, Status::Data);
    }
}
