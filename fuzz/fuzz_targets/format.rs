//! Whatever bytes a disk gives, the decoders of the store's format neither panic nor follow them
//! out of the store, and what they accept they write again as it was.
//!
//! The first byte of an input says which structure the rest is. Seals would keep nearly every input
//! out, so what is sealed is sealed here, where the first byte says so.

#![no_main]

use bedplate::codec::{Place, Sealer, TAG_BYTES};
use bedplate::store::format::batch::{At, HEADER_BYTES, Header, RECORD_BYTES, Record, decode_ref};
use bedplate::store::format::root::Root;
use bedplate::store::format::superblock::{self, SLOTS, Superblock};
use bedplate::store::format::trailer::{FOOTER_BYTES, Trailer};
use bedplate::store::format::{INFO_BYTES, Ptr, SegInfo, Seq, Shape};
use libfuzzer_sys::fuzz_target;

const SEG_BYTES: u32 = 1 << 17;
const OFFSET: u32 = 8192;

fuzz_target!(|data: &[u8]| {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    let seal = choice & 0x80 != 0;
    match choice & 0x7 {
        0 => superblocks(bytes, seal),
        1 => root(bytes),
        2 => batch(bytes, seal),
        3 => trailer(bytes, seal),
        4 => bytes.chunks_exact(INFO_BYTES).for_each(segment),
        5 => bytes.chunks_exact(RECORD_BYTES).for_each(record),
        _ => bytes.as_chunks::<8>().0.iter().for_each(pointer),
    }
});

fn sealer() -> Sealer {
    Sealer::new(&[1; 16])
}

fn seq() -> Seq {
    Seq::new(3, 70)
}

fn shape() -> Shape {
    Shape::new(64 << 20, 17, 9).expect("in range")
}

fn place(offset: u32) -> Place {
    let seq = seq().bits();
    Place { seq, offset }
}

fn superblocks(bytes: &[u8], seal: bool) {
    for slot in 0..SLOTS {
        let mut bytes = bytes.to_vec();
        if seal {
            bytes.resize(superblock::BYTES, 0);
            let uuid: [u8; 16] = bytes[24..40].try_into().expect("16 bytes");
            let offset = u32::try_from(Superblock::slot_offset(slot)).expect("small");
            Sealer::new(&uuid).close(Place { seq: 0, offset }, &mut bytes);
        }
        let Ok(read) = Superblock::decode(slot, &bytes) else {
            continue;
        };
        let inside = read.shape.first_seg()..read.shape.segs();
        let segs = [read.root.seg, read.log.seg, read.next.seg];
        assert!(segs.iter().all(|seg| inside.contains(seg)));
        let root_end = read.root.offset as usize + read.root.len as usize + TAG_BYTES;
        assert!(root_end <= read.shape.seg_bytes() as usize);
        assert!(Superblock::slots(read.generation).contains(&slot));
        let mut again = vec![0; superblock::BYTES];
        read.encode(slot, &mut again);
        assert_eq!(Superblock::decode(slot, &again), Ok(read));
    }
}

fn root(bytes: &[u8]) {
    let Ok(read) = Root::decode(shape(), bytes) else {
        return;
    };
    let inside = |ptr: Ptr| ptr.is_hole() || shape().holds(ptr) && ptr.is_raw();
    assert!(read.pages.iter().all(|(ptr, _)| inside(*ptr)));
    for tree in &read.trees {
        assert!(inside(tree.root) && tree.height == Shape::height(tree.size));
    }
    assert_eq!(Root::decode(shape(), &read.encode()), Ok(read));
}

/// A batch whose header, if it is to be sealed, says what is true of its place.
fn batch(bytes: &[u8], seal: bool) {
    let mut bytes = bytes.to_vec();
    if seal && bytes.len() >= HEADER_BYTES {
        let len = u32::try_from(bytes.len()).expect("a short input");
        bytes[..4].copy_from_slice(b"bBat");
        bytes[8..16].copy_from_slice(&seq().bits().to_le_bytes());
        bytes[16..20].copy_from_slice(&OFFSET.to_le_bytes());
        bytes[20..24].copy_from_slice(&len.to_le_bytes());
        let records = usize::from(u16::from_le_bytes([bytes[4], bytes[5]]));
        if let Some(at) = bytes.len().checked_sub(records * RECORD_BYTES) {
            let tag = sealer().tag(place(OFFSET + 1), &bytes[at..]);
            bytes[64..80].copy_from_slice(&tag);
        }
        sealer().close(place(OFFSET), &mut bytes[..HEADER_BYTES]);
    }
    let Ok(header) = Header::decode(&sealer(), seq(), OFFSET, SEG_BYTES, &bytes) else {
        return;
    };
    let records_at = header.offset as usize + header.records_at();
    let Ok(logged) = header.decode_records(&sealer(), &bytes) else {
        return;
    };
    for logged in logged {
        if let Some(At::Chunk { offset, len, codec }) = logged.at {
            assert!(offset as usize + len + TAG_BYTES <= records_at);
            assert!(Ptr::new(20, offset, len, codec).is_sound());
        }
    }
}

fn trailer(bytes: &[u8], seal: bool) {
    let mut bytes = bytes.to_vec();
    if seal && let Some(entries) = bytes.len().checked_sub(FOOTER_BYTES) {
        bytes.drain(..entries % 40);
        let footer = bytes.len() - FOOTER_BYTES;
        let entries = u32::try_from(footer / 40).expect("a short input");
        bytes[footer..footer + 4].copy_from_slice(b"bTrl");
        bytes[footer + 8..footer + 16].copy_from_slice(&seq().bits().to_le_bytes());
        bytes[footer + 16..footer + 20].copy_from_slice(&entries.to_le_bytes());
        if let Some(at) = SEG_BYTES.checked_sub(u32::try_from(bytes.len()).expect("short")) {
            sealer().close(place(at), &mut bytes);
        }
    }
    let footer = bytes.len().saturating_sub(FOOTER_BYTES);
    let peeked = Trailer::peek(seq(), SEG_BYTES, &bytes[footer..]);
    let Ok(read) = Trailer::decode(&sealer(), seq(), SEG_BYTES, &bytes) else {
        return;
    };
    assert_eq!(peeked, Some(bytes.len()));
    let again = read.encode(&sealer(), SEG_BYTES);
    assert_eq!(
        Trailer::decode(&sealer(), seq(), SEG_BYTES, &again),
        Ok(read)
    );
}

fn segment(bytes: &[u8]) {
    if let Ok(info) = SegInfo::decode(bytes) {
        let mut again = [0; INFO_BYTES];
        info.encode(&mut again);
        assert_eq!(again, bytes);
    }
}

fn record(bytes: &[u8]) {
    if let Ok(record) = Record::decode(bytes) {
        let mut again = [0; RECORD_BYTES];
        record.encode(&mut again);
        assert_eq!(again, bytes);
    }
    let (ptr, _) = decode_ref(bytes);
    assert!(!shape().holds(ptr) || ptr.end() <= u64::from(SEG_BYTES));
}

fn pointer(bits: &[u8; 8]) {
    let ptr = Ptr::from_bits(u64::from_le_bytes(*bits));
    assert!(!ptr.to_string().is_empty());
    if shape().holds(ptr) {
        let again = Ptr::new(ptr.seg(), ptr.offset(), ptr.len(), ptr.codec());
        assert_eq!(again, ptr);
    }
}
