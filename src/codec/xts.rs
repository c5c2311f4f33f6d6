//! AES-256-XTS: keeps what is on a disk private, at no cost in space.
//!
//! Every unit, of any length from one block of AES on, is encrypted by itself under a tweak, which
//! says where it lies. XTS does not tell whether somebody changed the bytes.
//!
//! The work is done by AWS-LC, whose AES uses all that the processor has. It wants a context that
//! is changed by every unit, while a key is shared by threads. So a key has a few contexts, each
//! behind a lock, and a thread begins to look for a free one at a place of its own: as long as
//! there are no more threads than contexts, none waits for another. The key schedule is computed
//! once for each context, when the key is made, and overwritten when the key is dropped.

use std::ffi::c_int;
use std::fmt;
use std::ptr::{NonNull, null, null_mut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_sys::{
    ERR_clear_error, EVP_CIPHER_CTX, EVP_CIPHER_CTX_free, EVP_CIPHER_CTX_new, EVP_Cipher,
    EVP_CipherInit_ex, EVP_aes_256_xts,
};

use super::key_error::KeyError;
use super::secret::{KEY_BYTES, Secret};
use super::xts_portable::PortableXts;

/// How long a key is, in bytes: 32 for the data, then 32 for the tweaks.
pub const XTS_KEY_BYTES: usize = 2 * KEY_BYTES;

/// How long a tweak is, in bytes.
pub const TWEAK_BYTES: usize = 16;

/// The shortest unit, in bytes.
pub const UNIT_BYTES_MIN: usize = 16;

/// The longest unit, in bytes: IEEE 1619 allows 2^20 blocks.
pub const UNIT_BYTES_MAX: usize = 16 << 20;

/// How many threads can use a key without waiting for each other.
const LANES: usize = 8;

/// A key for AES-256-XTS, ready to use from any thread.
pub struct Xts {
    /// Empty if AWS-LC does not do it.
    lanes: Box<[Lane]>,
    portable: PortableXts,
}

impl Xts {
    /// Prepares a key of 64 bytes: 32 for the data, then 32 for the tweaks.
    ///
    /// # Errors
    /// [`KeyError::Length`] for another length, [`KeyError::EqualHalves`] if both halves are equal.
    pub fn new(key: &Secret) -> Result<Self, KeyError> {
        let portable = PortableXts::new(key)?;
        let key = key.expose_exactly()?;
        let lanes: Option<Vec<Lane>> = (0..LANES).map(|_| Lane::new(key)).collect();
        Ok(Self {
            lanes: lanes.unwrap_or_default().into_boxed_slice(),
            portable,
        })
    }

    /// Encrypts `unit` in place.
    ///
    /// # Panics
    /// If `unit` is shorter than [`UNIT_BYTES_MIN`] or longer than [`UNIT_BYTES_MAX`].
    pub fn encrypt(&self, tweak: &[u8; TWEAK_BYTES], unit: &mut [u8]) {
        self.encrypt_one(self.lane().as_deref_mut(), tweak, unit);
    }

    /// Decrypts `unit` in place.
    ///
    /// # Panics
    /// If `unit` is shorter than [`UNIT_BYTES_MIN`] or longer than [`UNIT_BYTES_MAX`].
    pub fn decrypt(&self, tweak: &[u8; TWEAK_BYTES], unit: &mut [u8]) {
        self.decrypt_one(self.lane().as_deref_mut(), tweak, unit);
    }

    /// Encrypts each sector of `bytes` in place, looking for a free context once for all of them.
    ///
    /// # Panics
    /// If a sector, the last one perhaps, is no unit.
    pub fn encrypt_sectors(&self, numbering: Numbering, bytes: &mut [u8]) {
        let mut lane = self.lane();
        let sectors = bytes.chunks_mut(numbering.sector_bytes);
        for (tweak, sector) in numbering.tweaks().zip(sectors) {
            self.encrypt_one(lane.as_deref_mut(), &tweak, sector);
        }
    }

    /// Decrypts each sector of `bytes` in place, looking for a free context once for all of them.
    ///
    /// # Panics
    /// If a sector, the last one perhaps, is no unit.
    pub fn decrypt_sectors(&self, numbering: Numbering, bytes: &mut [u8]) {
        let mut lane = self.lane();
        let sectors = bytes.chunks_mut(numbering.sector_bytes);
        for (tweak, sector) in numbering.tweaks().zip(sectors) {
            self.decrypt_one(lane.as_deref_mut(), &tweak, sector);
        }
    }

    fn encrypt_one(&self, lane: Option<&mut Contexts>, tweak: &[u8; TWEAK_BYTES], unit: &mut [u8]) {
        check_unit(unit);
        if !lane.is_some_and(|lane| lane.encrypt.run(tweak, unit)) {
            self.portable.encrypt(tweak, unit);
        }
    }

    fn decrypt_one(&self, lane: Option<&mut Contexts>, tweak: &[u8; TWEAK_BYTES], unit: &mut [u8]) {
        check_unit(unit);
        if !lane.is_some_and(|lane| lane.decrypt.run(tweak, unit)) {
            self.portable.decrypt(tweak, unit);
        }
    }

    /// A lane that no other thread is using, if there is one; else one to wait for.
    fn lane(&self) -> Option<MutexGuard<'_, Contexts>> {
        if self.lanes.is_empty() {
            return None;
        }
        let (before, after) = self.lanes.split_at(own_number() % self.lanes.len());
        for lane in after.iter().chain(before) {
            match lane.0.try_lock() {
                Ok(contexts) => return Some(contexts),
                // Every unit begins by setting the context up, so a panic leaves nothing behind.
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        let own = after.first()?.0.lock();
        Some(own.unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Xts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Xts(..)")
    }
}

/// How sectors that lie one after the other are numbered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Numbering {
    /// The number of the first.
    pub first: u64,
    /// What is added from one to the next. Behind the largest number comes zero.
    pub step: u64,
    /// How long each is, in bytes.
    pub sector_bytes: usize,
}

impl Numbering {
    fn tweaks(self) -> impl Iterator<Item = [u8; TWEAK_BYTES]> {
        let next = move |number: &u64| Some(number.wrapping_add(self.step));
        std::iter::successors(Some(self.first), next).map(sector_tweak)
    }
}

/// The tweak of a unit which is the sector of this number: `plain64`, as dm-crypt calls it, that is
/// the number in 64 bits, little-endian, and then zeroes.
pub fn sector_tweak(sector: u64) -> [u8; TWEAK_BYTES] {
    u128::from(sector).to_le_bytes()
}

/// The key for the data and the one for the tweaks.
pub(super) fn halves(
    key: &[u8; XTS_KEY_BYTES],
) -> Result<(&[u8; KEY_BYTES], &[u8; KEY_BYTES]), KeyError> {
    let (data, tweak) = key.split_first_chunk().expect("the key has two halves");
    let tweak = tweak.first_chunk().expect("the key has two halves");
    match verify_slices_are_equal(data, tweak) {
        Ok(()) => Err(KeyError::EqualHalves),
        Err(_) => Ok((data, tweak)),
    }
}

pub(super) fn check_unit(unit: &[u8]) {
    assert!(
        (UNIT_BYTES_MIN..=UNIT_BYTES_MAX).contains(&unit.len()),
        "a unit of AES-XTS has 16 bytes to 16 MiB, not {}",
        unit.len()
    );
}

/// A number that this thread has to itself, as long as there are not too many.
fn own_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    OWN.with(|own| *own)
}

/// What one thread at a time uses, in cache lines of its own.
#[repr(align(128))]
struct Lane(Mutex<Contexts>);

impl Lane {
    fn new(key: &[u8; XTS_KEY_BYTES]) -> Option<Self> {
        Some(Self(Mutex::new(Contexts {
            encrypt: Context::new(key, ENCRYPT)?,
            decrypt: Context::new(key, DECRYPT)?,
        })))
    }
}

struct Contexts {
    encrypt: Context,
    decrypt: Context,
}

const DECRYPT: c_int = 0;
const ENCRYPT: c_int = 1;
const AS_BEFORE: c_int = -1;

/// A context of AWS-LC that holds a key schedule for one direction.
struct Context(NonNull<EVP_CIPHER_CTX>);

// SAFETY: a context is memory on the heap that knows of no thread; `&mut self` keeps it to one.
unsafe impl Send for Context {}

impl Context {
    /// `None` if AWS-LC refuses.
    fn new(key: &[u8; XTS_KEY_BYTES], direction: c_int) -> Option<Self> {
        // SAFETY: takes nothing, gives a context that is ours or null.
        let context = Self(NonNull::new(unsafe { EVP_CIPHER_CTX_new() })?);
        // SAFETY: the context is alive, the cipher is a static of AWS-LC, which takes a key of 64
        // bytes, and copies it; null is allowed for the engine and for a tweak that comes later.
        let done = unsafe {
            EVP_CipherInit_ex(
                context.0.as_ptr(),
                EVP_aes_256_xts(),
                null_mut(),
                key.as_ptr(),
                null(),
                direction,
            )
        };
        accepted(done).then_some(context)
    }

    /// Encrypts or decrypts `unit` in place. If AWS-LC refuses, it did not change `unit`.
    fn run(&mut self, tweak: &[u8; TWEAK_BYTES], unit: &mut [u8]) -> bool {
        let context = self.0.as_ptr();
        // SAFETY: the context is alive and has its cipher and key, which null leaves as they are;
        // AWS-LC copies the 16 bytes of the tweak.
        let ready = unsafe {
            EVP_CipherInit_ex(
                context,
                null(),
                null_mut(),
                null(),
                tweak.as_ptr(),
                AS_BEFORE,
            )
        };
        if !accepted(ready) {
            return false;
        }
        let at = unit.as_mut_ptr();
        // SAFETY: the context is alive and ready; `at` is good for reading and for writing the
        // length of `unit`, and XTS writes as much as it reads and allows both to be the same.
        accepted(unsafe { EVP_Cipher(context, at, at.cast_const(), unit.len()) })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the context is ours, and nobody uses it from here on. Overwrites the key.
        unsafe { EVP_CIPHER_CTX_free(self.0.as_ptr()) };
    }
}

/// Whether AWS-LC said yes. If not, takes back the reason, which waits for the next user of AWS-LC
/// on this thread.
fn accepted(answer: c_int) -> bool {
    if answer != 1 {
        // SAFETY: only empties the queue of errors of this thread.
        unsafe { ERR_clear_error() };
    }
    answer == 1
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::{SHA256, digest};
    use rand_core::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::super::hex::hex;
    use super::*;

    /// The key of the vectors for AES-256 in IEEE 1619, annex B.
    const KEY: &str = "2718281828459045235360287471352662497757247093699959574966967627\
                       3141592653589793238462643383279502884197169399375105820974944592";

    fn key() -> Secret {
        Secret::new(hex(KEY))
    }

    /// The plaintext of these vectors: all bytes in order, twice.
    fn plain() -> Vec<u8> {
        (0..=255).chain(0..=255).collect()
    }

    fn both() -> (Xts, PortableXts) {
        let fast = Xts::new(&key()).expect("a good key");
        assert_eq!(fast.lanes.len(), LANES, "AWS-LC has AES-256-XTS");
        (fast, PortableXts::new(&key()).expect("a good key"))
    }

    /// Encrypts with both implementations, demands the same, and decrypts with both.
    fn encrypted(tweak: &[u8; TWEAK_BYTES], plain: &[u8]) -> Vec<u8> {
        let (fast, portable) = both();
        round_trip(&fast, &portable, tweak, plain)
    }

    fn round_trip(
        fast: &Xts,
        portable: &PortableXts,
        tweak: &[u8; TWEAK_BYTES],
        plain: &[u8],
    ) -> Vec<u8> {
        let mut sealed = plain.to_vec();
        fast.encrypt(tweak, &mut sealed);
        let mut same = plain.to_vec();
        portable.encrypt(tweak, &mut same);
        assert!(sealed == same, "encryption of {} bytes", plain.len());
        fast.decrypt(tweak, &mut same);
        assert!(plain == same, "decryption of {} bytes", plain.len());
        same.copy_from_slice(&sealed);
        portable.decrypt(tweak, &mut same);
        assert!(plain == same, "decryption of {} bytes", plain.len());
        sealed
    }

    #[test]
    fn the_vectors_of_ieee_1619_come_out() {
        // Vectors 10 to 14: the sector, the first two blocks, the SHA-256 of all 512 bytes. The
        // ciphertexts were computed with OpenSSL, which the standard's agree with.
        let vectors = [
            (
                0xff,
                "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b",
                "e97e974fa393af794f7a4684395814cf820de60a01eaec677d87b452e316b364",
            ),
            (
                0xffff,
                "77a31251618a15e6b92d1d66dffe7b50b50bad552305ba0217a610688eff7e11",
                "def4fad29e95dfe1a24b1ad4620f86d7be094cced5b19e0b121aa82d9e6baf98",
            ),
            (
                0xff_ffff,
                "e387aaa58ba483afa7e8eb469778317ecf4cf573aa9d4eac23f2cdf914e4e200",
                "8bf44861a081dd660d91ce615b5cdfb4d5df9d72c3025c12e67cc0ae097fa5d5",
            ),
            (
                0xffff_ffff,
                "bf53d2dade78e822a4d949a9bc6766b01b06a8ef70d26748c6a7fc36d80ae4c5",
                "c706140a11affda7402234f5e6331eacbfeb687d8e80d83962691823bb3636f0",
            ),
            (
                0xff_ffff_ffff,
                "64497e5a831e4a932c09be3e5393376daa599548b816031d224bbf50a818ed23",
                "afba71abc4e95b186d89a63a5437c1bafcfd1a18ca273970c534aba4f8d05282",
            ),
        ];
        for (sector, begin, all) in vectors {
            let sealed = encrypted(&sector_tweak(sector), &plain());
            assert_eq!(sealed[..32], hex(begin));
            assert_eq!(digest(&SHA256, &sealed).as_ref(), hex(all), "{sector:x}");
        }
    }

    #[test]
    fn a_unit_that_is_no_multiple_of_a_block_comes_out() {
        // Computed with OpenSSL: the key, the plaintext and the tweak of vector 10, cut off.
        let vectors = [
            "990b3d5708499ecacac51584606f5d761c",
            "b7a469d9a0a8237d178ad4323b2746321c3b3a102f770386e4836c99e370cf",
            "1c3b3a102f770386e4836c99e370cf9b9bee4cdc56e3a896a412a76f007c85f9ea",
            "1c3b3a102f770386e4836c99e370cf9b9cd1c0d093eb321fe784b6fb478d1602\
             ea00803f5e482357a4ae12d414a3e6",
        ];
        for vector in vectors {
            let vector = hex(vector);
            let sealed = encrypted(&sector_tweak(0xff), &plain()[..vector.len()]);
            assert_eq!(sealed, vector);
        }
    }

    #[test]
    fn both_implementations_agree_at_every_length() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1619);
        let (fast, portable) = both();
        let near = |len: usize| len - 17..=len + 17;
        let lengths = (16..=1100)
            .chain(near(2048))
            .chain((1100..4000).step_by(37))
            .chain(near(4096));
        for len in lengths {
            let mut plain = vec![0; len];
            let mut tweak = [0; TWEAK_BYTES];
            random.fill_bytes(&mut plain);
            random.fill_bytes(&mut tweak);
            round_trip(&fast, &portable, &tweak, &plain);
        }
        round_trip(&fast, &portable, &[1; 16], &vec![7; UNIT_BYTES_MAX]);
    }

    #[test]
    fn without_aws_lc_the_answers_are_the_same() {
        let (fast, _) = both();
        let slow = Xts {
            lanes: Box::new([]),
            ..Xts::new(&key()).expect("a good key")
        };
        let (mut one, mut other) = (plain(), plain());
        fast.encrypt(&[3; 16], &mut one);
        slow.encrypt(&[3; 16], &mut other);
        assert_eq!(one, other);
        slow.decrypt(&[3; 16], &mut one);
        assert_eq!(one, plain());
    }

    #[test]
    fn sectors_are_units_with_their_numbers_for_tweaks() {
        let (xts, portable) = both();
        let numbering = Numbering {
            first: u64::MAX - 1,
            step: 2,
            sector_bytes: 128,
        };
        let mut sealed = plain();
        xts.encrypt_sectors(numbering, &mut sealed);
        let mut one_by_one = plain();
        let (units, _) = one_by_one.as_chunks_mut::<128>();
        for (unit, number) in units.iter_mut().zip([u64::MAX - 1, 0, 2, 4]) {
            portable.encrypt(&sector_tweak(number), unit);
        }
        assert_eq!(sealed, one_by_one);
        xts.decrypt_sectors(numbering, &mut sealed);
        assert_eq!(sealed, plain());
    }

    #[test]
    fn a_sector_is_a_tweak_as_in_dm_crypt() {
        let tweak = sector_tweak(0x0102_0304_0506_0708);
        assert_eq!(tweak, [8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_bad_key_is_refused() {
        let refused = |key: Vec<u8>| Xts::new(&Secret::new(key)).err();
        assert_eq!(refused(vec![1; 64]), Some(KeyError::EqualHalves));
        let short = KeyError::Length { want: 64, have: 32 };
        assert_eq!(refused((0..32).collect()), Some(short));
        assert_eq!(refused((0..64).collect()), None);
    }

    #[test]
    #[should_panic(expected = "16 bytes to 16 MiB, not 15")]
    fn a_unit_has_at_least_a_block() {
        both().0.encrypt(&[0; 16], &mut [0; 15]);
    }
}
