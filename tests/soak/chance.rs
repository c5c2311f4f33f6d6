//! Random choices that depend on nothing but a seed, not even on what the store draws.

/// A source of choices: SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// The choices of `part` of the world of `seed`.
    pub(crate) fn new(seed: u64, part: u64) -> Self {
        let mut chance = Self(seed ^ part.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        chance.next();
        chance
    }

    /// 64 random bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// A number from 1 to `high` whose logarithm is even, so that small ones are common.
    pub(crate) fn small(&mut self, high: u64) -> u64 {
        let bits = self.below(u64::from(high.ilog2()) + 1);
        self.between(1 << bits, (2 << bits) - 1).min(high)
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of `choices`, which are not none.
    pub(crate) fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[index(self.below(choices.len() as u64))].clone()
    }
}

/// A number that is small, as an index.
pub(crate) fn index(number: u64) -> usize {
    usize::try_from(number).expect("a small number")
}
