//! The metadata contexts that this server knows.
//!
//! A context is a name that a client selects during the handshake and an id that block status
//! replies carry (proto.md, "Metadata querying"). A new one is a variant of [`Context`], a name
//! and an id here, and an encoding of its flags in the replies.

use super::wire::allocation;
use crate::base::Status;

/// A metadata context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Context {
    /// `base:allocation`: what is a hole and what reads as zeroes.
    Allocation,
}

impl Context {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::Allocation];

    /// The name that clients ask for: namespace, colon, leaf.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allocation => "base:allocation",
        }
    }

    /// What block status replies call it. Never zero, which listings use.
    pub const fn id(self) -> u32 {
        match self {
            Self::Allocation => 1,
        }
    }

    /// The context that block status replies call `id`.
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|context| context.id() == id)
    }

    /// What this context says of a run of bytes.
    pub(super) const fn flags(self, status: Status) -> u32 {
        match (self, status) {
            (Self::Allocation, Status::Data | Status::Dirty | Status::Clean) => 0,
            (Self::Allocation, Status::AllocatedZero) => allocation::ZERO,
            (Self::Allocation, Status::Hole) => allocation::HOLE | allocation::ZERO,
        }
    }

    /// Whether `query` is the whole name of this context.
    pub(super) fn is_named(self, query: &[u8]) -> bool {
        self.name().as_bytes() == query
    }

    /// Whether `query` is the namespace of this context, colon included.
    pub(super) fn is_in_namespace(self, query: &[u8]) -> bool {
        query.ends_with(b":") && self.name().as_bytes().starts_with(query)
    }

    const fn bit(self) -> u32 {
        1 << (self as u32)
    }
}

/// A set of metadata contexts.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Contexts(u32);

impl Contexts {
    /// No context.
    pub const NONE: Self = Self(0);

    /// Every context that this server knows.
    pub fn all() -> Self {
        Context::ALL.into_iter().fold(Self::NONE, Self::with)
    }

    /// This set and `context`.
    #[must_use]
    pub const fn with(self, context: Context) -> Self {
        Self(self.0 | context.bit())
    }

    /// Whether `context` is in the set.
    pub const fn contains(self, context: Context) -> bool {
        self.0 & context.bit() != 0
    }

    /// Whether nothing is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in the set, in the order of [`Context::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Context> {
        Context::ALL
            .into_iter()
            .filter(move |context| self.contains(*context))
    }
}

impl std::fmt::Debug for Contexts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_again_and_never_zero() {
        for context in Context::ALL {
            assert_ne!(context.id(), 0);
            assert_eq!(Context::from_id(context.id()), Some(context));
        }
        assert_eq!(Context::from_id(0), None);
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        assert!(Contexts::NONE.is_empty());
        let one = Contexts::NONE.with(Context::Allocation);
        assert!(one.contains(Context::Allocation));
        assert_eq!(one.iter().collect::<Vec<_>>(), [Context::Allocation]);
        assert_eq!(format!("{:?}", Contexts::all()), "{Allocation}");
    }

    #[test]
    fn queries_are_compared_whole() {
        let cases: [(&[u8], bool, bool); 6] = [
            (b"base:allocation", true, false),
            (b"base:", false, true),
            (b"base", false, false),
            (b"", false, false),
            (b"base:alloc", false, false),
            (b"base:allocation:", false, false),
        ];
        for (query, named, namespace) in cases {
            assert_eq!(Context::Allocation.is_named(query), named, "{query:?}");
            assert_eq!(
                Context::Allocation.is_in_namespace(query),
                namespace,
                "{query:?}"
            );
        }
    }
}
