//! Fingerprints: 128 bits by which two blocks of a store are known to be the same.
//!
//! A fingerprint is the first half of the keyed BLAKE3 of a block. The key is the store's own, so
//! nobody outside can make blocks that collide, and equal blocks of two stores have nothing in
//! common. At 2^38 blocks, a pebibyte, the chance that any two different ones share a fingerprint
//! is 2^-53 (birthday bound).
//!
//! BLAKE3 hashes a block as a tree: four chunks of 1 KiB, two parents, a root (BLAKE3
//! specification, sections 2.1 and 2.4). A processor with AVX-512 hashes sixteen chunks in the time
//! of one, so several blocks are hashed side by side; the result is the same.

use blake3::platform::Platform;
use blake3::{BLOCK_LEN, CHUNK_LEN, IncrementCounter, OUT_LEN};

use super::pack::BLOCK;
use super::secret::Secret;

/// How long a fingerprint is, in bytes.
pub const FINGERPRINT_BYTES: usize = 16;

/// Blocks that are hashed side by side at most.
const LANES: usize = 16;

/// From so many blocks on hashing them side by side takes less time than hashing the four chunks of
/// each side by side, one block after the other: a lone block takes 1.4 us, one of sixteen 0.4.
const TOGETHER_MIN: usize = 4;

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
        for some in blocks.chunks(LANES) {
            match some.len() < TOGETHER_MIN {
                true => found.extend(some.iter().map(|block| self.of_one(block))),
                false => self.of_some(some, &mut found),
            }
        }
        found
    }

    /// The fingerprint of one block, 4096 bytes long.
    ///
    /// # Panics
    /// If it has another length.
    pub fn of_one(&self, block: &[u8]) -> Fingerprint {
        assert_eq!(block.len(), BLOCK, "one block");
        Fingerprint::of(blake3::keyed_hash(&self.key, block).as_bytes())
    }

    /// Up to [`LANES`] blocks, level by level: chunks, parents, roots.
    fn of_some(&self, blocks: &[&[u8]], found: &mut Vec<Fingerprint>) {
        // The values of the chunks of a block lie side by side, as its parents want them.
        let mut values = [0; LANES * CHUNKS * OUT_LEN];
        let mut lane = [0; LANES * OUT_LEN];
        for chunk in 0..CHUNKS {
            let mut inputs = [&[0; CHUNK_LEN]; LANES];
            for (input, block) in inputs.iter_mut().zip(blocks) {
                assert_eq!(block.len(), BLOCK, "one block");
                let (chunks, _) = block.as_chunks::<CHUNK_LEN>();
                *input = &chunks[chunk];
            }
            self.platform.hash_many(
                &inputs[..blocks.len()],
                &self.key_words,
                chunk as u64,
                IncrementCounter::No,
                KEYED_HASH,
                CHUNK_START,
                CHUNK_END,
                &mut lane,
            );
            for (index, value) in lane.chunks_exact(OUT_LEN).take(blocks.len()).enumerate() {
                let at = (index * CHUNKS + chunk) * OUT_LEN;
                values[at..at + OUT_LEN].copy_from_slice(value);
            }
        }
        let mut parents = [0; LANES * CHUNKS / 2 * OUT_LEN];
        self.parents(&values, blocks.len() * CHUNKS / 2, 0, &mut parents);
        let mut roots = [0; LANES * OUT_LEN];
        self.parents(&parents, blocks.len(), ROOT, &mut roots);
        let roots = roots.chunks_exact(OUT_LEN).take(blocks.len());
        found.extend(roots.map(Fingerprint::of));
    }

    /// Hashes `count` pairs of neighbours in `values`.
    fn parents(&self, values: &[u8], count: usize, flags: u8, out: &mut [u8]) {
        let (pairs, _) = values.as_chunks::<BLOCK_LEN>();
        let mut inputs = [&[0; BLOCK_LEN]; LANES * CHUNKS / 2];
        for (input, pair) in inputs.iter_mut().zip(&pairs[..count]) {
            *input = pair;
        }
        self.platform.hash_many(
            &inputs[..count],
            &self.key_words,
            0,
            IncrementCounter::No,
            KEYED_HASH | PARENT | flags,
            0,
            0,
            out,
        );
    }
}

impl std::fmt::Debug for Fingerprinter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprinter")
    }
}

const _: () = assert!(CHUNKS == 4 && BLOCK_LEN == 2 * OUT_LEN);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_half_of_the_keyed_hash() {
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
        for count in [0, 1, 2, 3, 4, 5, 15, 16, 17, 37] {
            let some: Vec<&[u8]> = blocks[..count].iter().map(Vec::as_slice).collect();
            let found = fingerprinter.of(&some);
            assert_eq!(found.len(), count);
            for (block, found) in some.iter().zip(found) {
                let hash = blake3::keyed_hash(&key, block);
                assert_eq!(found.bytes(), hash.as_bytes()[..16], "of {count}");
            }
        }
    }

    #[test]
    fn no_fingerprint_is_none() {
        assert_eq!(Fingerprint::from_bytes([0; 16]), None);
        assert_ne!(Fingerprint::of(&[0; 32]).bytes(), [0; 16]);
    }
}
