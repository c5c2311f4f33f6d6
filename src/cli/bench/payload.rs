//! Data to write at full speed: slices of one prepared area, made unique by a stamp.
//!
//! A store that deduplicates must not see the same block twice unless it is asked for, and making
//! 4 KiB of fresh random data would cost more than all else that a client does for a request. So
//! each 4 KiB begins with a stamp, 16 bytes that never repeat, and the rest is a slice of an area
//! that stays in the processor's cache.

use std::rc::Rc;

use rand_core::Rng;
use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::args::DataKind;
use super::outgoing::Outgoing;
use super::plan::Plan;

/// How many different contents the duplicates have.
pub(super) const REPEATED: u64 = 1000;
/// Compressible data repeats this: so many bytes, ...
pub(super) const REPEAT_BYTES: usize = 256;
/// ... of which so many are random and the rest zero: LZ4 makes about 142 bytes of 256.
pub(super) const RANDOM_BYTES: usize = 136;

/// The area, in bytes: a share of an L2 cache, with room for the receive buffer beside it.
const AREA_BYTES: usize = 256 << 10;
/// The unit of duplicates, in bytes: what a store deduplicates.
const UNIT_BYTES: usize = 4096;
/// What makes a unit unique, in bytes.
const STAMP_BYTES: usize = 16;
/// Slices begin at multiples of this, in bytes: of a cache line, and of what compressible data
/// repeats.
const STEP_BYTES: usize = 256;

/// A source of data for one connection.
#[derive(Debug)]
pub(super) struct Payload {
    area: Rc<[u8]>,
    data: DataKind,
    dedup_percent: u64,
    /// Differs from one connection and from one run to the next.
    origin: u64,
    stamped: u64,
    random: Xoshiro256PlusPlus,
}

impl Payload {
    /// What `plan` asks for, different for each `connection`.
    pub(super) fn new(plan: &Plan, connection: u64) -> Self {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(plan.seed);
        let mut area = vec![0; AREA_BYTES];
        match plan.data {
            DataKind::Zero => {}
            DataKind::Random => random.fill_bytes(&mut area),
            DataKind::Compressible => area
                .chunks_exact_mut(REPEAT_BYTES)
                .for_each(|stretch| random.fill_bytes(&mut stretch[..RANDOM_BYTES])),
        }
        Self {
            area: area.into(),
            data: plan.data,
            dedup_percent: u64::from(plan.dedup_percent),
            origin: plan.seed.wrapping_add(connection << 48),
            stamped: 0,
            random,
        }
    }

    /// What slices are of.
    pub(super) fn area(&self) -> Rc<[u8]> {
        Rc::clone(&self.area)
    }

    /// Appends `bytes` bytes to `out`.
    pub(super) fn append(&mut self, bytes: usize, out: &mut Outgoing) {
        let unit_bytes = match self.data {
            DataKind::Zero => AREA_BYTES,
            DataKind::Random | DataKind::Compressible => UNIT_BYTES,
        };
        let mut left = bytes;
        while left > 0 {
            let count = left.min(unit_bytes);
            match self.data {
                DataKind::Zero => out.share(0..count),
                DataKind::Random | DataKind::Compressible => self.append_unit(count, out),
            }
            left -= count;
        }
    }

    fn append_unit(&mut self, bytes: usize, out: &mut Outgoing) {
        let (origin, number) = self.stamp();
        let stamp_bytes = bytes.min(STAMP_BYTES);
        out.write(|own| {
            own.extend_from_slice(&number.to_le_bytes());
            own.extend_from_slice(&origin.to_le_bytes());
            own.truncate(own.len() - STAMP_BYTES + stamp_bytes);
        });
        if bytes > stamp_bytes {
            let start = slice_start(number);
            out.share(start + stamp_bytes..start + bytes);
        }
    }

    /// A stamp that never was, or one of those that repeat.
    fn stamp(&mut self) -> (u64, u64) {
        let draw = match self.dedup_percent {
            0 => u64::MAX,
            _ => self.random.next_u64() >> 1,
        };
        if draw % 100 < self.dedup_percent {
            return (0, draw / 100 % REPEATED);
        }
        self.stamped += 1;
        (self.origin | 1, self.stamped)
    }
}

/// Where the slice of a unit begins. Where it does repeats, but not with the same stamp.
fn slice_start(number: u64) -> usize {
    const PLACES: u64 = ((AREA_BYTES - UNIT_BYTES) / STEP_BYTES) as u64;
    let place = usize::try_from(number % PLACES).expect("an area is small");
    place * STEP_BYTES
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::outgoing::tests::bytes;
    use super::super::plan::tests::plan;
    use super::*;

    /// `count` blocks of 4 KiB, written as `words` ask.
    fn blocks(words: &str, count: usize) -> Vec<Vec<u8>> {
        let mut payload = Payload::new(&plan(words), 3);
        let mut out = Outgoing::new(payload.area());
        payload.append(count * UNIT_BYTES, &mut out);
        bytes(&out).chunks(UNIT_BYTES).map(<[u8]>::to_vec).collect()
    }

    fn distinct(blocks: &[Vec<u8>]) -> HashMap<&[u8], u32> {
        let mut seen = HashMap::new();
        for block in blocks {
            *seen.entry(&block[..]).or_insert(0) += 1;
        }
        seen
    }

    #[test]
    fn lengths_are_kept() {
        for words in ["", "--data zero", "--data compressible --dedup 50"] {
            let mut payload = Payload::new(&plan(words), 0);
            for length in [1, 15, 16, 17, 4096, 4100, 1 << 20] {
                let mut out = Outgoing::new(payload.area());
                payload.append(length, &mut out);
                assert_eq!(bytes(&out).len(), length, "{words}");
            }
        }
    }

    #[test]
    fn blocks_are_unique_unless_asked_otherwise() {
        for words in ["", "--data compressible"] {
            assert_eq!(distinct(&blocks(words, 5000)).len(), 5000, "{words}");
        }
        assert_eq!(distinct(&blocks("--data zero", 500)).len(), 1);
        let blocks = blocks("--dedup 40", 5000);
        let seen = distinct(&blocks);
        let unique = seen.values().filter(|count| **count == 1).count();
        // 60 % unique, and those of the 40 % that happen to be alone.
        assert!((2950..3450).contains(&unique), "{unique}");
    }

    #[test]
    fn compressible_data_is_half_zeroes() {
        let share = |words: &str| {
            let all = blocks(words, 100).concat();
            all.iter().filter(|byte| **byte == 0).count() * 100 / all.len()
        };
        assert_eq!(share(""), 0);
        assert!((45..=48).contains(&share("--data compressible")));
        assert_eq!(share("--data zero"), 100);
    }
}
