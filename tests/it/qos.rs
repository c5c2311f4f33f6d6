//! Limits of volumes and groups, in virtual time: so many requests in a second, to the request.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bedplate::backend::{Checked, Faulty, Medium, Null};
use bedplate::base::{Buf, Durability, Error, Extent, Op, Refusal, Request, Ticket, ZeroMode};
use bedplate::codec::luks::PAYLOAD_OFFSET;
use bedplate::codec::{Credential, Secret};
use bedplate::env;
use bedplate::env::sim;
use bedplate::volume::qos::{Group, LimitWords, Limits, Measure};
use bedplate::volume::{Access, Flow, RawDisk, Turn, Volume, make_luks, open_luks};

const KIB: u64 = 1 << 10;

/// A volume that takes no time.
fn volume() -> Rc<Volume> {
    let disk = RawDisk::new(Checked::new(Medium::Null(Null::new(1 << 40))));
    Rc::new(Volume::new(
        "disk".to_owned(),
        String::new(),
        Access::Write,
        disk,
    ))
}

pub(crate) fn limits(said: &[(Measure, u64)]) -> Limits {
    words(said).check().expect("good limits")
}

fn words(said: &[(Measure, u64)]) -> LimitWords {
    let mut words = LimitWords::default();
    for (measure, rate) in said {
        words.average[*measure as usize] = Some(*rate);
    }
    words
}

fn read(bytes: u64) -> Op {
    let at = Extent::between(0, bytes);
    Op::Read { at }
}

fn write(bytes: u64) -> Op {
    let bytes = usize::try_from(bytes).expect("small");
    Op::Write {
        offset: 0,
        data: Buf::new(bytes),
        durability: Durability::Cached,
    }
}

/// Runs `work` in the world of `seed`, and what its clients still wait for to the end.
fn world(seed: u64, work: impl Future<Output = ()> + 'static) {
    sim::run(seed, async {
        work.await;
        env::sleep(Duration::from_secs(1)).await;
    });
}

async fn serve(volume: &Volume, flow: &Flow, op: Op) {
    let ticket = Ticket::new(1);
    let reply = volume
        .serve(flow, Request { ticket, op }, Turn::ToCome)
        .await;
    reply.result.expect("it is served");
}

/// A client that keeps `depth` requests waiting for as long as it lives, and counts what is
/// answered in each second.
struct Client {
    flow: Rc<Flow>,
    answered: Rc<RefCell<Vec<u64>>>,
    is_gone: Rc<Cell<bool>>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.is_gone.set(true);
        self.flow.abandon();
    }
}

impl Client {
    fn start(volume: &Rc<Volume>, depth: u32, make: fn() -> Op) -> Self {
        let answered = Rc::new(RefCell::new(Vec::new()));
        let flow = Rc::new(volume.new_flow());
        let is_gone = Rc::new(Cell::new(false));
        let start = env::now();
        for _ in 0..depth {
            let (volume, flow, answered) = (volume.clone(), flow.clone(), answered.clone());
            let is_gone = is_gone.clone();
            env::spawn(async move {
                while !is_gone.get() {
                    let (ticket, op) = (Ticket::new(1), make());
                    let served = volume
                        .serve(&flow, Request { ticket, op }, Turn::ToCome)
                        .await;
                    if served.result.is_err() {
                        return;
                    }
                    let second = (env::now() - start).as_secs();
                    let second = usize::try_from(second).expect("a short run");
                    let mut answered = answered.borrow_mut();
                    if answered.len() <= second {
                        answered.resize(second + 1, 0);
                    }
                    answered[second] += 1;
                }
            });
        }
        Self {
            flow,
            answered,
            is_gone,
        }
    }

    fn per_second(&self) -> Vec<u64> {
        self.answered.borrow().clone()
    }

    fn all(&self) -> u64 {
        self.answered.borrow().iter().sum()
    }
}

/// Waits until just before the end of that second.
async fn run_for(seconds: u64) {
    env::sleep(Duration::from_secs(seconds) - Duration::from_nanos(1)).await;
}

#[test]
fn a_second_lets_through_what_was_set() {
    for (seed, iops) in [100, 1000, 33_333, 100_000].into_iter().enumerate() {
        for depth in [1, 32] {
            world(seed as u64, async move {
                let volume = volume();
                volume.qos().set(limits(&[(Measure::Iops, iops)]));
                let client = Client::start(&volume, depth, || read(4 * KIB));
                run_for(3).await;
                let counts = client.per_second();
                assert!(counts[0] >= iops, "{iops}: {counts:?}");
                assert!(counts[0] <= iops + iops / 100 + 1, "{iops}: {counts:?}");
                for count in &counts[1..] {
                    // Ten requests of 100,000 a second fall due at each tick of the pump.
                    assert!(count.abs_diff(iops) <= 10, "{iops}: {counts:?}");
                }
            });
        }
    }
}

#[test]
fn bytes_are_counted_by_size_and_requests_by_pieces() {
    world(1, async {
        let volume = volume();
        volume.qos().set(limits(&[(Measure::Bps, 100 << 20)]));
        let client = Client::start(&volume, 8, || read(1 << 20));
        run_for(2).await;
        assert!((100..=101).contains(&client.per_second()[1]));
    });
    world(2, async {
        let volume = volume();
        let said = LimitWords {
            iops_size: Some(16 * KIB),
            ..words(&[(Measure::Iops, 1000)])
        };
        volume.qos().set(said.check().expect("good limits"));
        let large = Client::start(&volume, 8, || read(64 * KIB));
        run_for(2).await;
        assert_eq!(large.per_second()[1], 250);
    });
}

#[test]
fn each_measure_counts_its_own() {
    for (measure, reads, writes) in [
        (Measure::ReadIops, 100, u64::MAX),
        (Measure::WriteIops, u64::MAX, 100),
        (Measure::ReadBps, 50, u64::MAX),
        (Measure::WriteBps, u64::MAX, 50),
    ] {
        world(3, async move {
            let volume = volume();
            let rate = match measure.counts_bytes() {
                true => 50 * 4 * KIB,
                false => 100,
            };
            volume.qos().set(limits(&[(measure, rate)]));
            for (op, limit) in [
                (read as fn(u64) -> Op, reads),
                (write as fn(u64) -> Op, writes),
            ] {
                let flow = volume.new_flow();
                let start = env::now();
                for _ in 0..200 {
                    serve(&volume, &flow, op(4 * KIB)).await;
                }
                let took = (env::now() - start).as_millis();
                match limit {
                    u64::MAX => assert_eq!(took, 0, "{measure:?}"),
                    // But for the first hundredth of a second, and the request that began it.
                    rate => assert!(
                        u128::from(198 * 1000 / rate).abs_diff(took) <= 11,
                        "{measure:?} {took}"
                    ),
                }
            }
        });
    }
}

#[test]
fn below_the_limit_nothing_waits() {
    world(4, async {
        let volume = volume();
        volume.qos().set(limits(&[(Measure::Iops, 1000)]));
        let flow = volume.new_flow();
        for _ in 0..2000 {
            let start = env::now();
            serve(&volume, &flow, read(4 * KIB)).await;
            assert_eq!(env::now(), start);
            env::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(volume.qos().waits().requests, 0);
    });
}

#[test]
fn a_burst_goes_on_at_its_rate_until_its_bucket_is_full() {
    world(5, async {
        let volume = volume();
        let mut said = words(&[(Measure::Iops, 100)]);
        said.burst[Measure::Iops as usize] = Some(1000);
        said.burst_seconds = Some(3);
        volume.qos().set(said.check().expect("good limits"));
        let client = Client::start(&volume, 16, || read(4 * KIB));
        run_for(8).await;
        let counts = client.per_second();
        // 3,000, and 100 more in each of the seconds that this takes.
        assert!(
            counts[..3].iter().all(|count| (999..=1011).contains(count)),
            "{counts:?}"
        );
        let all: u64 = counts[..5].iter().sum();
        assert!((3499..=3512).contains(&all), "{counts:?}");
        assert!(
            counts[5..].iter().all(|count| count.abs_diff(100) <= 1),
            "{counts:?}"
        );
    });
}

#[test]
fn connections_get_the_same_whatever_their_depth() {
    for seed in 0..5 {
        world(seed, async {
            let volume = volume();
            volume.qos().set(limits(&[(Measure::Iops, 4000)]));
            let depths = [1, 4, 32, 256];
            let clients = depths.map(|depth| Client::start(&volume, depth, || read(4 * KIB)));
            run_for(3).await;
            for client in &clients {
                let counts = client.per_second();
                assert!(
                    counts[1..].iter().all(|count| count.abs_diff(1000) <= 5),
                    "{counts:?}"
                );
            }
        });
    }
}

#[test]
fn bytes_are_shared_between_large_and_small_requests() {
    world(6, async {
        let volume = volume();
        volume.qos().set(limits(&[(Measure::Bps, 80 << 20)]));
        let small = Client::start(&volume, 16, || read(4 * KIB));
        let large = Client::start(&volume, 16, || write(1 << 20));
        run_for(5).await;
        let (small, large) = (small.all() * 4 * KIB, large.all() << 20);
        assert!(small.abs_diff(large) <= 4 << 20, "{small} and {large}");
        assert!((small + large).abs_diff(400 << 20) <= 4 << 20);
    });
}

#[test]
fn volumes_of_a_group_get_the_same_whatever_their_connections() {
    world(7, async {
        let group = Group::new("gold".to_owned());
        group.set(limits(&[(Measure::Iops, 3000)]));
        let volumes = [volume(), volume(), volume()];
        for volume in &volumes {
            volume.qos().join(Some(Arc::clone(&group)));
        }
        let [many, few, limited] = &volumes;
        limited.qos().set(limits(&[(Measure::Iops, 500)]));
        let crowd: Vec<_> = (0..5)
            .map(|_| Client::start(many, 64, || read(4 * KIB)))
            .collect();
        let alone = Client::start(few, 1, || read(4 * KIB));
        let held = Client::start(limited, 16, || write(4 * KIB));
        run_for(4).await;
        let in_second = |client: &Client, second: usize| client.per_second()[second];
        for second in 1..4 {
            // One takes no more than 500, so the others share 2,500.
            assert!(in_second(&held, second).abs_diff(500) <= 5);
            assert!(in_second(&alone, second).abs_diff(1250) <= 10);
            for client in &crowd {
                assert!(in_second(client, second).abs_diff(250) <= 5);
            }
        }
        assert!(group.waits().requests > 1000);
    });
}

#[test]
fn readers_who_wait_hold_back_neither_writers_nor_flushes() {
    world(8, async {
        let volume = volume();
        volume.qos().set(limits(&[(Measure::ReadIops, 1)]));
        let _readers = Client::start(&volume, 100, || read(4 * KIB));
        env::sleep(Duration::from_millis(10)).await;
        let flow = volume.new_flow();
        let start = env::now();
        for _ in 0..1000 {
            serve(&volume, &flow, write(4 * KIB)).await;
            serve(&volume, &flow, Op::Flush).await;
            let at = Extent::between(0, 1 << 30);
            serve(
                &volume,
                &flow,
                Op::Status {
                    at,
                    runs_max: 1,
                    aspects: vec![bedplate::base::Aspect::Allocation],
                },
            )
            .await;
        }
        assert_eq!(env::now(), start);
    });
}

#[test]
fn flushes_pass_where_not_even_writes_do() {
    world(9, async {
        let volume = volume();
        volume.qos().set(limits(&[(Measure::Iops, 1)]));
        let _writers = Client::start(&volume, 100, || write(4 * KIB));
        env::sleep(Duration::from_millis(10)).await;
        let start = env::now();
        serve(&volume, &volume.new_flow(), Op::Flush).await;
        assert_eq!(env::now(), start);
    });
}

/// A volume of 100 MiB whose zeroes are written as bytes.
async fn volume_of_bytes() -> Rc<Volume> {
    let words = Credential::Passphrase(Secret::copy_of(b"open"));
    let mem = Faulty::new(PAYLOAD_OFFSET + (100 << 20), 4096);
    let disk = RawDisk::new(Checked::new(Medium::Faulty(mem)));
    make_luks(&disk, &words, 1).await.expect("a header");
    let disk = open_luks(disk, &words, "disk").await.expect("a disk");
    assert!(!disk.has_fast_zeroes());
    Rc::new(Volume::new(
        "disk".to_owned(),
        String::new(),
        Access::Write,
        disk,
    ))
}

async fn seconds_of(volume: &Volume, ops: impl IntoIterator<Item = Op>) -> f64 {
    let (flow, start) = (volume.new_flow(), env::now());
    for op in ops {
        serve(volume, &flow, op).await;
    }
    (env::now() - start).as_secs_f64()
}

#[test]
fn what_moves_no_bytes_is_charged_as_one_write() {
    let at = Extent::between(0, 100 << 20);
    let durability = Durability::Cached;
    let mode = ZeroMode {
        may_unmap: true,
        only_if_fast: false,
    };
    let zeroes = move || Op::WriteZeroes {
        at,
        mode,
        durability,
    };
    world(10, async move {
        let volume = volume();
        let said = [(Measure::Bps, 1 << 20), (Measure::WriteIops, 10)];
        volume.qos().set(limits(&said));
        let discards = (0..11).map(|_| Op::Discard { at, durability });
        let took = seconds_of(&volume, discards).await;
        assert!((took - 1.0).abs() < 0.02, "{took}");
        let took = seconds_of(&volume, (0..10).map(|_| zeroes())).await;
        assert!((took - 1.0).abs() < 0.02, "{took}");
    });
    world(11, async move {
        let volume = volume_of_bytes().await;
        volume.qos().set(limits(&[(Measure::Bps, 32 << 20)]));
        // 32 MiB at a time: the first three are to be earned back before the last begins.
        let took = seconds_of(&volume, [zeroes()]).await;
        assert!((2.9..3.5).contains(&took), "{took}");
    });
}

#[test]
fn another_limit_counts_at_once() {
    world(12, async {
        let volume = volume();
        volume.qos().set(limits(&[(Measure::Iops, 1)]));
        let client = Client::start(&volume, 64, || read(4 * KIB));
        run_for(4).await;
        assert!((4..=5).contains(&client.all()));
        volume.qos().set(limits(&[(Measure::Iops, 1000)]));
        run_for(2).await;
        let counts = client.per_second();
        assert!(counts[4].abs_diff(1000) <= 12, "{counts:?}");
        assert!(counts[5].abs_diff(1000) <= 1, "{counts:?}");
        volume.qos().set(limits(&[(Measure::Iops, 10)]));
        run_for(2).await;
        let counts = client.per_second();
        assert!(counts[7] == 10, "{counts:?}");
    });
}

#[test]
fn who_waits_passes_when_limits_or_groups_are_taken_away() {
    for of_group in [false, true] {
        world(13, async move {
            let volume = volume();
            let group = Group::new("gold".to_owned());
            let slow = limits(&[(Measure::Iops, 1)]);
            match of_group {
                true => {
                    group.set(slow);
                    volume.qos().join(Some(group));
                }
                false => volume.qos().set(slow),
            }
            let answered = Rc::new(Cell::new(0));
            let flow = Rc::new(volume.new_flow());
            for _ in 0..100 {
                let (volume, flow, answered) = (volume.clone(), flow.clone(), answered.clone());
                env::spawn(async move {
                    serve(&volume, &flow, read(512)).await;
                    answered.set(answered.get() + 1);
                });
            }
            env::sleep(Duration::from_millis(1500)).await;
            assert!(answered.get() <= 3);
            match of_group {
                true => volume.qos().join(None),
                false => volume.qos().set(Limits::default()),
            }
            env::sleep(Duration::from_nanos(1)).await;
            assert_eq!(answered.get(), 100);
        });
    }
}

#[test]
fn who_is_abandoned_is_refused_and_not_charged() {
    world(14, async {
        let volume = volume();
        volume.qos().set(limits(&[(Measure::Iops, 10)]));
        let flow = Rc::new(volume.new_flow());
        let refused = Rc::new(Cell::new(0));
        for _ in 0..102 {
            let (volume, flow, refused) = (volume.clone(), flow.clone(), refused.clone());
            env::spawn(async move {
                let (ticket, op) = (Ticket::new(1), read(512));
                let reply = volume
                    .serve(&flow, Request { ticket, op }, Turn::ToCome)
                    .await;
                if let Err(error) = reply.result {
                    assert_eq!(error, Error::Refused(Refusal::ShuttingDown));
                    refused.set(refused.get() + 1);
                }
            });
        }
        env::sleep(Duration::from_millis(950)).await;
        flow.abandon();
        env::sleep(Duration::from_nanos(1)).await;
        assert!((91..=93).contains(&refused.get()));
        let start = env::now();
        serve(&volume, &volume.new_flow(), read(512)).await;
        assert!(env::now() - start <= Duration::from_millis(100));
    });
}
