//! Which block comes next.

use std::ops::Range;

use rand_core::Rng;
use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::args::Pattern;
use super::plan::Plan;

/// The blocks that one connection takes, one after the other.
#[derive(Debug)]
pub(super) struct Course {
    blocks: Range<u64>,
    manner: Manner,
    random: Xoshiro256PlusPlus,
    cursor: u64,
}

#[derive(Debug)]
enum Manner {
    /// Each block once, in order.
    Once,
    /// In order, and from the begin again.
    Around,
    /// Drawn at random.
    Drawn,
    /// No block to two slots: each slot has every so many-th. So no two requests under way touch
    /// the same block, and what a block holds is known. Where each slot stands, in rounds.
    Apart(Pattern, Vec<u64>),
}

/// The part of the range that belongs to one connection; the parts differ by a block at most.
pub(super) fn share(plan: &Plan, connection: u64) -> Range<u64> {
    let border = |index: u64| {
        let border = u128::from(plan.block_count) * u128::from(index);
        u64::try_from(border / u128::from(plan.connections)).expect("at most the blocks")
    };
    border(connection)..border(connection + 1)
}

impl Course {
    /// Each block of the connection's share once.
    pub(super) fn once(plan: &Plan, connection: u64) -> Self {
        Self::new(plan, connection, share(plan, connection), Manner::Once)
    }

    /// Blocks without end, as the plan has it.
    pub(super) fn endless(plan: &Plan, connection: u64) -> Self {
        let share = share(plan, connection);
        if plan.verify {
            let manner = Manner::Apart(plan.pattern, vec![0; plan.depth]);
            return Self::new(plan, connection, share, manner);
        }
        match plan.pattern {
            Pattern::Sequential if !share.is_empty() => {
                Self::new(plan, connection, share, Manner::Around)
            }
            Pattern::Sequential => Self::new(plan, connection, 0..plan.block_count, Manner::Around),
            Pattern::Random => Self::new(plan, connection, 0..plan.block_count, Manner::Drawn),
        }
    }

    fn new(plan: &Plan, connection: u64, blocks: Range<u64>, manner: Manner) -> Self {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(plan.seed ^ connection.rotate_right(8));
        // The payload's generator begins with the plain seed; this one elsewhere.
        random.jump();
        Self {
            blocks,
            manner,
            random,
            cursor: 0,
        }
    }

    /// The next block for this slot; `None` where all have been taken.
    pub(super) fn next(&mut self, slot: usize) -> Option<u64> {
        let count = self.blocks.end - self.blocks.start;
        let index = match &mut self.manner {
            Manner::Once if self.cursor == count => return None,
            Manner::Once | Manner::Around => {
                let index = self.cursor % count;
                self.cursor = index + 1;
                index
            }
            Manner::Drawn => below(&mut self.random, count),
            Manner::Apart(pattern, rounds) => {
                let (slot_count, slot_index) = (rounds.len() as u64, slot as u64);
                let rounds_in_all = (count - slot_index).div_ceil(slot_count);
                let round = match pattern {
                    Pattern::Random => below(&mut self.random, rounds_in_all),
                    Pattern::Sequential => rounds[slot] % rounds_in_all,
                };
                rounds[slot] = round + 1;
                slot_index + round * slot_count
            }
        };
        Some(self.blocks.start + index)
    }
}

/// A random number below `bound`. (Lemire's multiplication without its rejection: the bias is at
/// most `bound` in 2^64.)
fn below(random: &mut impl Rng, bound: u64) -> u64 {
    let product = u128::from(random.next_u64()) * u128::from(bound);
    u64::try_from(product >> 64).expect("the upper half of a product")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::plan::tests::plan;
    use super::*;

    fn taken(course: &mut Course, count: usize) -> Vec<u64> {
        (0..count)
            .map(|slot| course.next(slot % 32).unwrap())
            .collect()
    }

    #[test]
    fn every_block_lies_in_the_range() {
        for words in [
            "",
            "--pattern sequential",
            "--verify",
            "--verify --pattern sequential",
        ] {
            for connection in 0..3 {
                let plan = plan(&format!("--connections 3 --size 999k {words}"));
                let blocks = taken(&mut Course::endless(&plan, connection), 10_000);
                assert!(blocks.iter().all(|block| *block < 249), "{words}");
                let distinct: HashSet<u64> = blocks.into_iter().collect();
                assert!(distinct.len() >= 83, "{words}: {}", distinct.len());
            }
        }
    }

    #[test]
    fn sequential_blocks_wrap() {
        let plan = plan("--pattern sequential --size 12k");
        let blocks = taken(&mut Course::endless(&plan, 0), 7);
        assert_eq!(blocks, [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn a_seed_repeats_and_connections_differ() {
        let plan = plan("--connections 2");
        let blocks = |connection| taken(&mut Course::endless(&plan, connection), 100);
        assert_eq!(blocks(0), blocks(0));
        assert_ne!(blocks(0), blocks(1));
    }

    #[test]
    fn once_means_each_block_of_all_shares_once() {
        let plan = plan("--connections 7");
        let mut blocks = Vec::new();
        for connection in 0..7 {
            let mut course = Course::once(&plan, connection);
            blocks.extend(std::iter::from_fn(|| course.next(0)));
        }
        assert!(blocks.into_iter().eq(0..256));
    }

    #[test]
    fn slots_of_a_verified_run_never_meet() {
        let plan = plan("--verify --connections 3 --depth 11");
        let mut owner = [None; 256];
        for connection in 0..3 {
            let mut course = Course::endless(&plan, connection);
            for turn in 0..2000 {
                let slot = turn % 11;
                let block = course.next(slot).unwrap();
                let index = usize::try_from(block).unwrap();
                let known = owner[index].get_or_insert((connection, slot));
                assert_eq!(*known, (connection, slot));
            }
        }
    }

    #[test]
    fn more_connections_than_blocks_share_them() {
        let plan = plan("--connections 8 --size 8k --pattern sequential");
        for connection in 0..8 {
            assert!(Course::endless(&plan, connection).next(0).is_some());
        }
    }
}
