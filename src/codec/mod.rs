//! What happens to bytes between a guest and a backend: no I/O, no clock and no chance of its own,
//! random bytes come from the caller.

mod credential;
mod fingerprint;
mod gcm;
#[cfg(test)]
mod hex;
mod key_error;
mod keyring;
mod keyslots;
pub mod luks;
mod pack;
mod seal;
mod secret;
mod xts;
mod xts_portable;

pub use credential::{Cost, Credential, Kind, SALT_BYTES};
pub use fingerprint::{FINGERPRINT_BYTES, Fingerprint, Fingerprinter};
pub use gcm::{GCM_TAG_BYTES, Gcm, NONCE_BYTES};
pub use key_error::KeyError;
pub use keyring::{Cipher, Keyring, MOUNT_SALT_BYTES};
pub use keyslots::{
    AREA_BYTES, KEY_SLOTS, KeySlots, LABEL_BYTES_MAX, Newest, OtherCopy, SlotInfo, Unlocked,
};
pub use pack::{BLOCK, Codec, pack, unpack};
pub use seal::{Broken, Place, Sealer, TAG_BYTES};
pub use secret::{KEY_BYTES, Secret, derive, derive_long};
pub use xts::{
    Numbering, TWEAK_BYTES, UNIT_BYTES_MAX, UNIT_BYTES_MIN, XTS_KEY_BYTES, Xts, sector_tweak,
};
pub use xts_portable::PortableXts;
