//! Disks on Ceph: the contract of a backend, and who may write, on a real cluster.

use std::path::PathBuf;
use std::process::Command;

use bedplate::backend::{self, Access, Backend, Location, Made};
use bedplate::base::{Buf, Extent};
use bedplate::env;

use crate::backend_contract::{SIZE, keeps_the_contract};

/// A cluster of this test's own, which goes with it.
struct Cluster(PathBuf);

impl Cluster {
    fn start(port: u16) -> Self {
        // Sockets have short paths, and a cluster has some in its folder.
        let cluster = Self(std::env::temp_dir().join(format!("bp-ceph-{}", std::process::id())));
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

    fn location(&self, image: &str) -> Location {
        let conf = self.0.join("ceph.conf").display().to_string();
        Location::parse(&format!("rbd:rbd/{image}?conf={conf}")).expect("a place")
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
    let cluster = Cluster::start(37_000);
    let place = cluster.location("contract");
    env::block_on(async move {
        let nowhere = backend::make(&place, None).await;
        nowhere.expect_err("there is no such image, and no size");
        let made = backend::make(&place, Some(SIZE)).await;
        assert_eq!(made.expect("it is made"), Made::Here);
        let disk = backend::open(&place, Access::Write)
            .await
            .expect("it is there");
        keeps_the_contract(&disk).await;
        let data = Buf::from(&[7; 4096][..]);
        disk.write(SIZE - 4096, data).await.expect("a write");
        drop(disk);

        // Whoever holds the lock is just going, and that is waited for.
        backend::grow(&place, 2 * SIZE).await.expect("it grows");
        let disk = backend::open(&place, Access::Write)
            .await
            .expect("free again");
        assert_eq!(disk.geometry().size, 2 * SIZE);
        let end = Extent::between(SIZE - 4096, SIZE + 4096);
        let read = disk.read(end, Buf::new(end.len())).await.expect("a read");
        assert!(read[..4096].iter().all(|byte| *byte == 7));
        assert!(read[4096..].iter().all(|byte| *byte == 0));
        drop(disk);

        let made = backend::make(&place, Some(SIZE)).await;
        assert_eq!(made.expect("it is there"), Made::Before);
        backend::unmake(&place).await;
        let gone = backend::open(&place, Access::Write).await;
        let gone = gone.expect_err("it was taken away").to_string();
        assert!(gone.contains("no such image"), "{gone}");
    })
    .expect("a ring");
    drop(cluster);
}
