//! Counting chunks once that are the content of several blocks.

use std::collections::BTreeMap;

use super::Core;
use crate::store::format::{CHUNK_ALIGN, Ptr};

/// Memory for telling chunks apart: what 8192 segments of the usual size take, with 32 GiB of
/// chunks.
const BYTES_MAX: usize = 256 << 20;

/// Which chunks were counted, in segments where several blocks may have the same one: a bit for
/// each place where one can begin.
#[derive(Debug)]
pub(super) struct ToldApart {
    places: BTreeMap<u32, Vec<u64>>,
}

impl ToldApart {
    /// Whether the chunks of a segment are told apart.
    pub(super) fn has(&self, seg: u32) -> bool {
        self.places.contains_key(&seg)
    }

    /// Whether a chunk was not counted before, as far as that is known.
    pub(super) fn is_new(&mut self, ptr: Ptr) -> bool {
        let Some(bits) = self.places.get_mut(&ptr.seg()) else {
            return true;
        };
        let place = ptr.offset() as usize / CHUNK_ALIGN;
        let (word, bit) = (place / 64, 1 << (place % 64));
        if bits.len() <= word {
            bits.resize(word + 1, 0);
        }
        let is_new = bits[word] & bit == 0;
        bits[word] |= bit;
        is_new
    }
}

impl Core {
    /// The segments whose chunks are told apart in the next traversal: all that are shared, or as
    /// many as there is memory for, others each time.
    pub(super) fn tell_apart(&mut self) -> ToldApart {
        let bytes = self.shape().seg_bytes() as usize / CHUNK_ALIGN / 8;
        let most = (BYTES_MAX / bytes).max(1);
        let shared = self.table.all().filter(|(_, info)| info.shared);
        let shared: Vec<u32> = shared.map(|(seg, _)| seg).collect();
        let first = shared.partition_point(|seg| *seg < self.told_apart_next);
        let (before, behind) = shared.split_at(first);
        let mut around = behind.iter().chain(before);
        let places = around.by_ref().take(most);
        let places = places.map(|seg| (*seg, Vec::new())).collect();
        if let Some(next) = around.next() {
            self.told_apart_next = *next;
        }
        ToldApart { places }
    }
}
