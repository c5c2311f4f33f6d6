//! Disks on NFS: the contract of a backend, and who may write, on a real server.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

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
        self.location_at(self.port, name, "")
    }

    /// The same where NFS is reached at another port, with more options.
    fn location_at(&self, port: u16, name: &str, options: &str) -> Location {
        let mount_port = self.port + 1;
        let url = format!("nfs://127.0.0.1:{port}/export/{name}?mountport={mount_port}{options}");
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

/// What stands between a client and a server, and says for a while that everything of NFS is to be
/// asked for later, as servers do that fetch a file from tape or are about to hand it on.
struct Hesitant {
    port: u16,
    /// How many calls are still put off.
    left: AtomicU32,
    /// How many were.
    put_off: AtomicU32,
}

/// `NFS3ERR_JUKEBOX`, with nothing known of the file before or after.
const LATER: [u32; 3] = [10_008, 0, 0];

impl Hesitant {
    /// Stands before the server at `port`, for as long as the process lives.
    fn before(port: u16) -> Arc<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let hesitant = Arc::new(Self {
            port: listener.local_addr().expect("an address").port(),
            left: AtomicU32::new(0),
            put_off: AtomicU32::new(0),
        });
        let this = Arc::clone(&hesitant);
        in_background(move || {
            for client in listener.incoming() {
                let client = client.expect("a connection");
                let server = TcpStream::connect(("127.0.0.1", port)).expect("the server");
                let (from, to) = (server.try_clone(), client.try_clone());
                let to = Arc::new(Mutex::new(to.expect("a socket")));
                let (this, answers) = (Arc::clone(&this), Arc::clone(&to));
                in_background(move || this.pass_calls(client, server, &answers));
                in_background(move || pass(from.expect("a socket"), &to, |_| false));
            }
        });
        hesitant
    }

    /// Puts the next `count` calls off, and none after that.
    fn put_off(&self, count: u32) {
        self.left.store(count, Ordering::SeqCst);
        self.put_off.store(0, Ordering::SeqCst);
    }

    fn pass_calls(&self, client: TcpStream, server: TcpStream, answers: &Mutex<TcpStream>) {
        let server = Mutex::new(server);
        pass(client, &server, |call| {
            let left = |left: u32| left.checked_sub(1);
            let order = Ordering::SeqCst;
            if self.left.fetch_update(order, order, left).is_err() {
                return false;
            }
            self.put_off.fetch_add(1, order);
            let xid = u32::from_be_bytes(call[4..8].try_into().expect("four"));
            // A reply that is accepted, without a verifier, and done.
            let words = [&[1 << 31 | 36, xid, 1, 0, 0, 0, 0][..], &LATER].concat();
            let reply: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            let mut to = answers.lock().expect("no panic");
            to.write_all(&reply).expect("the client listens");
            true
        });
    }
}

/// Passes records on, mark and all, until an end; but none that is `taken`.
fn pass(mut from: TcpStream, to: &Mutex<TcpStream>, taken: impl Fn(&[u8]) -> bool) {
    let next = |from: &mut TcpStream| {
        let mut record = vec![0; 4];
        loop {
            let mark = record.len() - 4;
            from.read_exact(&mut record[mark..])?;
            let mark = u32::from_be_bytes(record[mark..].try_into().expect("four"));
            let from_here = record.len();
            record.resize(from_here + (mark & !(1 << 31)) as usize, 0);
            from.read_exact(&mut record[from_here..])?;
            if mark & 1 << 31 != 0 {
                return Ok::<_, std::io::Error>(record);
            }
            record.extend([0; 4]);
        }
    };
    while let Ok(record) = next(&mut from) {
        let passed = || to.lock().expect("no panic").write_all(&record);
        if !taken(&record) && passed().is_err() {
            break;
        }
    }
    let _ = to.lock().expect("no panic").shutdown(Shutdown::Both);
}

fn in_background(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().spawn(work).expect("a thread");
}

#[test]
fn a_server_that_asks_for_it_is_asked_again_later() {
    const PUT_OFF: u32 = 6;
    let server = Server::start("nfs-later", 29_030);
    let hesitant = Hesitant::before(server.port);
    let place = server.location_at(hesitant.port, "later", "");
    env::block_on(async move {
        backend::make(&place, Some(SIZE)).await.expect("it is made");
        let put_off = |count| hesitant.put_off(count);
        let all_came = || assert_eq!(hesitant.left.load(Ordering::SeqCst), 0);
        put_off(PUT_OFF);
        let disk = backend::open(&place, Access::Write).await;
        let disk = disk.expect("it is there");
        all_came();
        put_off(PUT_OFF);
        let data = Buf::from(&[7; 4096][..]);
        disk.write(4096, data).await.expect("a write");
        all_came();
        put_off(PUT_OFF);
        disk.flush().await.expect("a flush");
        all_came();
        put_off(PUT_OFF);
        let at = Extent::between(4096, 8192);
        let read = disk.read(at, Buf::new(4096)).await.expect("a read");
        assert!(read.iter().all(|byte| *byte == 7));
        all_came();
        drop(disk);
        drop(server);
    })
    .expect("a ring");
}

#[test]
fn a_server_that_only_puts_off_is_an_error_in_the_end_and_is_not_pressed() {
    const WAIT: Duration = Duration::from_secs(5);
    let server = Server::start("nfs-never", 29_040);
    let hesitant = Hesitant::before(server.port);
    let place = server.location_at(hesitant.port, "never", "&timeout=5");
    env::block_on(async move {
        backend::make(&place, Some(SIZE)).await.expect("it is made");
        let disk = backend::open(&place, Access::Write).await;
        let disk = disk.expect("it is there");
        let block = |byte| Buf::from(&[byte; 4096][..]);
        disk.write(0, block(1)).await.expect("a write");
        let at = Extent::between(0, 4096);
        hesitant.put_off(u32::MAX);
        let before = env::now();
        disk.write(0, block(2)).await.expect_err("never done");
        let took = env::now() - before;
        assert!(took >= WAIT && took < 2 * WAIT, "{took:?}");
        let tries = hesitant.put_off.load(Ordering::SeqCst);
        assert!((6..60).contains(&tries), "{tries} tries");
        // It was not done, so nothing of it can come late: the disk goes on.
        hesitant.put_off(0);
        disk.write(0, block(3)).await.expect("a write");
        disk.flush().await.expect("a flush");
        let read = disk.read(at, Buf::new(4096)).await.expect("a read");
        assert!(read.iter().all(|byte| *byte == 3));
        drop(disk);
        drop(server);
    })
    .expect("a ring");
}
