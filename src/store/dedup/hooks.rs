//! Hooks: fingerprints of which only a part is kept, with the segment that lists them. Eight bytes
//! each, in buckets of four.

use crate::codec::Fingerprint;

/// Places in a bucket.
const WAYS: usize = 4;

/// Half a fingerprint's first half, and a segment; 0 for none, since segment 0 holds no blocks.
type Hook = u64;

/// Hooks into the segments of a store.
#[derive(Debug)]
pub(super) struct Hooks {
    buckets: Vec<[Hook; WAYS]>,
    /// Which place a new hook takes in a full bucket; any does, as long as they take turns.
    turn: usize,
}

impl Hooks {
    /// Room for hooks in up to `bytes` bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            buckets: vec![[0; WAYS]; bytes / size_of::<[Hook; WAYS]>()],
            turn: 0,
        }
    }

    /// How much memory they take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.buckets.len() * size_of::<[Hook; WAYS]>()
    }

    /// The segment whose trailer lists this fingerprint, most likely.
    pub(super) fn get(&self, print: Fingerprint) -> Option<u32> {
        let bucket = self.buckets.get(self.bucket(tag(print)))?;
        bucket
            .iter()
            .find(|hook| is(**hook, tag(print)))
            .map(|hook| seg(*hook))
    }

    /// Notes that the trailer of `seg` lists this fingerprint.
    pub(super) fn put(&mut self, print: Fingerprint, seg: u32) {
        self.put_hook(u64::from(tag(print)) << 32 | u64::from(seg));
    }

    /// Forgets that one of `segs` has this fingerprint.
    pub(super) fn remove(&mut self, print: Fingerprint, segs: &[u32]) {
        let at = self.bucket(tag(print));
        for hook in self.buckets.get_mut(at).into_iter().flatten() {
            if is(*hook, tag(print)) && segs.contains(&seg(*hook)) {
                *hook = 0;
            }
        }
    }

    /// Takes the hooks of another table, as many as there is room for.
    pub(super) fn take_over(&mut self, other: &Self) {
        for hook in other.buckets.iter().flatten().filter(|hook| **hook != 0) {
            self.put_hook(*hook);
        }
    }

    fn put_hook(&mut self, hook: Hook) {
        let tag = (hook >> 32) as u32;
        let at = self.bucket(tag);
        let Some(bucket) = self.buckets.get_mut(at) else {
            return;
        };
        let same = bucket.iter().position(|other| is(*other, tag));
        let way = same.or_else(|| bucket.iter().position(|other| *other == 0));
        let way = way.unwrap_or_else(|| {
            self.turn = (self.turn + 1) % WAYS;
            self.turn
        });
        bucket[way] = hook;
    }

    /// Which bucket hooks with this tag belong to: the same part of the table whatever its size, so
    /// that a smaller one takes over what lay together.
    fn bucket(&self, tag: u32) -> usize {
        let wide = u64::from(tag) * self.buckets.len() as u64;
        usize::try_from(wide >> 32).expect("below the number of buckets")
    }
}

/// What is kept of a fingerprint: what chooses hooks is in its lowest bits, and not part of it.
fn tag(print: Fingerprint) -> u32 {
    (print.short() >> 32) as u32
}

fn seg(hook: Hook) -> u32 {
    u32::try_from(hook & u64::from(u32::MAX)).expect("its lower half")
}

fn is(hook: Hook, tag: u32) -> bool {
    hook != 0 && (hook >> 32) as u32 == tag
}
