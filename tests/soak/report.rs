//! Running worlds and telling what came of them.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::Once;

use super::oracle::Oracle;
use super::tally::{Digest, Tally};
use super::world::{self, Kindof};

thread_local! {
    /// What the last panic of a world said; nothing outside of worlds.
    static LAST_WORDS: RefCell<Option<String>> = const { RefCell::new(None) };
    static IN_WORLD: Cell<bool> = const { Cell::new(false) };
}

/// What came of one world.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) digest: Digest,
    /// What the store did that no store may do.
    pub(crate) violation: Option<String>,
}

/// Runs the world of `seed`. A panic in it is a violation, whoever panics.
pub(crate) fn run(seed: u64, kind: Kindof) -> Outcome {
    listen_to_panics();
    let oracle = Rc::new(RefCell::new(Oracle::default()));
    IN_WORLD.set(true);
    let ended = panic::catch_unwind(AssertUnwindSafe(|| world::run(seed, kind, &oracle)));
    IN_WORLD.set(false);
    let words = LAST_WORDS.take();
    let violation = ended
        .err()
        .map(|_| words.unwrap_or_else(|| "a panic without words".to_owned()));
    let oracle = oracle.borrow();
    Outcome {
        tally: oracle.tally.clone(),
        digest: oracle.digest,
        violation,
    }
}

/// Has panics of worlds remembered instead of printed. The first one counts: those that follow
/// come from what it left behind.
fn listen_to_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IN_WORLD.get() {
                return before(info);
            }
            let text = info.payload_as_str().unwrap_or("a panic");
            let text = text.replace('\n', " ");
            let text = match info.location() {
                Some(place) if !place.file().starts_with("tests/soak/") => {
                    format!("{}:{}: {text}", place.file(), place.line())
                }
                _ => text,
            };
            LAST_WORDS.with_borrow_mut(|words| words.get_or_insert(text).len());
        }));
    });
}
