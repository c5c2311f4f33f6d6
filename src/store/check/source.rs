//! Reads what lies at a place of a store, and opens it.

use std::fmt;

use crate::backend::{Backend, Checked};
use crate::base::{Buf, Error, Extent};
use crate::codec::{Broken, Place, Sealer, TAG_BYTES};
use crate::store::format::{FANOUT, Ptr, Seq, Shape};

/// What one call of the backend reads at most, in bytes.
const PIECE_BYTES: u64 = 1 << 20;

/// A store to read from.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Source<'a> {
    backend: &'a Checked,
    shape: Shape,
    sealer: &'a Sealer,
}

/// Why something was not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::store) enum Unread {
    /// The backend failed.
    Io(Error),
    /// The backend ends before it.
    Outside,
    /// It does not open.
    Broken,
    /// It opens, and does not unpack.
    NoBlock,
}

impl<'a> Source<'a> {
    /// The store on `backend` that is divided as `shape` says, whose bytes `sealer` opens.
    pub(in crate::store) fn new(backend: &'a Checked, shape: Shape, sealer: &'a Sealer) -> Self {
        Self {
            backend,
            shape,
            sealer,
        }
    }

    /// How the store is divided.
    pub(in crate::store) fn shape(self) -> Shape {
        self.shape
    }

    /// What opens it.
    pub(in crate::store) fn sealer(self) -> &'a Sealer {
        self.sealer
    }

    /// Reads `len` bytes, at least one, at `offset` of segment `seg`.
    pub(in crate::store) async fn read(
        self,
        seg: u32,
        offset: u32,
        len: usize,
    ) -> Result<Buf, Unread> {
        let start = self.shape.backend_offset(seg, offset);
        let geometry = self.backend.geometry();
        let at = Extent::new(start, len as u64).ok_or(Unread::Outside)?;
        if !at.fits(geometry.size) {
            return Err(Unread::Outside);
        }
        let at = at.grow(geometry.block);
        let mut whole = Buf::new(at.len());
        let mut from = at.offset();
        while from < at.end() {
            let piece = Extent::between(from, at.end().min(from + PIECE_BYTES));
            let buf = Buf::new(piece.len());
            let buf = self.backend.read(piece, buf).await.map_err(Unread::Io)?;
            let to = usize::try_from(from - at.offset()).expect("inside a buffer");
            whole[to..to + buf.len()].copy_from_slice(&buf);
            from = piece.end();
        }
        let before = usize::try_from(start - at.offset()).expect("less than a block");
        Ok(whole.window(before, before + len))
    }

    /// Reads and opens `len` bytes, seal not counted, at `offset` of segment `seg` numbered `seq`.
    pub(in crate::store) async fn open(
        self,
        seg: u32,
        seq: Seq,
        offset: u32,
        len: usize,
    ) -> Result<Buf, Unread> {
        let sealed = self.read(seg, offset, len + TAG_BYTES).await?;
        let place = Place {
            seq: seq.bits(),
            offset,
        };
        Ok(Buf::from(&*self.sealer.open(place, &sealed)?))
    }

    /// Reads and opens the node that `ptr` leads to, in a segment numbered `seq`.
    pub(in crate::store) async fn node(self, ptr: Ptr, seq: Seq) -> Result<Vec<Ptr>, Unread> {
        let bytes = self.open(ptr.seg(), seq, ptr.offset(), ptr.len()).await?;
        let entries = bytes.as_chunks::<8>().0.iter();
        let entries: Vec<Ptr> = entries
            .map(|bits| Ptr::from_bits(u64::from_le_bytes(*bits)))
            .collect();
        debug_assert_eq!(entries.len(), FANOUT);
        Ok(entries)
    }
}

impl From<Broken> for Unread {
    fn from(_: Broken) -> Self {
        Self::Broken
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "it cannot be read: {error}"),
            Self::Outside => f.write_str("it lies behind the end of the backend"),
            Self::Broken => Broken.fmt(f),
            Self::NoBlock => f.write_str("what it holds was not made of a block"),
        }
    }
}
