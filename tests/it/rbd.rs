//! Disks on Ceph: the contract of a backend, and who may write, on a real cluster.

use std::cell::Cell;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use bedplate::backend::{self, Backend, Location};
use bedplate::base::{Buf, Error, Extent};
use bedplate::env;

use crate::backend_contract::{block, first_byte, is_made_grown_and_taken_away, open};

/// A cluster of this test's own, which goes with it.
struct Cluster(PathBuf);

impl Cluster {
    fn start(port: u16) -> Self {
        // Sockets have short paths, and a cluster has some in its folder.
        let name = format!("bp-ceph-{port}-{}", std::process::id());
        let cluster = Self(std::env::temp_dir().join(name));
        cluster.script(&["start"], &[&port.to_string()]);
        cluster
    }

    fn script(&self, command: &[&str], words: &[&str]) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/ceph");
        let done = Command::new(script)
            .args(command)
            .arg(&self.0)
            .args(words)
            .output()
            .expect("scripts/ceph runs");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "scripts/ceph {command:?}: {said}");
    }

    /// The place of an image, with what is to follow in its URL.
    fn location(&self, image: &str, options: &str) -> Location {
        let conf = self.0.join("ceph.conf").display().to_string();
        Location::parse(&format!("rbd:rbd/{image}?conf={conf}{options}")).expect("a place")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        env::detached_done(std::time::Duration::from_secs(10));
        self.script(&["kill"], &[]);
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn an_image_keeps_the_contract_and_grows() {
    let cluster = Cluster::start(27_000);
    let place = cluster.location("contract", "");
    env::block_on(async move {
        is_made_grown_and_taken_away(&place, "no such image").await;
    })
    .expect("a ring");
    drop(cluster);
}

#[test]
fn requests_fail_when_their_time_is_up_and_are_not_done_later() {
    let cluster = Rc::new(Cluster::start(27_040));
    let place = cluster.location("slow", "&timeout=2");
    let handle = Rc::clone(&cluster);
    env::block_on(async move {
        backend::make(&place, Some(64 << 20)).await.expect("made");
        let disk = open(&place).await;
        disk.write(0, block(1)).await.expect("a write");
        handle.script(&["signal"], &["osd", "STOP"]);
        // Reads that fail leave the disk as it is.
        let read = disk.read(Extent::between(0, 4096), Buf::new(4096)).await;
        assert!(matches!(read, Err(Error::Failed(_))), "{read:?}");
        handle.script(&["signal"], &["osd", "CONT"]);
        disk.write(0, block(2)).await.expect("the OSD is back");
        handle.script(&["signal"], &["osd", "STOP"]);
        let written = disk.write(4096, block(3)).await;
        assert!(matches!(written, Err(Error::Unknown(_))), "{written:?}");
        handle.script(&["signal"], &["osd", "CONT"]);
        let written = disk.write(4096, block(4)).await;
        assert!(matches!(written, Err(Error::Failed(_))), "{written:?}");
        drop(disk);
        // What was on its way may have been done until the image is open again, and not after.
        let disk = open(&place).await;
        assert_eq!(first_byte(&disk, 0).await, 2);
        assert!([0, 3].contains(&first_byte(&disk, 4096).await));
        disk.write(4096, block(5)).await.expect("a write");
        env::sleep(Duration::from_secs(1)).await;
        assert_eq!(first_byte(&disk, 4096).await, 5);
    })
    .expect("a ring");
    drop(cluster);
}

#[test]
fn who_asks_for_the_size_of_a_changed_image_keeps_nobody_else_waiting() {
    let cluster = Rc::new(Cluster::start(27_080));
    let place = cluster.location("grown", "&timeout=3");
    let handle = Rc::clone(&cluster);
    env::block_on(async move {
        backend::make(&place, Some(64 << 20)).await.expect("made");
        let disk = Rc::new(open(&place).await);
        assert_eq!(first_byte(&disk, 0).await, 0);
        let grown = backend::grow(&place, 128 << 20).await;
        grown.expect("an OSD that answers");
        handle.script(&["signal"], &["osd", "STOP"]);
        // On this reactor, which goes on.
        let reading = Rc::clone(&disk);
        let (done, began) = (Rc::new(Cell::new(false)), env::now());
        let note = Rc::clone(&done);
        env::spawn(async move {
            let read = reading.read(Extent::between(0, 4096), Buf::new(4096)).await;
            assert!(matches!(read, Err(Error::Failed(_))), "{read:?}");
            note.set(true);
        });
        env::sleep(Duration::from_millis(100)).await;
        assert!(!done.get(), "the OSD does not answer");
        while !done.get() {
            assert!(
                env::now().since(began) < Duration::from_secs(60),
                "for ever"
            );
            env::sleep(Duration::from_millis(100)).await;
        }
        handle.script(&["signal"], &["osd", "CONT"]);
        assert_eq!(first_byte(&disk, 0).await, 0);
    })
    .expect("a ring");
    drop(cluster);
}
