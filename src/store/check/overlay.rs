//! What the log says about one volume, over what its tree says.

use std::collections::BTreeMap;

use crate::store::format::Ptr;

/// Blocks that were written or made holes since the checkpoint: spans that do not overlap, by
/// their first block. A hole may be long, so a span says where it ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Overlay(BTreeMap<u64, Span>);

#[derive(Clone, Copy, Debug)]
struct Span {
    /// The first block behind it.
    end: u64,
    /// Where its one block lies, or a hole.
    ptr: Ptr,
}

impl Overlay {
    /// Block `block` lies at `ptr` from now on.
    pub(super) fn write(&mut self, block: u64, ptr: Ptr) {
        self.put(block, block + 1, ptr);
    }

    /// The blocks from `first` up to, and without, `end` are holes from now on.
    pub(super) fn zero(&mut self, first: u64, end: u64) {
        self.put(first, end, Ptr::HOLE);
    }

    fn put(&mut self, first: u64, end: u64, ptr: Ptr) {
        // What overlaps begins before `end`; the earliest may begin before `first`.
        let before = self.0.range(..first).next_back();
        if let Some((&start, &span)) = before.filter(|(_, span)| span.end > first) {
            self.0.insert(start, Span { end: first, ..span });
            if span.end > end {
                self.0.insert(end, span);
            }
        }
        while let Some((&start, &span)) = self.0.range(first..end).next() {
            self.0.remove(&start);
            if span.end > end {
                self.0.insert(end, span);
            }
        }
        self.0.insert(first, Span { end, ptr });
    }

    /// Where `block` lies, if anything is said about it.
    pub(super) fn get(&self, block: u64) -> Option<Ptr> {
        let (_, span) = self.0.range(..=block).next_back()?;
        (span.end > block).then_some(span.ptr)
    }

    /// Whether anything is said about the blocks from `first` up to, and without, `end`.
    pub(super) fn touches(&self, first: u64, end: u64) -> bool {
        self.get(first).is_some() || self.0.range(first..end).next().is_some()
    }

    /// The blocks that are not holes, and where they lie.
    pub(super) fn chunks(&self) -> impl Iterator<Item = (u64, Ptr)> {
        let written = self.0.iter().filter(|(_, span)| !span.ptr.is_hole());
        written.map(|(block, span)| (*block, span.ptr))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop, proptest};

    use super::*;

    proptest! {
        #[test]
        fn it_says_what_a_plain_array_says(
            steps in prop::collection::vec((0_u64..40, 1_u64..12, prop::bool::ANY), 0..40),
        ) {
            let mut plain = [None; 64];
            let mut overlay = Overlay::default();
            for (index, (first, count, write)) in steps.into_iter().enumerate() {
                let first_index = usize::try_from(first).expect("small");
                if write {
                    let offset = u32::try_from(index).expect("small") * 16;
                    overlay.write(first, Ptr::raw(7, offset));
                    plain[first_index] = Some(Ptr::raw(7, offset));
                } else {
                    overlay.zero(first, first + count);
                    let count = usize::try_from(count).expect("small");
                    plain[first_index..first_index + count].fill(Some(Ptr::HOLE));
                }
            }
            for (block, said) in (0..).zip(plain) {
                assert_eq!(overlay.get(block), said);
                for end in block + 1..64 {
                    let span = usize::try_from(block).expect("small")
                        ..usize::try_from(end).expect("small");
                    let touched = plain[span].iter().any(Option::is_some);
                    assert_eq!(overlay.touches(block, end), touched);
                }
            }
            let written = plain.iter().flatten().filter(|ptr| !ptr.is_hole()).count();
            assert_eq!(overlay.chunks().count(), written);
        }
    }
}
