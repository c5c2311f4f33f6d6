//! A disk cut into what is to be copied at once, and what need not be copied.

use std::collections::VecDeque;
use std::rc::Rc;

use super::side::{Side, Trouble};
use crate::base::{Extent, Status, StatusRun};

/// What is read at once, in bytes.
pub(super) const DATA_BYTES_MAX: u64 = 1 << 20;

/// What is passed over at once, in bytes: so little that progress and an interruption are not held
/// up by summing up zeroes.
const ZEROES_BYTES_MAX: u64 = 64 << 20;

/// Where pieces begin and end, in bytes, but at the end of the disk. A smaller hole costs less to
/// read than to step over.
const GRID_BYTES: u64 = 64 << 10;

/// What is asked for at once about what is allocated.
const RUNS_MAX: usize = 1024;

/// A part of a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Piece {
    /// It reads as zeroes.
    Zeroes(Extent),
    /// It has to be read.
    Data(Extent),
}

/// The pieces of a disk from its start to its end.
pub(super) struct Pieces {
    disk: Rc<Side>,
    at: u64,
    /// What is known of the disk from `at` on.
    runs: VecDeque<StatusRun>,
}

impl Pieces {
    pub(super) fn new(disk: Rc<Side>) -> Self {
        Self {
            disk,
            at: 0,
            runs: VecDeque::new(),
        }
    }

    /// The next piece; `None` at the end of the disk.
    ///
    /// # Errors
    /// As [`Side::status`].
    pub(super) async fn next(&mut self) -> Result<Option<Piece>, Trouble> {
        let size = self.disk.size();
        if self.at == size {
            return Ok(None);
        }
        if self.runs.is_empty() {
            let rest = Extent::between(self.at, size);
            self.runs = self.disk.status(rest, RUNS_MAX).await?.into();
        }
        let piece = cut(self.at, size, self.runs[0]);
        let (Piece::Zeroes(extent) | Piece::Data(extent)) = piece;
        self.advance(extent.bytes());
        Ok(Some(piece))
    }

    fn advance(&mut self, bytes: u64) {
        self.at += bytes;
        let mut left = bytes;
        while let Some(run) = self.runs.front_mut() {
            if run.bytes > left {
                run.bytes -= left;
                return;
            }
            left -= run.bytes;
            self.runs.pop_front();
        }
    }
}

/// The piece at `at`, a place on the grid where `run` begins, of a disk of `size` bytes.
fn cut(at: u64, size: u64, run: StatusRun) -> Piece {
    let end = (at + run.bytes).min(size);
    let reads_as_zeroes = run.status != Status::Data;
    let zeroes_end = match end == size {
        true => size,
        false => end / GRID_BYTES * GRID_BYTES,
    };
    if reads_as_zeroes && zeroes_end > at {
        return Piece::Zeroes(Extent::between(at, zeroes_end.min(at + ZEROES_BYTES_MAX)));
    }
    let data_end = end.next_multiple_of(GRID_BYTES).min(at + DATA_BYTES_MAX);
    Piece::Data(Extent::between(at, data_end.min(size)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Checked, Medium, Mem};
    use crate::base::{Buf, Durability};
    use crate::env::sim;
    use crate::volume::{Disk, RawDisk};

    fn cut_run(at: u64, size: u64, bytes: u64, status: Status) -> Piece {
        cut(at, size, StatusRun { bytes, status })
    }

    fn data(start: u64, end: u64) -> Piece {
        Piece::Data(Extent::between(start, end))
    }

    fn zeroes(start: u64, end: u64) -> Piece {
        Piece::Zeroes(Extent::between(start, end))
    }

    #[test]
    fn data_is_cut_where_the_grid_is() {
        let size = 8 << 20;
        assert_eq!(cut_run(0, size, 1, Status::Data), data(0, GRID_BYTES));
        assert_eq!(cut_run(0, size, size, Status::Data), data(0, 1 << 20));
        let odd = size + 512;
        assert_eq!(cut_run(size, odd, 512, Status::Data), data(size, odd));
    }

    #[test]
    fn holes_are_passed_over_where_they_reach_the_grid() {
        let size = 1 << 30;
        assert_eq!(
            cut_run(0, size, 70 << 10, Status::Hole),
            zeroes(0, 64 << 10)
        );
        assert_eq!(cut_run(0, size, 9000, Status::Hole), data(0, GRID_BYTES));
        assert_eq!(
            cut_run(0, size, size, Status::AllocatedZero),
            zeroes(0, 64 << 20)
        );
        assert_eq!(cut_run(0, 9000, 9000, Status::Hole), zeroes(0, 9000));
    }

    #[test]
    fn the_pieces_of_a_disk_are_all_of_it_and_its_data() {
        sim::run(1, async {
            let size = (200 << 20) + 512;
            let disk = RawDisk::new(Checked::new(Medium::Mem(Mem::new(size))));
            for offset in [0, 70 << 20, (150 << 20) + 4096, size - 1] {
                let written = disk.write(offset, Buf::from(&[1][..]), Durability::Cached);
                written.await.expect("a write");
            }
            let mut pieces = Pieces::new(Rc::new(Disk::from(disk).into()));
            let (mut at, mut read) = (0, 0);
            while let Some(piece) = pieces.next().await.expect("a status") {
                let (Piece::Zeroes(extent) | Piece::Data(extent)) = piece;
                assert_eq!(extent.offset(), at);
                at = extent.end();
                if let Piece::Data(extent) = piece {
                    read += extent.bytes();
                }
            }
            assert_eq!((at, read), (size, 3 * GRID_BYTES + 512));
        });
    }
}
