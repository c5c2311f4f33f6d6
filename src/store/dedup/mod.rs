//! The index of deduplication: where blocks lie that were written before, as far as is remembered.
//!
//! It is a hint in memory. What it forgets is written a second time, and what it says is checked
//! against the segment table, under the core's lock, before anything refers to it. So it needs no
//! log and no recovery, and its size is a choice.
//!
//! Two tables share the memory. [`Recent`] has the fingerprints of what was written or read back
//! lately, each with its place. [`Hooks`] has one of 32 of all fingerprints, chosen by their bits
//! so that the same block is always among them, each with its segment only. What is copied was
//! mostly written together: a hook that is met again leads to the trailer of its segment, the
//! fingerprints listed there are put among the recent ones, and its neighbours are found there
//! (sparse indexing: Lillibridge et al., FAST 2009; locality of containers: Zhu et al., FAST 2008).

mod hooks;
mod recent;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use self::hooks::Hooks;
use self::recent::Recent;
use super::format::{BLOCK, Ptr, Seq};
use crate::codec::Fingerprint;

/// The recent fingerprints take up to so many bytes, and never more than half of the index: 256 Ki
/// of them, what belongs to a gibibyte of blocks.
const RECENT_BYTES_MAX: usize = 8 << 20;

/// One fingerprint of so many is a hook.
const HOOK_EVERY: u64 = 32;

/// Hooks are crowded where they are not all needed: room for a quarter more keeps what is lost to
/// that below a hundredth.
const HOOK_BYTES: u64 = 10;

/// Segments that one write looks up at most.
const ASKS_MAX: usize = 4;

/// A block that was written before: where, and into which incarnation of its segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Known {
    pub(super) ptr: Ptr,
    pub(super) seq: Seq,
}

/// What the index says of some blocks.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// For each whether it was written before.
    pub(super) known: Vec<Option<Known>>,
    /// Segments whose trailers may say more.
    pub(super) asks: Vec<u32>,
}

/// The index. Shared by all reactors.
#[derive(Debug)]
pub(super) struct Index {
    tables: Mutex<Tables>,
}

#[derive(Debug)]
struct Tables {
    recent: Recent,
    hooks: Hooks,
    /// Segments whose trailers are being read.
    asked: BTreeSet<u32>,
}

impl Index {
    /// An index of up to `bytes` bytes for a store of `store_bytes`; none at all with 0 bytes.
    pub(super) fn new(bytes: usize, store_bytes: u64) -> Self {
        Self {
            tables: Mutex::new(Tables::new(bytes, store_bytes)),
        }
    }

    /// How much memory it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let tables = self.tables();
        tables.recent.bytes() + tables.hooks.bytes()
    }

    /// Makes it as large as a [new](Self::new) one. What was recent is forgotten, and as many hooks
    /// as there is room for stay.
    pub(super) fn resize(&self, bytes: usize, store_bytes: u64) {
        let mut tables = self.tables();
        let new = Tables::new(bytes, store_bytes);
        let old = std::mem::replace(&mut *tables, new);
        tables.hooks.take_over(&old.hooks);
        tables.asked = old.asked;
    }

    /// Has the processor bring what is to be [found](Self::find) of these into its caches, all at
    /// once: one after the other each would wait for memory.
    pub(super) fn fetch(&self, prints: &[Fingerprint]) {
        let tables = self.tables();
        let touched = prints.iter().map(|print| tables.recent.touch(*print));
        std::hint::black_box(touched.fold(0, std::ops::BitXor::bitxor));
    }

    /// What is known of blocks with these fingerprints.
    pub(super) fn find(&self, prints: &[Fingerprint]) -> Found {
        let tables = self.tables();
        let mut found = Found::default();
        for print in prints {
            let known = tables.recent.get(*print);
            if known.is_none()
                && is_hook(*print)
                && let Some(seg) = tables.hooks.get(*print)
                && found.asks.len() < ASKS_MAX
                && !found.asks.contains(&seg)
            {
                found.asks.push(seg);
            }
            found.known.push(known);
        }
        found
    }

    /// Notes where a block was written.
    pub(super) fn note(&self, print: Fingerprint, known: Known) {
        self.tables().recent.put(print, known);
    }

    /// Notes that the trailer of a segment lists these fingerprints.
    pub(super) fn hook(&self, seg: u32, prints: impl Iterator<Item = Fingerprint>) {
        let mut tables = self.tables();
        for print in prints.filter(|print| is_hook(*print)) {
            tables.hooks.put(print, seg);
        }
    }

    /// Whether the caller is the one to read the trailer of a segment; others wait for it.
    pub(super) fn ask(&self, seg: u32) -> bool {
        self.tables().asked.insert(seg)
    }

    /// Whether the trailer of a segment is being read.
    pub(super) fn is_asked(&self, seg: u32) -> bool {
        self.tables().asked.contains(&seg)
    }

    /// The trailer of a segment was read, and has these.
    pub(super) fn answer(&self, seg: u32, listed: impl Iterator<Item = (Fingerprint, Known)>) {
        let mut tables = self.tables();
        for (print, known) in listed {
            tables.recent.put(print, known);
        }
        tables.asked.remove(&seg);
    }

    /// Forgets the hooks that led to a segment which did not have these.
    pub(super) fn unhook(&self, prints: &[Fingerprint], segs: &[u32]) {
        let mut tables = self.tables();
        for print in prints.iter().filter(|print| is_hook(**print)) {
            if tables.recent.get(*print).is_none() {
                tables.hooks.remove(*print, segs);
            }
        }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn new(bytes: usize, store_bytes: u64) -> Self {
        let blocks = store_bytes / BLOCK as u64;
        let wanted = usize::try_from(blocks / HOOK_EVERY * HOOK_BYTES).unwrap_or(usize::MAX);
        let recent = (bytes / 2).min(RECENT_BYTES_MAX);
        Self {
            recent: Recent::new(recent),
            hooks: Hooks::new(wanted.min(bytes - recent)),
            asked: BTreeSet::new(),
        }
    }
}

fn is_hook(print: Fingerprint) -> bool {
    print.short().is_multiple_of(HOOK_EVERY)
}

#[cfg(test)]
mod tests {
    use super::super::format::SEALED_BLOCK;
    use super::*;

    fn print(number: u64) -> Fingerprint {
        let mut bytes = [0; 16];
        let spread = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        bytes[..8].copy_from_slice(&(spread ^ spread >> 31).to_le_bytes());
        bytes[8..].copy_from_slice(&spread.wrapping_mul(0xBF58_476D_1CE4_E5B9).to_le_bytes());
        Fingerprint::from_bytes(bytes).expect("not zero")
    }

    fn known(number: u64) -> Known {
        let place = u32::try_from(number).expect("small");
        let sealed = u32::try_from(SEALED_BLOCK).expect("small");
        Known {
            ptr: Ptr::raw(place / 100 + 1, place % 100 * sealed),
            seq: Seq::new(1, u64::from(place / 100)),
        }
    }

    #[test]
    fn what_was_noted_lately_is_found() {
        let index = Index::new(1 << 20, 1 << 30);
        for number in 0..1000 {
            index.note(print(number), known(number));
        }
        let prints: Vec<_> = (0..1000).map(print).collect();
        let found = index.find(&prints);
        let right = (0..).zip(&found.known);
        assert!(
            right
                .into_iter()
                .all(|(number, it)| *it == Some(known(number)))
        );
        assert_eq!(index.find(&[print(5000)]).known, [None]);
    }

    #[test]
    fn a_hook_leads_to_its_segment_until_that_has_it_no_more() {
        let index = Index::new(1 << 20, 1 << 30);
        index.hook(7, (0..1000).map(print));
        let hook = (0..1000).map(print).find(|print| is_hook(*print));
        let hook = [hook.expect("one of 32")];
        assert_eq!(index.find(&hook).asks, [7]);
        index.unhook(&hook, &[8]);
        assert_eq!(index.find(&hook).asks, [7], "another segment says nothing");
        index.unhook(&hook, &[7]);
        assert_eq!(index.find(&hook).asks, [] as [u32; 0]);
    }

    #[test]
    fn memory_is_bounded_and_can_be_given_back() {
        let tib = 1 << 40;
        let index = Index::new(256 << 20, tib);
        let full = index.bytes();
        assert!(full <= 89 << 20, "{full} bytes for a tebibyte");
        index.hook(9, (0..100_000).map(print));
        let hooks: Vec<_> = (0..100_000)
            .map(print)
            .filter(|one| is_hook(*one))
            .collect();
        index.resize(4 << 20, tib);
        assert!(index.bytes() <= 4 << 20);
        let still = hooks
            .iter()
            .filter(|hook| !index.find(&[**hook]).asks.is_empty());
        assert!(still.count() > hooks.len() * 9 / 10);
        index.resize(0, tib);
        assert_eq!(index.bytes(), 0);
        index.note(print(1), known(1));
        index.hook(9, hooks.iter().copied());
        assert_eq!(index.find(&[print(1), hooks[0]]).known, [None, None]);
    }

    #[test]
    fn one_reads_a_trailer_and_the_others_wait() {
        let index = Index::new(1 << 20, 1 << 30);
        assert!(index.ask(3));
        assert!(!index.ask(3) && index.is_asked(3));
        index.answer(3, std::iter::once((print(5), known(5))));
        assert!(!index.is_asked(3));
        assert_eq!(index.find(&[print(5)]).known, [Some(known(5))]);
    }
}
