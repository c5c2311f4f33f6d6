//! A key for AES-XTS is used by many threads at once.

use bedplate::codec::{PortableXts, Secret, Xts, sector_tweak};

#[test]
fn many_threads_share_a_key() {
    let key = Secret::new((0..64).collect());
    let shared = Xts::new(&key).expect("a good key");
    let portable = PortableXts::new(&key).expect("a good key");
    std::thread::scope(|scope| {
        for thread in 0..20 {
            let (shared, portable) = (&shared, &portable);
            scope.spawn(move || {
                for len in 16..1000 {
                    let tweak = sector_tweak(thread);
                    let (mut one, mut other) = (vec![5; len], vec![5; len]);
                    shared.encrypt(&tweak, &mut one);
                    portable.encrypt(&tweak, &mut other);
                    assert_eq!(one, other, "{len} bytes on thread {thread}");
                    shared.decrypt(&tweak, &mut one);
                    assert_eq!(one, vec![5; len], "{len} bytes on thread {thread}");
                }
            });
        }
    });
}
