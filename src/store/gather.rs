//! Blocks of several writes that are fingerprinted together.
//!
//! A processor hashes sixteen blocks side by side in a fraction of the time that it needs for them
//! one by one, and a client that keeps many requests under way sends many small ones at once. So a
//! write puts its blocks into the round that is being gathered and lets every other request that
//! has arrived do the same; whoever goes on first has the fingerprints of all made.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::dedup::Index;
use super::payload::Piece;
use crate::codec::{Fingerprint, Fingerprinter};
use crate::env;

/// A round of so many blocks takes no more writes: they are hashed before any of these goes on, in
/// about 100 us.
const ROUND_BLOCKS: usize = 256;

/// Where writes meet.
#[derive(Debug, Default)]
pub(super) struct Gatherer {
    round: Mutex<Arc<Round>>,
}

/// Blocks that are fingerprinted together.
#[derive(Debug, Default)]
struct Round {
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Gathering(Vec<Piece>),
    Done(Vec<Fingerprint>),
}

impl Default for State {
    fn default() -> Self {
        Self::Gathering(Vec::new())
    }
}

/// The fingerprints of the blocks of one write.
#[derive(Debug)]
pub(super) struct Prints {
    pub(super) prints: Vec<Fingerprint>,
    /// How many blocks arrived together with them, and they themselves.
    pub(super) arrived: usize,
}

impl Gatherer {
    /// The fingerprints of these blocks, made together with those of every other write that has
    /// arrived by the end of this turn; what `index` has of them is in the processor's caches then.
    pub(super) async fn fingerprint(
        &self,
        fingerprinter: &Fingerprinter,
        index: &Index,
        pieces: Vec<Piece>,
    ) -> Prints {
        let count = pieces.len();
        let (round, from) = self.join(pieces);
        env::end_of_turn().await;
        let mut state = lock(&round.state);
        if let State::Gathering(pieces) = &*state {
            let blocks: Vec<&[u8]> = pieces.iter().map(Piece::bytes).collect();
            let prints = fingerprinter.of(&blocks);
            index.fetch(&prints);
            *state = State::Done(prints);
        }
        let State::Done(all) = &*state else {
            unreachable!("done above");
        };
        Prints {
            prints: all[from..from + count].to_vec(),
            arrived: all.len(),
        }
    }

    /// Adds blocks to the round, or to the next where this one is done or full; gives it, and where
    /// in it they are.
    fn join(&self, mut pieces: Vec<Piece>) -> (Arc<Round>, usize) {
        let mut round = lock(&self.round);
        if let State::Gathering(gathered) = &mut *lock(&round.state)
            && gathered.len() < ROUND_BLOCKS
        {
            let from = gathered.len();
            gathered.append(&mut pieces);
            return (Arc::clone(&round), from);
        }
        *round = Arc::new(Round {
            state: Mutex::new(State::Gathering(pieces)),
        });
        (Arc::clone(&round), 0)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use crate::base::Buf;
    use crate::codec::Secret;
    use crate::env::sim;
    use crate::store::format::BLOCK;

    #[test]
    fn writes_of_a_turn_are_fingerprinted_together_and_each_gets_its_own() {
        sim::run(3, async {
            let gatherer = Rc::new(Gatherer::default());
            let fingerprinter = Fingerprinter::new(&Secret::copy_of(&[7; 32]));
            let index = Rc::new(Index::new(1 << 20, 1 << 30));
            let done = Rc::new(Cell::new(0));
            for write in 0..40_u8 {
                let (gatherer, fingerprinter) = (Rc::clone(&gatherer), fingerprinter.clone());
                let index = Rc::clone(&index);
                let done = Rc::clone(&done);
                env::start(async move {
                    let count = usize::from(write % 3) + 1;
                    let mut buf = Buf::zeroed(count * BLOCK);
                    for (block, bytes) in buf.chunks_exact_mut(BLOCK).enumerate() {
                        bytes[block] = write + 1;
                    }
                    let expected: Vec<_> = buf
                        .chunks_exact(BLOCK)
                        .map(|block| fingerprinter.of_one(block))
                        .collect();
                    let buf = Arc::new(buf);
                    let pieces =
                        (0..count).map(|block| Piece::new(Arc::clone(&buf), block * BLOCK));
                    let gathering = gatherer.fingerprint(&fingerprinter, &index, pieces.collect());
                    let found = gathering.await;
                    assert_eq!(found.prints, expected);
                    assert_eq!(found.arrived, 79, "all of the turn");
                    done.set(done.get() + 1);
                });
            }
            env::end_of_turn().await;
            env::end_of_turn().await;
            assert_eq!(done.get(), 40);
        });
    }

    #[test]
    fn a_round_is_bounded() {
        let gatherer = Gatherer::default();
        let buf = Arc::new(Buf::zeroed(BLOCK));
        let mut rounds = 0;
        for _ in 0..3 * ROUND_BLOCKS {
            let (_, from) = gatherer.join(vec![Piece::new(Arc::clone(&buf), 0)]);
            rounds += usize::from(from == 0);
        }
        assert_eq!(rounds, 3);
    }
}
