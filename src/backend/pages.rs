//! Bytes in memory, in pages that exist once something is written to them.

use std::collections::BTreeMap;

use crate::base::{Extent, Status, StatusRun};

/// How large a page is, in bytes.
pub(super) const PAGE: u64 = 64 << 10;

/// A sparse space of bytes that reads as zeroes where nothing was written.
#[derive(Default, Clone)]
pub(super) struct Pages(BTreeMap<u64, Box<[u8]>>);

/// A part of an extent that lies in one page.
struct Piece {
    page: u64,
    /// Where it lies in the page.
    within: std::ops::Range<usize>,
    /// Where it lies in the extent.
    of: std::ops::Range<usize>,
}

impl Pages {
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) {
        for Piece { page, within, of } in pieces(offset, out.len()) {
            match self.0.get(&page) {
                Some(bytes) => out[of].copy_from_slice(&bytes[within]),
                None => out[of].fill(0),
            }
        }
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        for Piece { page, within, of } in pieces(offset, data.len()) {
            let bytes = self.0.entry(page).or_insert_with(new_page);
            bytes[within].copy_from_slice(&data[of]);
        }
    }

    /// Makes `at` read as zeroes and forgets the pages that lie in it whole.
    pub(super) fn clear(&mut self, at: Extent) {
        let whole = at.shrink(PAGE);
        if whole.is_empty() {
            return self.zero_existing(at);
        }
        self.zero_existing(Extent::between(at.offset(), whole.offset()));
        self.zero_existing(Extent::between(whole.end(), at.end()));
        let mut later = self.0.split_off(&(whole.offset() / PAGE));
        let mut kept = later.split_off(&(whole.end() / PAGE));
        self.0.append(&mut kept);
    }

    /// Makes `at`, which spans few pages, read as zeroes.
    fn zero_existing(&mut self, at: Extent) {
        for Piece { page, within, .. } in pieces(at.offset(), at.len()) {
            if let Some(bytes) = self.0.get_mut(&page) {
                bytes[within].fill(0);
            }
        }
    }

    /// The allocation of `at`, in at most `runs_max` runs.
    pub(super) fn status(&self, at: Extent, runs_max: usize) -> Vec<StatusRun> {
        let mut runs: Vec<StatusRun> = Vec::new();
        let mut from = at.offset();
        let first = at.offset() / PAGE;
        let last = at.end().div_ceil(PAGE);
        for &page in self.0.range(first..last).map(|(page, _)| page) {
            let start = (page * PAGE).max(at.offset());
            let end = (page + 1).saturating_mul(PAGE).min(at.end());
            add_run(&mut runs, start - from, Status::Hole);
            add_run(&mut runs, end - start, Status::Data);
            from = end;
            if runs.len() > runs_max {
                break;
            }
        }
        if runs.len() <= runs_max {
            add_run(&mut runs, at.end() - from, Status::Hole);
        }
        runs.truncate(runs_max);
        runs
    }
}

/// Adds a run, as a part of the last one where that is alike.
pub(super) fn add_run(runs: &mut Vec<StatusRun>, bytes: u64, status: Status) {
    match runs.last_mut() {
        _ if bytes == 0 => {}
        Some(last) if last.status == status => last.bytes += bytes,
        _ => runs.push(StatusRun { bytes, status }),
    }
}

fn new_page() -> Box<[u8]> {
    vec![0; usize::try_from(PAGE).expect("a page fits in memory")].into_boxed_slice()
}

fn pieces(offset: u64, bytes: usize) -> impl Iterator<Item = Piece> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == bytes {
            return None;
        }
        let at = offset + done as u64;
        let start = usize::try_from(at % PAGE).expect("within a page");
        let room = usize::try_from(PAGE).expect("a page fits in memory") - start;
        let count = room.min(bytes - done);
        let of = done..done + count;
        done += count;
        Some(Piece {
            page: at / PAGE,
            within: start..start + count,
            of,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_across_pages() {
        let mut pages = Pages::default();
        pages.write(PAGE - 2, &[1, 2, 3, 4]);
        let mut out = [9; 6];
        pages.read(PAGE - 3, &mut out);
        assert_eq!(out, [0, 1, 2, 3, 4, 0]);
    }

    #[test]
    fn clearing_frees_whole_pages_and_zeroes_the_rest() {
        let mut pages = Pages::default();
        pages.write(0, &vec![7; 4 << 16]);
        pages.clear(Extent::between(10, 3 * PAGE - 10));
        let mut out = vec![1; 4 << 16];
        pages.read(0, &mut out);
        let cleared = 10..3 * PAGE - 10;
        let expected = |at| if cleared.contains(&at) { 0 } else { 7 };
        assert!(
            (0..4 * PAGE)
                .zip(&out)
                .all(|(at, byte)| *byte == expected(at))
        );
        assert_eq!(pages.0.len(), 3);
    }

    #[test]
    fn a_huge_space_has_a_short_status() {
        let mut pages = Pages::default();
        pages.write(1 << 42, &[1]);
        let all = Extent::between(0, 1 << 43);
        let run = |bytes, status| StatusRun { bytes, status };
        let expected = [
            run(1 << 42, Status::Hole),
            run(PAGE, Status::Data),
            run((1 << 42) - PAGE, Status::Hole),
        ];
        assert_eq!(pages.status(all, 10), expected);
        assert_eq!(pages.status(all, 2), expected[..2]);
        assert_eq!(
            pages.status(Extent::between(5, 6), 2),
            [run(1, Status::Hole)]
        );
    }
}
