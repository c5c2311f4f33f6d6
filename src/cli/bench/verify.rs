//! What a verified range holds: contents that follow from the seed, the place and the generation.
//!
//! Each write of a block is a new generation of it; generation 0 is all zeroes. Two places differ,
//! and so do two generations of one place, so that a block that was swapped, lost, torn or not
//! overwritten shows. (Duplicates that `--dedup` asks for are the same on purpose.)

use std::fmt;

use super::args::DataKind;
use super::payload::RANDOM_BYTES;
use super::payload::REPEAT_BYTES;
use super::payload::REPEATED;
use super::plan::Plan;

/// The unit of duplicates, in bytes: what a store deduplicates.
const UNIT_BYTES: usize = 4096;
/// How much of a difference is shown, in bytes.
const SHOWN_BYTES: usize = 16;

/// The contents of a range for every generation.
#[derive(Clone, Debug)]
pub(super) struct Contents {
    seed: u64,
    data: DataKind,
    dedup_percent: u64,
}

impl Contents {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            seed: plan.seed,
            data: plan.data,
            dedup_percent: u64::from(plan.dedup_percent),
        }
    }

    /// Appends the `bytes` bytes from byte `at` of the export on, as of `generation`.
    pub(super) fn append(&self, at: u64, bytes: usize, generation: u32, out: &mut Vec<u8>) {
        let mut unit = [0; UNIT_BYTES];
        for (place, from, count) in pieces(at, bytes) {
            self.make(place, generation, &mut unit);
            out.extend_from_slice(&unit[from..from + count]);
        }
    }

    /// Compares `got`, read from byte `at` of the export on, with `generation`.
    ///
    /// # Errors
    /// The first difference.
    pub(super) fn check(&self, at: u64, got: &[u8], generation: u32) -> Result<(), Mismatch> {
        let mut unit = [0; UNIT_BYTES];
        let mut done = 0;
        for (place, from, count) in pieces(at, got.len()) {
            self.make(place, generation, &mut unit);
            let expected = &unit[from..from + count];
            let found = &got[done..done + count];
            if expected != found {
                let pairs = expected.iter().zip(found);
                let first = pairs
                    .take_while(|(expected, found)| expected == found)
                    .count();
                let at = at + done as u64 + first as u64;
                return Err(self.explain(at, generation, &found[first..]));
            }
            done += count;
        }
        Ok(())
    }

    fn make(&self, place: u64, generation: u32, unit: &mut [u8; UNIT_BYTES]) {
        if generation == 0 {
            unit.fill(0);
            return;
        }
        let unique = mix(mix(self.seed ^ mix(place)) ^ u64::from(generation));
        let repeats = unique % 100 < self.dedup_percent;
        let base = if repeats {
            mix(self.seed ^ mix(unique / 100 % REPEATED))
        } else {
            unique
        };
        let (words, _) = unit.as_chunks_mut::<8>();
        for (word, index) in words.iter_mut().zip(0_u64..) {
            *word = mix(base.wrapping_add(index.wrapping_mul(GOLDEN))).to_le_bytes();
        }
        if self.data == DataKind::Compressible {
            for stretch in unit.chunks_exact_mut(REPEAT_BYTES) {
                stretch[RANDOM_BYTES..].fill(0);
            }
        }
    }

    fn explain(&self, at: u64, generation: u32, found: &[u8]) -> Mismatch {
        let found = &found[..found.len().min(SHOWN_BYTES)];
        let as_of = |generation: u32| {
            let mut bytes = Vec::new();
            self.append(at, found.len(), generation, &mut bytes);
            bytes
        };
        let older = (0..generation).rev().take(1000);
        let guess = older.into_iter().find(|older| as_of(*older) == found);
        Mismatch {
            at,
            expected: as_of(generation),
            got: found.to_vec(),
            generation,
            guess,
        }
    }
}

/// The units that `bytes` bytes from byte `at` on touch: which, from where in it, how much of it.
fn pieces(at: u64, bytes: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let here = at + done as u64;
        let from = usize::try_from(here % UNIT_BYTES as u64).expect("less than a unit");
        let count = (UNIT_BYTES - from).min(bytes - done);
        done += count;
        (count > 0).then_some((here / UNIT_BYTES as u64, from, count))
    })
}

/// 2^64 divided by the golden ratio, odd: Weyl's sequence visits every number.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finalizer of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
/// generators", 2014): a bijection whose output looks random.
const fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A byte that is not what was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mismatch {
    at: u64,
    expected: Vec<u8>,
    got: Vec<u8>,
    generation: u32,
    guess: Option<u32>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wrong data at offset {}: expected ", self.at)?;
        write_hex(f, &self.expected)?;
        write!(f, " (write {} of this block), got ", self.generation)?;
        write_hex(f, &self.got)?;
        match self.guess {
            Some(0) => f.write_str(" (zeroes)"),
            Some(older) => write!(f, " (write {older} of this block)"),
            None if self.got.iter().all(|byte| *byte == 0) => f.write_str(" (zeroes)"),
            None => f.write_str(" (of no write of this block)"),
        }
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::plan;
    use super::*;

    fn written(contents: &Contents, at: u64, bytes: usize, generation: u32) -> Vec<u8> {
        let mut out = Vec::new();
        contents.append(at, bytes, generation, &mut out);
        out
    }

    #[test]
    fn contents_are_what_they_were() {
        let contents = Contents::new(&plan(""));
        for (at, bytes) in [(0, 4096), (512, 10_000), (4095, 2), (1 << 40, 1), (7, 0)] {
            let data = written(&contents, at, bytes, 3);
            assert_eq!(data.len(), bytes);
            assert_eq!(contents.check(at, &data, 3), Ok(()));
            let from = bytes / 3;
            assert_eq!(contents.check(at + from as u64, &data[from..], 3), Ok(()));
        }
    }

    #[test]
    fn a_swapped_a_stale_and_a_torn_block_are_found() {
        let contents = Contents::new(&plan("--data compressible"));
        let other = written(&contents, 8192, 4096, 1);
        let why = contents.check(0, &other, 1).unwrap_err().to_string();
        assert!(
            why.contains("offset 0:") && why.contains("of no write"),
            "{why}"
        );
        let stale = written(&contents, 0, 4096, 1);
        let why = contents.check(0, &stale, 2).unwrap_err().to_string();
        assert!(why.ends_with("(write 1 of this block)"), "{why}");
        let mut torn = written(&contents, 4096, 4096, 2);
        torn[512..].fill(0);
        let why = contents.check(4096, &torn, 2).unwrap_err().to_string();
        assert!(
            why.contains("offset 4608:") && why.ends_with("(zeroes)"),
            "{why}"
        );
    }

    #[test]
    fn duplicates_have_their_share() {
        let contents = Contents::new(&plan("--dedup 40"));
        let mut seen = std::collections::HashMap::new();
        for unit in 0..4000_u64 {
            let first: [u8; 8] = written(&contents, unit * 4096, 8, 1).try_into().unwrap();
            *seen.entry(first).or_insert(0) += 1;
        }
        let unique = seen.values().filter(|count| **count == 1).count();
        // 60 % unique, and a few of the 40 % that happen to be alone.
        assert!((2600..2850).contains(&unique), "{unique}");
        assert!(seen.len() - unique <= usize::try_from(REPEATED).unwrap());
    }
}
