//! Where the data of requests is: in a copy that the driver makes, or where it was before.

use std::io;
use std::sync::Arc;

use super::uapi::{Descriptor, What};
use crate::base::{Buf, Durability, Op, ZeroMode};
use crate::env::{BufferPlace, Handed, Mapping};

/// Where the data of a tag's requests is.
pub(super) enum Home {
    /// In memory of this process, from here on.
    Memory(Arc<Mapping>, usize),
    /// Where it was before, and the driver lends that.
    Lent(BufferPlace),
}

impl Home {
    /// One that the driver lends.
    ///
    /// # Errors
    /// As [`BufferPlace::take`].
    pub(super) fn lent() -> io::Result<Self> {
        BufferPlace::take().map(Self::Lent)
    }

    /// What the driver wants to know of it with every command.
    pub(super) fn address(&self) -> u64 {
        match self {
            Self::Memory(memory, from) => memory.address(*from),
            Self::Lent(_) => 0,
        }
    }

    /// What the driver is handed with every command.
    pub(super) fn handed(&self) -> Handed<'_> {
        match self {
            Self::Memory(memory, _) => Handed::Memory(memory),
            Self::Lent(place) => Handed::Place(place),
        }
    }

    /// What is asked of the disk.
    pub(super) fn op(&self, asked: Descriptor) -> Op {
        let durability = match asked.is_durable {
            true => Durability::Durable,
            false => Durability::Written,
        };
        let at = asked.at;
        match (asked.what, self) {
            (What::Read, Self::Memory(..)) => Op::Read { at },
            (What::Read, Self::Lent(place)) => Op::ReadTo {
                at,
                memory: place.memory(),
            },
            (What::Write, Self::Memory(memory, from)) => {
                let mut data = Buf::new(at.len());
                memory.load(*from, &mut data);
                Op::Write {
                    offset: at.offset(),
                    data,
                    durability,
                }
            }
            (What::Write, Self::Lent(place)) => Op::WriteFrom {
                at,
                memory: place.memory(),
                durability,
            },
            (What::Flush, _) => Op::Flush,
            (What::Discard, _) => Op::Discard { at, durability },
            (What::WriteZeroes, _) => Op::WriteZeroes {
                at,
                mode: ZeroMode {
                    may_unmap: !asked.keeps_space,
                    only_if_fast: false,
                },
                durability,
            },
        }
    }

    /// Puts there what was read.
    pub(super) fn fill(&self, data: &[u8]) {
        match self {
            Self::Memory(memory, from) => memory.store(*from, data),
            Self::Lent(_) => unreachable!("what is read to lent memory is there"),
        }
    }

    /// Frees it, as the driver has no more use for it.
    pub(super) fn give_up(self) {
        if let Self::Lent(place) = self {
            place.give_back();
        }
    }
}
