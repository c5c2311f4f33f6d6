//! Blocks on their way into the log.

use std::sync::Arc;

use super::dedup::Known;
use super::format::{BLOCK, Codec};
use crate::base::Buf;
use crate::codec::Fingerprint;

/// A block's bytes inside a buffer that several blocks share.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    buf: Arc<Buf>,
    from: usize,
}

/// A block as it is to be written.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    /// The block, which reads see until it is written.
    pub(super) block: Piece,
    /// The same packed, if it is.
    pub(super) packed: Option<Packed>,
    /// By what it is known, if anybody wants to know.
    pub(super) print: Option<Fingerprint>,
    /// Where it seems to lie already.
    pub(super) known: Option<Known>,
}

/// A block in fewer bytes.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    pub(super) codec: Codec,
    pub(super) bytes: Arc<[u8]>,
}

impl Piece {
    /// The block at byte `from` of `buf`.
    pub(super) fn new(buf: Arc<Buf>, from: usize) -> Self {
        Self { buf, from }
    }

    /// The bytes of the block.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buf[self.from..self.from + BLOCK]
    }
}

impl Payload {
    /// A block as it is.
    pub(super) fn new(block: Piece) -> Self {
        Self {
            block,
            packed: None,
            print: None,
            known: None,
        }
    }

    /// What is written.
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.packed {
            Some(packed) => &packed.bytes,
            None => self.block.bytes(),
        }
    }

    pub(super) fn codec(&self) -> Codec {
        self.packed
            .as_ref()
            .map_or(Codec::Lz4, |packed| packed.codec)
    }
}
