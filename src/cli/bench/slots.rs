//! The requests of a connection that wait for their replies.

use super::error::BenchError;
use crate::env::Instant;
use crate::env::now;

/// The requests under way, one a slot at most. A cookie carries its slot and which turn of it, so
/// that a reply to a request that is over is noticed.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    busy_count: usize,
}

/// A place for one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    turn: u32,
    busy: bool,
    pub(super) request: Request,
    /// Data that has come, in bytes.
    pub(super) got_bytes: usize,
    /// The error number of its reply.
    pub(super) error: Option<u32>,
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) asked: Asked,
    pub(super) block: u64,
    pub(super) started: Instant,
}

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    Read,
    Write,
    Flush,
    Trim,
    WriteZeroes,
}

/// Which slot of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SlotIndex(pub(super) usize);

impl Slots {
    pub(super) fn new(count: usize) -> Self {
        let idle = Slot {
            turn: 0,
            busy: false,
            request: Request {
                asked: Asked::Flush,
                block: 0,
                started: now(),
            },
            got_bytes: 0,
            error: None,
        };
        Self {
            slots: vec![idle; count],
            busy_count: 0,
        }
    }

    /// All slots.
    pub(super) fn indices(&self) -> impl Iterator<Item = SlotIndex> + use<> {
        (0..self.slots.len()).map(SlotIndex)
    }

    /// Requests under way.
    pub(super) fn busy_count(&self) -> usize {
        self.busy_count
    }

    /// Puts a request into an idle slot and gives its cookie.
    pub(super) fn occupy(&mut self, index: SlotIndex, request: Request) -> u64 {
        let slot = &mut self.slots[index.0];
        assert!(!slot.busy, "one request a slot");
        *slot = Slot {
            turn: slot.turn.wrapping_add(1),
            busy: true,
            request,
            got_bytes: 0,
            error: None,
        };
        self.busy_count += 1;
        u64::from(slot.turn) << 32 | index.0 as u64
    }

    /// The request that a reply with this cookie is for.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn find(&mut self, cookie: u64) -> Result<(SlotIndex, &mut Slot), BenchError> {
        let stray = BenchError::Stray(cookie);
        let Ok(index) = usize::try_from(cookie & u64::from(u32::MAX)) else {
            return Err(stray);
        };
        match self.slots.get_mut(index) {
            Some(slot) if slot.busy && u64::from(slot.turn) == cookie >> 32 => {
                Ok((SlotIndex(index), slot))
            }
            _ => Err(stray),
        }
    }

    /// Takes the request out of its slot.
    ///
    /// # Errors
    /// If there is none with this cookie.
    pub(super) fn release(&mut self, cookie: u64) -> Result<(SlotIndex, Slot), BenchError> {
        let (index, slot) = self.find(cookie)?;
        slot.busy = false;
        let slot = *slot;
        self.busy_count -= 1;
        Ok((index, slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_good_for_one_reply() {
        let mut slots = Slots::new(2);
        let request = Request {
            asked: Asked::Read,
            block: 9,
            started: now(),
        };
        let cookie = slots.occupy(SlotIndex(1), request);
        assert_eq!(slots.find(cookie).unwrap().1.request.block, 9);
        assert_eq!(slots.release(cookie).unwrap().0, SlotIndex(1));
        assert!(slots.release(cookie).is_err());
        let next = slots.occupy(SlotIndex(1), request);
        assert!(slots.find(cookie).is_err() && slots.find(7).is_err());
        assert!(slots.find(next).is_ok());
        assert_eq!(slots.busy_count(), 1);
    }
}
