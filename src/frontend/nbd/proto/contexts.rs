//! The metadata contexts that this server knows.
//!
//! A context is a name that a client selects during the handshake and an id that block status
//! replies carry (proto.md, "Metadata querying"). What QEMU calls `qemu:dirty-bitmap:NAME` and
//! `qemu:allocation-depth` is as in its `docs/interop/nbd.txt`. A new one is a variant of
//! [`Context`], a name and an id here, and an encoding of its flags in the replies.

use std::borrow::Cow;

use super::export::ExportInfo;
use super::wire::{allocation, dirty_bitmap};
use crate::base::limits::BITMAPS_MAX;
use crate::base::{Aspect, Status};

/// A metadata context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Context {
    /// `base:allocation`: what is a hole and what reads as zeroes.
    Allocation,
    /// `qemu:allocation-depth`: how far from the disk itself what is allocated lies.
    Depth,
    /// `qemu:dirty-bitmap:NAME`: what has changed since a bitmap was made. Which one it is, counted
    /// among those of the export.
    Bitmap(usize),
}

/// The name of [`Context::Allocation`].
pub(super) const ALLOCATION: &str = "base:allocation";

/// The name of [`Context::Depth`].
const DEPTH: &str = "qemu:allocation-depth";

/// What the names of bitmaps begin with.
const BITMAP: &str = "qemu:dirty-bitmap:";

/// Contexts that are there or not whatever an export is called.
const FIXED: usize = 2;

impl Context {
    /// Those that an export has.
    pub(super) fn of(export: &ExportInfo) -> impl Iterator<Item = Self> {
        let bitmaps = (0..export.bitmaps.len()).map(Self::Bitmap);
        let depth = export.has_depth.then_some(Self::Depth);
        std::iter::once(Self::Allocation)
            .chain(depth)
            .chain(bitmaps)
    }

    /// The name that clients ask for: namespace, colon, leaf.
    ///
    /// # Panics
    /// If `export` does not have it.
    pub(super) fn name(self, export: &ExportInfo) -> Cow<'static, str> {
        match self {
            Self::Allocation => ALLOCATION.into(),
            Self::Depth => DEPTH.into(),
            Self::Bitmap(index) => format!("{BITMAP}{}", export.bitmaps[index].0).into(),
        }
    }

    /// What of the disk it tells.
    ///
    /// # Panics
    /// If `export` does not have it.
    pub fn aspect(self, export: &ExportInfo) -> Aspect {
        match self {
            Self::Allocation => Aspect::Allocation,
            Self::Depth => Aspect::Depth,
            Self::Bitmap(index) => Aspect::Changes(export.bitmaps[index].1),
        }
    }

    /// What block status replies call it. Never zero, which listings use.
    pub fn id(self) -> u32 {
        u32::try_from(self.place() + 1).expect("there are few")
    }

    /// The context that block status replies call `id`, if there can be one.
    pub fn from_id(id: u32) -> Option<Self> {
        let place = usize::try_from(id).ok()?.checked_sub(1)?;
        (place < FIXED + BITMAPS_MAX).then_some(Self::at(place))
    }

    /// What this context says of a run of bytes.
    pub(super) const fn flags(status: Status) -> u32 {
        match status {
            Status::Data | Status::Clean => 0,
            Status::AllocatedZero => allocation::ZERO,
            Status::Hole => allocation::HOLE | allocation::ZERO,
            Status::Dirty => dirty_bitmap::DIRTY,
            Status::Depth(depth) => depth,
        }
    }

    /// Whether `query` is the whole name of this context.
    pub(super) fn is_named(self, query: &[u8], export: &ExportInfo) -> bool {
        self.name(export).as_bytes() == query
    }

    /// Whether `query` is the namespace of this context, colon included, or one within it.
    pub(super) fn is_in_namespace(self, query: &[u8], export: &ExportInfo) -> bool {
        query.ends_with(b":") && self.name(export).as_bytes().starts_with(query)
    }

    const fn place(self) -> usize {
        match self {
            Self::Allocation => 0,
            Self::Depth => 1,
            Self::Bitmap(index) => FIXED + index,
        }
    }

    const fn at(place: usize) -> Self {
        match place {
            0 => Self::Allocation,
            1 => Self::Depth,
            other => Self::Bitmap(other - FIXED),
        }
    }
}

/// A set of metadata contexts.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Contexts(u64);

const _: () = assert!(FIXED + BITMAPS_MAX <= 64);

impl Contexts {
    /// No context.
    pub const NONE: Self = Self(0);

    /// What every export has.
    pub const ALLOCATION: Self = Self(1);

    /// This set and `context`.
    #[must_use]
    pub const fn with(self, context: Context) -> Self {
        Self(self.0 | 1 << context.place())
    }

    /// Whether `context` is in the set.
    pub const fn contains(self, context: Context) -> bool {
        self.0 & 1 << context.place() != 0
    }

    /// Whether nothing is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many are in the set.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// What is in the set, by id.
    pub fn iter(self) -> impl Iterator<Item = Context> {
        let all = (0..FIXED + BITMAPS_MAX).map(Context::at);
        all.filter(move |context| self.contains(*context))
    }
}

impl std::fmt::Debug for Contexts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::agreed::tests::export;
    use super::*;
    use crate::base::Mark;

    fn with_bitmaps() -> ExportInfo {
        ExportInfo {
            has_depth: true,
            bitmaps: vec![("daily".to_owned(), Mark(7)), ("b".to_owned(), Mark(9))],
            ..export("disk", 4096)
        }
    }

    #[test]
    fn ids_are_found_again_and_never_zero() {
        for context in Context::of(&with_bitmaps()) {
            assert_ne!(context.id(), 0);
            assert_eq!(Context::from_id(context.id()), Some(context));
        }
        for id in [0, 100, u32::MAX] {
            assert_eq!(Context::from_id(id), None);
        }
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        assert!(Contexts::NONE.is_empty());
        let one = Contexts::NONE.with(Context::Allocation);
        assert_eq!(one, Contexts::ALLOCATION);
        assert_eq!(one.iter().collect::<Vec<_>>(), [Context::Allocation]);
        assert_eq!(format!("{one:?}"), "{Allocation}");
        let three = one.with(Context::Bitmap(1)).with(Context::Depth);
        assert_eq!(three.len(), 3);
        let all = [Context::Allocation, Context::Depth, Context::Bitmap(1)];
        assert_eq!(three.iter().collect::<Vec<_>>(), all);
        assert!(!three.contains(Context::Bitmap(0)));
    }

    #[test]
    fn a_bitmap_is_told_by_its_name_and_its_mark() {
        let export = with_bitmaps();
        let names: Vec<_> = Context::of(&export).map(|it| it.name(&export)).collect();
        let expected = [
            "base:allocation",
            "qemu:allocation-depth",
            "qemu:dirty-bitmap:daily",
            "qemu:dirty-bitmap:b",
        ];
        assert_eq!(names, expected);
        let aspect = Context::Bitmap(1).aspect(&export);
        assert_eq!(aspect, Aspect::Changes(Mark(9)));
    }

    #[test]
    fn queries_are_compared_whole() {
        let export = with_bitmaps();
        let cases: [(Context, &[u8], bool, bool); 10] = [
            (Context::Allocation, b"base:allocation", true, false),
            (Context::Allocation, b"base:", false, true),
            (Context::Allocation, b"base", false, false),
            (Context::Allocation, b"", false, false),
            (Context::Allocation, b"base:alloc", false, false),
            (Context::Allocation, b"base:allocation:", false, false),
            (Context::Bitmap(0), b"qemu:", false, true),
            (Context::Bitmap(0), b"qemu:dirty-bitmap:", false, true),
            (Context::Bitmap(0), b"qemu:dirty-bitmap:daily", true, false),
            (Context::Depth, b"qemu:dirty-bitmap:", false, false),
        ];
        for (context, query, named, namespace) in cases {
            assert_eq!(context.is_named(query, &export), named, "{query:?}");
            let is_in = context.is_in_namespace(query, &export);
            assert_eq!(is_in, namespace, "{query:?}");
        }
    }
}
