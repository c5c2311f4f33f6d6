//! What happened in worlds: counts of it, and a digest that tells two runs apart.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use super::content::Content;

/// Whether events are printed.
static TRACE: AtomicBool = AtomicBool::new(false);

/// Has every event printed from now on.
pub(crate) fn trace_all() {
    TRACE.store(true, Ordering::Relaxed);
}

/// Prints an event at a time, if events are printed.
pub(crate) fn trace(time: u64, what: impl FnOnce() -> String) {
    if TRACE.load(Ordering::Relaxed) {
        println!("{time:>8} {}", what());
    }
}

/// How often what happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    counts: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub(crate) fn count(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    pub(crate) fn add(&mut self, what: &'static str, count: u64) {
        *self.counts.entry(what).or_default() += count;
    }

    pub(crate) fn of(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (what, count) in &other.counts {
            self.add(what, *count);
        }
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.counts.iter().map(|(what, count)| (*what, *count))
    }
}

/// A number that depends on everything that was added, and on the order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Digest(u64);

impl Digest {
    pub(crate) fn add(&mut self, words: &[u64]) {
        for word in words {
            let mixed = (self.0 ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            self.0 = mixed ^ (mixed >> 32);
        }
    }

    pub(crate) fn add_text(&mut self, text: &str) {
        for byte in text.bytes() {
            self.add(&[u64::from(byte)]);
        }
    }

    pub(crate) fn add_content(&mut self, content: Content) {
        match content {
            Content::Zero => self.add(&[0]),
            Content::Stamp(stamp) => self.add(&[u64::from(stamp.op), stamp.block]),
        }
    }
}
