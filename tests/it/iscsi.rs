//! Disks on iSCSI: the contract of a backend, who may write, and what becomes of requests when the
//! target goes and comes back, on a real target.

use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use bedplate::backend::{self, Access, Backend, Location};
use bedplate::base::Error;
use bedplate::env;

use crate::backend_contract::{block, first_byte, keeps_the_contract, open};

/// A target of a test's own, which goes with it.
struct Target {
    folder: PathBuf,
    port: u16,
}

impl Target {
    fn start(port: u16) -> Self {
        let name = format!("bp-iscsi-{}-{port}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let target = Self { folder, port };
        target.script(&["start"], &[&port.to_string()]);
        target
    }

    fn script(&self, command: &[&str], words: &[&str]) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/iscsi-target");
        let done = Command::new(script)
            .args(command)
            .arg(&self.folder)
            .args(words)
            .output()
            .expect("scripts/iscsi-target runs");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(
            done.status.success(),
            "scripts/iscsi-target {command:?}: {said}"
        );
    }

    fn location(&self, user: &str, rest: &str) -> Location {
        let url = format!(
            "iscsi://{user}127.0.0.1:{}/iqn.2026-01.bedplate:{rest}",
            self.port
        );
        Location::parse(&url).expect("a place")
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        env::detached_done(Duration::from_secs(10));
        self.script(&["kill"], &[]);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn a_disk_of_a_target_keeps_the_contract() {
    let target = Target::start(28_000);
    let plain = target.location("", "disk/1");
    let (secret, target_secret) = (target.file("secret"), target.file("target-secret"));
    let guarded = format!(
        "chap/1?secret-file={secret}&target-user=target1&target-secret-file={target_secret}\
         &header-digest=crc32c"
    );
    let guarded = target.location("alice@", &guarded);
    env::block_on(async move {
        for place in [plain, guarded] {
            keeps_the_contract(&open(&place).await).await;
        }
    })
    .expect("a ring");
    drop(target);
}

#[test]
fn one_server_at_a_time_may_write() {
    let target = Target::start(28_010);
    let place = target.location("", "disk/1");
    let other = target.location("", "disk/2");
    env::block_on(async move {
        let first = open(&place).await;
        let beside = open(&other).await;
        for access in [Access::Read, Access::Write] {
            let refused = backend::open(&place, access).await;
            let refused = refused.expect_err("it is in use").to_string();
            assert!(refused.contains("in use by another server"), "{refused}");
        }
        first.write(0, block(1)).await.expect("it is still ours");
        drop((first, beside));
        // Who has gone has let go, which need not be waited for.
        env::blocking(|| env::detached_done(Duration::from_secs(10))).await;
        let again = open(&place).await;
        assert_eq!(first_byte(&again, 0).await, 1);
    })
    .expect("a ring");
    drop(target);
}

#[test]
fn requests_wait_for_a_target_that_is_killed_and_comes_back() {
    let target = Target::start(28_020);
    let place = target.location("", "disk/1");
    let target = Rc::new(target);
    let killer = Rc::clone(&target);
    env::block_on(async move {
        let disk = open(&place).await;
        for round in 0..3_u8 {
            let writes = (0..32_u64).map(|index| {
                let disk = &disk;
                async move {
                    for turn in 0..200 {
                        let offset = (index * 200 + turn) * 4096;
                        let data = block(u8::try_from(index).expect("small") ^ round ^ 0x80);
                        disk.write(offset, data).await.expect("a write that waited");
                    }
                }
            });
            let restart = async {
                env::sleep(Duration::from_millis(100)).await;
                let folder = killer.folder.clone();
                let target = Target {
                    folder,
                    port: killer.port,
                };
                env::blocking(move || {
                    target.script(&["kill"], &[]);
                    target.script(&["start"], &[]);
                    std::mem::forget(target);
                })
                .await;
            };
            let mut all: Vec<std::pin::Pin<Box<dyn Future<Output = ()>>>> = vec![Box::pin(restart)];
            for write in writes {
                all.push(Box::pin(write));
            }
            env::all(all).await;
            disk.flush().await.expect("a flush");
            for index in 0..32_u64 {
                let wanted = u8::try_from(index).expect("small") ^ round ^ 0x80;
                for turn in 0..200 {
                    let offset = (index * 200 + turn) * 4096;
                    assert_eq!(
                        first_byte(&disk, offset).await,
                        wanted,
                        "{round} {index} {turn}"
                    );
                }
            }
        }
    })
    .expect("a ring");
    drop(target);
}

#[test]
fn requests_fail_when_their_patience_ends_and_work_again_later() {
    let target = Target::start(28_030);
    let place = target.location("", "disk/1?timeout=2");
    let target = Rc::new(target);
    let handle = Rc::clone(&target);
    env::block_on(async move {
        let disk = open(&place).await;
        disk.write(0, block(1)).await.expect("a write");
        handle.script(&["signal"], &["STOP"]);
        let written = disk.write(4096, block(2)).await;
        assert!(matches!(written, Err(Error::Unknown(_))), "{written:?}");
        handle.script(&["signal"], &["CONT"]);
        disk.write(4096, block(3))
            .await
            .expect("the target is there again");
        disk.flush().await.expect("a flush");
        assert_eq!(first_byte(&disk, 0).await, 1);
        assert_eq!(first_byte(&disk, 4096).await, 3);
    })
    .expect("a ring");
    drop(target);
}
