//! Whole sessions of clients of volumes with limits, in a simulation: who is held back holds back
//! nobody else, and neither its end nor the server's.

use std::sync::Arc;
use std::time::Duration;

use bedplate::env::{self, sim};
use bedplate::frontend::nbd::Server;
use bedplate::frontend::nbd::proto::wire::command;
use bedplate::volume::Volume;
use bedplate::volume::qos::Measure;

use crate::qos::limits;
use crate::sessions::{Client, request, server_of, volume};

/// What one read of 512 bytes is answered with, in bytes.
const REPLY: usize = 16 + 512;

/// A server of two disks, `slow` with one request a second, and `free`.
fn server() -> (Arc<Server>, Arc<Volume>) {
    let (slow, free) = (volume("slow"), volume("free"));
    slow.qos().set(limits(&[(Measure::Iops, 1)]));
    (server_of([Arc::clone(&slow), free]), slow)
}

/// Ends the server and every session, so that nothing is dropped unanswered.
async fn end(server: &Server) {
    server.drain().await;
    env::sleep(Duration::from_secs(60)).await;
}

fn reads(count: u64) -> Vec<u8> {
    let read = |index| request(command::READ, index * 512, 512);
    (0..count).flat_map(read).collect()
}

#[test]
fn a_server_stops_soon_under_clients_who_wait_for_hours() {
    for seed in 0..50 {
        sim::run(seed, async move {
            let (server, _) = server();
            let client = Client::connect_to(&server, "slow").await;
            // More than a connection may have unanswered, so the receiver waits, too.
            client.send(reads(500)).await;
            env::sleep(Duration::from_millis(3500)).await;
            let start = env::now();
            server.drain().await;
            let replies = client.receive(usize::MAX).await;
            assert!(env::now() - start < Duration::from_secs(5));
            assert!(client.ended.get());
            // What was taken is answered, and with data: it passes when the server stops.
            assert_eq!(replies.len() % REPLY, 0);
            assert!((200..=260).contains(&(replies.len() / REPLY)), "{seed}");
        });
    }
}

#[test]
fn a_client_that_vanishes_takes_what_waits_with_it() {
    for (seed, count) in [3, 250, 500, 3].into_iter().enumerate() {
        sim::run(seed as u64, async move {
            let (server, slow) = server();
            let gone = Client::connect_to(&server, "slow").await;
            gone.send(reads(count)).await;
            env::sleep(Duration::from_millis(1500)).await;
            gone.stream.shutdown();
            env::sleep(Duration::from_secs(1)).await;
            assert!(gone.ended.get(), "the session outlives its client");
            // What it asked for is not charged: somebody else is next.
            let other = Client::connect_to(&server, "slow").await;
            other.send(reads(3)).await;
            let served = env::timeout(Duration::from_secs(4), other.receive(3 * REPLY)).await;
            assert_eq!(served.map(|bytes| bytes.len()), Some(3 * REPLY));
            assert!(slow.qos().waits().requests > 0);
            end(&server).await;
        });
    }
}

#[test]
fn a_client_that_leaves_in_good_order_is_waited_for_a_while() {
    sim::run(1, async {
        let (server, _) = server();
        let client = Client::connect_to(&server, "slow").await;
        client.send(reads(100)).await;
        client.send(request(command::DISC, 0, 0)).await;
        let start = env::now();
        let replies = client.receive(usize::MAX).await;
        // Two at once, and then one a second for ten seconds.
        assert!((11..=13).contains(&(replies.len() / REPLY)));
        assert!(env::now() - start < Duration::from_secs(12));
        env::sleep(Duration::from_secs(1)).await;
        assert!(client.ended.get());
    });
}

#[test]
fn flushes_overtake_what_waits() {
    sim::run(2, async {
        let (server, _) = server();
        let client = Client::connect_to(&server, "slow").await;
        client.send(reads(3)).await;
        client.receive(REPLY).await;
        let start = env::now();
        client.send(request(command::FLUSH, 0, 0)).await;
        assert_eq!(client.receive(16).await.len(), 16);
        assert!(env::now() - start < Duration::from_millis(900));
        end(&server).await;
    });
}

#[test]
fn those_who_wait_leave_memory_for_the_others() {
    sim::run(3, async {
        let (server, _) = server();
        let mut waiting = Vec::new();
        for _ in 0..20 {
            let client = Client::connect_to(&server, "slow").await;
            for _ in 0..4 {
                client.send(request(command::READ, 0, 32 << 20)).await;
            }
            waiting.push(client);
        }
        env::sleep(Duration::from_secs(1)).await;
        let free = Client::connect_to(&server, "free").await;
        for _ in 0..3 {
            free.send(request(command::READ, 0, 16 << 20)).await;
            let all = 16 + (16 << 20);
            let received = env::timeout(Duration::from_secs(5), free.receive(all)).await;
            assert_eq!(received.map(|bytes| bytes.len()), Some(all));
        }
        end(&server).await;
    });
}
