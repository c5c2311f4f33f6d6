//! Reads trailers for the index of deduplication: those of all segments after a store was opened,
//! one after the other and beside everything else, and at once the one that a write asks for.

use std::sync::Arc;

use super::core::Health;
use super::dedup::Known;
use super::format::trailer::Entry;
use super::format::{Ptr, Seq};
use super::shell::{Shell, read_trailer};
use crate::env;

impl Shell {
    /// Learns until the store is closed or stopped.
    pub(super) async fn keep_learning(self: Arc<Self>) {
        if self.index.bytes() == 0 {
            return;
        }
        self.core().learn_all();
        while let Some(at) = self.unread().await {
            let entries = self.entries(at).await;
            self.index
                .hook(at.0, entries.iter().filter_map(Entry::fingerprint));
            env::end_of_turn().await;
        }
    }

    /// The next segment to learn of, or nothing when the store is closed.
    async fn unread(&self) -> Option<(u32, Seq)> {
        let look = || {
            let mut core = self.core();
            if core.health != Health::Well {
                return Some(None);
            }
            match core.wants_fingerprints() {
                true => core.next_unread().map(Some),
                false => None,
            }
        };
        self.chores.wait_for(look).await
    }

    /// Makes what the trailer of `seg` lists known, or waits until somebody else has done so.
    pub(super) async fn learn(&self, seg: u32) {
        if !self.index.ask(seg) {
            let look = || (!self.index.is_asked(seg)).then_some(());
            return self.learned.wait_for(look).await;
        }
        let Some(seq) = self.core().listed(seg) else {
            self.index.answer(seg, std::iter::empty());
            return self.learned.wake_all();
        };
        let entries = self.entries((seg, seq)).await;
        let known = |entry: &Entry| {
            let (print, chunk) = (entry.fingerprint()?, entry.chunk()?);
            let ptr = Ptr::new(seg, entry.offset, chunk.0, chunk.1);
            Some((print, Known { ptr, seq }))
        };
        self.index.answer(seg, entries.iter().filter_map(known));
        self.learned.wake_all();
    }

    /// What the trailer of a segment lists. One that cannot be read costs space and nothing else.
    async fn entries(&self, at: (u32, Seq)) -> Vec<Entry> {
        let shape = self.shape();
        let read = read_trailer(&self.backend, &self.sealer, shape, at).await;
        let trailer = read.unwrap_or_else(|error| {
            tracing::debug!(segment = at.0, %error, "a trailer cannot be read");
            None
        });
        trailer.map_or_else(Vec::new, |trailer| trailer.entries)
    }
}
