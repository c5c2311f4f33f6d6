//! What a client may ask for, once it has been checked.

use crate::base::Durability;
use crate::base::Extent;
use crate::base::ZeroMode;

/// What a client asks for. Extents lie on the export; where nothing else is said they may be
/// empty, which asks for nothing and succeeds (the specification leaves it open). What carries
/// data is bounded by [`PAYLOAD_BYTES_MAX`](crate::base::limits::PAYLOAD_BYTES_MAX).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Read.
    Read {
        /// Where; from 1 to `PAYLOAD_BYTES_MAX` bytes.
        at: Extent,
        /// Whether the answer may come in several chunks.
        fragments: bool,
    },
    /// Write the payload.
    Write {
        /// Where, in bytes; payload and all lies on the export.
        offset: u64,
        /// How long the payload is: at most `PAYLOAD_BYTES_MAX`.
        bytes: usize,
        /// When to answer.
        durability: Durability,
    },
    /// Make durable what was answered.
    Flush,
    /// Finish what was asked, and close. There is no answer.
    Disconnect,
    /// The contents are not needed any more.
    Trim {
        /// Where.
        at: Extent,
        /// When to answer.
        durability: Durability,
    },
    /// Make it read as zeroes.
    WriteZeroes {
        /// Where.
        at: Extent,
        /// How.
        mode: ZeroMode,
        /// When to answer.
        durability: Durability,
    },
    /// It will be read soon.
    Cache {
        /// Where.
        at: Extent,
    },
    /// Describe it in all selected contexts.
    BlockStatus {
        /// Where; not empty.
        at: Extent,
        /// Whether one run is all that is wanted (`NBD_CMD_FLAG_REQ_ONE`).
        one: bool,
    },
    /// Describe it in some contexts, which the payload of a few bytes names;
    /// [`status_filter`](super::status_filter) reads it.
    FilteredBlockStatus {
        /// Where, in bytes; how much is in the payload.
        offset: u64,
        /// Whether one run is all that is wanted.
        one: bool,
    },
}
