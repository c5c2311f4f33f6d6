//! Whole sessions in a simulation: clients that stop in the middle, and a server that stops.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bedplate::backend::{Checked, Faulty, Medium};
use bedplate::base::Buf;
use bedplate::env::{self, Stream, sim};
use bedplate::frontend::nbd::proto::{
    ClientHandshake, ClientStep, ClientWants, Framing, TlsPolicy, encode_request, wire,
};
use bedplate::frontend::nbd::{Server, serve};
use bedplate::volume::{Access, Catalog, RawDisk, Volume};

const DISK_BYTES: u64 = 64 << 20;

/// A server of one slow disk, `disk`.
fn server() -> Arc<Server> {
    server_of([volume("disk")])
}

/// A volume on a slow disk.
pub(crate) fn volume(name: &str) -> Arc<Volume> {
    let disk = RawDisk::new(Checked::new(Medium::Faulty(Faulty::new(DISK_BYTES, 512))));
    let volume = Volume::new(name.to_owned(), String::new(), Access::Write, disk);
    Arc::new(volume)
}

pub(crate) fn server_of(volumes: impl IntoIterator<Item = Arc<Volume>>) -> Arc<Server> {
    let catalog = Catalog::default();
    for volume in volumes {
        assert!(catalog.add(volume));
    }
    Server::new(Arc::new(catalog), None, TlsPolicy::Off)
}

/// A client in the transmission phase, and whether its session has ended.
pub(crate) struct Client {
    pub(crate) stream: Rc<Stream>,
    pub(crate) ended: Rc<Cell<bool>>,
}

impl Client {
    async fn connect(server: &Arc<Server>) -> Self {
        Self::connect_to(server, "disk").await
    }

    pub(crate) async fn connect_to(server: &Arc<Server>, export: &str) -> Self {
        let (near, far) = sim::pipe(64 << 10);
        let ended = Rc::new(Cell::new(false));
        let (server, end) = (Arc::clone(server), Rc::clone(&ended));
        env::spawn(async move {
            serve(far, server).await;
            end.set(true);
        });
        shake_hands(&near, export).await;
        let stream = Rc::new(near);
        Self { stream, ended }
    }

    pub(crate) async fn send(&self, bytes: Vec<u8>) {
        // A server that has hung up is what some of these tests are about.
        let _ = self.stream.send(bytes).await;
    }

    /// Receives until `bytes` have arrived, or everything has.
    pub(crate) async fn receive(&self, bytes: usize) -> Vec<u8> {
        let mut arrived = Vec::new();
        while arrived.len() < bytes {
            let (count, buf) = self.stream.receive(Buf::new(4096), 0).await;
            match count.expect("a pipe does not fail") {
                0 => break,
                count => arrived.extend_from_slice(&buf[..count]),
            }
        }
        arrived
    }
}

async fn shake_hands(stream: &Stream, export: &str) {
    let wants = ClientWants {
        structured: false,
        extended: false,
        allocation: false,
    };
    let mut handshake = ClientHandshake::new(export, wants);
    let mut arrived: Vec<u8> = Vec::new();
    loop {
        let mut out = Vec::new();
        let mut input = &arrived[..];
        let step = handshake.advance(&mut input, &mut out).expect("a server");
        arrived = input.to_vec();
        stream.send(out).await.0.expect("a listening server");
        if let ClientStep::Ready(_) = step {
            return;
        }
        let (count, buf) = stream.receive(Buf::new(4096), 0).await;
        arrived.extend_from_slice(&buf[..count.expect("a pipe does not fail")]);
    }
}

pub(crate) fn request(command: u16, offset: u64, length: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_request(Framing::Simple, 0, command, 7, offset, length, &mut bytes);
    bytes
}

#[test]
fn a_server_stops_under_a_client_in_the_middle_of_a_payload() {
    for seed in 0..100 {
        sim::run(seed, async {
            let server = server();
            let client = Client::connect(&server).await;
            client.send(request(wire::command::WRITE, 0, 1 << 20)).await;
            client.send(vec![7; 1000]).await;
            env::sleep(Duration::from_millis(sim::below(3))).await;
            let drained = env::timeout(Duration::from_secs(60), server.drain()).await;
            assert!(drained.is_some(), "draining waits for ever");
            env::sleep(Duration::from_secs(60)).await;
            assert!(client.ended.get(), "the session goes on");
        });
    }
}

#[test]
fn what_is_in_flight_is_answered_before_a_server_stops() {
    for seed in 0..100 {
        sim::run(seed, async {
            let server = server();
            let client = Client::connect(&server).await;
            let mut requests = Vec::new();
            for index in 0..20 {
                requests.extend(request(wire::command::READ, index * 512, 512));
            }
            client.send(requests).await;
            // By now the receiver has them, and the disk, which is slow, has answered few.
            env::end_of_turn().await;
            server.drain().await;
            env::sleep(Duration::from_millis(100)).await;
            let replies = client.receive(usize::MAX).await;
            assert_eq!(replies.len() % (16 + 512), 0, "half a reply");
            env::sleep(Duration::from_secs(60)).await;
            assert!(client.ended.get());
        });
    }
}

#[test]
fn a_client_that_vanishes_takes_nothing_with_it() {
    for seed in 0..100 {
        sim::run(seed, async {
            let server = server();
            let ended = {
                let client = Client::connect(&server).await;
                for index in 0..128 {
                    client
                        .send(request(wire::command::READ, index * 4096, 4096))
                        .await;
                }
                client.stream.shutdown();
                client.ended
            };
            env::sleep(Duration::from_secs(60)).await;
            assert!(ended.get(), "the session outlives its client");
            let other = Client::connect(&server).await;
            other.send(request(wire::command::READ, 0, 512)).await;
            assert_eq!(other.receive(528).await.len(), 528);
        });
    }
}

#[test]
fn clients_that_keep_payloads_back_do_not_starve_the_others() {
    sim::run(1, async {
        let server = server();
        let mut hoarders = Vec::new();
        for _ in 0..40 {
            let client = Client::connect(&server).await;
            client
                .send(request(wire::command::WRITE, 0, 32 << 20))
                .await;
            hoarders.push(client);
        }
        env::sleep(Duration::from_secs(1)).await;
        let honest = Client::connect(&server).await;
        honest.send(request(wire::command::READ, 0, 16 << 20)).await;
        let all = 16 + (16 << 20);
        let received = env::timeout(Duration::from_secs(120), honest.receive(all)).await;
        let bytes = received.map(|bytes| bytes.len());
        assert_eq!(bytes, Some(all), "an honest client waits for ever");
    });
}
