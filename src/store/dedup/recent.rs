//! Fingerprints with their places: a table of buckets of four, in which a new one takes the place
//! of the oldest of its bucket.

use super::Known;
use crate::codec::Fingerprint;
use crate::store::format::{Ptr, Seq};

/// Places in a bucket.
const WAYS: u8 = 4;

/// A fingerprint and where its block lies: 32 bytes. Nothing lies at a hole.
#[derive(Clone, Copy, Debug)]
struct Slot {
    short: u64,
    rest: u64,
    ptr: Ptr,
    seq: Seq,
}

/// Fingerprints of what was written or read back lately.
#[derive(Debug)]
pub(super) struct Recent {
    buckets: Vec<[Slot; WAYS as usize]>,
    /// Where the oldest of each bucket is.
    oldest: Vec<u8>,
}

const EMPTY: Slot = Slot {
    short: 0,
    rest: 0,
    ptr: Ptr::HOLE,
    seq: Seq::from_bits(0),
};

const BUCKET_BYTES: usize = size_of::<[Slot; WAYS as usize]>() + 1;

impl Recent {
    /// A table of up to `bytes` bytes.
    pub(super) fn new(bytes: usize) -> Self {
        let buckets = bytes / BUCKET_BYTES;
        Self {
            buckets: vec![[EMPTY; WAYS as usize]; buckets],
            oldest: vec![0; buckets],
        }
    }

    /// How much memory it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.buckets.len() * BUCKET_BYTES
    }

    /// Where the block with this fingerprint lies.
    pub(super) fn get(&self, print: Fingerprint) -> Option<Known> {
        let bucket = &self.buckets[self.bucket(print)?];
        let slot = bucket.iter().find(|slot| slot.is(print))?;
        Some(Known {
            ptr: slot.ptr,
            seq: slot.seq,
        })
    }

    /// Something of what [`get`](Self::get) would look at.
    pub(super) fn touch(&self, print: Fingerprint) -> u64 {
        let bucket = self.bucket(print).map(|at| &self.buckets[at]);
        bucket.map_or(0, |bucket| bucket[0].rest ^ bucket[WAYS as usize - 1].rest)
    }

    /// Notes where the block with this fingerprint lies.
    pub(super) fn put(&mut self, print: Fingerprint, known: Known) {
        let Some(at) = self.bucket(print) else {
            return;
        };
        let bucket = &mut self.buckets[at];
        let way = bucket.iter().position(|slot| slot.is(print));
        let way = way.unwrap_or_else(|| {
            let oldest = usize::from(self.oldest[at]);
            self.oldest[at] = (self.oldest[at] + 1) % WAYS;
            oldest
        });
        bucket[way] = Slot {
            short: print.short(),
            rest: print.rest(),
            ptr: known.ptr,
            seq: known.seq,
        };
    }

    /// Which bucket a fingerprint belongs to, if there are any.
    fn bucket(&self, print: Fingerprint) -> Option<usize> {
        let wide = u128::from(print.rest()) * self.buckets.len() as u128;
        let at = usize::try_from(wide >> 64).expect("below the number of buckets");
        (at < self.buckets.len()).then_some(at)
    }
}

impl Slot {
    fn is(&self, print: Fingerprint) -> bool {
        self.rest == print.rest() && self.short == print.short() && !self.ptr.is_hole()
    }
}
