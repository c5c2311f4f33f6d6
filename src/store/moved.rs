//! A chunk on its way from one segment to another, and whether it is packed anew on it.

use std::borrow::Cow;
use std::sync::Arc;

use super::format::root::Compression;
use super::format::{BLOCK, Codec, Ptr};
use crate::codec::{Fingerprint, pack};

/// A chunk that is being moved.
#[derive(Debug)]
pub(super) struct Chunk<'a> {
    pub(super) old: Ptr,
    pub(super) wish: Compression,
    /// What is written at its new place.
    pub(super) bytes: Cow<'a, [u8]>,
    pub(super) codec: Codec,
    pub(super) print: Option<Fingerprint>,
}

/// What is packed anew when it is moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pack {
    Nothing,
    /// What is cold, if it is wanted so.
    Cold,
    /// Everything that is not as it is wanted.
    AsWanted,
}

/// A way to pack a chunk anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    Raw,
    Lz4,
    Zstd,
}

impl Chunk<'_> {
    /// The way to pack it, if it may be another than now.
    pub(super) fn new_way(&self, pack: Pack) -> Option<Way> {
        let (way, is_packed) = (self.wish, !self.old.is_raw());
        let is_now = |codec| is_packed && self.codec == codec;
        match (pack, way) {
            (Pack::Cold, Compression::Adaptive)
            | (Pack::AsWanted, Compression::Adaptive | Compression::Zstd)
                if !is_now(Codec::Zstd) =>
            {
                Some(Way::Zstd)
            }
            (Pack::AsWanted, Compression::Lz4) if !is_now(Codec::Lz4) => Some(Way::Lz4),
            (Pack::AsWanted, Compression::Off) if is_packed => Some(Way::Raw),
            _ => None,
        }
    }

    /// Packs `block`, which it is, in this way; with Zstandard only if that saves a sixteenth of a
    /// block or more compared with how it is now. Whether anything changes.
    pub(super) fn pack_anew(&mut self, way: Way, block: &[u8]) -> bool {
        let packed = match way {
            Way::Zstd => {
                let packed = pack(Codec::Zstd, block);
                let is_better = |packed: &Arc<[u8]>| packed.len() + BLOCK / 16 <= self.bytes.len();
                let Some(packed) = packed.filter(is_better) else {
                    return false;
                };
                Some((packed, Codec::Zstd))
            }
            Way::Lz4 => pack(Codec::Lz4, block).map(|packed| (packed, Codec::Lz4)),
            Way::Raw => None,
        };
        let (bytes, codec) = match packed {
            Some((bytes, codec)) => (bytes.to_vec(), codec),
            // Where the length is that of a block the codec says nothing.
            None => (block.to_vec(), Codec::Lz4),
        };
        (self.bytes, self.codec) = (Cow::Owned(bytes), codec);
        true
    }
}
