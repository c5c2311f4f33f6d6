//! What was written and not committed: all of it is kept, since a server that is started again may
//! have forgotten it and is then sent it once more.

use std::collections::VecDeque;

use super::proto::Verifier;
use super::talk::Payload;
use crate::backend::in_flight::Share;

/// A write that was answered and not committed.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) offset: u64,
    pub(super) payload: Payload,
    pub(super) verifier: Verifier,
    pub(super) _share: Share,
}

/// Writes that were answered and not committed, in the order in which they were answered. Of two
/// that overlap the earlier was answered before the later was sent, so sending all of them again
/// in this order leaves what was there.
#[derive(Debug, Default)]
pub(super) struct Unstable {
    kept: VecDeque<Kept>,
    /// How many there have been before those that are kept.
    forgotten: u64,
    bytes: usize,
}

/// A moment: what was answered before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark(u64);

/// Whether a server is the one that it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(super) enum Instance {
    /// It is, and has what it took.
    Same,
    /// It is not, and may have lost what it did not commit.
    Another,
}

impl Unstable {
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The bytes that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps a write that was just answered.
    pub(super) fn add(&mut self, write: Kept) -> Instance {
        let instance = match self.kept.back() {
            Some(last) if last.verifier != write.verifier => Instance::Another,
            _ => Instance::Same,
        };
        self.bytes += write.payload.len();
        self.kept.push_back(write);
        instance
    }

    pub(super) fn mark(&self) -> Mark {
        Mark(self.forgotten + u64::try_from(self.kept.len()).expect("a count"))
    }

    /// Forgets what was answered before `mark`, if the instance that has committed since is the one
    /// that took all of it.
    pub(super) fn committed(&mut self, mark: Mark, by: Verifier) -> Instance {
        let before = usize::try_from(mark.0.saturating_sub(self.forgotten)).expect("a count");
        let count = before.min(self.kept.len());
        if self.kept.iter().take(count).any(|kept| kept.verifier != by) {
            return Instance::Another;
        }
        for kept in self.kept.drain(..count) {
            self.bytes -= kept.payload.len();
        }
        self.forgotten += u64::try_from(count).expect("a count");
        Instance::Same
    }

    /// What is to be sent again, in order.
    pub(super) fn all(&self) -> Vec<(u64, Payload)> {
        let all = self.kept.iter();
        all.map(|kept| (kept.offset, kept.payload.clone()))
            .collect()
    }

    /// Notes which instance has taken the one at `index` of [`all`](Self::all) anew.
    pub(super) fn sent_again(&mut self, index: usize, verifier: Verifier) {
        // Somebody may have given up meanwhile, and then there is none.
        if let Some(kept) = self.kept.get_mut(index) {
            kept.verifier = verifier;
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.forgotten = self.mark().0;
        self.kept.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::in_flight::InFlight;
    use crate::base::Buf;
    use crate::env::sim;

    const OLD: Verifier = [1; 8];
    const NEW: Verifier = [2; 8];

    async fn kept(offset: u64, verifier: Verifier) -> Kept {
        Kept {
            offset,
            payload: Payload::new(Buf::zeroed(512)),
            verifier,
            _share: InFlight::new(4096).share(512).await,
        }
    }

    #[test]
    fn a_commit_of_the_same_instance_forgets_what_was_before_it() {
        sim::run(1, async {
            let mut unstable = Unstable::default();
            assert_eq!(unstable.add(kept(0, OLD).await), Instance::Same);
            let mark = unstable.mark();
            assert_eq!(unstable.add(kept(512, OLD).await), Instance::Same);
            assert_eq!(unstable.committed(mark, OLD), Instance::Same);
            assert_eq!((unstable.bytes(), unstable.all()[0].0), (512, 512));
            // Two commits may be under way, and end in any order.
            assert_eq!(unstable.committed(mark, OLD), Instance::Same);
            assert!(!unstable.is_empty());
            assert_eq!(unstable.committed(unstable.mark(), OLD), Instance::Same);
            assert!(unstable.is_empty());
        });
    }

    #[test]
    fn another_instance_is_noticed_and_sent_everything() {
        sim::run(1, async {
            let mut unstable = Unstable::default();
            assert_eq!(unstable.add(kept(0, OLD).await), Instance::Same);
            assert_eq!(unstable.committed(unstable.mark(), NEW), Instance::Another);
            assert_eq!(unstable.add(kept(512, NEW).await), Instance::Another);
            // The new one has committed what it took, and what the old one took is still kept.
            assert_eq!(unstable.committed(unstable.mark(), NEW), Instance::Another);
            let all = unstable.all();
            assert_eq!([all[0].0, all[1].0], [0, 512]);
            unstable.sent_again(0, NEW);
            unstable.sent_again(1, NEW);
            assert_eq!(unstable.committed(unstable.mark(), NEW), Instance::Same);
            assert!(unstable.is_empty());
        });
    }

    #[test]
    fn what_was_cleared_is_before_every_mark() {
        sim::run(1, async {
            let mut unstable = Unstable::default();
            assert_eq!(unstable.add(kept(0, OLD).await), Instance::Same);
            let mark = unstable.mark();
            unstable.clear();
            assert_eq!(unstable.add(kept(512, NEW).await), Instance::Same);
            assert_eq!(unstable.committed(mark, OLD), Instance::Same);
            assert_eq!(unstable.bytes(), 512);
        });
    }
}
