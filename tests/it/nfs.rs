//! Disks on NFS: the contract of a backend, and who may write, on a real server.

use std::path::PathBuf;
use std::process::Command;

use bedplate::backend::{self, Access, Backend, Location};
use bedplate::base::{Buf, Extent};
use bedplate::env;

use crate::backend_contract::{SIZE, is_made_grown_and_taken_away};

/// A server of a test's own, which goes with it.
struct Server {
    folder: PathBuf,
    port: u16,
}

impl Server {
    fn start(name: &str, port: u16) -> Self {
        let folder = std::env::temp_dir().join(format!("bp-{name}-{}", std::process::id()));
        let server = Self { folder, port };
        server.script("start", &[&port.to_string()]);
        server
    }

    fn script(&self, command: &str, words: &[&str]) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/nfs-server");
        let done = Command::new(script)
            .arg(command)
            .arg(&self.folder)
            .args(words)
            .output()
            .expect("scripts/nfs-server runs");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(
            done.status.success(),
            "scripts/nfs-server {command}: {said}"
        );
    }

    fn location(&self, name: &str) -> Location {
        let (port, mount_port) = (self.port, self.port + 1);
        let url = format!("nfs://127.0.0.1:{port}/export/{name}?mountport={mount_port}");
        Location::parse(&url).expect("a place")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        env::detached_done(std::time::Duration::from_secs(10));
        self.script("kill", &[]);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn a_file_keeps_the_contract_and_grows() {
    let server = Server::start("nfs-contract", 29_010);
    std::fs::create_dir(server.folder.join("export/deep")).expect("a folder");
    let place = server.location("deep/contract");
    env::block_on(async move {
        is_made_grown_and_taken_away(&place, "no such file").await;
    })
    .expect("a ring");
    drop(server);
}

#[test]
fn nothing_is_lost_when_the_server_is_killed_and_started_again() {
    const BYTES: usize = 64 << 10;
    let server = Server::start("nfs-restart", 29_020);
    let place = server.location("restart");
    env::block_on(async move {
        backend::make(&place, Some(SIZE)).await.expect("it is made");
        let disk = backend::open(&place, Access::Write)
            .await
            .expect("it is there");
        // The second time the server is another instance, to which everything is sent again.
        for round in 1..=3_u8 {
            for at in (0..SIZE).step_by(BYTES) {
                let data = Buf::from(&[round; BYTES][..]);
                disk.write(at, data).await.expect("a write");
                if at == SIZE / 2 {
                    server.script("kill", &[]);
                    server.script("start", &[&server.port.to_string()]);
                }
            }
            disk.flush().await.expect("a flush");
            let all = Extent::between(0, SIZE);
            let read = disk.read(all, Buf::new(all.len())).await.expect("a read");
            assert!(read.iter().all(|byte| *byte == round));
        }
        drop(disk);
        drop(server);
    })
    .expect("a ring");
}
