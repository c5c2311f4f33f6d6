//! What 10,000 control calls do to the clients of a loaded server, and how long they take.
//!
//! A server of one store is read and written by `bedplate bench`, first with nobody else about,
//! then while four callers make 10,000 calls between them: most of them look, one in ten makes and
//! deletes a volume, a snapshot or a clone, or changes a property. Printed are the latencies of
//! the clients both times, and those of the calls. Run it with `cargo bench --bench control`; it
//! takes a minute.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use bedplate::control::Remote;
use bedplate::control::api::proto;
use bedplate::control::api::proto::server_client::ServerClient;
use bedplate::control::api::proto::snapshots_client::SnapshotsClient;
use bedplate::control::api::proto::volumes_client::VolumesClient;
use bedplate::env;
use hdrhistogram::Histogram;
use tonic::Status;
use tonic::transport::Channel;

const BEDPLATE: &str = env!("CARGO_BIN_EXE_bedplate");
/// The volume that its clients use.
const DISK: &str = "main/disk";
const CALLS: u64 = 10_000;
const CALLERS: u64 = 4;
/// How long the clients are at it each time, in seconds. With the calls, as long as these take.
const SECONDS: &str = "8";

fn main() {
    let folder = std::env::temp_dir().join(format!("bedplate-bench-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a folder");
    let mut server = start(&folder);
    for op in ["read", "write"] {
        let quiet = load(&folder, op).wait_with_output().expect("it ends");
        println!("{}", latencies(&format!("{op}, no calls"), &quiet.stdout));
        let under = load(&folder, op);
        let (calls, changes) = storm(&folder, op);
        let under = under.wait_with_output().expect("it ends");
        println!("{}", latencies(&format!("{op}, and calls"), &under.stdout));
        println!("{}", summary("  calls that look", &calls));
        println!("{}", summary("  calls that change", &changes));
    }
    server.kill().and_then(|()| server.wait()).expect("it ends");
    std::fs::remove_dir_all(&folder).expect("it is there");
}

/// A server of a store with a volume that is full of data.
fn start(folder: &Path) -> Child {
    let run = |words: &[&str]| {
        let done = Command::new(BEDPLATE)
            .args(words)
            .current_dir(folder)
            .status();
        assert!(done.expect("it runs").success(), "{words:?}");
    };
    run(&["store", "create", "store.img", "--size", "64G"]);
    let store = "main=store.img";
    run(&[
        "volume",
        "create",
        "main/disk",
        "--size",
        "512M",
        "--store",
        store,
    ]);
    let words = [
        "serve",
        "--store",
        store,
        "--nbd",
        "unix:nbd.sock",
        "--control",
        "c.sock",
    ];
    let mut server = Command::new(BEDPLATE)
        .args(words)
        .current_dir(folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let out = server.stdout.take().expect("piped");
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line).expect("a line");
    assert!(line.starts_with("ready: "), "{line}");
    run(&[
        "bench",
        &uri(folder),
        "--op",
        "write",
        "--pattern",
        "sequential",
        "--block",
        "256k",
        "--seconds",
        "5",
    ]);
    server
}

fn uri(folder: &Path) -> String {
    let socket = folder.join("nbd.sock");
    format!("nbd+unix:///main/disk?socket={}", socket.display())
}

fn load(folder: &Path, op: &str) -> Child {
    let uri = uri(folder);
    let words = [
        "bench",
        &uri,
        "--op",
        op,
        "--depth",
        "32",
        "--seconds",
        SECONDS,
        "--json",
    ];
    let mut command = Command::new(BEDPLATE);
    command.args(words).stdout(Stdio::piped());
    command.spawn().expect("it starts")
}

/// Makes the calls; gives how long those took that look, and those that change something.
fn storm(folder: &Path, round: &str) -> (Histogram<u64>, Histogram<u64>) {
    let next = AtomicU64::new(0);
    let new = || Histogram::new(3).expect("three digits");
    let (mut all_looks, mut all_changes) = (new(), new());
    let caller = || {
        let remote = Remote::connect(&folder.join("c.sock")).expect("a server");
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime");
        let (mut looks, mut changes) = (new(), new());
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= CALLS {
                return (looks, changes);
            }
            let began = env::now();
            let done = runtime.block_on(call(&remote, round, number));
            done.unwrap_or_else(|error| panic!("call {number}: {error}"));
            let took = u64::try_from((env::now() - began).as_nanos()).expect("centuries");
            match number % 10 {
                0 => changes.record(took),
                _ => looks.record(took),
            }
            .expect("it resizes itself");
        }
    };
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(caller)).collect();
        for caller in callers {
            let (looks, changes) = caller.join().expect("it did not panic");
            all_looks.add(looks).expect("alike");
            all_changes.add(changes).expect("alike");
        }
    });
    (all_looks, all_changes)
}

async fn call(remote: &Remote, round: &str, number: u64) -> Result<(), Status> {
    let volume = format!("{round}-{number}");
    match number % 10 {
        0 => {
            let kind = number / 10 % 4;
            let work = |channel| change(channel, kind, volume);
            remote.call(work).await
        }
        _ => remote.call(|channel| look(channel, number % 3)).await,
    }
}

async fn look(channel: Channel, kind: u64) -> Result<(), Status> {
    let mut volumes = VolumesClient::new(channel.clone());
    let name = DISK.to_owned();
    match kind {
        0 => {
            let message = proto::ListVolumesRequest::default();
            volumes.list(message).await.map(drop)
        }
        1 => {
            let message = proto::GetVolumeRequest { name };
            volumes.get(message).await.map(drop)
        }
        _ => {
            let mut server = ServerClient::new(channel);
            server.status(proto::StatusRequest {}).await.map(drop)
        }
    }
}

async fn change(channel: Channel, kind: u64, volume: String) -> Result<(), Status> {
    let mut volumes = VolumesClient::new(channel.clone());
    let name = format!("main/{volume}");
    let delete = proto::DeleteVolumeRequest { name: name.clone() };
    match kind {
        0 => {
            let message = proto::CreateVolumeRequest {
                name,
                size: 1 << 30,
                properties: None,
            };
            volumes.create(message).await?;
            volumes.delete(delete).await.map(drop)
        }
        1 => {
            let message = proto::CloneVolumeRequest {
                origin: DISK.to_owned(),
                new_name: volume,
            };
            volumes.create_clone(message).await?;
            volumes.delete(delete).await.map(drop)
        }
        2 => {
            let mut snapshots = SnapshotsClient::new(channel);
            let name = format!("{DISK}@{volume}");
            let names = vec![name.clone()];
            let bitmap = None;
            let message = proto::CreateSnapshotsRequest { names, bitmap };
            snapshots.create(message).await?;
            let message = proto::DeleteSnapshotRequest { name };
            snapshots.delete(message).await.map(drop)
        }
        _ => {
            let message = proto::SetVolumeRequest {
                name: DISK.to_owned(),
                properties: Some(proto::Properties::default()),
            };
            volumes.set(message).await.map(drop)
        }
    }
}

fn latencies(what: &str, json: &[u8]) -> String {
    let report: serde_json::Value = serde_json::from_slice(json).expect("a report");
    let micros = |key: &str| report[key].as_u64().expect("a number") / 1000;
    format!(
        "{what:<22} {:>9.0} a second, p50 {:>7} us, p99 {:>7} us, p99.9 {:>7} us, max {:>7} us",
        report["iops"].as_f64().expect("a number"),
        micros("latency_ns_p50"),
        micros("latency_ns_p99"),
        micros("latency_ns_p99_9"),
        micros("latency_ns_max"),
    )
}

fn summary(what: &str, took: &Histogram<u64>) -> String {
    format!(
        "{what:<22} {:>9} calls,    p50 {:>7} us, p99 {:>7} us, p99.9 {:>7} us, max {:>7} us",
        took.len(),
        took.value_at_quantile(0.5) / 1000,
        took.value_at_quantile(0.99) / 1000,
        took.value_at_quantile(0.999) / 1000,
        took.max() / 1000,
    )
}
