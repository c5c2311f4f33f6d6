//! LUKS: disks that are encrypted in place, as `cryptsetup`, the kernel's dm-crypt and QEMU know
//! them.
//!
//! A header holds the key of the disk, once for each passphrase; behind it, at the payload offset,
//! comes the disk, sector by sector under AES-256-XTS. Written after the specifications, of which
//! the sections are named where they are used:
//!
//! - LUKS1: "LUKS1 On-Disk Format Specification", version 1.2.3, of 2018
//! - LUKS2: "LUKS2 On-Disk Format Specification", version 1.1.0, of 2022
//!
//! Version 1 is read and made, version 2 is read: QEMU knows version 1 only, so this is what both
//! can open. A header of version 1 has neither a checksum nor a second copy. So damage to the salt
//! or the stripes of a key slot looks like a wrong passphrase, and a copy of the first 2 MiB kept
//! elsewhere is worth having. Version 2 has both.
//!
//! From passphrase to disk:
//!
//! 1. PBKDF2 or Argon2 makes a key of the passphrase and the slot's salt.
//! 2. With that the slot's area is decrypted: 4,000 stripes (`stripes.rs`), which are merged.
//! 3. What comes of it is the key of the disk if PBKDF2 makes the header's digest of it.
//! 4. Sectors are encrypted with it; the tweak is the number of the sector in units of 512 bytes,
//!    counted from the beginning of the payload (`plain64`).
//!
//! Nothing here reads or writes a disk: who calls it is told which bytes are wanted. What a header
//! can ask for has bounds, in bytes, memory and time.

mod error;
mod hash;
mod header;
mod kdf;
mod make;
mod sectors;
mod stripes;
mod v1;
mod v2;
mod v2_json;

pub use error::LuksError;
pub use header::{Header, Payload, Slot};
pub use kdf::PBKDF2_ITERATIONS_MAX;
pub use make::{ITERATIONS, Made, PAYLOAD_OFFSET, make};
pub use sectors::SectorCipher;
pub use v2::{SECOND_COPIES, copy_bytes, newest};

/// How many bytes from the start of a header say what it is.
pub const LOOK_BYTES: usize = 4096;

const MAGIC: &[u8; 6] = b"LUKS\xba\xbe";

/// What a disk begins with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Look {
    /// A header of version 1, which is all there is to read.
    One(Box<Header>),
    /// What should be the first copy of a header of version 2.
    Two,
    /// No header. There may still be the second copy of one at any of [`SECOND_COPIES`].
    Nothing,
}

/// Looks at the first [`LOOK_BYTES`] of a disk of `disk_bytes` bytes.
///
/// # Errors
/// What is wrong with a header of version 1, or that the version is unknown.
pub fn look(start: &[u8; LOOK_BYTES], disk_bytes: u64) -> Result<Look, LuksError> {
    match version(start) {
        Some(1) => Ok(Look::One(Box::new(v1::decode(start, disk_bytes)?))),
        Some(2) => Ok(Look::Two),
        None => Ok(Look::Nothing),
        Some(version) => Err(LuksError::Version(version)),
    }
}

/// The version of the header that begins with `start`, if there is one.
fn version(start: &[u8]) -> Option<u16> {
    let rest = start.strip_prefix(MAGIC)?;
    rest.first_chunk().copied().map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests;
