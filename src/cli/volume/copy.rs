//! Copies one disk to another, holes and all, and sums up what it read.

use std::rc::Rc;

use twox_hash::XxHash3_128;

use super::flight::Flight;
use super::pieces::{Piece, Pieces};
use super::side::{Side, Trouble};
use crate::base::{Buf, Extent, OpenError};
use crate::cli::interrupt::Interrupt;
use crate::cli::progress::Progress;

/// Reads, and as many writes, that are under way at the same time: enough for a disk on a network.
/// Together they hold 32 MiB at most. At the bound the copy waits for the first of them.
const DEPTH: usize = 16;

/// What zeroes are summed up from.
static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

/// A copy that is complete and durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Copied {
    /// The size of the disk.
    pub(super) bytes: u64,
    /// What of it was copied as data.
    pub(super) data_bytes: u64,
    /// XXH3 with 128 bits, of all the disk's bytes.
    pub(super) checksum: u128,
}

/// Why a copy is not complete.
#[derive(Debug)]
pub(super) enum CopyError {
    /// It could not be read from the source.
    Read(Trouble),
    /// It could not be written to the target.
    Write(Trouble),
    /// Somebody wanted it to end.
    Interrupted,
}

impl CopyError {
    /// The line about it, for a copy from `source` to `target`.
    pub(super) fn of(self, source: &str, target: &str) -> OpenError {
        match self {
            Self::Read(Trouble::Disk(error)) => {
                OpenError::new(source, error, "check the disk that it is on")
            }
            Self::Write(Trouble::Disk(error)) => {
                OpenError::new(target, error, "see that there is space for it")
            }
            Self::Read(Trouble::Call(error)) | Self::Write(Trouble::Call(error)) => error,
            Self::Interrupted => OpenError::new(target, "interrupted; nothing is left of it", ""),
        }
    }
}

/// A copy under way.
struct Copy {
    to: Rc<Side>,
    reads: Flight<(Piece, Result<Buf, Trouble>)>,
    writes: Flight<Result<(), Trouble>>,
    hasher: XxHash3_128,
    copied_bytes: u64,
    data_bytes: u64,
}

/// Copies all of `from` to `to`, which is as large and reads as zeroes, and makes it durable.
/// `what` is said to whoever looks at the terminal.
///
/// # Errors
/// What failed first. Nothing is under way any more then.
pub(super) async fn copy(
    from: Rc<Side>,
    to: Rc<Side>,
    what: &'static str,
    interrupt: &Interrupt,
) -> Result<Copied, CopyError> {
    assert_eq!(from.size(), to.size(), "a target as large as its source");
    let mut copy = Copy {
        to,
        reads: Flight::new(),
        writes: Flight::new(),
        hasher: XxHash3_128::new(),
        copied_bytes: 0,
        data_bytes: 0,
    };
    let done = copy.run(from, what, interrupt).await;
    copy.reads.land().await;
    copy.writes.land().await;
    done?;
    Ok(Copied {
        bytes: copy.copied_bytes,
        data_bytes: copy.data_bytes,
        checksum: copy.hasher.finish_128(),
    })
}

impl Copy {
    async fn run(
        &mut self,
        from: Rc<Side>,
        what: &'static str,
        interrupt: &Interrupt,
    ) -> Result<(), CopyError> {
        let mut progress = Progress::new(what, from.size());
        let mut pieces = Pieces::new(Rc::clone(&from));
        loop {
            while self.reads.count() < DEPTH {
                match pieces.next().await.map_err(CopyError::Read)? {
                    Some(piece) => self.reads.start(read(Rc::clone(&from), piece)),
                    None => break,
                }
            }
            let Some((piece, read)) = self.reads.next().await else {
                break;
            };
            self.take(piece, read.map_err(CopyError::Read)?).await?;
            from.check().await.map_err(CopyError::Read)?;
            self.to.check().await.map_err(CopyError::Write)?;
            progress.show(self.copied_bytes);
            if interrupt.came() {
                return Err(CopyError::Interrupted);
            }
        }
        while let Some(written) = self.writes.next().await {
            written.map_err(CopyError::Write)?;
        }
        self.to.flush().await.map_err(CopyError::Write)
    }

    /// Sums up a piece that was read, and starts to write it.
    async fn take(&mut self, piece: Piece, data: Buf) -> Result<(), CopyError> {
        match piece {
            Piece::Zeroes(at) => {
                self.sum_zeroes(at.bytes());
                self.copied_bytes += at.bytes();
            }
            Piece::Data(at) => {
                self.hasher.write(&data);
                self.copied_bytes += at.bytes();
                self.data_bytes += at.bytes();
                if self.writes.count() == DEPTH
                    && let Some(written) = self.writes.next().await
                {
                    written.map_err(CopyError::Write)?;
                }
                self.writes.start(write(Rc::clone(&self.to), at, data));
            }
        }
        Ok(())
    }

    fn sum_zeroes(&mut self, bytes: u64) {
        let mut left = bytes;
        while left > 0 {
            let count = usize::try_from(left).unwrap_or(usize::MAX);
            let count = count.min(ZEROES.len());
            self.hasher.write(&ZEROES[..count]);
            left -= count as u64;
        }
    }
}

/// Zeroes are not read, but wait for their turn among what is.
async fn read(from: Rc<Side>, piece: Piece) -> (Piece, Result<Buf, Trouble>) {
    match piece {
        Piece::Zeroes(_) => (piece, Ok(Buf::new(0))),
        Piece::Data(at) => (piece, from.read(at).await),
    }
}

async fn write(to: Rc<Side>, at: Extent, data: Buf) -> Result<(), Trouble> {
    to.write(at.offset(), data).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Checked, Fault, Faulty, Kind, Medium};
    use crate::env::sim;
    use crate::volume::{Disk, RawDisk};

    const SIZE: usize = (5 << 20) + 512;

    fn faulty() -> (Faulty, Rc<Side>) {
        let faulty = Faulty::new(SIZE as u64, 512);
        let disk = RawDisk::new(Checked::new(Medium::Faulty(faulty.clone())));
        (faulty, Rc::new(Disk::from(disk).into()))
    }

    /// A disk with islands of data, and its content.
    async fn islands() -> (Faulty, Rc<Side>, Vec<u8>) {
        let (faulty, disk) = faulty();
        let mut content = vec![0; SIZE];
        for at in [0, 70_000, 1_000_000, 3_000_000, SIZE - 700] {
            let bytes: Vec<u8> = (0..=250).cycle().take(700).collect();
            content[at..at + 700].copy_from_slice(&bytes);
            let written = disk.write(at as u64, Buf::from(&bytes[..]));
            written.await.expect("a write");
        }
        (faulty, disk, content)
    }

    #[test]
    fn a_copy_is_equal_and_its_sum_is_that_of_the_content() {
        for seed in 0..30 {
            sim::run(seed, async {
                let (_, from, content) = islands().await;
                let (_, to) = faulty();
                let interrupt = Interrupt::never();
                let copied = copy(from, Rc::clone(&to), "copying", &interrupt).await;
                let copied = copied.expect("a copy");
                assert_eq!(copied.checksum, XxHash3_128::oneshot(&content));
                assert_eq!(copied.bytes, SIZE as u64);
                assert!(copied.data_bytes < copied.bytes / 4);
                let all = to.read(Extent::between(0, SIZE as u64)).await;
                assert!(all.expect("a read")[..] == content[..]);
            });
        }
    }

    #[test]
    fn what_fails_is_said_with_its_side() {
        sim::run(1, async {
            let interrupt = Interrupt::never();
            let (source, from, _) = islands().await;
            let (target, to) = faulty();
            target.plan(Kind::Write, 1, Fault::Fail);
            let failed = copy(Rc::clone(&from), Rc::clone(&to), "copying", &interrupt).await;
            assert!(matches!(failed, Err(CopyError::Write(_))), "{failed:?}");
            source.plan(Kind::Read, 1, Fault::Fail);
            let failed = copy(from, to, "copying", &interrupt).await;
            assert!(matches!(failed, Err(CopyError::Read(_))), "{failed:?}");
        });
    }
}
