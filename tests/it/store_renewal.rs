//! Renewal in a simulation: everything is written again, under another master key or packed
//! otherwise, whatever happens meanwhile.

use std::sync::Arc;
use std::time::Duration;

use bedplate::backend::{Backend, Faulty};
use bedplate::base::{Buf, Durability, Extent};
use bedplate::codec::{AREA_BYTES, Cipher, Cost, Credential, Secret};
use bedplate::env::{self, sim};
use bedplate::store::check::{self, Depth};
use bedplate::store::inspect::{self, What};
use bedplate::store::{
    Compression, Creation, Disk, Encryption, KeyChange, NewKey, Properties, Store, StoreError,
    create, list_keys,
};

use crate::store_kit::{BLOCK, SEGMENT, backend, block, crash, disk_of, name, tiny};

const BLOCKS: u64 = 600;

/// Where the first copy of the key slots is.
const SLOTS: u64 = 1 << 20;

fn key(byte: u8) -> Credential {
    Credential::KeyFile(Secret::new(vec![byte; 32]))
}

fn new_key(byte: u8) -> NewKey {
    NewKey {
        credential: key(byte),
        label: format!("key {byte}"),
        cost: Cost::default(),
    }
}

async fn made(disk: &Faulty, cipher: Cipher) {
    let key = key(1);
    let creation = Creation {
        segment_bytes: Some(SEGMENT),
        encryption: Some(Encryption {
            cipher,
            key: &key,
            cost: Cost::default(),
        }),
        ..Creation::default()
    };
    create(backend(disk), creation).await.expect("a store");
}

async fn opened(disk: &Faulty) -> Arc<Store> {
    let store = Store::open(backend(disk), tiny(), Some(&key(1))).await;
    store.expect("it opens")
}

/// A volume in which two blocks of three are text that packs well.
async fn filled(store: &Store, compression: Compression) -> Disk {
    let properties = Properties {
        compression,
        ..Properties::default()
    };
    let made = store.create_volume("v", BLOCKS * BLOCK as u64, properties);
    made.await.expect("a volume");
    let disk = store.disk(&name("v")).expect("it is there");
    for lba in 0..BLOCKS {
        let written = disk.write(lba, content(lba), Durability::Cached);
        written.await.expect("written");
    }
    disk
}

fn content(lba: u64) -> Buf {
    let mut bytes = block(lba);
    if !lba.is_multiple_of(3) {
        let words = format!("a line of text about block {lba}; ");
        let text = words.bytes().cycle().take(BLOCK - 512);
        bytes[512..].copy_from_slice(&text.collect::<Vec<u8>>());
    }
    bytes
}

async fn holds_all(disk: &Disk) {
    for lba in 0..BLOCKS {
        let read = disk.read(lba, 1).await.expect("read");
        assert!(read[..] == content(lba)[..], "block {lba}");
    }
}

/// The mounts whose keys the root has.
async fn mounts(disk: &Faulty) -> Vec<u64> {
    let shown = inspect::inspect(&backend(disk), What::Root, Some(&key(1))).await;
    let shown = serde_json::to_value(shown.expect("a root")).expect("JSON");
    let mut sections = shown.as_array().expect("sections").iter();
    let mounts = sections.find(|section| section["section"] == "mounts");
    let rows = mounts.and_then(|mounts| mounts["rows"].as_array());
    let epoch = |row: &serde_json::Value| row["epoch"].as_u64().expect("a number");
    rows.expect("a table").iter().map(epoch).collect()
}

async fn proven(disk: &Faulty) {
    let report = check::check(&backend(disk), Depth::Data, Some(&key(1))).await;
    let findings = report.expect("a store").findings;
    assert!(findings.is_empty(), "{findings:?}");
}

/// What of segments is in use, packed, by a pass that begins now.
async fn stored(store: &Store) -> (u64, u64) {
    store.collect().await.expect("a pass");
    let space = store.counted().expect("counted").space;
    (space.unique, space.stored)
}

#[test]
fn nothing_is_left_under_the_old_master_key() {
    for cipher in Cipher::ALL {
        sim::run(1, async move {
            let disk = disk_of(120);
            made(&disk, cipher).await;
            let store = opened(&disk).await;
            let volume = filled(&store, Compression::Adaptive).await;
            store.snapshot(&[name("v@s")]).await.expect("a snapshot");
            store.close().await.expect("closed");
            drop(volume);
            let before = mounts(&disk).await;
            let at = Extent::between(SLOTS, SLOTS + AREA_BYTES as u64);
            let old_slots = disk.read(at, Buf::new(AREA_BYTES)).await.expect("read");

            let store = opened(&disk).await;
            let number = store.renew_master(&key(1), false).await.expect("begun");
            assert!(store.renewal().is_some());
            // It goes on being used.
            let volume = store.disk(&name("v")).expect("it is there");
            for lba in (0..BLOCKS).step_by(7) {
                let written = volume.write(lba, content(lba), Durability::Durable);
                written.await.expect("written");
            }
            store.renewed(number).await.expect("renewed");
            assert_eq!(store.renewal(), None);
            holds_all(&volume).await;
            holds_all(&store.disk(&name("v@s")).expect("it is there")).await;
            store.close().await.expect("closed");
            proven(&disk).await;
            let after = mounts(&disk).await;
            let newest = before.last().expect("one") + 1;
            assert_eq!(after, [newest + 1], "{before:?}");
            holds_all(&opened(&disk).await.disk(&name("v")).expect("there")).await;

            // Whoever kept a copy of the slots has the old master key, and that opens nothing.
            for copy in [0, 64 << 10] {
                let bytes = Buf::from(&old_slots[..]);
                disk.write(SLOTS + copy, bytes).await.expect("written");
            }
            let refused = Store::open(backend(&disk), tiny(), Some(&key(1))).await;
            let Err(StoreError::Damaged(why)) = refused else {
                panic!("{refused:?}");
            };
            assert!(why.contains("mark of the store's key"), "{why}");
        });
    }
}

#[test]
fn other_keys_are_lost_only_if_they_may_be() {
    sim::run(2, async {
        let disk = disk_of(96);
        made(&disk, Cipher::Xts).await;
        let store = opened(&disk).await;
        let first = key(1);
        let added = store.change_keys(&first, KeyChange::Add(new_key(2)));
        assert_eq!(added.await, Ok(Some(1)));
        let refused = store.renew_master(&key(1), false).await;
        let why = "these other keys would not open it any more: 1".to_owned();
        assert_eq!(refused, Err(StoreError::Invalid(why)));
        let wrong = store.renew_master(&key(3), true).await;
        assert!(matches!(wrong, Err(StoreError::Locked(_))), "{wrong:?}");
        assert_eq!(store.renewal(), None);
        let number = store.renew_master(&key(1), true).await.expect("begun");
        // What opens it is changed while that goes on.
        let added = store.change_keys(&first, KeyChange::Add(new_key(4)));
        added.await.expect("added");
        store.renewed(number).await.expect("renewed");
        store.close().await.expect("closed");
        let (_, listed) = list_keys(&backend(&disk)).await.expect("its keys");
        let labels: Vec<&str> = listed.iter().map(|info| info.label.as_str()).collect();
        assert_eq!(labels, ["key 4", "first"]);
        for (byte, opens) in [(1, true), (2, false), (3, false), (4, true)] {
            let store = Store::open(backend(&disk), tiny(), Some(&key(byte))).await;
            assert_eq!(store.is_ok(), opens, "key {byte}");
            if let Ok(store) = store {
                store.close().await.expect("closed");
            }
        }
    });
}

#[test]
fn a_change_of_the_master_key_happens_or_does_not() {
    let mut ended_with = [0, 0];
    for cut in 0..120 {
        let disk = disk_of(96);
        let lost = disk.clone();
        let was_answered = sim::run(cut, async move {
            made(&lost, Cipher::Xts).await;
            let store = opened(&lost).await;
            let volume = filled(&store, Compression::Adaptive).await;
            volume.flush().await.expect("flushed");
            let (first, patience) = (key(1), Duration::from_micros(cut * 150));
            let begun = env::timeout(patience, store.renew_master(&first, false)).await;
            matches!(begun, Some(Ok(_)))
        });
        crash(&disk, cut);
        let is_new = sim::run(cut, async move {
            proven(&disk).await;
            let store = opened(&disk).await;
            let (_, slots) = list_keys(&backend(&disk)).await.expect("its keys");
            assert_eq!(slots.len(), 1);
            // With the new key the renewal is begun, and never forgotten.
            let is_new = store.renewal().is_some();
            while store.renewal().is_some() {
                env::sleep(Duration::from_millis(1)).await;
            }
            holds_all(&store.disk(&name("v")).expect("it is there")).await;
            store.close().await.expect("closed");
            proven(&disk).await;
            is_new
        });
        assert!(is_new || !was_answered);
        ended_with[usize::from(is_new)] += 1;
    }
    assert!(
        ended_with.iter().all(|worlds| *worlds > 10),
        "{ended_with:?}"
    );
}

#[test]
fn everything_is_packed_as_its_volume_wants_it() {
    sim::run(4, async {
        let disk = disk_of(120);
        made(&disk, Cipher::Xts).await;
        let store = opened(&disk).await;
        let volume = filled(&store, Compression::Off).await;
        // It is packed as its volume.
        store.snapshot(&[name("v@s")]).await.expect("a snapshot");
        let (unique, mut last) = stored(&store).await;
        assert_eq!(last, unique);
        for (compression, is_smaller) in [
            (Compression::Lz4, true),
            (Compression::Adaptive, true),
            (Compression::Off, false),
            (Compression::Zstd, true),
        ] {
            let change = |all: &mut Properties| all.compression = compression;
            let changed = store.change_properties("v", change).await;
            changed.expect("changed");
            let number = store.repack().await.expect("begun");
            store.renewed(number).await.expect("renewed");
            let (same, now) = stored(&store).await;
            assert_eq!(same, unique);
            assert_eq!(
                now < last,
                is_smaller,
                "{compression:?}: {now} after {last}"
            );
            last = now;
            holds_all(&volume).await;
        }
        // Clones that want it cheaper to read have their way.
        let cloned = store.clone_volume(&name("v"), "c").await;
        cloned.expect("a clone");
        let change = |all: &mut Properties| all.compression = Compression::Off;
        let changed = store.change_properties("c", change).await;
        changed.expect("changed");
        let number = store.repack().await.expect("begun");
        store.renewed(number).await.expect("renewed");
        assert_eq!(stored(&store).await, (unique, unique));
        store.close().await.expect("closed");
        proven(&disk).await;
    });
}

#[test]
fn a_renewal_goes_on_after_a_crash_and_ends_when_told() {
    let disk = disk_of(120);
    let lost = disk.clone();
    sim::run(5, async move {
        made(&lost, Cipher::Gcm).await;
        let store = opened(&lost).await;
        filled(&store, Compression::Off).await;
        store.repack().await.expect("begun");
        store.collect().await.expect("a pass");
        let under_way = store.renewal().expect("under way");
        assert!(under_way.done < under_way.of, "{under_way:?}");
    });
    crash(&disk, 5);
    sim::run(6, async move {
        let store = opened(&disk).await;
        assert!(store.renewal().is_some(), "it was forgotten");
        store.stop_renewal();
        assert_eq!(store.renewal(), None);
        let stopped = store.renewed(1).await;
        assert!(
            matches!(stopped, Err(StoreError::Unfinished(_))),
            "{stopped:?}"
        );
        let number = store.repack().await.expect("begun");
        store.renewed(number).await.expect("renewed");
        holds_all(&store.disk(&name("v")).expect("it is there")).await;
        store.close().await.expect("closed");
        let store = opened(&disk).await;
        assert_eq!(store.renewal(), None);
    });
}

#[test]
fn what_cannot_be_read_ends_a_renewal_and_stays() {
    sim::run(6, async {
        let disk = disk_of(96);
        made(&disk, Cipher::Xts).await;
        let store = opened(&disk).await;
        let volume = filled(&store, Compression::Off).await;
        store.collect().await.expect("a pass");
        // In the middle of the blocks.
        let segment = Extent::between(2 << 20, (2 << 20) + 96 * u64::from(SEGMENT));
        let middle = segment.offset() + 10 * u64::from(SEGMENT) + 40_000;
        let at = Extent::between(middle / 512 * 512, middle / 512 * 512 + 512);
        let mut bytes = disk.read(at, Buf::new(512)).await.expect("read");
        bytes[3] ^= 1;
        disk.write(at.offset(), bytes).await.expect("written");
        let number = store.repack().await.expect("begun");
        let renewed = store.renewed(number).await;
        let Err(StoreError::Unfinished(why)) = renewed else {
            panic!("{renewed:?}");
        };
        assert!(why.starts_with("1 segments"), "{why}");
        let mut lost = 0;
        for lba in 0..BLOCKS {
            match volume.read(lba, 1).await {
                Ok(read) => assert!(read[..] == content(lba)[..], "block {lba}"),
                Err(_) => lost += 1,
            }
        }
        assert_eq!(lost, 1);
        // It takes what is written.
        let written = volume.write(0, content(0), Durability::Durable);
        written.await.expect("written");
    });
}
