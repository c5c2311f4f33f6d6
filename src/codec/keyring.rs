//! The keys of an encrypted store: one for each mount that wrote something of it.
//!
//! A mount seals with a key of its own, derived from the master key with a salt that it drew. So
//! the same place is never sealed twice with the same key for different bytes, even where an old
//! copy of a store was put back and mounted again. What older mounts wrote is opened with their
//! keys, which the root holds: so the master key can be replaced, and what was sealed under the old
//! one opens until it was sealed anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::gcm::Gcm;
use super::seal::{Broken, Place, TAG_BYTES};
use super::secret::{KEY_BYTES, Secret, derive, derive_long};
use super::xts::{TWEAK_BYTES, UNIT_BYTES_MIN, XTS_KEY_BYTES, Xts};

/// How long the salt of a mount is, in bytes.
pub const MOUNT_SALT_BYTES: usize = 16;

const MOUNT_CONTEXT: &str = "bedplate 2026-11 key of a mount";
const DATA_CONTEXT: &str = "bedplate 2026-11 data key of a mount";
const MARK_CONTEXT: &str = "bedplate 2026-11 mark key of a mount";
const STORE_CONTEXT: &str = "bedplate 2026-11 mark key of a store";

/// How a store is encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Cipher {
    /// AES-256 in XTS: what was changed by accident does not open.
    Xts = 1,
    /// AES-256 in GCM: what was changed by anybody does not open.
    Gcm = 2,
}

impl Cipher {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Xts, Self::Gcm];

    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xts => "aes-256-xts",
            Self::Gcm => "aes-256-gcm",
        }
    }
}

/// The keys of a store. Shared by all that seal and open.
pub struct Keyring {
    cipher: Cipher,
    master: RwLock<Master>,
    /// By mount.
    keys: RwLock<BTreeMap<u32, Entry>>,
}

/// What the keys of new mounts are made of.
struct Master {
    key: Secret,
    /// Over what stays readable and belongs to no mount.
    store: Secret,
}

/// A mount's key.
struct Entry {
    key: Secret,
    /// Made when it is first needed; most never are.
    suite: Option<Arc<Suite>>,
}

/// The keys of one mount.
struct Suite {
    data: Data,
    /// Over what stays readable.
    mark: Secret,
}

enum Data {
    Xts(Box<Xts>),
    Gcm(Gcm),
}

impl Keyring {
    /// The ring of a store whose master key this is, without any mount.
    pub fn new(cipher: Cipher, master: Secret) -> Self {
        Self {
            cipher,
            master: RwLock::new(Master::new(master)),
            keys: RwLock::default(),
        }
    }

    /// How the store is encrypted.
    pub fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// Makes the key of mount `epoch`, which drew `salt`, from the master key.
    pub fn add(&self, epoch: u32, salt: [u8; MOUNT_SALT_BYTES]) {
        let mut whole = epoch.to_le_bytes().to_vec();
        whole.extend(salt);
        let key = derive(&self.master().key, MOUNT_CONTEXT, &whole);
        self.learn(epoch, key);
    }

    /// Makes the key of mount `epoch` known, whatever master key it was made from.
    pub fn learn(&self, epoch: u32, key: Secret) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.insert(epoch, Entry { key, suite: None });
    }

    /// Goes on with another master key: marks of the store, and mounts from now on, are its.
    pub fn renew(&self, master: Secret) {
        let mut old = self.master.write().unwrap_or_else(PoisonError::into_inner);
        *old = Master::new(master);
    }

    /// The keys of these mounts, as far as they are known.
    pub fn mounts(&self, epochs: &BTreeSet<u32>) -> Vec<(u32, Secret)> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let copy = |entry: &Entry| Secret::copy_of(entry.key.expose());
        let known = |epoch: &u32| Some((*epoch, copy(keys.get(epoch)?)));
        epochs.iter().filter_map(known).collect()
    }

    /// A mark over `bytes` that nobody can make without the master key.
    pub fn mark(&self, bytes: &[u8]) -> [u8; TAG_BYTES] {
        keyed(&self.master().store, &[bytes])
    }

    fn master(&self) -> RwLockReadGuard<'_, Master> {
        self.master.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Encrypts `bytes` in place; gives what belongs beside them.
    ///
    /// # Panics
    /// If the mount that `place` belongs to was never added.
    pub(super) fn hide(&self, place: Place, bytes: &mut [u8]) -> [u8; TAG_BYTES] {
        let suite = self.suite(place).expect("whoever writes has added itself");
        match &suite.data {
            Data::Gcm(gcm) => gcm.seal(nonce(place), &[], bytes),
            Data::Xts(xts) => {
                let tag = keyed(&suite.mark, &[&nonce(place), bytes]);
                if bytes.len() >= UNIT_BYTES_MIN {
                    xts.encrypt(&tweak(place), bytes);
                }
                tag
            }
        }
    }

    /// Decrypts `bytes` in place.
    pub(super) fn reveal(
        &self,
        place: Place,
        bytes: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), Broken> {
        let suite = self.suite(place).ok_or(Broken)?;
        match &suite.data {
            Data::Gcm(gcm) => gcm.open(nonce(place), &[], bytes, tag),
            Data::Xts(xts) => {
                if bytes.len() >= UNIT_BYTES_MIN {
                    xts.decrypt(&tweak(place), bytes);
                }
                match keyed(&suite.mark, &[&nonce(place), bytes]) == *tag {
                    true => Ok(()),
                    false => Err(Broken),
                }
            }
        }
    }

    /// Encrypts all of `room`, whose last 16 bytes are `plain_tag` of the others or room for a tag.
    pub(super) fn close(&self, place: Place, room: &mut [u8], plain_tag: [u8; TAG_BYTES]) {
        let suite = self.suite(place).expect("whoever writes has added itself");
        let (bytes, tag) = room
            .split_last_chunk_mut::<TAG_BYTES>()
            .expect("room for a seal");
        match &suite.data {
            Data::Gcm(gcm) => *tag = gcm.seal(nonce(place), &[], bytes),
            // The checksum is encrypted with the bytes: so it says nothing of them.
            Data::Xts(xts) => {
                *tag = plain_tag;
                xts.encrypt(&tweak(place), room);
            }
        }
    }

    /// Decrypts all of `sealed`; for XTS the last 16 bytes are then the checksum of the others.
    pub(super) fn open(&self, place: Place, sealed: &mut [u8]) -> Result<Opened, Broken> {
        let suite = self.suite(place).ok_or(Broken)?;
        match &suite.data {
            Data::Gcm(gcm) => {
                let (bytes, tag) = sealed.split_last_chunk_mut().ok_or(Broken)?;
                gcm.open(nonce(place), &[], bytes, tag)?;
                Ok(Opened::Authentic)
            }
            Data::Xts(xts) => {
                if sealed.len() < UNIT_BYTES_MIN {
                    return Err(Broken);
                }
                xts.decrypt(&tweak(place), sealed);
                Ok(Opened::ToBeChecked)
            }
        }
    }

    /// The mark of the mount that `place` belongs to, over `bytes`, which stay readable.
    pub(super) fn mark_at(&self, place: Place, bytes: &[u8]) -> Option<[u8; TAG_BYTES]> {
        let suite = self.suite(place)?;
        Some(keyed(&suite.mark, &[b"clear", &nonce(place), bytes]))
    }

    fn suite(&self, place: Place) -> Option<Arc<Suite>> {
        let epoch = place.epoch();
        {
            let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(suite) = &keys.get(&epoch)?.suite {
                return Some(Arc::clone(suite));
            }
        }
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let Entry { key, suite } = keys.get_mut(&epoch)?;
        let suite = suite.get_or_insert_with(|| Arc::new(Suite::new(self.cipher, key)));
        Some(Arc::clone(suite))
    }
}

impl Master {
    fn new(key: Secret) -> Self {
        let store = derive(&key, STORE_CONTEXT, &[]);
        Self { key, store }
    }
}

/// What there is to do with bytes that were decrypted.
pub(super) enum Opened {
    /// Nothing: they are what was sealed.
    Authentic,
    /// Their checksum is to be looked at.
    ToBeChecked,
}

impl Suite {
    /// The keys that a mount's key comes to.
    fn new(cipher: Cipher, mount: &Secret) -> Self {
        let data = match cipher {
            Cipher::Xts => {
                let key = derive_long(mount, DATA_CONTEXT, &[], XTS_KEY_BYTES);
                Data::Xts(Box::new(
                    Xts::new(&key).expect("halves that differ, but for one in 2^256"),
                ))
            }
            Cipher::Gcm => {
                let key = derive(mount, DATA_CONTEXT, &[]);
                Data::Gcm(Gcm::new(&key).expect("32 bytes"))
            }
        };
        Self {
            data,
            mark: derive(mount, MARK_CONTEXT, &[]),
        }
    }
}

/// Places are written once, so they serve as nonces.
fn nonce(place: Place) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&place.seq.to_le_bytes());
    nonce[8..].copy_from_slice(&place.offset.to_le_bytes());
    nonce
}

fn tweak(place: Place) -> [u8; TWEAK_BYTES] {
    let mut tweak = [0; TWEAK_BYTES];
    tweak[..12].copy_from_slice(&nonce(place));
    tweak
}

fn keyed(key: &Secret, parts: &[&[u8]]) -> [u8; TAG_BYTES] {
    let key = key.expose_exactly::<KEY_BYTES>().expect("32 bytes");
    let mut hasher = blake3::Hasher::new_keyed(key);
    for part in parts {
        hasher.update(part);
    }
    let mut tag = [0; TAG_BYTES];
    tag.copy_from_slice(&hasher.finalize().as_bytes()[..TAG_BYTES]);
    tag
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({})", self.cipher.name())
    }
}
