//! Who uses a volume now.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::env::Signal;

/// What somebody uses a volume for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// A client is connected to it.
    Connection,
    /// It is copied to or from.
    Job,
    /// It is shown as a block device.
    Device,
}

/// How many use a volume, by what for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UserCount {
    /// Connections of clients.
    pub connections: usize,
    /// Jobs.
    pub jobs: usize,
    /// Block devices.
    pub devices: usize,
}

/// The users of one volume. Shared by all threads.
#[derive(Debug, Default)]
pub(super) struct Users {
    connections: AtomicUsize,
    jobs: AtomicUsize,
    devices: AtomicUsize,
    are_asked_to_leave: AtomicBool,
    asked: Signal,
}

impl UserCount {
    /// Whether there is none.
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            connections: self.connections + other.connections,
            jobs: self.jobs + other.jobs,
            devices: self.devices + other.devices,
        }
    }
}

impl std::fmt::Display for UserCount {
    /// As the subject of a sentence.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            connections,
            jobs,
            devices,
        } = *self;
        let kinds = [
            (connections, "connection"),
            (jobs, "job"),
            (devices, "block device"),
        ];
        let counts = kinds.into_iter().filter(|(count, _)| *count > 0);
        for (index, (count, kind)) in counts.enumerate() {
            let and = if index > 0 { " and " } else { "" };
            let plural = if count == 1 { "" } else { "s" };
            write!(f, "{and}{count} {kind}{plural}")?;
        }
        Ok(())
    }
}

impl Users {
    pub(super) fn come(&self, purpose: Purpose) {
        self.of(purpose).fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn go(&self, purpose: Purpose) {
        self.of(purpose).fetch_sub(1, Ordering::SeqCst);
    }

    pub(super) fn count(&self) -> UserCount {
        UserCount {
            connections: self.connections.load(Ordering::SeqCst),
            jobs: self.jobs.load(Ordering::SeqCst),
            devices: self.devices.load(Ordering::SeqCst),
        }
    }

    /// Asks all of them to leave.
    pub(super) fn ask_to_leave(&self) {
        self.are_asked_to_leave.store(true, Ordering::SeqCst);
        self.asked.wake_all();
    }

    /// Waits until they are asked to leave.
    pub(super) async fn leaving(&self) {
        let asked = || self.are_asked_to_leave.load(Ordering::SeqCst).then_some(());
        self.asked.wait_for(asked).await;
    }

    fn of(&self, purpose: Purpose) -> &AtomicUsize {
        match purpose {
            Purpose::Connection => &self.connections,
            Purpose::Job => &self.jobs,
            Purpose::Device => &self.devices,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_counted_in_words() {
        for (connections, jobs, devices, text) in [
            (1, 0, 0, "1 connection"),
            (2, 0, 0, "2 connections"),
            (0, 1, 0, "1 job"),
            (3, 2, 0, "3 connections and 2 jobs"),
            (1, 0, 2, "1 connection and 2 block devices"),
        ] {
            let users = UserCount {
                connections,
                jobs,
                devices,
            };
            assert_eq!(users.to_string(), text);
        }
    }
}
