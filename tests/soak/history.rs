//! What one block may hold: every version that it was given, and what is known of their order.
//!
//! Every event of a world, the beginning or the end of an operation, has a number: its *time*.
//! A version is *issued* when its operation begins; it has *taken effect* when the operation was
//! answered or a read has seen it, whichever is first. One that took effect before another was
//! issued comes before it; of two that overlap either may be the first, until a read shows which.
//!
//! A store keeps its operations in one order, and after a crash it has a prefix of that order.
//! Nobody but the store knows the order; but whatever it is, an operation that took effect before
//! another was issued is ahead of it. So if the later one survived, the earlier one must have,
//! unless something still later covers it. [`Cut`] demands just that, and no more: where two
//! versions have the same content it believes the one that is better for the store.

use std::collections::BTreeSet;

use super::content::Content;

/// The number of an event.
pub(crate) type Time = u64;

/// The number of an operation.
pub(crate) type Op = u32;

/// A time that does not come.
pub(crate) const NEVER: Time = Time::MAX;

/// What one operation made of one block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Version {
    pub(crate) op: Op,
    pub(crate) content: Content,
    pub(crate) issued: Time,
    pub(crate) effective: Time,
    /// Until when it was the last one, as far as a read has shown; or 0.
    pub(crate) last_at: Time,
    /// Whether it was promised to survive.
    pub(crate) durable: bool,
    /// Whether the operation happens to all of its blocks or to none.
    pub(crate) whole: bool,
}

impl Version {
    /// A version whose operation begins now.
    pub(crate) fn new(op: Op, content: Content, issued: Time, whole: bool) -> Self {
        Self {
            op,
            content,
            issued,
            effective: NEVER,
            last_at: 0,
            durable: false,
            whole,
        }
    }

    /// A version that is all there is, and was there before everything that is to come.
    pub(crate) fn settled(op: Op, content: Content) -> Self {
        Self {
            effective: 0,
            ..Self::new(op, content, 0, false)
        }
    }

    /// Whether it is certain that `later` covers this.
    fn precedes(&self, later: &Self) -> bool {
        let in_order = self.effective < later.issued;
        let seen_in_order = self.issued < later.last_at;
        self.op != later.op && (in_order || seen_in_order)
    }
}

/// All versions of one block that may still matter.
#[derive(Clone, Debug)]
pub(crate) struct History(Vec<Version>);

impl History {
    /// A block that holds what `first` says.
    pub(crate) fn new(first: Version) -> Self {
        Self(vec![first])
    }

    /// A block to which nothing has happened yet.
    pub(crate) fn untouched() -> Self {
        Self::new(Version::settled(0, Content::Zero))
    }

    pub(crate) fn versions(&self) -> &[Version] {
        &self.0
    }

    /// Adds what an operation that begins now makes of the block. What can never be seen again,
    /// even by a read that began at `horizon` or after losing all that need not be durable, is
    /// forgotten.
    pub(crate) fn push(&mut self, version: Version, horizon: Time) {
        if self.0.len() >= 6 {
            let covered = |old: &Version| {
                let covers = |new: &Version| old.precedes(new) && new.effective < horizon;
                self.0.iter().any(covers)
            };
            let kept: Vec<Version> = self.0.iter().filter(|old| !covered(old)).copied().collect();
            self.0 = kept;
        }
        self.0.push(version);
    }

    /// The operation was answered at `now`.
    pub(crate) fn settle(&mut self, op: Op, now: Time, durable: bool) {
        for version in self.0.iter_mut().filter(|version| version.op == op) {
            version.effective = version.effective.min(now);
            version.durable |= durable;
        }
    }

    /// The same versions for a copy, which was made at a moment to be found out: that a version
    /// survives does not mean that it was there by then.
    pub(crate) fn to_copy(&self) -> Self {
        let mut copy = self.clone();
        for version in &mut copy.0 {
            version.durable = false;
        }
        copy
    }

    /// What the operation made of this block is known to survive.
    pub(crate) fn keep(&mut self, op: Op) {
        for version in self.0.iter_mut().filter(|version| version.op == op) {
            version.durable = true;
        }
    }

    /// The operation was refused: it has not happened.
    pub(crate) fn cancel(&mut self, op: Op) {
        self.0.retain(|version| version.op != op);
    }

    /// What a read that began at `from` may show.
    pub(crate) fn possible(&self, from: Time) -> impl Iterator<Item = &Version> {
        self.0.iter().filter(move |version| {
            let covers = |later: &Version| version.precedes(later) && later.effective < from;
            !self.0.iter().any(covers)
        })
    }

    /// A read that began at `from` and ends `now` has shown `content`.
    ///
    /// # Errors
    /// Why that cannot be.
    pub(crate) fn see(&mut self, content: Content, from: Time, now: Time) -> Result<(), String> {
        let shown: Vec<Op> = self
            .possible(from)
            .filter(|version| version.content == content)
            .map(|version| version.op)
            .collect();
        match shown[..] {
            [] => {
                let possible: Vec<_> = self.possible(from).map(|version| version.content).collect();
                Err(format!("shows {content}, not one of {possible:?}"))
            }
            [op] => {
                let others_done = self
                    .0
                    .iter()
                    .all(|version| version.op == op || version.effective < from);
                for version in self.0.iter_mut().filter(|version| version.op == op) {
                    version.effective = version.effective.min(now);
                    if others_done {
                        version.last_at = now;
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// What a number of blocks showed at one moment: after a crash, or in a snapshot.
pub(crate) struct Cut<'a> {
    /// What took effect before this must be there.
    pub(crate) after: Time,
    pub(crate) blocks: Vec<Shown<'a>>,
}

/// A block of a cut.
pub(crate) struct Shown<'a> {
    /// What people call it.
    pub(crate) place: String,
    pub(crate) history: &'a History,
    pub(crate) content: Content,
}

impl Cut<'_> {
    /// Which operations may have made each block; of those that did for certain there is one. And
    /// the time before which whatever took effect is there for certain.
    ///
    /// # Errors
    /// Why no prefix of any order of the operations looks like this.
    pub(crate) fn explain(mut self) -> Result<(Vec<Vec<Op>>, Time), String> {
        let mut left = Vec::new();
        for Shown {
            place,
            history,
            content,
        } in &self.blocks
        {
            let with = |version: &&Version| version.content == *content;
            let found: Vec<Version> = history.versions().iter().filter(with).copied().collect();
            if found.is_empty() {
                let of: Vec<_> = history.versions().iter().map(|v| v.content).collect();
                return Err(format!("{place} shows {content}, not one of {of:?}"));
            }
            left.push(found);
        }
        let mut because = "it was promised".to_owned();
        let mut whole = BTreeSet::new();
        loop {
            for (shown, left) in self.blocks.iter().zip(&mut left) {
                self.weed(shown, left, &whole, &because)?;
            }
            let mut settled = true;
            for (shown, left) in self.blocks.iter().zip(&left) {
                let earliest = left.iter().map(|version| version.issued).min();
                let earliest = earliest.expect("none is left without an explanation");
                if earliest > self.after {
                    self.after = earliest;
                    because = format!("{} shows {}, issued later", shown.place, shown.content);
                    settled = false;
                }
                if let [
                    Version {
                        op, whole: true, ..
                    },
                ] = left[..]
                {
                    settled &= !whole.insert(op);
                }
            }
            if settled {
                let ops = |left: Vec<Version>| left.iter().map(|version| version.op).collect();
                return Ok((left.into_iter().map(ops).collect(), self.after));
            }
        }
    }

    /// Drops the explanations of a block that mean that something is lost which must not be.
    fn weed(
        &self,
        shown: &Shown,
        left: &mut Vec<Version>,
        whole: &BTreeSet<Op>,
        because: &str,
    ) -> Result<(), String> {
        let is_needed = |version: &Version| {
            version.durable || version.effective < self.after || whole.contains(&version.op)
        };
        let mut lost = None;
        left.retain(|version| {
            let covered = |later: &&Version| version.precedes(later) && is_needed(later);
            let found = shown.history.versions().iter().find(covered);
            lost = found.copied().or(lost);
            found.is_none()
        });
        if !left.is_empty() {
            return Ok(());
        }
        let lost = lost.expect("the last explanation was dropped for a reason");
        let (place, content) = (&shown.place, shown.content);
        let why = match (lost.durable, whole.contains(&lost.op)) {
            (true, _) => "it was promised",
            (_, true) => "other parts of it are there",
            _ => because,
        };
        Err(format!(
            "{place} shows {content}; lost is op {} ({}), but {why}",
            lost.op, lost.content
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::content::Stamp;
    use super::*;

    fn data(op: Op) -> Content {
        Content::Stamp(Stamp {
            tree: 1,
            op,
            block: 0,
        })
    }

    /// A block with versions of these operations: number, issued, effective.
    fn block(versions: &[(Op, Time, Time)]) -> History {
        let mut history = History::untouched();
        for &(op, issued, effective) in versions {
            history.push(Version::new(op, data(op), issued, false), 0);
            history.settle(op, effective, false);
        }
        history
    }

    fn explain(after: Time, blocks: &[(&History, Content)]) -> Result<(), String> {
        let mut shown = Vec::new();
        for &(history, content) in blocks {
            shown.push(Shown {
                place: "x".to_owned(),
                history,
                content,
            });
        }
        let cut = Cut {
            after,
            blocks: shown,
        };
        cut.explain().map(|_| ())
    }

    #[test]
    fn a_read_shows_the_last_version_or_one_under_way() {
        let mut history = block(&[(1, 1, 2), (2, 3, 4), (3, 5, NEVER)]);
        assert!(history.clone().see(data(2), 6, 7).is_ok());
        assert!(history.clone().see(data(1), 6, 7).is_err());
        assert!(history.clone().see(Content::Zero, 6, 7).is_err());
        // Once seen it is there, and what it covers is gone.
        assert!(history.see(data(3), 6, 7).is_ok());
        assert!(history.clone().see(data(2), 6, 8).is_ok());
        assert!(history.see(data(2), 8, 9).is_err());
    }

    #[test]
    fn a_read_decides_the_order_of_two_that_overlapped() {
        let mut history = block(&[(1, 1, 4), (2, 2, 3)]);
        assert!(history.clone().see(data(1), 5, 6).is_ok());
        assert!(history.see(data(2), 5, 6).is_ok());
        assert!(history.see(data(1), 7, 8).is_err());
    }

    #[test]
    fn what_was_flushed_is_not_lost() {
        let history = block(&[(1, 1, 2), (2, 4, 5)]);
        assert!(explain(3, &[(&history, data(1))]).is_ok());
        assert!(explain(3, &[(&history, data(2))]).is_ok());
        assert!(explain(3, &[(&history, Content::Zero)]).is_err());
        assert!(explain(6, &[(&history, data(1))]).is_err());
        let mut kept = history.clone();
        kept.keep(2);
        assert!(explain(0, &[(&kept, data(1))]).is_err());
    }

    #[test]
    fn what_survives_keeps_what_was_before_it() {
        let (a, b) = (block(&[(1, 1, 2)]), block(&[(2, 3, 4)]));
        assert!(explain(0, &[(&a, data(1)), (&b, Content::Zero)]).is_ok());
        assert!(explain(0, &[(&a, Content::Zero), (&b, data(2))]).is_err());
        // Those that overlapped have no order.
        let (a, b) = (block(&[(1, 1, 4)]), block(&[(2, 3, 5)]));
        assert!(explain(0, &[(&a, Content::Zero), (&b, data(2))]).is_ok());
    }

    #[test]
    fn equal_contents_count_in_favour_of_the_store() {
        let mut twice = block(&[(1, 1, 2), (2, 3, 4)]);
        twice.push(Version::new(3, data(1), 5, false), 0);
        twice.settle(3, 6, false);
        let late = block(&[(4, 7, 8)]);
        assert!(explain(5, &[(&twice, data(1)), (&late, data(4))]).is_ok());
        assert!(explain(7, &[(&twice, data(2))]).is_err());
    }

    #[test]
    fn what_is_whole_is_not_torn() {
        let mut blocks = [block(&[]), block(&[])];
        for history in &mut blocks {
            history.push(Version::new(1, data(1), 1, true), 0);
        }
        let [a, b] = &blocks;
        assert!(explain(0, &[(a, data(1)), (b, data(1))]).is_ok());
        assert!(explain(0, &[(a, data(1)), (b, Content::Zero)]).is_err());
    }

    #[test]
    fn what_can_never_be_seen_again_is_forgotten() {
        let mut history = History::untouched();
        for op in 1..100 {
            let time = u64::from(op) * 2;
            history.push(Version::new(op, data(op), time, false), time);
            history.settle(op, time + 1, false);
        }
        assert!(history.versions().len() < 10);
    }
}
