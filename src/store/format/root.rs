//! The root blob: every tree of the store, and where the segment table is.

use zeroize::Zeroizing;

use super::fields::{put, u16_at, u32_at, u64_at};
use super::{Malformed, Ptr, Seq, Shape};
use crate::codec::{KEY_BYTES, Secret};

const MAGIC: u32 = u32::from_le_bytes(*b"bRot");
const HEAD_BYTES: usize = 32;
const PAGE_BYTES: usize = 16;
const TREE_BYTES: usize = 64;
const MOUNT_BYTES: usize = 8 + KEY_BYTES;

/// The longest name of a volume or a snapshot, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// Volumes, snapshots and bitmaps that a store has at most.
pub const TREES_MAX: usize = 65_536;

/// What the root blob says.
#[derive(PartialEq, Eq, Debug, Default)]
pub struct Root {
    /// The identity that the next tree gets; identities are not used again.
    pub next_tree: u32,
    /// Where each page of the segment table lies, with the sequence number of its segment, since
    /// the table that would tell it is not known yet.
    pub pages: Vec<(Ptr, Seq)>,
    /// The trees, by identity.
    pub trees: Vec<Tree>,
    /// What opens what is reachable; nothing without encryption.
    pub keys: Option<Keys>,
    /// What is being written again, whether anybody asks for it or not.
    pub renewal: Option<Renewal>,
}

/// The keys of an encrypted store. They do not depend on the master key that it has now.
#[derive(PartialEq, Eq, Debug)]
pub struct Keys {
    /// What fingerprints are made with.
    pub fingerprints: Secret,
    /// The keys of the mounts that wrote what is reachable, by mount.
    pub mounts: Vec<(u32, Secret)>,
}

/// The emptying of all segments that were taken before a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Renewal {
    /// Segments with a lower counter are emptied; never 0.
    pub before: u64,
    /// Whether what is moved is packed anew, as its volumes want it now.
    pub repacks: bool,
}

/// A volume, a snapshot or a ghost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tree {
    /// Its identity.
    pub id: u32,
    /// What it was made from: a snapshot's or a ghost's volume, a clone's origin; 0 if nothing.
    pub parent: u32,
    /// What it is.
    pub kind: TreeKind,
    /// Levels of nodes.
    pub height: u8,
    /// Its size in bytes, a multiple of 512.
    pub size: u64,
    /// Its topmost node, or a hole.
    pub root: Ptr,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// How it is to be treated.
    pub properties: Properties,
    /// Of a ghost: it was given up, and every block counts as changed.
    pub given_up: bool,
    /// What people call it: a volume by its name, a snapshot or a bitmap
    /// within its volume.
    pub name: String,
}

/// What a tree is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TreeKind {
    /// A disk that can be written.
    Volume,
    /// A volume as it was.
    Snapshot,
    /// The map of a volume as it was, without the data: what a dirty bitmap is compared with.
    Ghost,
}

/// How a volume is to be treated.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Properties {
    /// Whether every write is durable before it is acknowledged.
    pub write_through: bool,
    /// How blocks are compressed that are written from now on.
    pub compression: Compression,
    /// Whether blocks that are written from now on are looked for in the store first.
    pub dedup: Dedup,
}

/// Whether blocks that the store has already are written again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Dedup {
    /// They are not: what has the same fingerprint counts as the same.
    #[default]
    On,
    /// They are not, but what has the same fingerprint is read and compared first.
    Verify,
    /// They are.
    Off,
}

impl Dedup {
    /// All there are, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::On, Self::Verify, Self::Off];

    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Verify => "verify",
            Self::Off => "off",
        }
    }
}

/// How the blocks of a volume are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Compression {
    /// With LZ4 where that has been worth it lately, and where there is time; garbage collection
    /// packs what is cold with Zstandard.
    #[default]
    Adaptive,
    /// Always with LZ4.
    Lz4,
    /// Always with Zstandard: half the space of LZ4's gain more, at four times its price.
    Zstd,
    /// Not at all.
    Off,
}

impl Compression {
    /// All there are, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Adaptive, Self::Lz4, Self::Zstd, Self::Off];

    /// The one that costs most where the same block is wanted in several ways.
    pub const HARDEST: Self = Self::Zstd;

    /// Of two ways in which the same block is wanted, the one that costs less.
    pub fn gentler(self, other: Self) -> Self {
        std::cmp::min_by_key(self, other, |way| way.hardness())
    }

    /// Rises with what a way costs.
    pub const fn hardness(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::Lz4 => 1,
            Self::Adaptive => 2,
            Self::Zstd => 3,
        }
    }

    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Adaptive => "adaptive",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Off => "off",
        }
    }
}

impl Properties {
    fn bits(self) -> u8 {
        u8::from(self.write_through) | (self.compression as u8) << 1 | (self.dedup as u8) << 3
    }

    fn from_bits(bits: u8) -> Result<Self, Malformed> {
        let dedup = Dedup::ALL.get(usize::from(bits >> 3));
        Ok(Self {
            write_through: bits & 1 != 0,
            compression: Compression::ALL[usize::from(bits >> 1 & 3)],
            dedup: *dedup.ok_or(Malformed("an unknown property of a volume"))?,
        })
    }
}

impl Root {
    /// The blob. It has secrets in it.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mounts = self.keys.as_ref().map_or(0, |keys| keys.mounts.len());
        let names: usize = self.trees.iter().map(|tree| tree.name.len() + 8).sum();
        let lists = self.pages.len() * PAGE_BYTES + self.trees.len() * TREE_BYTES + names;
        // All of it at once: what grows leaves copies behind.
        let room = HEAD_BYTES + lists + KEY_BYTES + mounts * MOUNT_BYTES;
        let mut to = Zeroizing::new(Vec::with_capacity(room));
        to.resize(HEAD_BYTES, 0);
        put(&mut to, 0, &MAGIC.to_le_bytes());
        put(&mut to, 4, &count(self.pages.len()));
        put(&mut to, 8, &count(self.trees.len()));
        put(&mut to, 12, &self.next_tree.to_le_bytes());
        put(&mut to, 16, &count(mounts));
        if let Some(renewal) = self.renewal {
            to[20] = u8::from(renewal.repacks);
            put(&mut to, 24, &renewal.before.to_le_bytes());
        }
        for (ptr, seq) in &self.pages {
            to.extend(ptr.bits().to_le_bytes());
            to.extend(seq.bits().to_le_bytes());
        }
        if let Some(keys) = &self.keys {
            keys.encode(&mut to);
        }
        for tree in &self.trees {
            tree.encode(&mut to);
        }
        to
    }

    /// Reads the blob `from`, of a store of this `shape`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(shape: Shape, from: &[u8]) -> Result<Self, Malformed> {
        if from.len() < HEAD_BYTES || u32_at(from, 0) != MAGIC {
            return Err(Malformed("no root begins here"));
        }
        let (pages, trees) = (u32_at(from, 4) as usize, u32_at(from, 8) as usize);
        let mut rest = &from[HEAD_BYTES..];
        let listed = pages.checked_mul(PAGE_BYTES);
        let (list, behind) = listed
            .and_then(|bytes| rest.split_at_checked(bytes))
            .ok_or(Malformed("a root with more pages than fit"))?;
        let (keys, behind) = Keys::decode(u32_at(from, 16) as usize, behind)?;
        rest = behind;
        let page = |page: &[u8]| {
            let ptr = Ptr::from_bits(u64_at(page, 0));
            match ptr.is_hole() || shape.holds(ptr) && ptr.is_raw() {
                true => Ok((ptr, Seq::from_bits(u64_at(page, 8)))),
                false => Err(Malformed("a page of the segment table outside the store")),
            }
        };
        let mut root = Self {
            next_tree: u32_at(from, 12),
            pages: list
                .chunks(PAGE_BYTES)
                .map(page)
                .collect::<Result<_, _>>()?,
            trees: Vec::new(),
            keys,
            renewal: Renewal::decode(u32_at(from, 20), u64_at(from, 24))?,
        };
        if trees > TREES_MAX {
            return Err(Malformed("a root with more trees than there can be"));
        }
        for _ in 0..trees {
            let (tree, behind) = Tree::decode(shape, rest)?;
            if root.trees.last().is_some_and(|last| last.id >= tree.id) {
                return Err(Malformed("a root whose trees are not in order"));
            }
            root.trees.push(tree);
            rest = behind;
        }
        Ok(root)
    }
}

impl Keys {
    fn encode(&self, to: &mut Vec<u8>) {
        to.extend(self.fingerprints.expose());
        for (epoch, key) in &self.mounts {
            to.extend(u64::from(*epoch).to_le_bytes());
            to.extend(key.expose());
        }
    }

    /// Reads the keys of so many mounts from the start of `from`; gives what is behind them, too.
    fn decode(mounts: usize, from: &[u8]) -> Result<(Option<Self>, &[u8]), Malformed> {
        const SHORT: Malformed = Malformed("a root with more keys than fit");
        if mounts == 0 {
            return Ok((None, from));
        }
        let (fingerprints, rest) = from.split_at_checked(KEY_BYTES).ok_or(SHORT)?;
        let bytes = mounts.checked_mul(MOUNT_BYTES).ok_or(SHORT)?;
        let (listed, rest) = rest.split_at_checked(bytes).ok_or(SHORT)?;
        let mount = |mount: &[u8]| (u32_at(mount, 0), Secret::copy_of(&mount[8..]));
        let keys = Self {
            fingerprints: Secret::copy_of(fingerprints),
            mounts: listed.chunks(MOUNT_BYTES).map(mount).collect(),
        };
        Ok((Some(keys), rest))
    }
}

impl Renewal {
    fn decode(marks: u32, before: u64) -> Result<Option<Self>, Malformed> {
        match (marks, before) {
            (0, 0) => Ok(None),
            (0 | 1, 1..) => Ok(Some(Self {
                before,
                repacks: marks == 1,
            })),
            _ => Err(Malformed("an unknown mark of a renewal")),
        }
    }
}

impl Tree {
    fn encode(&self, to: &mut Vec<u8>) {
        let at = to.len();
        to.resize(at + TREE_BYTES, 0);
        let head = &mut to[at..];
        put(head, 0, &self.id.to_le_bytes());
        put(head, 4, &self.parent.to_le_bytes());
        let flags = self.properties.bits();
        let marks = u8::from(self.given_up);
        put(head, 8, &[self.kind as u8, self.height, flags, marks]);
        put(head, 12, &count(self.name.len()));
        put(head, 16, &self.size.to_le_bytes());
        put(head, 24, &self.root.bits().to_le_bytes());
        put(head, 32, &self.created.to_le_bytes());
        to.extend(self.name.as_bytes());
        to.resize(to.len().next_multiple_of(8), 0);
    }

    /// Reads a tree from the start of `from`; gives what is behind it, too.
    fn decode(shape: Shape, from: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        const SHORT: Malformed = Malformed("a root with more trees than fit");
        let (head, rest) = from.split_at_checked(TREE_BYTES).ok_or(SHORT)?;
        let name_bytes = usize::from(u16_at(head, 12));
        let (name, rest) = rest.split_at_checked(name_bytes).ok_or(SHORT)?;
        let pad = name_bytes.next_multiple_of(8) - name_bytes;
        let (_, rest) = rest.split_at_checked(pad).ok_or(SHORT)?;
        let name = std::str::from_utf8(name).map_err(|_| Malformed("a name that is no text"))?;
        let tree = Self {
            id: u32_at(head, 0),
            parent: u32_at(head, 4),
            kind: match head[8] {
                0 => TreeKind::Volume,
                1 => TreeKind::Snapshot,
                2 => TreeKind::Ghost,
                _ => return Err(Malformed("a tree of an unknown kind")),
            },
            height: head[9],
            properties: Properties::from_bits(head[10])?,
            given_up: match (head[8], head[11]) {
                (_, 0) => false,
                (2, 1) => true,
                _ => return Err(Malformed("an unknown mark of a tree")),
            },
            size: u64_at(head, 16),
            root: Ptr::from_bits(u64_at(head, 24)),
            created: u64_at(head, 32),
            name: name.to_owned(),
        };
        if tree.height != Shape::height(tree.size) {
            return Err(Malformed("a tree whose height does not fit its size"));
        }
        let root = tree.root;
        if !(root.is_hole() || shape.holds(root) && root.is_raw()) {
            return Err(Malformed("a tree whose root lies outside the store"));
        }
        Ok((tree, rest))
    }
}

fn count(count: usize) -> [u8; 4] {
    u32::try_from(count)
        .expect("bounded by what fits a segment")
        .to_le_bytes()
}
