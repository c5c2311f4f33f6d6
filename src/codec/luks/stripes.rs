//! The anti-forensic splitter: a key spread over so many bytes that losing a few of them on the
//! medium loses the key (LUKS1 On-Disk Format 1.2.3, section 2.4).
//!
//! Of `n` stripes, each as long as the key, all but the last are drawn at random. Each is added to
//! what came before and the sum is diffused by a hash, so that every bit depends on every bit; the
//! last stripe is what is missing from there to the key.

use zeroize::Zeroizing;

use super::hash::Hash;
use crate::codec::Secret;

/// How many stripes there are. The specification of LUKS2 demands that number, and no program is
/// known to write another one with LUKS1.
pub(super) const STRIPES: usize = 4000;

/// The stripes of `key`. `fill` fills what it is given with random bytes.
pub(super) fn split(hash: Hash, key: &[u8], mut fill: impl FnMut(&mut [u8])) -> Secret {
    let mut stripes = Zeroizing::new(vec![0; key.len() * STRIPES]);
    let (most, last) = stripes.split_at_mut(key.len() * (STRIPES - 1));
    fill(most);
    let mut sum = gathered(hash, key.len(), most);
    add(&mut sum, key);
    last.copy_from_slice(&sum);
    Secret::new(std::mem::take(&mut *stripes))
}

/// The key of `key_bytes` bytes that `stripes` are of.
///
/// # Panics
/// If there are not as many stripes as there should be.
pub(super) fn merge(hash: Hash, key_bytes: usize, stripes: &[u8]) -> Secret {
    assert_eq!(stripes.len(), key_bytes * STRIPES, "all stripes of a key");
    let (most, last) = stripes.split_at(key_bytes * (STRIPES - 1));
    let mut key = gathered(hash, key_bytes, most);
    add(&mut key, last);
    Secret::new(std::mem::take(&mut *key))
}

/// What `stripes` come to, all but the last one.
fn gathered(hash: Hash, key_bytes: usize, stripes: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut sum = Zeroizing::new(vec![0; key_bytes]);
    for stripe in stripes.chunks_exact(key_bytes) {
        add(&mut sum, stripe);
        diffuse(hash, &mut sum);
    }
    sum
}

fn add(sum: &mut [u8], stripe: &[u8]) {
    for (sum, byte) in sum.iter_mut().zip(stripe) {
        *sum ^= byte;
    }
}

/// Replaces each piece of `bytes`, as long as a hash, by the hash of its number and itself. Of the
/// last one that is as much as there is room for.
fn diffuse(hash: Hash, bytes: &mut [u8]) {
    for (number, piece) in (0_u32..).zip(bytes.chunks_mut(hash.bytes())) {
        let hashed = hash.of(&[&number.to_be_bytes(), piece]);
        piece.copy_from_slice(&hashed.as_ref()[..piece.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stripes_give_the_key_back_and_only_all_of_them() {
        let key: Vec<u8> = (0..64).collect();
        for hash in [Hash::Sha1, Hash::Sha256, Hash::Sha512] {
            let mut next = 7_u8;
            let stripes = split(hash, &key, |random| {
                for byte in random {
                    next = next.wrapping_mul(197).wrapping_add(3);
                    *byte = next;
                }
            });
            assert_eq!(merge(hash, 64, stripes.expose()).expose(), key);
            for at in [0, 64 * 2000 + 5, 64 * STRIPES - 1] {
                let mut damaged = stripes.expose().to_vec();
                damaged[at] ^= 1;
                assert_ne!(merge(hash, 64, &damaged).expose(), key, "{hash:?} {at}");
            }
        }
    }
}
