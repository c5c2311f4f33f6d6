//! Whose turn it is among those who want more than there is: start-time fair queueing.
//!
//! Each member has a tag: how much of the limiter's time it has been given. The one with the least
//! is next, and its tag moves on by what its request costs, so that over time all who want more get
//! the same, whether they ask for much at once or little often. Who comes, or comes back after a
//! while, starts from the tag that was served last: nobody saves up turns by waiting.
//!
//! What may pass depends on the direction only, so each level keeps those who want to read and
//! those who want to write in order, and a reader that is held back holds back no writer.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::buckets::Direction;
use super::waiter::Waiter;

/// Something in which requests wait in order.
pub(super) trait Line {
    /// What its next request is compared by with those of other lines; the least is first.
    type Rank: Ord;

    /// The rank of the next request of this direction.
    fn next(&self, direction: Direction) -> Option<Self::Rank>;

    /// Takes the next request of this direction, for what `cost` says; gives the cost.
    fn pop(&mut self, direction: Direction, cost: &mut dyn FnMut(&Waiter) -> u64) -> Option<u64>;

    /// Takes out every request.
    fn clear(&mut self, each: &mut dyn FnMut(Waiter));
}

/// Requests of one client, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Requests {
    waiting: [VecDeque<(Arrival, Waiter)>; 2],
}

/// The how manieth request to wait in a limiter.
pub(super) type Arrival = u64;

impl Requests {
    /// Adds a request at the end.
    pub(super) fn push(&mut self, arrival: Arrival, waiter: Waiter) {
        let direction = waiter.charge().direction;
        self.waiting[direction as usize].push_back((arrival, waiter));
    }
}

impl Line for Requests {
    type Rank = Arrival;

    fn next(&self, direction: Direction) -> Option<Arrival> {
        let first = self.waiting[direction as usize].front();
        first.map(|(arrival, _)| *arrival)
    }

    fn pop(&mut self, direction: Direction, cost: &mut dyn FnMut(&Waiter) -> u64) -> Option<u64> {
        let (_, waiter) = self.waiting[direction as usize].pop_front()?;
        Some(cost(&waiter))
    }

    fn clear(&mut self, each: &mut dyn FnMut(Waiter)) {
        let all = self
            .waiting
            .iter_mut()
            .flat_map(|waiting| waiting.drain(..));
        all.for_each(|(_, waiter)| each(waiter));
    }
}

/// Members that take turns, each a line itself.
#[derive(Debug)]
pub(super) struct Turns<L> {
    members: HashMap<u64, Member<L>>,
    /// Tag and identity of those who have a request waiting, by direction.
    wanting: [BTreeSet<(Tag, u64)>; 2],
    served: Tag,
}

#[derive(Debug, Default)]
struct Member<L> {
    tag: Tag,
    line: L,
}

/// Time of the limiter, in nanoseconds.
type Tag = u64;

impl<L> Default for Turns<L> {
    fn default() -> Self {
        Self {
            members: HashMap::new(),
            wanting: Default::default(),
            served: 0,
        }
    }
}

impl<L: Line + Default> Turns<L> {
    /// Changes the line of the member `id`, who need not be one yet.
    pub(super) fn change(&mut self, id: u64, work: impl FnOnce(&mut L)) {
        let member = self.members.entry(id).or_default();
        let is_new = Direction::ALL
            .iter()
            .all(|way| member.line.next(*way).is_none());
        let before = member.tag;
        if is_new {
            member.tag = member.tag.max(self.served);
        }
        work(&mut member.line);
        self.put_in_order(id, before);
    }

    /// Forgets the member `id`; gives its line.
    pub(super) fn remove(&mut self, id: u64) -> Option<L> {
        let member = self.members.remove(&id)?;
        for wanting in &mut self.wanting {
            wanting.remove(&(member.tag, id));
        }
        Some(member.line)
    }

    /// The line of the member `id`.
    pub(super) fn line(&self, id: u64) -> Option<&L> {
        self.members.get(&id).map(|member| &member.line)
    }

    /// Puts the member `id`, whose tag was `before`, where it belongs.
    fn put_in_order(&mut self, id: u64, before: Tag) {
        let Some(member) = self.members.get(&id) else {
            return;
        };
        for direction in Direction::ALL {
            let wanting = &mut self.wanting[direction as usize];
            wanting.remove(&(before, id));
            if member.line.next(direction).is_some() {
                wanting.insert((member.tag, id));
            }
        }
    }
}

impl<L: Line + Default> Line for Turns<L> {
    type Rank = (Tag, L::Rank);

    fn next(&self, direction: Direction) -> Option<Self::Rank> {
        let (tag, id) = self.wanting[direction as usize].first()?;
        let rank = self.line(*id)?.next(direction)?;
        Some((*tag, rank))
    }

    fn pop(&mut self, direction: Direction, cost: &mut dyn FnMut(&Waiter) -> u64) -> Option<u64> {
        let (tag, id) = *self.wanting[direction as usize].first()?;
        let member = self.members.get_mut(&id)?;
        let cost = member.line.pop(direction, cost)?;
        member.tag = tag.saturating_add(cost);
        self.served = self.served.max(tag);
        self.put_in_order(id, tag);
        Some(cost)
    }

    fn clear(&mut self, each: &mut dyn FnMut(Waiter)) {
        for wanting in &mut self.wanting {
            wanting.clear();
        }
        self.members
            .values_mut()
            .for_each(|member| member.line.clear(each));
    }
}

#[cfg(test)]
mod tests {
    use super::super::buckets::Charge;
    use super::*;

    fn push(turns: &mut Turns<Requests>, id: u64, direction: Direction, count: u64) {
        for arrival in 0..count {
            let charge = Charge {
                direction,
                bytes: id,
            };
            let waiter = Waiter::new(charge);
            turns.change(id, |line| line.push(arrival, waiter));
        }
    }

    /// Who is served, in order; `cost` by member.
    fn serve(turns: &mut Turns<Requests>, count: usize, cost: fn(u64) -> u64) -> Vec<u64> {
        let mut served = Vec::new();
        for _ in 0..count {
            let popped = turns.pop(Direction::Read, &mut |waiter| {
                served.push(waiter.charge().bytes);
                cost(waiter.charge().bytes)
            });
            assert!(popped.is_some(), "somebody waits");
        }
        served
    }

    #[test]
    fn who_asks_for_much_gets_no_more_turns() {
        let mut turns = Turns::default();
        push(&mut turns, 1, Direction::Read, 100);
        push(&mut turns, 2, Direction::Read, 3);
        assert_eq!(serve(&mut turns, 8, |_| 10), [1, 2, 1, 2, 1, 2, 1, 1]);
    }

    #[test]
    fn who_comes_back_each_time_gets_every_other_turn() {
        let mut turns = Turns::default();
        push(&mut turns, 1, Direction::Read, 100);
        let mut served = Vec::new();
        for _ in 0..10 {
            push(&mut turns, 2, Direction::Read, 1);
            served.extend(serve(&mut turns, 2, |_| 10));
        }
        let of = |id| served.iter().filter(|served| **served == id).count();
        assert!(of(1).abs_diff(of(2)) <= 1, "{served:?}");
    }

    #[test]
    fn a_turn_counts_by_what_it_costs() {
        let mut turns = Turns::default();
        push(&mut turns, 1, Direction::Read, 100);
        push(&mut turns, 8, Direction::Read, 100);
        let served = serve(&mut turns, 90, |id| id);
        let large = served.iter().filter(|served| **served == 8).count();
        assert!((9..=11).contains(&large), "{served:?}");
    }

    #[test]
    fn who_was_away_has_saved_up_nothing() {
        let mut turns = Turns::default();
        push(&mut turns, 1, Direction::Read, 100);
        serve(&mut turns, 90, |_| 10);
        push(&mut turns, 2, Direction::Read, 10);
        assert_eq!(serve(&mut turns, 6, |_| 10), [2, 1, 2, 1, 2, 1]);
    }

    #[test]
    fn directions_do_not_hold_each_other_back() {
        let mut turns = Turns::default();
        push(&mut turns, 1, Direction::Write, 5);
        assert!(turns.next(Direction::Read).is_none());
        push(&mut turns, 1, Direction::Read, 1);
        assert_eq!(serve(&mut turns, 1, |_| 10), [1]);
        assert!(turns.next(Direction::Read).is_none());
        assert!(turns.next(Direction::Write).is_some());
        let mut left = 0;
        turns.remove(1).expect("a member").clear(&mut |_| left += 1);
        assert_eq!(left, 5);
        assert!(turns.next(Direction::Write).is_none());
    }
}
