//! That a check finds nothing in a store that is in order, and in a broken one what was broken.

use bedplate::backend::{Checked, Fault, Kind, Medium};
use bedplate::env::sim;
use bedplate::store::check::{Depth, Limits, Report, check, check_with};
use bedplate::store::format::batch::Successor;
use bedplate::store::format::superblock::{self, Superblock};
use bedplate::store::format::trailer::{self, Trailer};
use bedplate::store::format::{Codec, Ptr, SegState, Seq};
use bedplate::store::{StoreError, TreeKind};

use crate::store_image::{Change, MON, Sealed, StoreImage, VM1, VM2, segs, tree};

fn run(sealed: Sealed, depth: Depth) -> Report {
    try_run(sealed, depth).expect("a store that can be checked")
}

fn try_run(sealed: Sealed, depth: Depth) -> Result<Report, StoreError> {
    sim::run(1, async move {
        let disk = sealed.into_disk().await;
        check(&disk, depth, None).await
    })
}

/// What was found, each as the invariant, the place and what is wrong.
fn findings(report: &Report) -> Vec<String> {
    assert_eq!(report.findings.len() as u64, report.findings_total);
    report.findings.iter().map(ToString::to_string).collect()
}

/// Asserts that the only finding breaks `invariant`, at `place`.
#[track_caller]
fn assert_only(report: &Report, invariant: &str, place: &str) {
    let [finding] = &report.findings[..] else {
        panic!("one finding, not {:#?}", findings(report));
    };
    assert_eq!(
        (finding.invariant, &*finding.place),
        (invariant, place),
        "{finding}"
    );
}

/// Both depths find this, and nothing else.
#[track_caller]
fn assert_both(sealed: &Sealed, invariant: &str, place: &str) {
    for depth in [Depth::Metadata, Depth::Data] {
        assert_only(&run(sealed.clone(), depth), invariant, place);
    }
}

fn broken(change: impl FnOnce(&mut StoreImage)) -> Sealed {
    let mut image = StoreImage::new();
    change(&mut image);
    image.seal()
}

fn flipped(seg: u32, offset: u32) -> Sealed {
    let mut sealed = StoreImage::new().seal();
    sealed.flip(seg, offset);
    sealed
}

#[test]
fn a_store_in_order_has_no_findings() {
    for depth in [Depth::Metadata, Depth::Data] {
        let report = run(StoreImage::new().seal(), depth);
        assert_eq!(findings(&report), [""; 0]);
        assert_eq!((report.generation, report.epoch), (42, 7));
        assert_eq!((report.trees, report.nodes), (3, 6));
        // vm1: 0, 77 of the snapshot and of the log, 511, 512, 513 of the log; mon: 512, 513;
        // vm2: 0 of the log, 3, 9, 99. Of vm2, 5 is a hole in the log.
        assert_eq!(report.chunks, 12);
        let log = report.log;
        assert_eq!(
            (log.batches, log.records, log.segments, log.next),
            (3, 5, 2, 14)
        );
        let counts = report.segments;
        assert_eq!(
            (counts.system, counts.log, counts.gc, counts.meta),
            (16, 4, 1, 2)
        );
        assert_eq!((counts.free, counts.bad, counts.unknown), (25, 0, 0));
        assert!(report.live.meta > 6 * 4112 && report.live.gc == 4112 + 96 + 3024);
    }
}

#[test]
fn a_long_check_in_small_windows_finds_the_same() {
    let wide = run(StoreImage::new().seal(), Depth::Data);
    let (narrow, stages) = sim::run(1, async {
        let disk = StoreImage::new().seal().into_disk().await;
        let limits = Limits {
            chunks: 1,
            ..Limits::default()
        };
        let mut stages = Vec::new();
        let mut told = |progress: bedplate::store::check::Progress| {
            assert!(progress.total.is_none_or(|total| progress.done <= total));
            stages.push(progress.stage);
        };
        let report = check_with(&disk, Depth::Data, limits, None, &mut told).await;
        (report.expect("in order"), stages)
    });
    assert_eq!(narrow, wide);
    let rounds = stages
        .windows(2)
        .filter(|two| two[0] == "segments" && two[1] != two[0]);
    assert!(rounds.count() > 1, "one round is no test");
}

/// Flips a bit in these superblock slots. Generation 42 lies in slots 0 and 2, 41 in 1 and 3.
fn with_slots_damaged(slots: &[usize]) -> Sealed {
    let mut sealed = StoreImage::new().seal();
    for slot in slots {
        let at = u32::try_from(Superblock::slot_offset(*slot)).expect("small");
        sealed.flip(0, at + 50);
    }
    sealed
}

#[test]
fn one_damaged_superblock_is_found_and_its_copy_counts() {
    for slot in 0..4 {
        let report = run(with_slots_damaged(&[slot]), Depth::Data);
        assert_only(&report, "I1", &format!("superblock slot {slot}"));
        assert_eq!(report.generation, 42);
    }
}

#[test]
fn a_store_without_its_newest_superblock_is_not_what_it_was_before() {
    for lost in [[0, 2], [1, 3]] {
        let refused = try_run(with_slots_damaged(&lost), Depth::Metadata);
        let Err(StoreError::Damaged(what)) = refused else {
            panic!("{refused:?}");
        };
        assert!(
            what.starts_with(&format!("superblock slot {}", lost[0])),
            "{what}"
        );
    }
}

#[test]
fn a_power_loss_between_the_two_copies_is_no_damage() {
    let mut image = StoreImage::new();
    image.superblock.generation -= 2;
    let before = image.seal();
    let mut sealed = StoreImage::new().seal();
    let second = usize::try_from(Superblock::slot_offset(2)).expect("small");
    let copy = second..second + superblock::BYTES;
    sealed.bytes[copy.clone()].copy_from_slice(&before.bytes[copy]);
    let report = run(sealed, Depth::Data);
    assert_eq!((findings(&report), report.generation), (vec![], 42));
}

#[test]
fn superblocks_that_are_not_a_history_are_found() {
    let broken = |older: fn(&mut Superblock)| {
        let mut image = StoreImage::new();
        image.older = older;
        run(image.seal(), Depth::Metadata).findings
    };
    let cases: [fn(&mut Superblock); 5] = [
        |old| old.epoch = 8,
        |old| old.uuid[0] = 0,
        |old| old.next_counter += 1,
        |old| old.log.number += 1,
        |old| old.shape = bedplate::store::format::Shape::new(8 << 20, 17, 9).expect("one"),
    ];
    for case in cases {
        let found = broken(case);
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(found.iter().all(|finding| finding.invariant == "I1"));
    }
}

#[test]
fn what_is_no_store_is_refused() {
    let sealed = |slots: &[usize], byte: usize| {
        let mut sealed = StoreImage::new().seal();
        for slot in slots {
            let at = usize::try_from(Superblock::slot_offset(*slot)).expect("small");
            sealed.bytes[at + byte] ^= 1;
        }
        sealed
    };
    let all = [0, 1, 2, 3];
    assert_eq!(
        try_run(sealed(&all, 0), Depth::Metadata),
        Err(StoreError::NotAStore)
    );
    let damaged = try_run(sealed(&all, 100), Depth::Metadata);
    assert!(
        matches!(damaged, Err(StoreError::Damaged(_))),
        "{damaged:?}"
    );
}

#[test]
fn a_superblock_that_cannot_be_read_ends_the_check() {
    let report = sim::run(1, async {
        let faulty = StoreImage::new().seal().into_faulty().await;
        faulty.plan(Kind::Read, 1, Fault::Fail);
        check(&Checked::new(Medium::Faulty(faulty)), Depth::Metadata, None).await
    });
    assert!(matches!(report, Err(StoreError::Io(_))), "{report:?}");
}

#[test]
fn a_backend_that_is_too_short_is_told() {
    let mut sealed = StoreImage::new().seal();
    let whole = sealed.bytes.len();
    sealed.bytes.truncate(whole - (20 << 17));
    let report = run(sealed, Depth::Metadata);
    assert_only(&report, "I1", "the backend");
}

#[test]
fn a_damaged_root_blob_is_named() {
    let root = StoreImage::new().seal().superblock.root;
    let sealed = flipped(root.seg, root.offset + 20);
    let place = format!("the root blob -> segment 19 offset {:#x}", root.offset);
    assert_both(&sealed, "I3", &place);
}

#[test]
fn a_damaged_page_of_the_segment_table_is_named_and_the_log_still_followed() {
    let report = run(flipped(segs::ROOT, 100), Depth::Metadata);
    let found = findings(&report);
    assert!(
        found[0].starts_with("I3  segment table page 0 -> segment 19 offset 0x0"),
        "{found:?}"
    );
    assert_eq!(report.log.batches, 3);
    assert_eq!((report.segments.unknown, report.segments.log), (30, 2));
    // What the log says is known without the table.
    assert_eq!(report.chunks, 3);
}

#[test]
fn a_damaged_node_is_named_and_what_is_beside_it_still_checked() {
    // Nodes in their order: shared, own, old, vm1, mon, vm2.
    for (index, place, chunks) in [
        (0, "volume vm1 node of level 0 at block 0", 9),
        (1, "volume vm1 node of level 0 at block 512", 11),
        (3, "volume vm1 node of level 1 at block 0", 11),
        (4, "snapshot vm1@mon node of level 1 at block 0", 9),
        (5, "volume vm2 node of level 0 at block 0", 9),
    ] {
        let report = run(flipped(segs::NODES, index * 4112 + 1), Depth::Data);
        // The volume looks at the shared leaf as far as the log leaves it, the snapshot at all.
        let copies = if index == 0 { 2 } else { 1 };
        assert_eq!(report.findings.len(), copies, "{:#?}", findings(&report));
        let finding = &report.findings[0];
        let expected = format!("{place} -> segment 18 offset {:#x}", index * 4112);
        assert_eq!((finding.invariant, &finding.place), ("I3", &expected));
        assert_eq!(report.chunks, chunks, "without node {index}");
    }
}

#[test]
fn a_damaged_chunk_is_found_by_reading_the_data_and_its_owner_named() {
    let image = StoreImage::new();
    let owners = [
        (image.full[0], "volume vm1 block 0"),
        (image.full[1], "snapshot vm1@mon block 77"),
        (image.full[2], "snapshot vm1@mon block 512"),
        (image.gc[1], "volume vm1 block 512"),
        (image.crashed[1], "volume vm2 block 99"),
    ];
    let sealed = image.seal();
    for (ptr, owner) in owners {
        let (seg, offset) = (ptr.seg(), ptr.offset());
        let mut sealed = sealed.clone();
        sealed.flip(seg, offset);
        assert_eq!(findings(&run(sealed.clone(), Depth::Metadata)), [""; 0]);
        let place = format!("{owner} -> segment {seg} offset {offset:#x}");
        assert_only(&run(sealed, Depth::Data), "I3", &place);
    }
}

#[test]
fn what_the_log_has_replaced_may_be_damaged() {
    let image = StoreImage::new();
    // Block 5 of vm2, a hole by now, and block 513 of vm1, written again.
    let replaced = [image.full[4], image.crashed[0]];
    let sealed = image.seal();
    for ptr in replaced {
        let mut sealed = sealed.clone();
        sealed.flip(ptr.seg(), ptr.offset());
        assert_eq!(findings(&run(sealed, Depth::Data)), [""; 0]);
    }
}

#[test]
fn a_log_that_a_power_loss_cut_is_in_order() {
    // Of batch 13, which nobody called durable, any byte may be missing.
    for offset in [0, 50, 100, 96 + 4112 + 3] {
        let report = run(flipped(segs::NEXT, offset), Depth::Data);
        assert_eq!(findings(&report), [""; 0], "byte {offset}");
        assert_eq!((report.log.batches, report.log.next), (2, 13));
    }
    // Batch 12 is whole and batch 11 is not: what is behind a gap is not there.
    let report = run(flipped(segs::TAIL, 2 * 4608 + 50), Depth::Data);
    assert_eq!((findings(&report), report.log.batches), (vec![], 0));
}

#[test]
fn a_durable_batch_that_is_lost_is_found() {
    // Batch 13 calls everything before it durable, so batch 11 was.
    let mut image = StoreImage::new();
    image.log.offset = 0;
    image.log.number = 13;
    image.log.flushed = 13;
    image.batch(&[(VM2, 0, Change::Write(3))]);
    let mut sealed = image.seal();
    let at = sealed.superblock.log.offset;
    let place = format!("log batch 11 -> segment 21 offset {at:#x}");
    let whole = run(sealed.clone(), Depth::Data);
    assert_eq!((findings(&whole), whole.log.batches), (vec![], 3));
    sealed.flip(segs::TAIL, at + 9);
    assert_both(&sealed, "I6", &place);
    // Its header opens again, its records do not, which is as bad.
    sealed.flip(segs::TAIL, at + 9);
    sealed.flip(segs::TAIL, at + 96 + 4112 + 928 + 1);
    assert_both(&sealed, "I6", &place);
    // A chunk of it does not open: all else of the log is still good.
    sealed.flip(segs::TAIL, at + 96 + 4112 + 928 + 1);
    sealed.flip(segs::TAIL, at + 96 + 1);
    let report = run(sealed, Depth::Metadata);
    let place = format!("log batch 11 record 0 -> segment 21 offset {:#x}", at + 96);
    assert_only(&report, "I3", &place);
    assert_eq!(report.log.batches, 3);
}

#[test]
fn records_that_fit_no_volume_are_found() {
    for (record, what) in [
        (
            (0, 0, Change::Write(1)),
            "names volume 0, which is not there",
        ),
        ((MON, 0, Change::Write(1)), "changes snapshot 'mon'"),
        (
            (VM2, 100, Change::Write(1)),
            "writes block 100 of volume vm2, which has 100",
        ),
        (
            (VM1, 1000, Change::Zero(25)),
            "writes block 1024 of volume vm1, which has 1024",
        ),
    ] {
        let mut image = StoreImage::new();
        let at = image.log.offset;
        image.batch(&[record]);
        let report = run(image.seal(), Depth::Data);
        assert_only(
            &report,
            "I6",
            &format!("log batch 14 -> segment 22 offset {at:#x}"),
        );
        assert_eq!(report.findings[0].what, format!("record 0 {what}"));
    }
}

#[test]
fn records_of_a_volume_that_never_was_are_passed_over() {
    let mut image = StoreImage::new();
    image.batch(&[(4, 0, Change::Write(1)), (77, 1 << 40, Change::Zero(1))]);
    let report = run(image.seal(), Depth::Data);
    assert_eq!(
        (findings(&report), report.log.batches, report.chunks),
        (vec![], 4, 12)
    );
}

#[test]
fn a_log_that_goes_on_where_it_must_not_is_found() {
    // The table has the next segment of the log as one of another kind, or as a later one.
    let other = broken(|image| image.infos[segs::NEXT as usize].state = SegState::Meta);
    let report = run(other, Depth::Metadata);
    assert_only(&report, "I6", "segment 22");
    let later = broken(|image| {
        image.infos[segs::NEXT as usize].state = SegState::Free;
        image.take(segs::NEXT, SegState::Free);
    });
    assert_only(&run(later, Depth::Metadata), "I8", "segment 22");
    // It may be free there: the table is older than the log.
    let free = broken(|image| {
        let info = &mut image.infos[segs::NEXT as usize];
        (info.state, info.seq) = (SegState::Free, Seq::new(3, 4));
    });
    assert_eq!(findings(&run(free, Depth::Data)), [""; 0]);
}

#[test]
fn a_pointer_into_the_wrong_segment_is_named() {
    let place = "volume vm2 block 3 -> segment 17 offset 0x1070";
    let with = |state| broken(|image| image.infos[segs::GC as usize].state = state);
    for state in [SegState::Free, SegState::Bad, SegState::Meta] {
        let report = run(with(state), Depth::Metadata);
        assert!(
            report.findings.iter().any(|found| found.place == place),
            "{state:?}"
        );
        let of_snapshot = report
            .findings
            .iter()
            .filter(|found| found.invariant == "I7");
        let snapshots = of_snapshot.filter(|found| found.place.starts_with("snapshot"));
        assert_eq!(
            snapshots.count() > 0,
            state == SegState::Free,
            "{:#?}",
            findings(&report)
        );
    }
}

#[test]
fn a_node_in_a_segment_of_data_is_named() {
    let sealed = broken(|image| image.infos[segs::NODES as usize].state = SegState::Log);
    let report = run(sealed, Depth::Metadata);
    let places: Vec<&str> = report.findings.iter().map(|found| &*found.place).collect();
    assert_eq!(places.len(), 3, "{:#?}", findings(&report));
    assert!(places[2].starts_with("volume vm2 node of level 0 at block 0 -> segment 18"));
}

/// Changes an entry of the one node of vm2.
fn with_entry(index: usize, ptr: impl FnOnce(&mut StoreImage) -> Ptr) -> Sealed {
    let mut image = StoreImage::new();
    let ptr = ptr(&mut image);
    let root = image.node(&[(index, ptr)]);
    image.root.trees[2].root = root;
    image.seal()
}

#[test]
fn a_pointer_that_is_none_is_named() {
    for bits in [
        1,
        5 << 36 | 4096 << 1,
        900 << 36 | 4096 << 1,
        17 << 36 | 5000 << 1,
    ] {
        let sealed = with_entry(4, |_| Ptr::from_bits(bits));
        let report = run(sealed, Depth::Metadata);
        let [finding] = &report.findings[..] else {
            panic!("{bits:#x}: {:#?}", findings(&report));
        };
        assert_eq!(finding.invariant, "I2");
        assert!(
            finding.place.starts_with("volume vm2 block 4 -> segment "),
            "{finding}"
        );
    }
}

#[test]
fn a_pointer_behind_what_was_written_is_named() {
    for (seg, offset) in [
        (segs::FULL, 0x8000),
        (segs::GC, 0x8000),
        (segs::CRASHED, 0x8000),
    ] {
        let sealed = with_entry(4, |_| Ptr::raw(seg, offset));
        let report = run(sealed, Depth::Metadata);
        let place = format!("volume vm2 block 4 -> segment {seg} offset 0x8000");
        assert_only(&report, "I2", &place);
    }
}

#[test]
fn a_pointer_that_the_segment_does_not_know_is_named() {
    for (seg, offset, len) in [
        (segs::FULL, 96, 50),
        (segs::GC, 4112, 18),
        (segs::CRASHED, 0, 9),
    ] {
        let sealed = with_entry(4, |_| Ptr::new(seg, offset, len, Codec::Lz4));
        let report = run(sealed, Depth::Metadata);
        let place = format!("volume vm2 block 4 -> segment {seg} offset {offset:#x}");
        let known = report.findings.iter().find(|found| found.invariant == "I9");
        assert_eq!(
            known.expect("one of them").place,
            place,
            "{:#?}",
            findings(&report)
        );
    }
}

#[test]
fn chunks_that_overlap_are_named() {
    // In the middle of block 511 of vm1, and the same place with another length.
    for (offset, len) in [(0x100, 40), (0, 40)] {
        let sealed = with_entry(4, |_| Ptr::new(segs::GC, offset, len, Codec::Lz4));
        let report = run(sealed, Depth::Metadata);
        let overlap = report.findings.iter().find(|found| found.invariant == "I4");
        let place = &overlap.expect("an overlap").place;
        assert!(place.contains("segment 17"), "{:#?}", findings(&report));
    }
}

#[test]
fn a_node_at_two_positions_is_named() {
    let sealed = broken(|image| image.root.trees[2].root = Ptr::raw(segs::NODES, 0));
    let report = run(sealed, Depth::Metadata);
    assert!(report.findings.iter().any(|found| found.invariant == "I10"));
    let sealed = broken(|image| {
        let leaf = Ptr::raw(segs::NODES, 2 * 4112);
        let root = image.node(&[(0, leaf)]);
        let size = 4 << 20;
        image
            .root
            .trees
            .push(tree(4, 0, TreeKind::Volume, size, root, "vm3"));
        image.root.next_tree = 5;
    });
    let place = "volume vm3 node of level 0 at block 0 -> segment 18 offset 0x2020";
    assert_both(&sealed, "I4", place);
}

#[test]
fn a_free_segment_with_live_bytes_is_named() {
    let sealed = broken(|image| image.infos[segs::FREE as usize].live = 16);
    assert_both(&sealed, "I5", "segment 24");
}

#[test]
fn sequence_numbers_that_cannot_be_are_named() {
    let cases: [fn(&mut StoreImage); 4] = [
        |image| {
            image.infos[30].seq = image.infos[31].seq;
            let seq = image.take(31, SegState::Meta);
            image.infos[30].seq = seq;
            image.infos.swap(30, 31);
            image.infos[30].seq = seq;
            image.infos[31].seq = seq;
        },
        |image| image.infos[31].seq = Seq::new(8, 1),
        |image| image.infos[31].seq = Seq::new(7, 5000),
        |image| image.infos[31].state = SegState::Log,
    ];
    for (index, case) in cases.into_iter().enumerate() {
        let report = run(broken(case), Depth::Metadata);
        let found = findings(&report);
        assert!(
            !found.is_empty() && found.len() <= 2,
            "case {index}: {found:#?}"
        );
        assert!(
            found[0].starts_with("I8  segment 3"),
            "case {index}: {found:#?}"
        );
    }
}

#[test]
fn trailers_and_batches_that_disagree_are_named() {
    // A header within a full segment: the trailer lists records that no batch has any more.
    let sealed = flipped(segs::FULL, 5);
    assert_eq!(findings(&run(sealed.clone(), Depth::Metadata)), [""; 0]);
    assert_only(&run(sealed, Depth::Data), "I9", "segment 16");
    // Of an earlier mount, that may be how a crash left it; but then nothing leads there.
    let mut image = StoreImage::new();
    image.superblock.epoch = 8;
    let mut sealed = image.seal();
    sealed.flip(segs::FULL, 5);
    let report = run(sealed, Depth::Data);
    assert_only(
        &report,
        "I2",
        "volume vm1 block 0 -> segment 16 offset 0x60",
    );
}

#[test]
fn a_segment_is_known_without_its_trailer() {
    let end = StoreImage::new().shape().seg_bytes();
    for (seg, offset) in [
        (segs::GC, end - 60),
        (segs::FULL, end - 100),
        (segs::TAIL, end - 9),
    ] {
        for depth in [Depth::Metadata, Depth::Data] {
            assert_eq!(findings(&run(flipped(seg, offset), depth)), [""; 0]);
        }
    }
}

#[test]
fn a_trailer_of_another_kind_is_named() {
    let mut image = StoreImage::new();
    let trailer = Trailer {
        kind: trailer::Kind::Log,
        seq: image.infos[segs::GC as usize].seq,
        written: 0x8000,
        next: Successor::default(),
        last: 3,
        flushed: 3,
        entries: Vec::new(),
    };
    image.write_trailer(segs::GC, &trailer);
    let report = run(image.seal(), Depth::Metadata);
    let [kind, unknown] = &report.findings[..] else {
        panic!("{:#?}", findings(&report));
    };
    assert_eq!((kind.invariant, &*kind.place), ("I9", "segment 17"));
    assert_eq!(
        (unknown.invariant, &*unknown.what),
        ("I9", "the segment knows no such chunk; 2 more like it")
    );
}

#[test]
fn a_fingerprint_of_another_block_is_named() {
    let mut image = StoreImage::new();
    image.lie_about_a_fingerprint(segs::GC);
    let sealed = image.seal();
    assert_eq!(findings(&run(sealed.clone(), Depth::Metadata)), [""; 0]);
    let report = run(sealed, Depth::Data);
    let [found] = &report.findings[..] else {
        panic!("{:#?}", findings(&report));
    };
    let what = "the trailer has another fingerprint of it";
    assert_eq!((found.invariant, &*found.what), ("I9", what));
}

#[test]
fn trees_that_are_none_are_named() {
    let cases: [fn(&mut StoreImage); 5] = [
        |image| image.root.trees[2].name = "vm1".to_owned(),
        |image| image.root.next_tree = 3,
        |image| image.root.trees[2].size += 1,
        |image| image.root.trees[1].parent = VM2 + 4,
        |image| image.root.trees[2].size -= 4096,
    ];
    let owners = [
        "volume vm1",
        "volume vm2",
        "volume vm2",
        "snapshot ?@mon",
        "volume vm2 block 99",
    ];
    for (case, owner) in cases.into_iter().zip(owners) {
        let report = run(broken(case), Depth::Metadata);
        let finding = &report.findings[0];
        assert_eq!(finding.invariant, "I10", "{:#?}", findings(&report));
        assert!(finding.place.starts_with(owner), "{finding}");
    }
    let high = broken(|image| image.root.trees[2].height = 2);
    let report = run(high, Depth::Metadata);
    assert_eq!(report.findings[0].invariant, "I3");
}

#[test]
fn a_store_without_room_is_told() {
    let sealed = broken(|image| {
        for seg in segs::FREE..image.shape().segs() - 1 {
            image.take(seg, SegState::Log);
        }
    });
    let report = run(sealed, Depth::Metadata);
    assert_only(&report, "I11", "the store");
}

#[test]
fn what_the_backend_cannot_read_is_a_finding() {
    let reads = sim::run(1, async {
        let faulty = StoreImage::new().seal().into_faulty().await;
        let before = faulty.calls();
        let disk = Checked::new(Medium::Faulty(faulty.clone()));
        check(&disk, Depth::Data, None).await.expect("in order");
        faulty.calls() - before
    });
    let mut told = 0;
    for nth in 4..reads {
        let report = sim::run(1, async move {
            let faulty = StoreImage::new().seal().into_faulty().await;
            faulty.plan(Kind::Read, nth, Fault::Fail);
            check(&Checked::new(Medium::Faulty(faulty)), Depth::Data, None).await
        });
        let report = report.expect("a finding, not an end");
        told += u64::from(report.findings_total > 0);
    }
    // Where a second try goes well there is nothing to tell: eight times.
    assert!(told + 8 >= reads - 4, "{told} of {reads}");
}

#[test]
fn findings_are_bounded_and_all_of_them_counted() {
    let mut sealed = StoreImage::new().seal();
    for offset in (0..17).map(|index| index * 4096) {
        sealed.flip(segs::FULL, offset + 100);
        sealed.flip(segs::GC, offset + 100);
    }
    let report = sim::run(1, async {
        let disk = sealed.into_disk().await;
        let limits = Limits {
            findings: 2,
            ..Limits::default()
        };
        check_with(&disk, Depth::Data, limits, None, &mut |_| {}).await
    });
    let report = report.expect("a store");
    assert_eq!(report.findings.len(), 2);
    assert!(report.findings_total > 4, "{}", report.findings_total);
}

#[test]
fn no_flipped_bit_of_metadata_makes_a_check_fail() {
    let sealed = StoreImage::new().seal();
    let whole = sealed.bytes.len();
    let mut findings = 0;
    for step in 0..300 {
        let mut sealed = sealed.clone();
        // Over all segments that hold something, at places without a pattern.
        let at = (0x1F_FF00 + step * 2713) % whole;
        sealed.bytes[at] ^= 1 << (step % 8);
        findings += run(sealed, Depth::Data).findings_total;
    }
    assert!(findings > 20, "{findings}");
}
