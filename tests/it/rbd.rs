//! Disks on Ceph: the contract of a backend, and who may write, on a real cluster.

use std::path::PathBuf;
use std::process::Command;

use bedplate::backend::Location;
use bedplate::env;

use crate::backend_contract::is_made_grown_and_taken_away;

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
    let cluster = Cluster::start(27_000);
    let place = cluster.location("contract");
    env::block_on(async move {
        is_made_grown_and_taken_away(&place, "no such image").await;
    })
    .expect("a ring");
    drop(cluster);
}
