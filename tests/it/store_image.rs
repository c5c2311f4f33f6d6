//! A small store made by hand from the encoders of the format, to be broken by tests.
//!
//! [`StoreImage::new`] gives a store with some of everything that [`segs`] says. A test changes
//! what it wants, has it sealed, and may then flip bits in what was sealed.

use bedplate::backend::{Backend, Checked, Faulty, Medium, Mem};
use bedplate::base::Buf;
use bedplate::codec::{Place, Sealer, TAG_BYTES, pack};
use bedplate::store::format::batch::{Header, Kind, RECORD_BYTES, Record, Successor, chunk_room};
use bedplate::store::format::root::{Properties, Root, Tree, TreeKind};
use bedplate::store::format::superblock::{self, LogPosition, RootRef, Superblock};
use bedplate::store::format::trailer::{self, Entry, FOOTER_BYTES, Trailer};
use bedplate::store::format::{
    BLOCK, Codec, FANOUT, INFO_BYTES, INFOS_PER_PAGE, Ptr, SEALED_BLOCK, SegInfo, SegState, Seq,
    Shape,
};

/// What lies where in a fresh [`StoreImage`]. The system area takes the segments before.
pub(crate) mod segs {
    /// A full segment of the log with its trailer: batches 1 to 3.
    pub(crate) const FULL: u32 = 16;
    /// A full segment of garbage collection with its trailer.
    pub(crate) const GC: u32 = 17;
    /// Nodes.
    pub(crate) const NODES: u32 = 18;
    /// The segment table and the root blob.
    pub(crate) const ROOT: u32 = 19;
    /// A segment of the log that was open at a crash: batches 4 and 5, no trailer.
    pub(crate) const CRASHED: u32 = 20;
    /// Where the log goes on: batch 10 is covered by the checkpoint, 11 and 12 are not.
    pub(crate) const TAIL: u32 = 21;
    /// Where it goes on from there: batch 13.
    pub(crate) const NEXT: u32 = 22;
    /// What batch 13 announces.
    pub(crate) const RESERVED: u32 = 23;
    /// Nothing.
    pub(crate) const FREE: u32 = 24;
}

/// Volume `vm1`: 1024 blocks, two levels.
pub(crate) const VM1: u32 = 1;
/// Snapshot `vm1@mon`.
pub(crate) const MON: u32 = 2;
/// Volume `vm2`: 100 blocks, one level.
pub(crate) const VM2: u32 = 3;

const UUID: [u8; 16] = *b"0123456789abcdef";
const SEG_SHIFT: u8 = 17;
const SEGS: u32 = 48;

/// A store being made.
pub(crate) struct StoreImage {
    pub(crate) superblock: Superblock,
    pub(crate) infos: Vec<SegInfo>,
    pub(crate) root: Root,
    /// What the superblocks that were written before this one differ in.
    pub(crate) older: fn(&mut Superblock),
    /// What the log goes on with.
    pub(crate) log: LogWriter,
    /// The chunks in [`segs::FULL`], [`segs::GC`] and [`segs::CRASHED`].
    pub(crate) full: Vec<Ptr>,
    pub(crate) gc: Vec<Ptr>,
    pub(crate) crashed: Vec<Ptr>,
    bytes: Vec<u8>,
    /// Where the next node goes.
    node_at: u32,
    next_counter: u64,
}

/// A store as bytes.
#[derive(Clone)]
pub(crate) struct Sealed {
    pub(crate) superblock: Superblock,
    pub(crate) bytes: Vec<u8>,
}

/// Where the next batch goes.
pub(crate) struct LogWriter {
    pub(crate) seg: u32,
    pub(crate) seq: Seq,
    pub(crate) offset: u32,
    pub(crate) number: u64,
    pub(crate) flushed: u64,
    pub(crate) next: Successor,
    entries: Vec<Entry>,
}

/// What happened to a block.
#[derive(Clone)]
pub(crate) enum Change {
    /// It was written, with bytes made from this number.
    Write(u8),
    /// It was written, and its chunk has this length.
    Short(usize),
    /// This many became holes.
    Zero(u32),
}

impl StoreImage {
    /// A store in order.
    pub(crate) fn new() -> Self {
        let mut image = Self::empty();
        let full = image.full_segment();
        let gc = image.gc_segment();
        let crashed = image.crashed_segment();
        image.begin_log();
        let covered = image.batch(&[(VM2, 9, Change::Write(90))]);
        image.superblock.log = image.log.position();

        // Entries at both ends of leaves, and leaves that the snapshot shares.
        let shared = image.node(&[(0, full[0]), (77, full[1]), (511, gc[0])]);
        let own = image.node(&[(0, gc[1]), (1, crashed[0])]);
        let old = image.node(&[(0, full[2]), (1, full[3])]);
        let vm1 = image.node(&[(0, shared), (1, own)]);
        let mon = image.node(&[(0, shared), (1, old)]);
        let vm2 = image.node(&[(3, gc[2]), (5, full[4]), (9, covered[0]), (99, crashed[1])]);
        image.root.trees = vec![
            tree(VM1, 0, TreeKind::Volume, 4 << 20, vm1, "vm1"),
            tree(MON, VM1, TreeKind::Snapshot, 4 << 20, mon, "mon"),
            tree(VM2, 0, TreeKind::Volume, 100 * 4096 - 512, vm2, "vm2"),
        ];

        image.batch(&[(VM1, 513, Change::Write(1)), (VM1, 77, Change::Short(900))]);
        image.batch(&[(VM2, 0, Change::Write(2)), (VM2, 5, Change::Zero(3))]);
        image.advance(segs::NEXT, segs::RESERVED);
        image.batch(&[(VM2, 0, Change::Write(3))]);
        (image.full, image.gc, image.crashed) = (full, gc, crashed);
        image
    }

    fn empty() -> Self {
        let shape = Shape::new(u64::from(SEGS) << SEG_SHIFT, SEG_SHIFT, 9).expect("in range");
        let mut infos = vec![SegInfo::default(); SEGS as usize];
        for info in &mut infos[..shape.first_seg() as usize] {
            info.state = SegState::System;
        }
        let nowhere = LogWriter {
            seg: 0,
            seq: Seq::default(),
            offset: 0,
            number: 1,
            flushed: 1,
            next: Successor::default(),
            entries: Vec::new(),
        };
        let mut image = Self {
            superblock: Superblock {
                uuid: UUID,
                generation: 42,
                shape,
                epoch: 7,
                owner: [5; 16],
                root: RootRef::default(),
                salt: [0; 16],
                log: LogPosition::default(),
                next: Successor::default(),
                next_counter: 0,
                cursor: segs::FREE,
                created: 1_700_000_000,
                cipher: None,
                mark: [0; 16],
            },
            infos,
            root: Root {
                next_tree: 4,
                ..Root::default()
            },
            older: |_| {},
            log: nowhere,
            full: Vec::new(),
            gc: Vec::new(),
            crashed: Vec::new(),
            bytes: vec![0; usize::try_from(shape.bytes()).expect("small")],
            node_at: 0,
            next_counter: 100,
        };
        image.take(segs::NODES, SegState::Meta);
        image.take(segs::ROOT, SegState::Meta);
        image
    }

    pub(crate) fn shape(&self) -> Shape {
        self.superblock.shape
    }

    fn sealer(&self) -> Sealer {
        Sealer::new(&UUID)
    }

    /// Takes a segment.
    pub(crate) fn take(&mut self, seg: u32, state: SegState) -> Seq {
        let seq = Seq::new(self.superblock.epoch, self.next_counter);
        self.next_counter += 1;
        let info = &mut self.infos[seg as usize];
        (info.seq, info.state) = (seq, state);
        seq
    }

    fn seq(&self, seg: u32) -> Seq {
        self.infos[seg as usize].seq
    }

    fn full_segment(&mut self) -> Vec<Ptr> {
        self.log.seg = segs::FULL;
        self.log.seq = self.take(segs::FULL, SegState::Log);
        self.log.next = Successor {
            seg: segs::CRASHED,
            seq: self.take(segs::CRASHED, SegState::Log),
        };
        let mut ptrs = self.batch(&[
            (VM1, 0, Change::Write(10)),
            (VM1, 77, Change::Write(11)),
            (VM1, 600, Change::Zero(40)),
        ]);
        ptrs.extend(self.batch(&[(VM1, 512, Change::Short(60)), (VM1, 513, Change::Write(12))]));
        ptrs.extend(self.batch(&[(VM2, 5, Change::Write(13))]));
        self.write_log_trailer();
        ptrs
    }

    fn crashed_segment(&mut self) -> Vec<Ptr> {
        (self.log.seg, self.log.seq) = (self.log.next.seg, self.log.next.seq);
        (self.log.offset, self.log.entries) = (0, Vec::new());
        let mut ptrs = self.batch(&[(VM1, 513, Change::Write(14))]);
        ptrs.extend(self.batch(&[(VM2, 99, Change::Short(2000))]));
        ptrs
    }

    fn gc_segment(&mut self) -> Vec<Ptr> {
        let seq = self.take(segs::GC, SegState::Gc);
        let mut entries = Vec::new();
        let mut ptrs = Vec::new();
        let mut at = 0;
        for (byte, len) in [(20, BLOCK), (21, 70), (22, 3000)] {
            ptrs.push(self.chunk(segs::GC, at, &content(byte, len)));
            let codec = Codec::Lz4;
            let kind = Kind::Data {
                len: u16::try_from(len).expect("short"),
                codec,
            };
            entries.push(Entry {
                record: Record {
                    volume: 0,
                    lba: 0,
                    kind,
                },
                offset: at,
                content: [0; 16],
            });
            at += u32::try_from(chunk_room(len)).expect("short");
        }
        let trailer = Trailer {
            kind: trailer::Kind::Gc,
            seq,
            written: at,
            next: Successor::default(),
            last: 0,
            flushed: 0,
            entries,
        };
        self.write_trailer(segs::GC, &trailer);
        ptrs
    }

    fn begin_log(&mut self) {
        let seq = self.take(segs::TAIL, SegState::Log);
        let next = Successor {
            seg: segs::NEXT,
            seq: self.take(segs::NEXT, SegState::Log),
        };
        self.log = LogWriter {
            seg: segs::TAIL,
            seq,
            offset: 0,
            number: 10,
            flushed: 10,
            next,
            entries: Vec::new(),
        };
        self.superblock.next = next;
    }

    /// Ends the open segment of the log and goes on in `seg`, which announces `next`. The table
    /// that the checkpoint has was written before `next` was taken.
    pub(crate) fn advance(&mut self, seg: u32, next: u32) {
        self.write_log_trailer();
        self.log.seg = seg;
        self.log.seq = self.log.next.seq;
        self.log.offset = 0;
        self.log.next = Successor {
            seg: next,
            seq: Seq::new(self.superblock.epoch, 900),
        };
    }

    fn write_log_trailer(&mut self) {
        let log = &mut self.log;
        let trailer = Trailer {
            kind: trailer::Kind::Log,
            seq: log.seq,
            written: log.offset,
            next: log.next,
            last: log.number - 1,
            flushed: log.flushed,
            entries: std::mem::take(&mut log.entries),
        };
        let seg = log.seg;
        self.write_trailer(seg, &trailer);
    }

    /// Writes a trailer at the end of `seg`.
    pub(crate) fn write_trailer(&mut self, seg: u32, trailer: &Trailer) {
        let seg_bytes = self.shape().seg_bytes();
        let bytes = trailer.encode(&self.sealer(), seg_bytes);
        let at = seg_bytes - u32::try_from(bytes.len()).expect("short");
        self.put(seg, at, &bytes);
    }

    /// Gives the first chunk of a segment of garbage collection another fingerprint than it has.
    pub(crate) fn lie_about_a_fingerprint(&mut self, seg: u32) {
        let (seg_bytes, seq) = (self.shape().seg_bytes(), self.seq(seg));
        let end = (seg as usize + 1) * seg_bytes as usize;
        let footer = &self.bytes[end - FOOTER_BYTES..end];
        let len = Trailer::peek(seq, seg_bytes, footer).expect("it has a trailer");
        let bytes = &self.bytes[end - len..end];
        let read = Trailer::decode(&self.sealer(), seq, seg_bytes, bytes);
        let mut trailer = read.expect("it opens");
        trailer.entries[0].content = [9; 16];
        self.write_trailer(seg, &trailer);
    }

    /// Appends a batch to the log; gives where the blocks lie that it writes.
    pub(crate) fn batch(&mut self, changes: &[(u32, u64, Change)]) -> Vec<Ptr> {
        let (seg, seq, start) = (self.log.seg, self.log.seq, self.log.offset);
        let mut bytes = vec![0; bedplate::store::format::batch::HEADER_BYTES];
        let mut records = Vec::new();
        let mut ptrs = Vec::new();
        for (volume, lba, change) in changes {
            let offset = start + u32::try_from(bytes.len()).expect("short");
            let data = match change {
                Change::Write(byte) => Some(content(*byte, BLOCK)),
                Change::Short(len) => Some(content(33, *len)),
                Change::Zero(_) => None,
            };
            let kind = match (&data, change) {
                (None, Change::Zero(count)) => Kind::Zero(*count),
                (data, _) => Kind::Data {
                    len: u16::try_from(data.as_ref().map_or(0, Vec::len)).expect("short"),
                    codec: Codec::Lz4,
                },
            };
            let record = Record {
                volume: *volume,
                lba: *lba,
                kind,
            };
            records.push(record);
            let mut entry = Entry {
                record,
                offset: 0,
                content: [0; 16],
            };
            if let Some(data) = data {
                bytes.extend(seal(self.sealer(), seq, offset, &data));
                bytes.resize(bytes.len().next_multiple_of(16), 0);
                ptrs.push(Ptr::new(seg, offset, data.len(), Codec::Lz4));
                entry.offset = offset;
            }
            self.log.entries.push(entry);
        }
        let records_at = bytes.len();
        bytes.resize(records_at + records.len() * RECORD_BYTES, 0);
        for (record, to) in records
            .iter()
            .zip(bytes[records_at..].chunks_mut(RECORD_BYTES))
        {
            record.encode(to);
        }
        let header = Header {
            number: self.log.number,
            records: u16::try_from(records.len()).expect("few"),
            seq,
            offset: start,
            bytes: u32::try_from(bytes.len()).expect("short"),
            key: 0,
            next: self.log.next,
            flushed: self.log.flushed,
        };
        header.encode(&self.sealer(), &mut bytes);
        self.put(seg, start, &bytes);
        self.log.number += 1;
        self.log.offset = self.shape().round_up(start + header.bytes);
        ptrs
    }

    /// Writes a chunk of `data`.
    pub(crate) fn chunk(&mut self, seg: u32, offset: u32, data: &[u8]) -> Ptr {
        let sealed = seal(self.sealer(), self.seq(seg), offset, data);
        self.put(seg, offset, &sealed);
        Ptr::new(seg, offset, data.len(), Codec::Lz4)
    }

    /// Writes a node with these entries, the others holes.
    pub(crate) fn node(&mut self, entries: &[(usize, Ptr)]) -> Ptr {
        let mut all = [Ptr::HOLE; FANOUT];
        for (index, ptr) in entries {
            all[*index] = *ptr;
        }
        let bytes: Vec<u8> = all
            .iter()
            .flat_map(|ptr| ptr.bits().to_le_bytes())
            .collect();
        let at = self.node_at;
        self.node_at += u32::try_from(SEALED_BLOCK).expect("short");
        self.chunk(segs::NODES, at, &bytes)
    }

    /// Writes the segment table, the root blob and the superblocks.
    pub(crate) fn seal(mut self) -> Sealed {
        let mut at = 0;
        self.root.pages.clear();
        for page in 0..self.infos.len().div_ceil(INFOS_PER_PAGE) {
            let mut bytes = vec![0; BLOCK];
            let infos = &self.infos[page * INFOS_PER_PAGE..];
            for (info, to) in infos.iter().zip(bytes.chunks_mut(INFO_BYTES)) {
                info.encode(to);
            }
            let ptr = self.chunk(segs::ROOT, at, &bytes);
            self.root.pages.push((ptr, self.seq(segs::ROOT)));
            at += u32::try_from(SEALED_BLOCK).expect("short");
        }
        let blob = self.root.encode();
        let seq = self.seq(segs::ROOT);
        self.put(segs::ROOT, at, &seal(self.sealer(), seq, at, &blob));
        self.superblock.root = RootRef {
            seq,
            seg: segs::ROOT,
            offset: at,
            len: u32::try_from(blob.len()).expect("short"),
            key: 0,
        };
        self.superblock.next_counter = self.next_counter;
        for back in [1, 0] {
            let mut superblock = self.superblock.clone();
            superblock.generation -= back;
            if back > 0 {
                (self.older)(&mut superblock);
            }
            for slot in Superblock::slots(superblock.generation) {
                let at = usize::try_from(Superblock::slot_offset(slot)).expect("small");
                superblock.encode(slot, &mut self.bytes[at..at + superblock::ROOM]);
            }
        }
        Sealed {
            superblock: self.superblock,
            bytes: self.bytes,
        }
    }

    fn put(&mut self, seg: u32, offset: u32, bytes: &[u8]) {
        let at = usize::try_from(self.shape().backend_offset(seg, offset)).expect("small");
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

impl LogWriter {
    fn position(&self) -> LogPosition {
        LogPosition {
            seq: self.seq,
            offset: self.offset,
            seg: self.seg,
            number: self.number,
        }
    }
}

impl Sealed {
    /// Flips a bit of the byte at `offset` of segment `seg`.
    pub(crate) fn flip(&mut self, seg: u32, offset: u32) {
        let at = self.superblock.shape.backend_offset(seg, offset);
        self.bytes[usize::try_from(at).expect("small")] ^= 4;
    }

    /// Makes a disk of it that does as it is told.
    pub(crate) async fn into_faulty(self) -> Faulty {
        let faulty = Faulty::new(self.bytes.len() as u64, 512);
        self.fill(&Checked::new(Medium::Faulty(faulty.clone())))
            .await;
        faulty
    }

    /// Makes a disk of it.
    pub(crate) async fn into_disk(self) -> Checked {
        let disk = Checked::new(Medium::Mem(Mem::new(self.bytes.len() as u64)));
        self.fill(&disk).await;
        disk
    }

    async fn fill(&self, door: &Checked) {
        for (index, piece) in self.bytes.chunks(1 << 20).enumerate() {
            let written = door.write((index << 20) as u64, Buf::from(piece)).await;
            written.expect("a good disk");
        }
        door.flush().await.expect("a good disk");
    }
}

/// A volume or snapshot of `size` bytes.
pub(crate) fn tree(id: u32, parent: u32, kind: TreeKind, size: u64, root: Ptr, name: &str) -> Tree {
    Tree {
        id,
        parent,
        kind,
        height: Shape::height(size),
        size,
        root,
        created: 1_700_000_000,
        properties: Properties::default(),
        given_up: false,
        name: name.to_owned(),
    }
}

/// The chunk of a block, of this length: the block itself, or one that packs to that.
fn content(byte: u8, len: usize) -> Vec<u8> {
    if len == BLOCK {
        return (byte..=u8::MAX).cycle().take(len).collect();
    }
    let mut state = u64::from(byte);
    let noise: Vec<u8> = (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .collect();
    let mut lens = (0..=len).rev().filter_map(|noisy| {
        let mut block = vec![0; BLOCK];
        block[..noisy].copy_from_slice(&noise[..noisy]);
        pack(Codec::Lz4, &block)
    });
    let packed = lens.find(|packed| packed.len() == len);
    packed
        .unwrap_or_else(|| panic!("no block packs to {len} bytes"))
        .to_vec()
}

fn seal(sealer: Sealer, seq: Seq, offset: u32, data: &[u8]) -> Vec<u8> {
    let mut sealed = data.to_vec();
    sealed.resize(data.len() + TAG_BYTES, 0);
    let place = Place {
        seq: seq.bits(),
        offset,
    };
    sealer.close(place, &mut sealed);
    sealed
}
