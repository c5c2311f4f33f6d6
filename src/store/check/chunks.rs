//! The pointers that a walk has found, as many as there is room for.
//!
//! Pointers are gathered by segment, because what is to be proved of them is proved segment by
//! segment. Where there are too many, those into the highest segments are dropped, and another
//! walk gathers them.

use crate::store::format::Ptr;

/// The distinct pointers into a range of segments.
#[derive(Debug)]
pub(super) struct Window {
    from: u32,
    /// The first segment behind it.
    to: u32,
    /// How many pointers there is room for.
    room: usize,
    pointers: Vec<Ptr>,
}

impl Window {
    /// A window that begins at segment `from` and reaches as far towards `to` as there is `room`.
    pub(super) fn new(from: u32, to: u32, room: usize) -> Self {
        Self {
            from,
            to,
            room: room.max(2),
            pointers: Vec::new(),
        }
    }

    /// Takes a pointer, if it leads into the window.
    pub(super) fn push(&mut self, ptr: Ptr) {
        if (self.from..self.to).contains(&ptr.seg()) {
            self.pointers.push(ptr);
            if self.pointers.len() >= self.room {
                self.make_room();
            }
        }
    }

    /// The pointers, sorted, and the first segment that the window does not reach.
    pub(super) fn finish(mut self) -> (Vec<Ptr>, u32) {
        self.compact();
        (self.pointers, self.to)
    }

    fn compact(&mut self) {
        self.pointers.sort_unstable();
        self.pointers.dedup();
    }

    fn make_room(&mut self) {
        self.compact();
        if self.pointers.len() <= self.room / 2 {
            return;
        }
        // The first segment is kept whatever it takes, so that every walk gets further.
        let middle = self.pointers[self.pointers.len() / 2].seg();
        self.to = middle.max(self.from + 1);
        let kept = self.pointers.partition_point(|ptr| ptr.seg() < self.to);
        self.pointers.truncate(kept);
        if kept > self.room / 2 {
            self.room *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_all_segments_in_turn_and_no_pointer_twice() {
        let all: Vec<Ptr> = (0..300)
            .map(|i| Ptr::raw(3 + i * 7 % 40, i * 7 / 40 * 4112))
            .collect();
        for room in [1, 2, 10, 100, 1000] {
            let mut found = Vec::new();
            let mut from = 3;
            let mut windows = 0;
            while from < 43 {
                let mut window = Window::new(from, 43, room);
                for ptr in all.iter().chain(&all) {
                    window.push(*ptr);
                }
                let (pointers, to) = window.finish();
                assert!(to > from && pointers.is_sorted());
                found.extend(pointers);
                from = to;
                windows += 1;
            }
            let mut sorted = all.clone();
            sorted.sort_unstable();
            assert_eq!(found, sorted, "room for {room}");
            assert_eq!(windows == 1, room == 1000);
        }
    }
}
