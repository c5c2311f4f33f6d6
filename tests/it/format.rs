//! That FORMAT.md says what the code does: its tables field by field, its examples byte by byte.
//!
//! A structure is encoded with values that are all different, so a field in another place, or of
//! another size, is seen. The examples are the files in `tests/golden/`; after a change of the
//! format that is meant, `BEDPLATE_BLESS=1` writes them anew, and a review reads the difference.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use bedplate::codec::{Place, Sealer, Secret, TAG_BYTES};
use bedplate::store::format::batch::{
    self, At, HEADER_BYTES, Header, Kind, Logged, RECORD_BYTES, Record, Successor, encode_ref,
};
use bedplate::store::format::root::{
    Compression, Dedup, Keys, Properties, Renewal, Root, Tree, TreeKind,
};
use bedplate::store::format::superblock::{self, LogPosition, RootRef, Superblock};
use bedplate::store::format::trailer::{self, ENTRY_BYTES, Entry, FOOTER_BYTES, Trailer};
use bedplate::store::format::{
    BLOCK, Codec, FANOUT, INFO_BYTES, Ptr, SYSTEM_BYTES, SegInfo, SegState, Seq, Shape,
};

use twox_hash::XxHash3_128;

use crate::source::{read, root as top};

const DOCUMENT: &str = "src/store/format/FORMAT.md";

/// An encoded structure, and what its fields are, in their order.
struct Sample {
    title: &'static str,
    bytes: Vec<u8>,
    fields: Vec<(&'static str, Vec<u8>)>,
}

/// A row of a table.
struct Row {
    offset: usize,
    /// A number, or the field that says it.
    size: String,
    field: String,
}

/// The table below the heading `title`.
fn table(title: &str) -> Vec<Row> {
    let document = read(DOCUMENT);
    let (_, section) = document
        .split_once(&format!("\n### {title}\n"))
        .unwrap_or_else(|| panic!("{DOCUMENT} has no '{title}'"));
    let section = section.split("\n#").next().expect("what comes before");
    let rows = section.lines().filter(|line| line.starts_with('|'));
    let rows: Vec<Vec<&str>> = rows
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let head = [
        "offset",
        "size",
        "field",
        "meaning",
        "valid when",
        "on violation",
    ];
    assert_eq!(rows[0], head, "the head of '{title}'");
    let row = |cells: &Vec<&str>| {
        assert_eq!(cells.len(), 6, "{title}: {cells:?}");
        Row {
            offset: cells[0].parse().expect("an offset"),
            size: cells[1].to_owned(),
            field: cells[2].to_owned(),
        }
    };
    rows[2..].iter().map(row).collect()
}

/// Bytes that no other call with another number gives.
fn odd<const N: usize>(number: u8) -> [u8; N] {
    let mut byte = number.wrapping_mul(37);
    [0; N].map(|_| {
        byte = byte.wrapping_add(11);
        byte | 1
    })
}

fn le(value: u64, bytes: usize) -> Vec<u8> {
    value.to_le_bytes()[..bytes].to_vec()
}

fn sealer() -> Sealer {
    Sealer::new(&[9; 16])
}

fn seq(number: u64) -> Seq {
    Seq::new(u32::try_from(number).expect("small"), number * 1000)
}

fn superblock() -> Superblock {
    Superblock {
        uuid: odd(1),
        generation: 7,
        shape: Shape::new(300 << 20, 20, 12).expect("in range"),
        epoch: 9,
        owner: odd(2),
        root: RootRef {
            seq: seq(4),
            seg: 10,
            offset: 0x1000,
            len: 1234,
            key: 0,
        },
        salt: odd(3),
        log: LogPosition {
            seq: seq(5),
            offset: 0x2000,
            seg: 11,
            number: 99,
        },
        next: Successor {
            seg: 12,
            seq: seq(6),
        },
        next_counter: 7001,
        cursor: 13,
        created: 1_790_000_000,
        cipher: None,
        mark: [0; 16],
    }
}

fn superblock_sample() -> Sample {
    let mut bytes = vec![0; superblock::BYTES];
    superblock().encode(3, &mut bytes);
    let seal = bytes[superblock::BYTES - TAG_BYTES..].to_vec();
    let fields = vec![
        ("magic", b"BEDPLATE".to_vec()),
        ("version", le(1, 4)),
        ("incompat", le(0, 4)),
        ("compat", le(0, 4)),
        ("seg_shift", vec![20]),
        ("block_shift", vec![12]),
        ("cipher", vec![0]),
        ("reserved", vec![0]),
        ("uuid", odd::<16>(1).to_vec()),
        ("generation", le(7, 8)),
        ("segs", le(300, 8)),
        ("epoch", le(9, 4)),
        ("reserved", vec![0; 4]),
        ("owner", odd::<16>(2).to_vec()),
        ("root_seg", le(10, 4)),
        ("root_offset", le(0x1000, 4)),
        ("root_len", le(1234, 4)),
        ("root_key", le(0, 4)),
        ("root_seq", le(seq(4).bits(), 8)),
        ("salt", odd::<16>(3).to_vec()),
        ("log_seq", le(seq(5).bits(), 8)),
        ("log_seg", le(11, 4)),
        ("log_offset", le(0x2000, 4)),
        ("next_counter", le(7001, 8)),
        ("cursor", le(13, 4)),
        ("reserved", vec![0; 4]),
        ("created", le(1_790_000_000, 8)),
        ("log_number", le(99, 8)),
        ("next_seq", le(seq(6).bits(), 8)),
        ("next_seg", le(12, 4)),
        ("reserved", vec![0; 4]),
        ("mark", vec![0; 16]),
        ("reserved", vec![0; 296]),
        ("seal", seal),
    ];
    Sample {
        title: "Superblock",
        bytes,
        fields,
    }
}

fn root() -> Root {
    let tree = |id, parent, kind, root, name: &str| Tree {
        id,
        parent,
        kind,
        height: 2,
        size: 5 << 20,
        root,
        created: 1_790_000_001,
        properties: Properties {
            write_through: id == 3,
            compression: Compression::ALL[usize::try_from(id % 4).expect("small")],
            dedup: Dedup::ALL[usize::try_from(id % 3).expect("small")],
        },
        given_up: kind == TreeKind::Ghost,
        name: name.to_owned(),
    };
    Root {
        keys: Some(Keys {
            fingerprints: Secret::copy_of(&[0x6b; 32]),
            mounts: [9, 10, 11]
                .map(|epoch| (epoch, Secret::copy_of(&[0x5a; 32])))
                .into(),
        }),
        renewal: Some(Renewal {
            before: 0x1234,
            repacks: true,
        }),
        next_tree: 7,
        pages: vec![(Ptr::raw(15, 0x30), seq(7)), (Ptr::HOLE, Seq::default())],
        trees: vec![
            tree(3, 0, TreeKind::Volume, Ptr::raw(16, 0x40), "vm1"),
            tree(4, 0, TreeKind::Volume, Ptr::raw(16, 0x1050), "two names"),
            tree(5, 3, TreeKind::Snapshot, Ptr::HOLE, "before-update"),
            tree(6, 3, TreeKind::Ghost, Ptr::HOLE, "daily"),
        ],
    }
}

fn root_samples() -> [Sample; 5] {
    let bytes = root().encode();
    let head = vec![
        ("magic", b"bRot".to_vec()),
        ("pages", le(2, 4)),
        ("trees", le(4, 4)),
        ("next_tree", le(7, 4)),
        ("mounts", le(3, 4)),
        ("repacks", le(1, 4)),
        ("renewal", le(0x1234, 8)),
    ];
    let fingerprints = vec![("key", vec![0x6b; 32])];
    let mount = vec![
        ("epoch", le(9, 4)),
        ("reserved", vec![0; 4]),
        ("key", vec![0x5a; 32]),
    ];
    let page = vec![
        ("page", le(Ptr::raw(15, 0x30).bits(), 8)),
        ("seq", le(seq(7).bits(), 8)),
    ];
    let tree = vec![
        ("id", le(3, 4)),
        ("parent", le(0, 4)),
        ("kind", vec![0]),
        ("height", vec![2]),
        ("properties", vec![7]),
        ("marks", vec![0]),
        ("name_bytes", le(3, 2)),
        ("reserved", vec![0; 2]),
        ("size", le(5 << 20, 8)),
        ("root", le(Ptr::raw(16, 0x40).bits(), 8)),
        ("created", le(1_790_000_001, 8)),
        ("reserved", vec![0; 24]),
        ("name", b"vm1".to_vec()),
    ];
    let sample = |title, from: usize, to: usize, fields| Sample {
        title,
        bytes: bytes[from..to].to_vec(),
        fields,
    };
    [
        sample("Root blob", 0, 32, head),
        sample("Reference to a page", 32, 48, page),
        sample("Key of fingerprints", 64, 96, fingerprints),
        sample("Key of a mount", 96, 136, mount),
        sample("Tree", 216, 216 + 67, tree),
    ]
}

/// A node with some entries.
fn node() -> Vec<u8> {
    let mut entries = [Ptr::HOLE; FANOUT];
    entries[0] = Ptr::raw(16, 0x50);
    entries[5] = Ptr::new(17, 0x60, 26, Codec::Lz4);
    entries[511] = Ptr::new(18, 0x70, 700, Codec::Zstd);
    entries.iter().flat_map(|ptr| le(ptr.bits(), 8)).collect()
}

fn infos() -> [SegInfo; 3] {
    let info = |number, live, state, age, listed| SegInfo {
        seq: seq(number),
        live,
        state,
        age,
        shared: false,
        listed,
    };
    [
        SegInfo {
            state: SegState::System,
            ..SegInfo::default()
        },
        info(8, 3000, SegState::Gc, 3, true),
        info(9, 0, SegState::Free, 0, false),
    ]
}

fn segment_sample() -> Sample {
    let mut bytes = vec![0; INFO_BYTES];
    let info = SegInfo {
        shared: true,
        ..infos()[1]
    };
    info.encode(&mut bytes);
    let fields = vec![
        ("seq", le(seq(8).bits(), 8)),
        ("live", le(3000, 4)),
        ("state", vec![2]),
        ("age", vec![3]),
        ("marks", le(3, 2)),
    ];
    Sample {
        title: "Segment",
        bytes,
        fields,
    }
}

/// 4096 bytes of 0x42 in LZ4's block format: one literal, a match that repeats it, and the five
/// literals that a block ends with.
fn lz4() -> Vec<u8> {
    let mut bytes = vec![0x1f, 0x42, 1, 0];
    bytes.extend([0xff; 15]);
    bytes.extend([0xf6, 0x50]);
    bytes.extend([0x42; 5]);
    bytes
}

fn records() -> [Record; 3] {
    let record = |volume, lba, kind| Record { volume, lba, kind };
    let len = u16::try_from(lz4().len()).expect("short");
    let codec = Codec::Lz4;
    [
        record(1, 9, Kind::Data { len, codec }),
        record(1, 600, Kind::Zero(8)),
        record(1, 11, Kind::Ref),
    ]
}

fn header() -> Header {
    Header {
        number: 98,
        records: 4,
        seq: seq(4),
        offset: 0x2000,
        bytes: u32::try_from(Header::bytes_for(48, 4)).expect("short"),
        key: 0,
        next: Successor {
            seg: 12,
            seq: seq(6),
        },
        flushed: 97,
    }
}

fn batch_bytes(header: Header) -> Vec<u8> {
    let mut bytes = vec![0; header.bytes as usize];
    let chunk = &mut bytes[HEADER_BYTES..HEADER_BYTES + lz4().len() + TAG_BYTES];
    chunk[..lz4().len()].copy_from_slice(&lz4());
    let offset = header.offset + u32::try_from(HEADER_BYTES).expect("short");
    let seq = header.seq.bits();
    sealer().close(Place { seq, offset }, chunk);
    let at = header.records_at();
    for (record, to) in records().iter().zip(bytes[at..].chunks_mut(RECORD_BYTES)) {
        record.encode(to);
    }
    let target = encode_ref(Ptr::raw(4, 0x60), self::seq(3));
    bytes[at + 48..at + 64].copy_from_slice(&target);
    header.encode(&sealer(), &mut bytes);
    bytes
}

fn batch_samples() -> [Sample; 3] {
    let header = Header {
        key: 66,
        ..header()
    };
    let bytes = batch_bytes(header);
    let head = vec![
        ("magic", b"bBat".to_vec()),
        ("records", le(4, 2)),
        ("reserved", vec![0; 2]),
        ("seq", le(seq(4).bits(), 8)),
        ("offset", le(0x2000, 4)),
        ("bytes", le(u64::from(header.bytes), 4)),
        ("next_seg", le(12, 4)),
        ("key", le(66, 4)),
        ("next_seq", le(seq(6).bits(), 8)),
        ("flushed", le(97, 8)),
        ("number", le(98, 8)),
        ("reserved", vec![0; 8]),
        ("records_seal", bytes[64..80].to_vec()),
        ("seal", bytes[80..96].to_vec()),
    ];
    let mut record = vec![0; RECORD_BYTES];
    let codec = Codec::Zstd;
    let kind = Kind::Data { len: 300, codec };
    let (volume, lba) = (0x0102_0304, 0x0506_0708_090a);
    Record { volume, lba, kind }.encode(&mut record);
    let record_fields = vec![
        ("volume", le(0x0102_0304, 4)),
        ("lba", le(0x0506_0708_090a, 6)),
        ("kind", vec![0]),
        ("codec", vec![1]),
        ("argument", le(300, 4)),
    ];
    let reference = vec![
        ("pointer", le(Ptr::raw(4, 0x60).bits(), 8)),
        ("seq", le(seq(3).bits(), 8)),
    ];
    let sample = |title, bytes: &[u8], fields| Sample {
        title,
        bytes: bytes.to_vec(),
        fields,
    };
    let at = header.records_at();
    [
        sample("Batch header", &bytes[..HEADER_BYTES], head),
        sample("Record", &record, record_fields),
        sample("Reference", &bytes[at + 48..], reference),
    ]
}

fn trailer() -> Trailer {
    let entry = |record, offset, content| Entry {
        record,
        offset,
        content,
    };
    let [data, zero, _] = records();
    Trailer {
        kind: trailer::Kind::Log,
        seq: seq(4),
        written: 0x3000,
        next: Successor {
            seg: 12,
            seq: seq(6),
        },
        last: 98,
        flushed: 97,
        entries: vec![entry(data, 0x2060, odd(5)), entry(zero, 0, [0; 16])],
    }
}

const SEG_BYTES: u32 = 1 << 20;

fn trailer_samples() -> [Sample; 2] {
    let bytes = trailer().encode(&sealer(), SEG_BYTES);
    let entry = vec![
        ("record", bytes[..16].to_vec()),
        ("offset", le(0x2060, 4)),
        ("reserved", vec![0; 4]),
        ("content", odd::<16>(5).to_vec()),
    ];
    let footer_at = bytes.len() - FOOTER_BYTES;
    let footer = vec![
        ("magic", b"bTrl".to_vec()),
        ("kind", le(0, 4)),
        ("seq", le(seq(4).bits(), 8)),
        ("entries", le(2, 4)),
        ("written", le(0x3000, 4)),
        ("next_seq", le(seq(6).bits(), 8)),
        ("next_seg", le(12, 4)),
        ("reserved", vec![0; 4]),
        ("last", le(98, 8)),
        ("flushed", le(97, 8)),
        (
            "entries_seal",
            bytes[footer_at + 56..footer_at + 72].to_vec(),
        ),
        ("reserved", vec![0; 8]),
        ("seal", bytes[bytes.len() - TAG_BYTES..].to_vec()),
    ];
    let sample = |title, bytes: &[u8], fields| Sample {
        title,
        bytes: bytes.to_vec(),
        fields,
    };
    [
        sample("Trailer entry", &bytes[..ENTRY_BYTES], entry),
        sample("Trailer footer", &bytes[footer_at..], footer),
    ]
}

fn samples() -> Vec<Sample> {
    let node = Sample {
        title: "Node",
        bytes: node(),
        fields: vec![("entries", node())],
    };
    let mut all = vec![superblock_sample(), node, segment_sample()];
    all.extend(root_samples());
    all.extend(batch_samples());
    all.extend(trailer_samples());
    all
}

#[test]
fn every_field_is_where_the_document_says() {
    for Sample {
        title,
        bytes,
        fields,
    } in samples()
    {
        let rows = table(title);
        let names = |row: &Row| row.field.clone();
        let documented: Vec<String> = rows.iter().map(names).collect();
        let encoded: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
        assert_eq!(documented, encoded, "the fields of '{title}'");
        let mut at = 0;
        for (row, (name, expected)) in rows.iter().zip(&fields) {
            assert_eq!(row.offset, at, "{title}: where {name} begins");
            let size = row.size.parse().unwrap_or(expected.len());
            assert_eq!(size, expected.len(), "{title}: the size of {name}");
            assert_eq!(&bytes[at..at + size], &expected[..], "{title}: {name}");
            at += size;
        }
        assert_eq!(at, bytes.len(), "'{title}' is described up to its end");
        // Two fields with the same value could be swapped unseen.
        let telling = fields
            .iter()
            .filter(|(_, value)| value.iter().any(|byte| *byte != 0));
        let mut seen = BTreeSet::new();
        for (name, value) in telling {
            assert!(seen.insert(value), "{title}: {name} is like another");
        }
    }
}

#[test]
fn every_structure_is_compared() {
    let document = read(DOCUMENT);
    let compared: BTreeSet<&str> = samples().iter().map(|sample| sample.title).collect();
    let (_, structures) = document
        .split_once("\n## Structures\n")
        .expect("the chapter");
    let structures = structures.split("\n## ").next().expect("its end");
    let titles = structures
        .lines()
        .filter_map(|line| line.strip_prefix("### "));
    let described: BTreeSet<&str> = titles.filter(|title| *title != "Pointer").collect();
    assert_eq!(described, compared);
}

#[test]
fn the_bits_of_a_pointer_are_where_the_document_says() {
    let document = read(DOCUMENT);
    let (seg, offset, len) = (0x0abc_def1, 0x0123_4560, 0x0abc);
    let ptr = Ptr::new(seg, offset, len, Codec::Zstd);
    for (row, value) in [
        ("| 36 to 63 | seg |", u64::from(seg)),
        ("| 14 to 35 | offset |", u64::from(offset) / 16),
        ("| 1 to 13 | len |", len as u64),
        ("| 0 | codec |", 1),
    ] {
        assert!(document.contains(&format!("\n{row} ")), "{row}");
        let mut bits = row.trim_start_matches("| ").split(' ');
        let low: u32 = bits.next().expect("a bit").parse().expect("a number");
        let high = match bits.next() {
            Some("to") => bits.next().expect("a bit").parse().expect("a number"),
            _ => low,
        };
        let found = ptr.bits() >> low & (u64::MAX >> (63 - (high - low)));
        assert_eq!(found, value, "{row}");
    }
}

#[test]
fn the_numbers_of_the_document_are_those_of_the_code() {
    let document = read(DOCUMENT);
    for slot in 0..superblock::SLOTS {
        let at = Superblock::slot_offset(slot) >> 10;
        let at = if at == 0 {
            "0 ".to_owned()
        } else {
            format!("{at} KiB")
        };
        let line = format!("\n{at:<12}superblock slot {slot}");
        assert!(document.contains(&line), "{line:?}");
    }
    assert!(document.contains("\n2 MiB       first segment") && SYSTEM_BYTES == 2 << 20);
    assert_eq!(Shape::SEG_SHIFT_MIN, 17);
    assert_eq!(
        (Shape::SEG_SHIFT_MAX, Shape::SEGS_MAX, Shape::SEGS_MIN),
        (26, 1 << 24, 16)
    );
    assert_eq!((Seq::EPOCHS, Seq::COUNTERS), (1 << 24, 1 << 40));
    assert_eq!((batch::RECORDS_MAX, superblock::VERSION), (1024, 1));
}

#[test]
fn a_seal_is_made_as_the_document_says() {
    let document = read(DOCUMENT);
    assert!(document.contains("seed = ((salt + seq) * 0x9E3779B97F4A7C15 + offset) mod 2^64"));
    let low = |hash: u128| u64::try_from(hash & u128::from(u64::MAX)).expect("64 bits");
    for (seq, offset) in [(0, 0), (u64::MAX, 16), (seq(7).bits(), 0x03ff_fff0)] {
        let salt = low(XxHash3_128::oneshot(&[9; 16]));
        let seed = salt.wrapping_add(seq).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let seed = seed.wrapping_add(u64::from(offset));
        for bytes in [&b""[..], b"a", &[7; 300], &node()] {
            let hash = XxHash3_128::oneshot_with_seed(seed, bytes);
            let mut seal = le(low(hash), 8);
            seal.extend(le(low(hash >> 64), 8));
            assert_eq!(sealer().tag(Place { seq, offset }, bytes)[..], seal);
        }
    }
}

/// Bytes as a file shows them: a line for each field, or for each row of 16 bytes of it.
fn dump(title: &str, parts: &[(String, &[u8])]) -> String {
    let mut text = format!("# {title}\n");
    let mut at = 0;
    for (name, bytes) in parts {
        let mut rest = *bytes;
        let mut label = name.as_str();
        while !rest.is_empty() {
            let zeroes = rest.iter().take_while(|byte| **byte == 0).count();
            let (row, hex) = if zeroes > 16 && zeroes == rest.len() || zeroes >= 64 {
                (zeroes, format!("00*{zeroes}"))
            } else {
                let row = rest.len().min(16);
                let words = rest[..row].chunks(4).map(|word| {
                    word.iter().fold(String::new(), |mut hex, byte| {
                        write!(hex, "{byte:02x}").expect("in memory");
                        hex
                    })
                });
                (row, words.collect::<Vec<_>>().join(" "))
            };
            let line = format!("{at:04x}  {hex:<37}{label}");
            writeln!(text, "{}", line.trim_end()).expect("in memory");
            at += row;
            rest = &rest[row..];
            label = "";
        }
    }
    text
}

/// The bytes that a file shows.
fn undump(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (at, rest) = line.split_once("  ").expect("an offset");
        assert_eq!(usize::from_str_radix(at, 16), Ok(bytes.len()), "{line}");
        let hex = rest.split("  ").next().expect("the bytes");
        if let Some(count) = hex.strip_prefix("00*") {
            let count: usize = count.trim().parse().expect("a count");
            bytes.resize(bytes.len() + count, 0);
            continue;
        }
        let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
        for pair in digits.chunks(2) {
            let pair: String = pair.iter().collect();
            bytes.push(u8::from_str_radix(&pair, 16).expect("two digits"));
        }
    }
    bytes
}

/// The fields of `bytes` as the tables of the document name them.
fn parts<'a>(title: &str, bytes: &'a [u8], name_bytes: usize) -> Vec<(String, &'a [u8])> {
    let cut = |row: Row| {
        let size = row.size.parse().unwrap_or(name_bytes);
        (row.field, &bytes[row.offset..row.offset + size])
    };
    table(title).into_iter().map(cut).collect()
}

/// Asserts that the file `name` shows `bytes`, and gives those that it shows.
fn golden(name: &str, title: &str, parts: &[(String, &[u8])]) -> Vec<u8> {
    let path = format!("tests/golden/{name}.hex");
    let made = dump(title, parts);
    if std::env::var_os("BEDPLATE_BLESS").is_some() {
        std::fs::write(top().join(&path), &made).expect("the file can be written");
    }
    let text = read(&path);
    assert_eq!(
        text, made,
        "{path} is not what is encoded; BEDPLATE_BLESS=1 writes it anew"
    );
    undump(&text)
}

#[test]
fn the_golden_superblock_is_read_and_written_as_ever() {
    let bytes = superblock_sample().bytes;
    let parts = parts("Superblock", &bytes, 0);
    let file = golden("superblock", "a superblock in slot 3", &parts);
    let read = Superblock::decode(3, &file).expect("it is one");
    assert_eq!(read, superblock());
    let mut again = vec![1; file.len()];
    read.encode(3, &mut again);
    assert_eq!(again, file);
}

#[test]
fn the_golden_root_is_read_and_written_as_ever() {
    let bytes = root().encode();
    let mut all = parts("Root blob", &bytes, 0);
    for at in [32, 48] {
        all.extend(parts("Reference to a page", &bytes[at..], 0));
    }
    all.extend(parts("Key of fingerprints", &bytes[64..], 0));
    for at in [96, 136, 176] {
        all.extend(parts("Key of a mount", &bytes[at..], 0));
    }
    let mut at = 216;
    for tree in root().trees {
        let len = tree.name.len();
        all.extend(parts("Tree", &bytes[at..], len));
        let end = at + 64 + len.next_multiple_of(8);
        all.push(("padding".to_owned(), &bytes[at + 64 + len..end]));
        at = end;
    }
    assert_eq!(at, bytes.len());
    let file = golden(
        "root",
        "a root blob without its seal, of 300 segments of 1 MiB",
        &all,
    );
    let read = Root::decode(superblock().shape, &file).expect("it is one");
    assert_eq!(read, root());
    assert_eq!(*read.encode(), file);
}

#[test]
fn the_golden_node_is_read_and_written_as_ever() {
    let bytes = node();
    let entry = |index: usize| (format!("entry {index}"), &bytes[index * 8..index * 8 + 8]);
    let holes = |from: usize, to: usize| {
        (format!("holes {from} to {}", to - 1), {
            &bytes[from * 8..to * 8]
        })
    };
    let all = [entry(0), holes(1, 5), entry(5), holes(6, 511), entry(511)];
    let file = golden("node", "a node without its seal", &all);
    let shape = superblock().shape;
    let read: Vec<Ptr> = file
        .chunks(8)
        .map(|bits| Ptr::from_bits(u64::from_le_bytes(bits.try_into().expect("eight"))))
        .collect();
    assert!(read.iter().all(|ptr| ptr.is_hole() || shape.holds(*ptr)));
    let shown = |index: usize| read[index].to_string();
    assert_eq!(shown(0), "16+0x50");
    assert_eq!(shown(5), "17+0x60 Lz4 26 bytes");
    assert_eq!(shown(511), "18+0x70 Zstd 700 bytes");
    assert_eq!(file.len(), BLOCK);
}

#[test]
fn the_golden_page_is_read_and_written_as_ever() {
    let mut bytes = vec![0; BLOCK];
    for (info, to) in infos().iter().zip(bytes.chunks_mut(INFO_BYTES)) {
        info.encode(to);
    }
    let mut all = Vec::new();
    for index in 0..infos().len() {
        all.extend(parts("Segment", &bytes[index * INFO_BYTES..], 0));
    }
    let behind = infos().len() * INFO_BYTES;
    all.push(("free segments never taken".to_owned(), &bytes[behind..]));
    let file = golden("page", "a page of the segment table without its seal", &all);
    for (from, info) in file.chunks(INFO_BYTES).zip(infos()) {
        let read = SegInfo::decode(from).expect("it is one");
        assert_eq!(read, info);
        let mut again = [1; INFO_BYTES];
        read.encode(&mut again);
        assert_eq!(again, from);
    }
    let free = SegInfo::decode(&file[behind..behind + INFO_BYTES]);
    assert_eq!(free, Ok(SegInfo::default()));
}

#[test]
fn the_golden_batch_is_read_and_written_as_ever() {
    let bytes = batch_bytes(header());
    let chunk = HEADER_BYTES + lz4().len();
    let at = header().records_at();
    let mut all = parts("Batch header", &bytes, 0);
    all.push(("chunk".to_owned(), &bytes[HEADER_BYTES..chunk]));
    all.push(("its seal".to_owned(), &bytes[chunk..chunk + TAG_BYTES]));
    all.push(("padding".to_owned(), &bytes[chunk + TAG_BYTES..at]));
    for index in 0..3 {
        all.extend(parts("Record", &bytes[at + index * RECORD_BYTES..], 0));
    }
    all.extend(parts("Reference", &bytes[at + 3 * RECORD_BYTES..], 0));
    let title = "a batch at 0x2000 of the store whose uuid is 16 bytes of 09";
    let file = golden("batch", title, &all);
    let read = Header::decode(&sealer(), seq(4), 0x2000, SEG_BYTES, &file).expect("it is one");
    assert_eq!(read, header());
    let logged = read.decode_records(&sealer(), &file).expect("they open");
    let at = [
        Some(At::Chunk {
            offset: 0x2060,
            len: 26,
            codec: Codec::Lz4,
        }),
        None,
        Some(At::Elsewhere {
            ptr: Ptr::raw(4, 0x60),
            seq: seq(3),
        }),
    ];
    for ((logged, record), at) in logged.iter().zip(records()).zip(at) {
        assert_eq!(*logged, Logged { record, at });
    }
    let place = Place {
        seq: seq(4).bits(),
        offset: 0x2060,
    };
    let chunk = sealer().open(place, &file[HEADER_BYTES..HEADER_BYTES + 42]);
    assert_eq!(chunk.as_deref(), Ok(&lz4()[..]));
    let mut again = file.clone();
    again[..HEADER_BYTES].fill(1);
    read.encode(&sealer(), &mut again);
    assert_eq!(again, file);
}

#[test]
fn the_golden_trailer_is_read_and_written_as_ever() {
    let bytes = trailer().encode(&sealer(), SEG_BYTES);
    let mut all = Vec::new();
    for index in 0..2 {
        let entry = &bytes[index * ENTRY_BYTES..];
        all.extend(parts("Record", entry, 0));
        all.extend(parts("Trailer entry", entry, 0).into_iter().skip(1));
    }
    all.extend(parts("Trailer footer", &bytes[2 * ENTRY_BYTES..], 0));
    let title = "a trailer of a segment of 1 MiB, of the store whose uuid is 16 bytes of 09";
    let file = golden("trailer", title, &all);
    assert_eq!(
        Trailer::peek(seq(4), SEG_BYTES, &file[file.len() - FOOTER_BYTES..]),
        Some(file.len())
    );
    let read = Trailer::decode(&sealer(), seq(4), SEG_BYTES, &file).expect("it is one");
    assert_eq!(read, trailer());
    assert_eq!(read.encode(&sealer(), SEG_BYTES), file);
}

#[test]
fn the_examples_of_the_document_are_the_golden_files() {
    let document = read(DOCUMENT);
    for name in ["superblock", "batch"] {
        let text = read(&format!("tests/golden/{name}.hex"));
        assert!(
            document.contains(&format!("```text\n{text}```\n")),
            "{DOCUMENT} does not have tests/golden/{name}.hex"
        );
    }
}
