//! Fingerprints: 128 bits by which two blocks of a store are known to be the same.
//!
//! A fingerprint is the first half of a keyed BLAKE3 tree over a block. The key is the store's own,
//! so nobody outside can make blocks that collide, and equal blocks of two stores have nothing in
//! common. At 2^38 blocks, a pebibyte, the chance that any two different ones share a fingerprint
//! is 2^-53 (birthday bound).
//!
//! BLAKE3 hashes a block as a tree: four chunks of 1 KiB, two parents, a root (BLAKE3
//! specification, sections 2.1 and 2.4). Here every chunk is hashed as if it were the first of its
//! input, with the counter 0: all blocks have the same length, and where a chunk stands in its
//! block is told by its place below its parent. So the chunks of any blocks are hashed side by
//! side, and a processor with AVX-512 hashes sixteen of them in little more than the time of one: a
//! block alone takes 1.5 us, four take 1.8 together. With counters of their own, only chunks of the
//! same number could go side by side, and four blocks took 5.7 (`benches/codec.rs`).

use blake3::platform::Platform;
use blake3::{BLOCK_LEN, CHUNK_LEN, IncrementCounter, OUT_LEN};

use super::pack::BLOCK;
use super::secret::Secret;

/// How long a fingerprint is, in bytes.
pub const FINGERPRINT_BYTES: usize = 16;

/// Blocks that are hashed in one go, on the stack.
const BLOCKS: usize = 16;

/// Inputs that a processor hashes side by side at most.
const LANES: usize = 16;

const CHUNKS: usize = BLOCK / CHUNK_LEN;

// Domain flags of BLAKE3, section 2.1 of its specification.
const CHUNK_START: u8 = 1;
const CHUNK_END: u8 = 2;
const PARENT: u8 = 4;
const ROOT: u8 = 8;
const KEYED_HASH: u8 = 16;

/// What a block is known by. Never 0, which stands for none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fingerprint([u8; FINGERPRINT_BYTES]);

/// Makes the fingerprints of one store. Cheap to clone.
#[derive(Clone)]
pub struct Fingerprinter {
    platform: Platform,
    key: [u8; OUT_LEN],
    key_words: [u32; 8],
}

impl Fingerprint {
    /// The fingerprint that these bytes are, unless they stand for none.
    pub fn from_bytes(bytes: [u8; FINGERPRINT_BYTES]) -> Option<Self> {
        (bytes != [0; FINGERPRINT_BYTES]).then_some(Self(bytes))
    }

    /// The bytes, as they are stored.
    pub const fn bytes(self) -> [u8; FINGERPRINT_BYTES] {
        self.0
    }

    /// The first eight bytes: as random as all of them.
    pub fn short(self) -> u64 {
        u64::from_le_bytes(*self.0.first_chunk().expect("sixteen bytes"))
    }

    /// The other eight.
    pub fn rest(self) -> u64 {
        u64::from_le_bytes(*self.0.last_chunk().expect("sixteen bytes"))
    }

    fn of(hash: &[u8]) -> Self {
        let bytes = *hash.first_chunk().expect("a hash is longer");
        // One in 2^128; any other value does.
        Self::from_bytes(bytes).unwrap_or(Self([1; FINGERPRINT_BYTES]))
    }
}

impl Fingerprinter {
    /// The one of a store with this key, 32 bytes.
    ///
    /// # Panics
    /// If the key has another length.
    pub fn new(key: &Secret) -> Self {
        let key: [u8; OUT_LEN] = key.expose().try_into().expect("a key of BLAKE3");
        let (words, _) = key.as_chunks::<4>();
        let mut key_words = [0; 8];
        for (to, word) in key_words.iter_mut().zip(words) {
            *to = u32::from_le_bytes(*word);
        }
        Self {
            platform: Platform::detect(),
            key,
            key_words,
        }
    }

    /// The key that they are made with.
    pub fn key(&self) -> Secret {
        Secret::copy_of(&self.key)
    }

    /// The fingerprints of `blocks`, each 4096 bytes long.
    ///
    /// # Panics
    /// If one has another length.
    pub fn of(&self, blocks: &[&[u8]]) -> Vec<Fingerprint> {
        let mut found = Vec::with_capacity(blocks.len());
        for some in blocks.chunks(BLOCKS) {
            self.of_some(some, &mut found);
        }
        found
    }

    /// The fingerprint of one block, 4096 bytes long.
    ///
    /// # Panics
    /// If it has another length.
    pub fn of_one(&self, block: &[u8]) -> Fingerprint {
        self.of(&[block])[0]
    }

    /// Up to [`BLOCKS`] blocks, level by level: chunks, parents, roots.
    fn of_some(&self, blocks: &[&[u8]], found: &mut Vec<Fingerprint>) {
        let mut inputs = [&[0; CHUNK_LEN]; BLOCKS * CHUNKS];
        for (inputs, block) in inputs.chunks_exact_mut(CHUNKS).zip(blocks) {
            assert_eq!(block.len(), BLOCK, "one block");
            let (chunks, _) = block.as_chunks::<CHUNK_LEN>();
            inputs.copy_from_slice(&[&chunks[0], &chunks[1], &chunks[2], &chunks[3]]);
        }
        let mut values = [0; BLOCKS * CHUNKS * OUT_LEN];
        let chunks = blocks.len() * CHUNKS;
        self.hash(
            &inputs[..lanes(chunks)],
            (0, CHUNK_START, CHUNK_END),
            &mut values,
        );
        let mut parents = [0; BLOCKS * CHUNKS / 2 * OUT_LEN];
        self.parents(&values, chunks / 2, 0, &mut parents);
        let mut roots = [0; BLOCKS * OUT_LEN];
        self.parents(&parents, blocks.len(), ROOT, &mut roots);
        let roots = roots.chunks_exact(OUT_LEN).take(blocks.len());
        found.extend(roots.map(Fingerprint::of));
    }

    /// Hashes `count` pairs of neighbours in `values`.
    fn parents(&self, values: &[u8], count: usize, flags: u8, out: &mut [u8]) {
        let (pairs, _) = values.as_chunks::<BLOCK_LEN>();
        let mut inputs = [&[0; BLOCK_LEN]; BLOCKS * CHUNKS / 2];
        for (input, pair) in inputs.iter_mut().zip(&pairs[..count]) {
            *input = pair;
        }
        self.hash(&inputs[..lanes(count)], (PARENT | flags, 0, 0), out);
    }

    /// Hashes inputs side by side, with these flags: for all of an input, its start, its end.
    fn hash<const N: usize>(&self, inputs: &[&[u8; N]], flags: (u8, u8, u8), out: &mut [u8]) {
        let (all, start, end) = flags;
        let counter = IncrementCounter::No;
        let key = &self.key_words;
        self.platform
            .hash_many(inputs, key, 0, counter, KEYED_HASH | all, start, end, out);
    }
}

/// How many inputs to hash where `count` are wanted: what is left when all lanes were full is
/// hashed in halves, which take as long as the whole, so a few inputs more save time.
fn lanes(count: usize) -> usize {
    let left = count % LANES;
    match left {
        0 => count,
        _ => count - left + left.next_power_of_two(),
    }
}

impl std::fmt::Debug for Fingerprinter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprinter")
    }
}

const _: () =
    assert!(CHUNKS == 4 && BLOCK_LEN == 2 * OUT_LEN && (BLOCKS * CHUNKS).is_multiple_of(LANES));

#[cfg(test)]
mod tests {
    use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

    use super::*;

    /// The same from the parts that `blake3` gives: the value of a chunk that is the first of its
    /// input, of two subtrees, and of the root.
    fn from_parts(key: &[u8; 32], block: &[u8]) -> [u8; 16] {
        let chunk = |chunk: &[u8]| {
            let mut hasher = blake3::Hasher::new_keyed(key);
            hasher.update(chunk).finalize_non_root()
        };
        let values: Vec<_> = block.chunks_exact(CHUNK_LEN).map(chunk).collect();
        let mode = || Mode::KeyedHash(key);
        let left = merge_subtrees_non_root(&values[0], &values[1], mode());
        let right = merge_subtrees_non_root(&values[2], &values[3], mode());
        let root = merge_subtrees_root(&left, &right, mode());
        *root.as_bytes().first_chunk().expect("a hash is longer")
    }

    #[test]
    fn a_fingerprint_is_half_of_the_root_however_many_are_made_together() {
        let key = [7; 32];
        let fingerprinter = Fingerprinter::new(&Secret::copy_of(&key));
        let blocks: Vec<Vec<u8>> = (0..37_u32)
            .map(|block| {
                let words = 0..1024_u32;
                words
                    .flat_map(|at| ((block * 31) ^ (at * (at >> 3))).to_le_bytes())
                    .collect()
            })
            .collect();
        for count in 0..blocks.len() {
            let some: Vec<&[u8]> = blocks[..count].iter().map(Vec::as_slice).collect();
            let found = fingerprinter.of(&some);
            assert_eq!(found.len(), count);
            for (block, found) in some.iter().zip(found) {
                assert_eq!(found.bytes(), from_parts(&key, block), "of {count}");
                assert_eq!(found, fingerprinter.of_one(block));
            }
        }
    }

    #[test]
    fn blocks_of_the_same_chunks_in_another_order_differ() {
        let fingerprinter = Fingerprinter::new(&Secret::copy_of(&[7; 32]));
        let block = |order: [u8; CHUNKS]| order.map(|byte| [byte; CHUNK_LEN]).concat();
        let orders = [
            [1, 2, 3, 4],
            [2, 1, 3, 4],
            [3, 4, 1, 2],
            [1, 2, 4, 3],
            [1, 1, 1, 1],
        ];
        let prints = orders.map(|order| fingerprinter.of_one(&block(order)).bytes());
        for (index, print) in prints.iter().enumerate() {
            assert!(!prints[..index].contains(print), "{:?}", orders[index]);
        }
    }

    #[test]
    fn no_fingerprint_is_none() {
        assert_eq!(Fingerprint::from_bytes([0; 16]), None);
        assert_ne!(Fingerprint::of(&[0; 32]).bytes(), [0; 16]);
    }
}
