//! That whatever bytes a disk gives, a decoder says what is wrong or something that holds.

use bedplate::codec::{Place, Sealer, Secret, TAG_BYTES};
use bedplate::store::format::batch::{
    At, HEADER_BYTES, Header, Kind, RECORD_BYTES, Record, Successor, decode_ref,
};
use bedplate::store::format::root::{Keys, Properties, Root, Tree, TreeKind};
use bedplate::store::format::superblock::{self, LogPosition, RootRef, Superblock, Unusable};
use bedplate::store::format::trailer::{self, Entry, FOOTER_BYTES, Trailer};
use bedplate::store::format::{Codec, INFO_BYTES, Ptr, SegInfo, Seq, Shape};
use proptest::prelude::{any, prop, proptest};

const SEG_BYTES: u32 = 1 << 17;
const OFFSET: u32 = 4096;

fn sealer() -> Sealer {
    Sealer::new(&[3; 16])
}

fn seq() -> Seq {
    Seq::new(2, 50)
}

fn shape() -> Shape {
    Shape::new(64 << 20, 17, 9).expect("in range")
}

fn superblock() -> Vec<u8> {
    let place = LogPosition {
        seq: seq(),
        offset: 512,
        seg: 20,
        number: 6,
    };
    let superblock = Superblock {
        uuid: [3; 16],
        generation: 5,
        shape: shape(),
        epoch: 2,
        owner: [1; 16],
        root: RootRef {
            seq: seq(),
            seg: 21,
            offset: 16,
            len: 200,
            key: 0,
        },
        salt: [0; 16],
        log: place,
        next: Successor {
            seg: 22,
            seq: seq(),
        },
        next_counter: 60,
        cursor: 23,
        created: 1,
        cipher: None,
        mark: [0; 16],
    };
    let mut bytes = vec![0; superblock::BYTES];
    superblock.encode(1, &mut bytes);
    bytes
}

fn record() -> Record {
    let codec = Codec::Zstd;
    let kind = Kind::Data { len: 100, codec };
    Record {
        volume: 1,
        lba: 5,
        kind,
    }
}

fn batch() -> Vec<u8> {
    let header = Header {
        number: 6,
        records: 2,
        seq: seq(),
        offset: OFFSET,
        bytes: u32::try_from(Header::bytes_for(128, 2)).expect("short"),
        key: 0,
        next: Successor::default(),
        flushed: 6,
    };
    let mut bytes = vec![7; header.bytes as usize];
    let at = header.records_at();
    record().encode(&mut bytes[at..]);
    let kind = Kind::Zero(9);
    Record { kind, ..record() }.encode(&mut bytes[at + RECORD_BYTES..]);
    header.encode(&sealer(), &mut bytes);
    bytes
}

fn trailer() -> Vec<u8> {
    let entry = Entry {
        record: record(),
        offset: 96,
        content: [4; 16],
    };
    let trailer = Trailer {
        kind: trailer::Kind::Gc,
        seq: seq(),
        written: 512,
        next: Successor::default(),
        last: 0,
        flushed: 0,
        entries: vec![entry; 3],
    };
    trailer.encode(&sealer(), SEG_BYTES)
}

fn root() -> Vec<u8> {
    let tree = Tree {
        id: 1,
        parent: 0,
        kind: TreeKind::Volume,
        height: 1,
        size: 4096,
        root: Ptr::raw(20, 0),
        created: 1,
        properties: Properties::default(),
        given_up: false,
        name: "name".to_owned(),
    };
    let root = Root {
        keys: Some(Keys {
            fingerprints: Secret::copy_of(&[6; 32]),
            mounts: vec![(1, Secret::copy_of(&[7; 32]))],
        }),
        renewal: None,
        next_tree: 2,
        pages: vec![(Ptr::raw(21, 16), seq()); 2],
        trees: vec![tree],
    };
    root.encode().to_vec()
}

/// Decodes the header and the records; gives whether both are in order.
fn decode_batch(bytes: &[u8]) -> bool {
    let Ok(header) = Header::decode(&sealer(), seq(), OFFSET, SEG_BYTES, bytes) else {
        return false;
    };
    assert!(u64::from(OFFSET) + u64::from(header.bytes) <= u64::from(SEG_BYTES));
    header.decode_records(&sealer(), bytes).is_ok()
}

fn decode_trailer(bytes: &[u8]) -> bool {
    let footer = bytes.len().saturating_sub(FOOTER_BYTES);
    let _ = Trailer::peek(seq(), SEG_BYTES, &bytes[footer..]);
    Trailer::decode(&sealer(), seq(), SEG_BYTES, bytes).is_ok()
}

/// Decodes a root blob, and asserts that what it leads to lies in the store.
fn decode_root(bytes: &[u8]) -> bool {
    let Ok(root) = Root::decode(shape(), bytes) else {
        return false;
    };
    let inside = |ptr: Ptr| ptr.is_hole() || shape().holds(ptr) && ptr.is_raw();
    assert!(root.pages.iter().all(|(ptr, _)| inside(*ptr)));
    for tree in &root.trees {
        assert!(inside(tree.root) && tree.height == Shape::height(tree.size));
    }
    assert!(root.trees.is_sorted_by(|one, other| one.id < other.id));
    true
}

/// Decodes a superblock, and asserts that what it leads to lies in the store.
fn decode_superblock(bytes: &[u8]) -> bool {
    (0..superblock::SLOTS).any(|slot| {
        let Ok(read) = Superblock::decode(slot, bytes) else {
            return false;
        };
        let inside = read.shape.first_seg()..read.shape.segs();
        assert!(
            [read.root.seg, read.log.seg, read.next.seg]
                .iter()
                .all(|seg| inside.contains(seg))
        );
        let end = read.root.offset as usize + read.root.len as usize + TAG_BYTES;
        assert!(end <= read.shape.seg_bytes() as usize);
        assert!(Superblock::slots(read.generation).contains(&slot));
        assert!(read.epoch < Seq::EPOCHS && read.next_counter <= Seq::COUNTERS);
        true
    })
}

/// Whether the bytes are in order.
type Decoder = fn(&[u8]) -> bool;

/// Every structure that is sealed, and its decoder.
fn sealed() -> [(&'static str, Vec<u8>, Decoder); 3] {
    [
        ("superblock", superblock(), decode_superblock),
        ("trailer", trailer(), decode_trailer),
        ("batch", batch(), decode_batch),
    ]
}

#[test]
fn every_flipped_bit_of_what_is_sealed_is_seen() {
    for (what, good, decode) in sealed() {
        assert!(decode(&good), "{what}");
        let mut bytes = good.clone();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            // A chunk has a seal of its own, which the batch says nothing about.
            let in_chunk = what == "batch" && (96..96 + 128).contains(&(bit / 8));
            assert_eq!(decode(&bytes), in_chunk, "{what}: bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn every_truncation_is_seen() {
    for (what, good, decode) in sealed() {
        for len in 0..good.len() {
            assert!(!decode(&good[..len]), "{what}: the first {len} bytes");
            // A trailer is found by its end.
            assert!(
                !decode(&good[good.len() - len..]),
                "{what}: the last {len} bytes"
            );
        }
    }
    let root = root();
    for len in 0..root.len() {
        assert!(
            !decode_root(&root[..len]),
            "the first {len} bytes of a root"
        );
    }
}

#[test]
fn a_flipped_bit_of_a_root_is_seen_or_leads_nowhere_else() {
    let mut bytes = root();
    assert!(decode_root(&bytes));
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        decode_root(&bytes);
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn a_superblock_of_another_version_is_newer_and_a_damaged_one_is_not() {
    let with = |at: usize, value: u8, seal: bool| {
        let mut bytes = superblock();
        bytes[at] = value;
        if seal {
            let offset = u32::try_from(Superblock::slot_offset(1)).expect("small");
            Sealer::new(&[3; 16]).close(Place { seq: 0, offset }, &mut bytes);
        }
        Superblock::decode(1, &bytes)
    };
    assert!(with(8, 1, true).is_ok());
    assert_eq!(with(8, 2, true), Err(Unusable::Newer(2)));
    assert_eq!(with(12, 8, true), Err(Unusable::Newer(8)));
    assert!(with(22, 2, true).is_ok());
    assert_eq!(with(22, 3, true), Err(Unusable::Newer(3)));
    assert!(with(16, 1, true).is_ok(), "what may be ignored is ignored");
    assert!(matches!(with(8, 2, false), Err(Unusable::Damaged(_))));
    for (at, value) in [
        (20, 30),
        (21, 8),
        (51, 9),
        (59, 1),
        (83, 9),
        (131, 9),
        (143, 1),
        (179, 9),
    ] {
        assert!(
            matches!(with(at, value, true), Err(Unusable::Damaged(_))),
            "byte {at}"
        );
    }
    assert!(Superblock::decode(2, &superblock()).is_err());
}

/// Bytes that are close to `good`: some are others.
fn damaged(good: Vec<u8>) -> impl prop::strategy::Strategy<Value = Vec<u8>> {
    use prop::strategy::Strategy as _;
    let len = good.len();
    prop::collection::vec((0..len, any::<u8>()), 1..8).prop_map(move |changes| {
        let mut bytes = good.clone();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
        decode_superblock(&bytes);
        decode_batch(&bytes);
        decode_trailer(&bytes);
        decode_root(&bytes);
        for room in bytes.chunks_exact(RECORD_BYTES) {
            if let Ok(record) = Record::decode(room) {
                let mut again = [0; RECORD_BYTES];
                record.encode(&mut again);
                assert_eq!(again, room);
            }
            let (ptr, _) = decode_ref(room);
            assert!(!shape().holds(ptr) || ptr.end() <= u64::from(SEG_BYTES));
        }
        for entry in bytes.chunks_exact(INFO_BYTES) {
            if let Ok(info) = SegInfo::decode(entry) {
                let mut again = [0; INFO_BYTES];
                info.encode(&mut again);
                assert_eq!(again, entry);
            }
        }
    }

    #[test]
    fn records_that_open_but_make_no_sense_are_refused(
        records in damaged(vec![0; 64]),
        count in 0_u16..8,
        chunks in 0_usize..200,
    ) {
        // Whoever can seal can write anything; the decoder still keeps within the batch.
        let count = count.min(4);
        let header = Header {
            number: 6,
            records: count,
            seq: seq(),
            offset: OFFSET,
            bytes: u32::try_from(Header::bytes_for(chunks, usize::from(count))).expect("short"),
            key: 0,
            next: Successor::default(),
            flushed: 6,
        };
        let mut bytes = vec![0; header.bytes as usize];
        let at = header.records_at();
        let len = bytes.len() - at;
        bytes[at..].copy_from_slice(&records[..len]);
        header.encode(&sealer(), &mut bytes);
        let read = Header::decode(&sealer(), seq(), OFFSET, SEG_BYTES, &bytes).expect("sealed");
        if let Ok(logged) = read.decode_records(&sealer(), &bytes) {
            let end = OFFSET as usize + HEADER_BYTES + chunks;
            for logged in logged {
                if let Some(At::Chunk { offset, len, .. }) = logged.at {
                    assert!(offset as usize + len + TAG_BYTES <= end);
                    assert!(offset.is_multiple_of(16));
                }
            }
        }
    }

    #[test]
    fn a_root_that_was_changed_is_refused_or_sound(bytes in damaged(root())) {
        decode_root(&bytes);
    }

    #[test]
    fn a_superblock_that_opens_leads_into_its_store(
        bytes in damaged(superblock()[..200].to_vec()),
    ) {
        let mut whole = superblock();
        whole[..200].copy_from_slice(&bytes);
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&whole[24..40]);
        for slot in 0..superblock::SLOTS {
            let offset = u32::try_from(Superblock::slot_offset(slot)).expect("small");
            Sealer::new(&uuid).close(Place { seq: 0, offset }, &mut whole);
            decode_superblock(&whole);
        }
    }
}
