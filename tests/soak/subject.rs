//! What is under test: a store on a disk that breaks, or a small store in memory that is right by
//! construction, or wrong on purpose.

use std::sync::Arc;

use bedplate::backend::{Backend, Checked, Fault, Faulty, Kind, Medium};
use bedplate::base::{Buf, Durability, Error, Extent, Refusal, Result as IoResult, StatusRun};
use bedplate::codec::{Cipher, Cost, Credential, Secret};
use bedplate::store::Tuning;
use bedplate::store::check::{self, Depth};
use bedplate::store::{
    self, BitmapName, Compression, Creation, Dedup, Disk, Encryption, Properties, Store,
    StoreError, Traffic, TreeInfo, TreeKind, TreeName, Usage,
};

use super::content::{BLOCK, MAGIC};
use super::fake::{FakeDisk, FakeMedium, FakeStore};
use super::plan::{Plan, SEG_BYTES};

/// Reads of which the ones that go astray are among the first.
pub(crate) const READ_FAULTS_WITHIN: u64 = 300;

/// The one behind this, so that every one has its turn.
fn next<T: Copy + PartialEq>(all: &[T], one: T) -> T {
    let at = all.iter().position(|other| *other == one).unwrap_or(0);
    all[(at + 1) % all.len()]
}

/// What outlives a store that loses power.
#[derive(Clone, Debug)]
pub(crate) enum Ground {
    /// A disk, and how what is on it is encrypted.
    Disk(Faulty, Option<Cipher>),
    Fake(FakeMedium),
}

/// A store in use.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    Store(Arc<Store>),
    Fake(FakeStore),
}

/// A volume or snapshot in use.
#[derive(Clone, Debug)]
pub(crate) enum Handle {
    Disk(Disk),
    Fake(FakeDisk),
}

/// One of so many checks of an encrypted disk looks for what should not be seen there.
const LOOKS: u64 = 8;

/// The key of every store that has one.
fn key() -> Credential {
    Credential::KeyFile(Secret::copy_of(&[0x5a; 32]))
}

/// Whether anything on the disk begins as all blocks do that clients write.
async fn shows_plaintext(disk: &Faulty) -> bool {
    let end = disk.geometry().size;
    let needle = MAGIC.to_le_bytes();
    for start in (0..end).step_by(1 << 17) {
        let at = Extent::between(start, end.min(start + (1 << 17)));
        let bytes = disk.read(at, Buf::new(at.len())).await;
        let found = |bytes: Buf| bytes.windows(needle.len()).any(|part| part == needle);
        if bytes.is_ok_and(found) {
            return true;
        }
    }
    false
}

impl Ground {
    /// Makes an empty store.
    pub(crate) async fn create(&self, plan: &Plan) -> Result<(), StoreError> {
        let Self::Disk(disk, cipher) = self else {
            return Ok(());
        };
        let key = key();
        let creation = Creation {
            segment_bytes: Some(u32::try_from(SEG_BYTES).expect("small")),
            encryption: cipher.map(|cipher| Encryption {
                cipher,
                key: &key,
                cost: Cost::default(),
            }),
            ..Creation::default()
        };
        let (shape, _) = store::create(checked(disk), creation).await?;
        assert_eq!(shape.bytes(), plan.disk_bytes(), "all of the disk");
        Ok(())
    }

    pub(crate) async fn open(&self, tuning: Tuning) -> Result<Subject, StoreError> {
        Ok(match self {
            Self::Disk(disk, cipher) => {
                let key = cipher.map(|_| key());
                Subject::Store(Store::open(checked(disk), tuning, key.as_ref()).await?)
            }
            Self::Fake(medium) => Subject::Fake(medium.open()),
        })
    }

    /// Loses what was not flushed, or any part of it.
    pub(crate) fn lose_power(&self, choose: &mut dyn FnMut(u64) -> u64) {
        match self {
            Self::Disk(disk, _) => disk.crash(choose),
            Self::Fake(medium) => medium.crash(choose),
        }
    }

    /// What is wrong with the structure of the store, which nobody has open.
    ///
    /// This is the one place where a check of structures is called from.
    pub(crate) async fn check(&self) -> Vec<String> {
        let Self::Disk(disk, cipher) = self else {
            return Vec::new();
        };
        if cipher.is_some() && disk.calls().is_multiple_of(LOOKS) && shows_plaintext(disk).await {
            return vec!["there is plaintext on the disk".to_owned()];
        }
        let key = cipher.map(|_| key());
        match check::check(&checked(disk), Depth::Data, key.as_ref()).await {
            Ok(report) => {
                let findings = report.findings.iter();
                findings.map(|found| format!("{found:?}")).collect()
            }
            Err(error) => vec![error.to_string()],
        }
    }

    /// Has a call fail, `after` others of its kind.
    pub(crate) fn plan_fault(&self, kind: Kind, after: u64, fault: Fault) {
        match self {
            Self::Disk(disk, _) => disk.plan(kind, after, fault),
            Self::Fake(_) => {}
        }
    }

    /// Lets reads that are planned to go astray do so now, where they do no harm. While a store is
    /// opened one could make the log seem to end before its end, and nobody could tell.
    pub(crate) async fn use_up_reads(&self) {
        let Self::Disk(disk, _) = self else { return };
        for _ in 0..READ_FAULTS_WITHIN {
            let at = Extent::between(0, BLOCK as u64);
            drop(disk.read(at, Buf::new(BLOCK)).await);
        }
    }

    /// How many calls of the disk there were.
    pub(crate) fn calls(&self) -> u64 {
        match self {
            Self::Disk(disk, _) => disk.calls(),
            Self::Fake(_) => 0,
        }
    }
}

fn checked(disk: &Faulty) -> Checked {
    Checked::new(Medium::Faulty(disk.clone()))
}

/// Calls the same method of whichever it is.
macro_rules! either {
    ($type:ident::$other:ident, $self:expr, $it:ident => $call:expr) => {
        match $self {
            $type::$other($it) => $call,
            $type::Fake($it) => $call,
        }
    };
}

impl Subject {
    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        either!(Self::Store, self, store => store.close().await)
    }

    /// What it keeps back for itself, in bytes.
    pub(crate) fn reserve(&self) -> u64 {
        match self {
            Self::Store(store) => store.usage().reserve,
            Self::Fake(_) => 0,
        }
    }

    /// How full it is, for people.
    pub(crate) fn usage(&self) -> Option<Usage> {
        match self {
            Self::Store(store) => Some(store.usage()),
            Self::Fake(_) => None,
        }
    }

    /// What it has written.
    pub(crate) fn traffic(&self) -> Traffic {
        match self {
            Self::Store(store) => store.traffic(),
            Self::Fake(_) => Traffic::default(),
        }
    }

    pub(crate) fn list(&self) -> Vec<TreeInfo> {
        let mut list = either!(Self::Store, self, store => store.list());
        // The fake counts nothing.
        list.iter_mut().for_each(|tree| tree.space = None);
        list
    }

    pub(crate) fn disk(&self, name: &TreeName) -> Result<Handle, StoreError> {
        Ok(match self {
            Self::Store(store) => Handle::Disk(store.disk(name)?),
            Self::Fake(store) => Handle::Fake(store.disk(name)?),
        })
    }

    pub(crate) async fn create_volume(
        &self,
        name: &str,
        size: u64,
        properties: Properties,
    ) -> Result<(), StoreError> {
        either!(Self::Store, self, store => store.create_volume(name, size, properties).await)
    }

    pub(crate) async fn delete(&self, name: &TreeName) -> Result<(), StoreError> {
        either!(Self::Store, self, store => store.delete(name).await)
    }

    pub(crate) async fn rename(&self, volume: &str, to: &str) -> Result<(), StoreError> {
        either!(Self::Store, self, store => store.rename(volume, to).await)
    }

    pub(crate) async fn resize(&self, volume: &str, size: u64) -> Result<(), StoreError> {
        either!(Self::Store, self, store => store.resize(volume, size).await)
    }

    pub(crate) async fn clone_volume(&self, from: &TreeName, to: &str) -> Result<(), StoreError> {
        either!(Self::Store, self, store => store.clone_volume(from, to).await)
    }

    pub(crate) async fn set_write_through(&self, volume: &str, on: bool) -> Result<(), StoreError> {
        let known = self
            .list()
            .into_iter()
            .find(|tree| tree.kind == TreeKind::Volume && tree.name.volume_name() == volume);
        let known = known.map(|tree| tree.properties).unwrap_or_default();
        let properties = Properties {
            write_through: on,
            compression: next(&Compression::ALL, known.compression),
            dedup: next(&Dedup::ALL, known.dedup),
        };
        either!(Self::Store, self, store => store.set_properties(volume, properties).await)
    }

    /// Begins to have everything written again, under another key or packed anew.
    pub(crate) async fn begin_renewal(&self, changes_key: bool) -> Result<u64, StoreError> {
        match self {
            Self::Store(store) if changes_key => store.renew_master(&key(), false).await,
            Self::Store(store) => store.repack().await,
            Self::Fake(_) => Ok(0),
        }
    }

    /// Waits until that is done.
    pub(crate) async fn renewed(&self, number: u64) -> Result<(), StoreError> {
        match self {
            Self::Store(store) => store.renewed(number).await,
            Self::Fake(_) => Ok(()),
        }
    }

    pub(crate) async fn snapshot(&self, names: &[TreeName]) -> Result<(), StoreError> {
        either!(Self::Store, self, store => store.snapshot(names).await)
    }

    pub(crate) async fn snapshot_with_bitmaps(
        &self,
        names: &[TreeName],
        bitmap: &str,
    ) -> Result<(), StoreError> {
        either!(Self::Store, self, store => store.snapshot_with_bitmaps(names, bitmap).await)
    }

    pub(crate) fn list_bitmaps(&self) -> Vec<BitmapName> {
        let list = either!(Self::Store, self, store => store.list_bitmaps());
        list.into_iter().map(|info| info.name).collect()
    }

    /// Whether a bitmap was given up for lack of space.
    pub(crate) fn is_given_up(&self, volume: &str, bitmap: &str) -> bool {
        let list = either!(Self::Store, self, store => store.list_bitmaps());
        list.into_iter().any(|info| {
            let name = &info.name;
            info.given_up && name.volume_name() == volume && name.bitmap_name() == bitmap
        })
    }

    pub(crate) async fn create_bitmap(&self, name: &BitmapName) -> Result<(), StoreError> {
        either!(Self::Store, self, store => store.create_bitmap(name).await)
    }

    pub(crate) async fn clear_bitmap(&self, name: &BitmapName) -> Result<(), StoreError> {
        either!(Self::Store, self, store => store.clear_bitmap(name).await)
    }

    pub(crate) async fn delete_bitmap(&self, name: &BitmapName) -> Result<(), StoreError> {
        either!(Self::Store, self, store => store.delete_bitmap(name).await)
    }

    pub(crate) async fn rollback(&self, snapshot: &TreeName) -> Result<(), StoreError> {
        either!(Self::Store, self, store => store.rollback(snapshot).await)
    }
}

impl Handle {
    pub(crate) fn size(&self) -> u64 {
        either!(Self::Disk, self, disk => disk.size())
    }

    pub(crate) fn is_writable(&self) -> bool {
        either!(Self::Disk, self, disk => disk.is_writable())
    }

    pub(crate) async fn read(&self, first: u64, blocks: usize) -> IoResult<Buf> {
        either!(Self::Disk, self, disk => disk.read(first, blocks).await)
    }

    pub(crate) async fn write(
        &self,
        first: u64,
        data: Buf,
        durability: Durability,
    ) -> IoResult<()> {
        either!(Self::Disk, self, disk => disk.write(first, data, durability).await)
    }

    pub(crate) async fn zero(
        &self,
        first: u64,
        blocks: u64,
        durability: Durability,
    ) -> IoResult<()> {
        either!(Self::Disk, self, disk => disk.zero(first, blocks, durability).await)
    }

    pub(crate) async fn flush(&self) -> IoResult<()> {
        either!(Self::Disk, self, disk => disk.flush().await)
    }

    pub(crate) async fn status(
        &self,
        first: u64,
        blocks: u64,
        runs_max: usize,
    ) -> IoResult<Vec<StatusRun>> {
        either!(Self::Disk, self, disk => disk.status(first, blocks, runs_max).await)
    }

    /// Which blocks differ from what a bitmap is compared with.
    pub(crate) async fn changes(
        &self,
        bitmap: &str,
        first: u64,
        blocks: u64,
        runs_max: usize,
    ) -> IoResult<Vec<StatusRun>> {
        match self {
            Self::Disk(disk) => {
                let mut bitmaps = disk.bitmaps().into_iter();
                let found = bitmaps.find(|(name, _)| name == bitmap);
                let (_, mark) = found.ok_or(Error::Refused(Refusal::Invalid))?;
                disk.changes(mark, first, blocks, runs_max).await
            }
            Self::Fake(disk) => disk.changes(bitmap, first, blocks, runs_max).await,
        }
    }

    pub(crate) fn cache(&self, first: u64, blocks: u64) {
        match self {
            Self::Disk(disk) => disk.cache(first, blocks),
            Self::Fake(_) => {}
        }
    }
}
