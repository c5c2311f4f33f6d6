//! Makes an empty store.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::core::{Core, Recovered};
use super::error::StoreError;
use super::find::read_slots;
use super::format::superblock::{self, LogPosition, RootRef, SLOTS, Superblock};
use super::format::{Malformed, Shape};
use super::map::Nodes;
use super::shell::Shell;
use super::table::Table;
use super::tuning::Tuning;
use super::unlock::{begin_mount, random_bytes, write_key_slots};
use crate::backend::{Backend, Checked};
use crate::base::Buf;
use crate::codec::{
    Cipher, Cost, Credential, KEY_BYTES, KeySlots, Keyring, Sealer, Secret, TAG_BYTES,
};
use crate::env;

/// How a store is to be made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Creation<'a> {
    /// How much of the backend to use, in bytes; all of it without.
    pub size: Option<u64>,
    /// The size of a segment in bytes, a power of two; chosen by the size of the store without.
    pub segment_bytes: Option<u32>,
    /// Whether a store that is there already is overwritten.
    pub overwrite: bool,
    /// How it is to be encrypted, if it is.
    pub encryption: Option<Encryption<'a>>,
}

/// How a store is to be encrypted.
#[derive(Clone, Copy, Debug)]
pub struct Encryption<'a> {
    /// With what.
    pub cipher: Cipher,
    /// What opens the first key slot.
    pub key: &'a Credential,
    /// What it takes to try a passphrase.
    pub cost: Cost,
}

/// Makes an empty store on `backend`; gives the shape of the store, and the backend back.
///
/// # Errors
/// `AlreadyAStore` unless it is to be overwritten, `Invalid` for sizes that no store can have.
pub async fn create(
    backend: Checked,
    creation: Creation<'_>,
) -> Result<(Shape, Checked), StoreError> {
    let shape = shape(&backend, creation)?;
    // Whatever begins as a superblock does counts, of any version and in whatever state.
    if !creation.overwrite && read_slots(&backend).await? != superblock::NOTHING {
        return Err(StoreError::AlreadyAStore);
    }
    // Nothing of an older store may be found instead, whenever this is interrupted.
    for slot in 0..SLOTS {
        let zeroes = Buf::zeroed(superblock::ROOM);
        backend.write(Superblock::slot_offset(slot), zeroes).await?;
    }
    backend.flush().await?;
    let mut empty = nothing(shape);
    if let Some(encryption) = creation.encryption {
        encrypt(&backend, &mut empty, encryption).await?;
    }
    let core = Core::new(empty, Tuning::default()).ok_or(StoreError::NoSpace)?;
    let shell = Shell::new(backend, core);
    shell.checkpoint().await?;
    // The log was never used, so nobody else has the shell.
    let shell = Arc::into_inner(shell).ok_or(StoreError::Closed)?;
    Ok((shape, shell.backend))
}

/// Makes a master key and its first slot, and the key of the first mount.
async fn encrypt(
    backend: &Checked,
    empty: &mut Recovered,
    Encryption { cipher, key, cost }: Encryption<'_>,
) -> Result<(), StoreError> {
    let uuid = empty.superblock.uuid;
    let master = Secret::new(random_bytes::<KEY_BYTES>().to_vec());
    let mut slots = KeySlots::new(uuid);
    slots.add(&master, key, "first", cost, random_bytes())?;
    write_key_slots(backend, &slots).await?;
    let ring = Keyring::new(cipher, master);
    let fingerprints = Secret::new(random_bytes::<KEY_BYTES>().to_vec());
    empty.superblock.salt = begin_mount(&ring, empty.superblock.epoch);
    empty.superblock.cipher = Some(cipher);
    empty.sealer = Sealer::with_keys(&uuid, Arc::new(ring));
    empty.sealer.learn_fingerprints(&fingerprints);
    Ok(())
}

fn shape(backend: &Checked, creation: Creation<'_>) -> Result<Shape, StoreError> {
    let geometry = backend.geometry();
    let invalid = |why: String| Err(StoreError::Invalid(why));
    let size = creation.size.unwrap_or(geometry.size);
    if size > geometry.size {
        return invalid(format!(
            "{size} bytes are more than the {} there are",
            geometry.size
        ));
    }
    let segment = creation.segment_bytes.unwrap_or_else(|| segment_for(size));
    if !segment.is_power_of_two() {
        return invalid(format!(
            "a segment of {segment} bytes is not a power of two"
        ));
    }
    let exponent = |power: u64| u8::try_from(power.ilog2()).expect("below 64");
    // File systems do direct writes that begin or end inside one of their own blocks one after the
    // other wherever space is not allocated yet: a sparse file takes half as many. And disks with
    // sectors of 4096 bytes that show 512 read before they write.
    let block = geometry.preferred_block.clamp(512, 4096);
    Shape::new(size, exponent(u64::from(segment)), exponent(block))
        .map_err(|Malformed(why)| StoreError::Invalid(why.to_owned()))
}

/// 1 MiB below 8 GiB, 4 MiB as a rule, more above 64 TiB.
fn segment_for(size: u64) -> u32 {
    match size {
        size if size < 8 << 30 => 1 << 20,
        size if size <= 64 << 40 => 4 << 20,
        size if size <= 256 << 40 => 16 << 20,
        _ => 64 << 20,
    }
}

/// What a recovery would find if a store had nothing in it.
fn nothing(shape: Shape) -> Recovered {
    let uuid = random_bytes();
    Recovered {
        sealer: Sealer::new(&uuid),
        superblock: Superblock {
            uuid,
            generation: 0,
            shape,
            epoch: 1,
            owner: uuid,
            root: RootRef::default(),
            salt: [0; 16],
            log: LogPosition::default(),
            next: super::format::batch::Successor::default(),
            next_counter: 1,
            cursor: shape.first_seg(),
            created: env::wall_clock(),
            cipher: None,
            mark: [0; TAG_BYTES],
        },
        nodes: Nodes::new(1),
        table: Table::new(shape),
        trees: BTreeMap::new(),
        next_tree: 1,
        pages: Vec::new(),
        renewal: None,
        number: 1,
        key_slots: None,
    }
}
