//! The reactors of a runtime, so that one that has much to do finds one that has nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::reactor::Handle;
use super::wait::Signal;
use super::{Outside, current};

/// Pieces for each reactor that is woken, at least.
const PIECES_EACH: usize = 4;

/// Reactors that may do each other's work.
#[derive(Debug, Default)]
pub(super) struct Crew {
    members: RwLock<Vec<Handle>>,
}

impl Crew {
    pub(super) fn join(&self, member: Handle) {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        members.push(member);
    }

    /// Reactors that sleep, so many at most. They may be woken by something else before they are
    /// asked for anything.
    fn sleepers(&self, most: usize) -> Vec<Handle> {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        let asleep = members.iter().filter(|member| member.is_asleep());
        asleep.take(most).cloned().collect()
    }
}

/// Pieces of one work, which reactors take as they come to them.
struct Shared<T, W> {
    work: W,
    /// The first piece that nobody has taken.
    next: AtomicUsize,
    results: Mutex<Vec<Option<T>>>,
    changed: Signal,
}

impl<T, W: Fn(usize) -> T> Shared<T, W> {
    /// Does pieces until all are taken.
    fn take_part(&self, pieces: usize) {
        loop {
            let piece = self.next.fetch_add(1, Ordering::Relaxed);
            if piece >= pieces {
                return;
            }
            let result = (self.work)(piece);
            let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
            results[piece] = Some(result);
        }
    }

    /// The results, once all are there.
    fn take(&self) -> Option<Vec<T>> {
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        if results.iter().any(Option::is_none) {
            return None;
        }
        std::mem::take(&mut *results).into_iter().collect()
    }
}

/// What `work` makes of each of `pieces` pieces, in their order: made here, and by reactors that
/// have nothing to do, as many as they come to meanwhile. So it takes no longer than here alone,
/// but for the pieces that others have begun. A reactor that is busy is never asked: it has clients
/// of its own.
///
/// For pieces of some 10 us: waking a thread takes half of that.
pub async fn side_by_side<T, W>(pieces: usize, work: W) -> Vec<T>
where
    T: Send + 'static,
    W: Fn(usize) -> T + Send + Sync + 'static,
{
    let sleepers = match &current().outside {
        Outside::Real(machine) => machine.crew.sleepers(pieces / PIECES_EACH),
        Outside::Simulated(_) => Vec::new(),
    };
    if sleepers.is_empty() {
        return (0..pieces).map(work).collect();
    }
    let shared = Arc::new(Shared {
        work,
        next: AtomicUsize::new(0),
        results: Mutex::new((0..pieces).map(|_| None).collect()),
        changed: Signal::new(),
    });
    for sleeper in sleepers {
        let help = Arc::clone(&shared);
        sleeper.run(move || {
            help.take_part(pieces);
            help.changed.wake_all();
        });
    }
    shared.take_part(pieces);
    shared.changed.wait_for(|| shared.take()).await
}
