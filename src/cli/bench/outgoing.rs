//! Requests on their way out, gathered so that payloads are not copied.

use std::ops::Range;
use std::rc::Rc;

use crate::env::Pieces;

/// Requests to be sent at once. What is made for them lies in `own`; the bulk of payloads is slices
/// of an area that all requests share.
#[derive(Debug)]
pub(super) struct Outgoing {
    area: Rc<[u8]>,
    own: Vec<u8>,
    parts: Vec<Part>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Own(Range<usize>),
    Area(Range<usize>),
}

impl Outgoing {
    /// Nothing to send yet; slices will be of `area`.
    pub(super) fn new(area: Rc<[u8]>) -> Self {
        Self {
            area,
            own: Vec::new(),
            parts: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Appends what `write` appends to a vector.
    pub(super) fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.own.len();
        write(&mut self.own);
        let end = self.own.len();
        match self.parts.last_mut() {
            Some(Part::Own(last)) if last.end == start => last.end = end,
            _ => self.parts.push(Part::Own(start..end)),
        }
    }

    /// Appends a slice of the area.
    pub(super) fn share(&mut self, range: Range<usize>) {
        self.parts.push(Part::Area(range));
    }

    /// Forgets everything; the space stays.
    pub(super) fn clear(&mut self) {
        self.own.clear();
        self.parts.clear();
    }
}

impl Pieces for Outgoing {
    fn each<'a>(&'a self, show: &mut dyn FnMut(&'a [u8])) {
        for part in &self.parts {
            match part {
                Part::Own(range) => show(&self.own[range.clone()]),
                Part::Area(range) => show(&self.area[range.clone()]),
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// All that is to be sent.
    pub(in super::super) fn bytes(outgoing: &Outgoing) -> Vec<u8> {
        let mut all = Vec::new();
        outgoing.each(&mut |piece| all.extend_from_slice(piece));
        all
    }

    #[test]
    fn pieces_go_out_in_order_and_neighbours_together() {
        let mut outgoing = Outgoing::new(Rc::from(&b"0123456789"[..]));
        outgoing.write(|own| own.extend_from_slice(b"ab"));
        outgoing.write(|own| own.extend_from_slice(b"cd"));
        outgoing.share(2..4);
        outgoing.write(|own| own.extend_from_slice(b"ef"));
        assert_eq!(bytes(&outgoing), b"abcd23ef");
        assert_eq!(outgoing.parts.len(), 3);
        outgoing.clear();
        assert!(outgoing.is_empty() && bytes(&outgoing).is_empty());
    }
}
