//! Reading ahead of clients that read in order.
//!
//! A log keeps blocks in the order in which they were written, so a client that reads a volume in
//! order, a block at a time, would pay a visit to the backend for each. Once two reads have
//! followed each other, the next quarter of a mebibyte is read into the cache at once, and again
//! when half of that is used. A read of what is on its way waits for it instead of reading it
//! twice.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::env::Signal;

/// Streams that are followed at once on one volume.
const STREAMS: usize = 8;

/// Blocks that are read ahead: 256 KiB.
const WINDOW: u64 = 64;

/// Reads of this many blocks and more are large enough by themselves.
const LARGE: u64 = 32;

/// Reads that have to follow each other before it is a stream.
const HITS: u32 = 2;

/// The streams on one volume.
#[derive(Debug, Default)]
pub(super) struct Readahead {
    streams: Mutex<Streams>,
    arrived: Signal,
}

#[derive(Debug, Default)]
struct Streams {
    streams: [Stream; STREAMS],
    clock: u64,
}

/// A client that reads in order.
#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    /// The block that it reads next if it goes on.
    next: u64,
    hits: u32,
    /// Everything before this block has been read ahead, or is being.
    ahead: u64,
    /// What is on its way: from the first up to the second.
    loading: (u64, u64),
    used: u64,
}

/// What to read ahead: the stream, the first block and how many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ahead {
    stream: usize,
    pub(super) first: u64,
    pub(super) count: u64,
}

impl Readahead {
    /// Notes a read of `count` blocks from `first` on, on a volume of `blocks` blocks; gives what
    /// to read ahead, if anything.
    pub(super) fn note(&self, first: u64, count: u64, blocks: u64) -> Option<Ahead> {
        if count >= LARGE {
            return None;
        }
        let mut streams = self.lock();
        streams.clock += 1;
        let clock = streams.clock;
        let known = streams
            .streams
            .iter()
            .position(|stream| stream.next == first);
        let Some(index) = known else {
            let oldest = (0..STREAMS).min_by_key(|index| streams.streams[*index].used);
            streams.streams[oldest.unwrap_or(0)] = Stream {
                next: first + count,
                used: clock,
                ..Stream::default()
            };
            return None;
        };
        let stream = &mut streams.streams[index];
        stream.next = first + count;
        stream.used = clock;
        stream.hits += 1;
        let is_loading = stream.loading.0 < stream.loading.1;
        let is_half_used = stream.ahead < stream.next + WINDOW / 2;
        if stream.hits < HITS || is_loading || !is_half_used {
            return None;
        }
        let from = stream.ahead.max(stream.next);
        let count = WINDOW.min(blocks.saturating_sub(from));
        if count == 0 {
            return None;
        }
        stream.ahead = from + count;
        stream.loading = (from, from + count);
        Some(Ahead {
            stream: index,
            first: from,
            count,
        })
    }

    /// Notes that what was read ahead has arrived, or could not be read.
    pub(super) fn arrived(&self, ahead: Ahead) {
        let mut streams = self.lock();
        let stream = &mut streams.streams[ahead.stream];
        if stream.loading.0 == ahead.first {
            stream.loading = (0, 0);
        }
        drop(streams);
        self.arrived.wake_all();
    }

    /// Waits while any of `count` blocks from `first` on is on its way.
    pub(super) async fn wait_for(&self, first: u64, count: u64) {
        let look = || {
            let streams = self.lock();
            let is_coming = streams
                .streams
                .iter()
                .any(|stream| first < stream.loading.1 && stream.loading.0 < first + count);
            (!is_coming).then_some(())
        };
        self.arrived.wait_for(look).await;
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_read_ahead_of_and_random_reads_are_not() {
        let readahead = Readahead::default();
        let mut ahead = Vec::new();
        for block in 0..200 {
            if let Some(some) = readahead.note(block, 1, 1000) {
                ahead.push((some.first, some.count));
                readahead.arrived(some);
            }
            assert_eq!(readahead.note(block * 7919 % 1000 + 2000, 1, 100_000), None);
        }
        assert_eq!(ahead[0], (2, WINDOW));
        let gapless = ahead
            .windows(2)
            .all(|pair| pair[0].0 + pair[0].1 == pair[1].0);
        assert!(gapless && ahead.len() >= 3, "{ahead:?}");
    }

    #[test]
    fn nothing_is_read_beyond_the_end() {
        let readahead = Readahead::default();
        for block in 0..10 {
            if let Some(ahead) = readahead.note(block, 1, 10) {
                assert!(ahead.first + ahead.count <= 10);
                readahead.arrived(ahead);
            }
        }
    }
}
