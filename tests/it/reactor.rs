//! Reactors on the real kernel: waking, waiting, stopping.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bedplate::base::Buf;
use bedplate::env::{self, Address, Either, Listener, Runtime, Signal, Stream};

#[test]
fn work_that_ends_without_waiting_ends_the_reactor() {
    assert_eq!(env::block_on(async { 7 }).expect("a ring"), 7);
}

#[test]
fn a_panic_leaves_a_reactor_that_has_work_under_way() {
    /// A task like those that give back what they hold on the reactor that ran them.
    struct GivesBack(Arc<AtomicUsize>);
    impl Drop for GivesBack {
        fn drop(&mut self) {
            drop(env::this_reactor());
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let given_back = Arc::new(AtomicUsize::new(0));
    let held = GivesBack(Arc::clone(&given_back));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        env::block_on(async move {
            env::spawn(async move {
                let _held = held;
                std::future::pending::<()>().await;
            });
            env::sleep(Duration::from_millis(1)).await;
            panic!("on purpose");
        })
    }));
    let said = *panicked
        .expect_err("it panicked")
        .downcast::<&str>()
        .expect("words");
    assert_eq!(said, "on purpose");
    assert_eq!(given_back.load(Ordering::SeqCst), 1);
}

#[test]
fn a_runtime_stops_although_its_tasks_wait_for_ever() {
    for _ in 0..50 {
        let runtime = Runtime::start(2).expect("rings");
        for handle in runtime.handles() {
            handle.spawn(std::future::pending::<()>);
        }
        runtime.stop();
    }
}

#[test]
fn what_reactors_do_side_by_side_is_done_once_and_comes_back_in_order() {
    let runtime = Runtime::start(3).expect("rings");
    let (send, receive) = std::sync::mpsc::channel();
    let done = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&done);
    runtime.handles()[0].spawn(move || async move {
        let mut helped = 0;
        // Until others have taken part, which they do once they sleep.
        while helped < 100 {
            let here = std::thread::current().id();
            let count = Arc::clone(&count);
            let pieces = env::side_by_side(64, move |piece| {
                count.fetch_add(1, Ordering::SeqCst);
                let busy =
                    (0..2_000_u64).fold(piece as u64, |all, one| std::hint::black_box(all ^ one));
                (piece, busy, std::thread::current().id() != here)
            });
            let pieces = pieces.await;
            assert!((0..64).eq(pieces.iter().map(|(piece, ..)| *piece)));
            helped += usize::from(pieces.iter().any(|(.., elsewhere)| *elsewhere));
            send.send(64).expect("somebody counts");
            env::sleep(Duration::from_micros(200)).await;
        }
    });
    let expected: usize = receive.iter().sum();
    assert_eq!(done.load(Ordering::SeqCst), expected);
    runtime.stop();
}

#[test]
fn a_signal_reaches_tasks_of_other_threads() {
    let runtime = Runtime::start(2).expect("rings");
    let shared = Arc::new((AtomicUsize::new(0), Signal::new()));
    const ROUNDS: usize = 2_000;
    // The two threads take turns; a wake-up that gets lost stops the game.
    for (index, handle) in runtime.handles().iter().enumerate() {
        let shared = Arc::clone(&shared);
        handle.spawn(move || async move {
            let (count, changed) = &*shared;
            for round in 0..ROUNDS {
                let mine = || (count.load(Ordering::SeqCst) == 2 * round + index).then_some(());
                changed.wait_for(mine).await;
                count.fetch_add(1, Ordering::SeqCst);
                changed.wake_all();
            }
        });
    }
    env::block_on(async move {
        let (count, changed) = &*shared;
        let over = || (count.load(Ordering::SeqCst) == 2 * ROUNDS).then_some(());
        changed.wait_for(over).await;
    })
    .expect("a ring");
    runtime.stop();
}

#[test]
fn work_of_the_blocking_threads_comes_back() {
    let sum = env::block_on(async {
        let mut sum = 0;
        for number in 0..100 {
            sum += env::blocking(move || number).await;
        }
        sum
    });
    assert_eq!(sum.expect("a ring"), 4950);
}

#[test]
fn what_is_dropped_while_the_kernel_works_on_it_does_no_harm() {
    env::block_on(async {
        let (near, far) = connected("reactor-dropped").await;
        for _ in 0..1_000 {
            // Nothing has been sent, so each of these is cancelled while it waits.
            let receiving = far.receive(Buf::new(4096), 0);
            let came = env::either(receiving, env::end_of_turn()).await;
            assert!(matches!(came, Either::Second(())));
        }
        // A receive that was dropped may take bytes with it until its cancellation has arrived.
        env::sleep(Duration::from_millis(10)).await;
        near.send(b"still here".to_vec()).await.0.expect("a send");
        let (count, buf) = far.receive(Buf::new(4096), 0).await;
        assert_eq!(&buf[..count.expect("a receive")], b"still here");
    })
    .expect("a ring");
}

#[test]
fn a_gathered_send_of_many_pieces_arrives_whole() {
    struct Crumbs(Vec<[u8; 3]>);
    impl env::Pieces for Crumbs {
        fn each<'a>(&'a self, show: &mut dyn FnMut(&'a [u8])) {
            self.0.iter().for_each(|crumb| show(crumb));
        }
    }
    env::block_on(async {
        let (near, far) = connected("reactor-gather").await;
        // More pieces than the kernel takes at once, and more bytes than a socket holds.
        let crumbs: Vec<[u8; 3]> = (0..1_000_000_u32).map(le_bytes).collect();
        let expected = crumbs.concat();
        env::spawn(async move {
            near.send(Crumbs(crumbs)).await.0.expect("a send");
        });
        let mut arrived = Vec::new();
        let mut buf = Buf::new(1 << 20);
        loop {
            let (count, back) = far.receive(buf, 0).await;
            buf = back;
            match count.expect("a receive") {
                0 => break,
                count => arrived.extend_from_slice(&buf[..count]),
            }
        }
        assert!(arrived == expected);
    })
    .expect("a ring");
}

#[test]
fn sleeps_end_in_order() {
    let order = env::block_on(async {
        let order = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        for millis in [30, 10, 20] {
            let order = order.clone();
            env::spawn(async move {
                env::sleep(Duration::from_millis(millis)).await;
                order.borrow_mut().push(millis);
            });
        }
        while order.borrow().len() < 3 {
            env::sleep(Duration::from_millis(1)).await;
        }
        order.take()
    });
    assert_eq!(order.expect("a ring"), [10, 20, 30]);
}

fn le_bytes(number: u32) -> [u8; 3] {
    let [a, b, c, _] = number.to_le_bytes();
    [a, b, c]
}

/// Two ends of a connection over a unix socket.
async fn connected(name: &str) -> (Stream, Stream) {
    let path = format!("/tmp/bedplate-{name}-{}.sock", std::process::id());
    let address = Address::Unix(path.into());
    let listener = Listener::bind(&address).expect("a socket");
    let near = Stream::connect(&address).await.expect("a connection");
    let far = Stream::new(listener.accept().await.expect("a client"));
    (near, far)
}
