//! What is to be sent to a client, gathered so that payloads are not copied.
//!
//! Heads (headers and everything small) lie one after the other in one vector; payloads stay in
//! their buffers. The parts say in which order pieces of both go out, as one gathered send.

use std::ops::Range;

use crate::base::Buf;

/// Replies on their way out.
#[derive(Default, Debug)]
pub struct Outbox {
    heads: Vec<u8>,
    bufs: Vec<Buf>,
    parts: Vec<Part>,
    bytes: usize,
}

#[derive(Debug)]
struct Part {
    source: Source,
    range: Range<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    Heads,
    Buf(usize),
}

/// A buffer that an outbox keeps until it is cleared, some of which is to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept(usize);

impl Outbox {
    /// An outbox with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// How much there is to send, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How much memory the payloads occupy, in bytes, sent or not.
    pub fn held_bytes(&self) -> usize {
        self.bufs.iter().map(Buf::capacity).sum()
    }

    /// How many pieces there are.
    pub fn piece_count(&self) -> usize {
        self.parts.len()
    }

    /// Appends a copy of `head`.
    pub fn push_head(&mut self, head: &[u8]) {
        self.write_head(|heads| heads.extend_from_slice(head));
    }

    /// Appends what `write` appends to the heads.
    pub(super) fn write_head(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.heads.len();
        write(&mut self.heads);
        self.push_part(Source::Heads, start..self.heads.len());
    }

    /// Appends all that `buf` shows.
    pub fn push_data(&mut self, buf: Buf) {
        let range = 0..buf.len();
        let kept = self.keep(buf);
        self.push_kept(kept, range);
    }

    /// Keeps `buf`, for pieces of it to be sent.
    pub(super) fn keep(&mut self, buf: Buf) -> Kept {
        self.bufs.push(buf);
        Kept(self.bufs.len() - 1)
    }

    /// Appends the bytes `range` of a buffer that is kept.
    pub(super) fn push_kept(&mut self, kept: Kept, range: Range<usize>) {
        assert!(
            range.end <= self.bufs[kept.0].len(),
            "a piece lies in its buffer"
        );
        self.push_part(Source::Buf(kept.0), range);
    }

    /// What is to be sent, piece by piece, in order. No piece is empty.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().map(|part| self.piece(part))
    }

    /// What is to be sent after the first `sent` bytes: a send may end anywhere.
    pub fn pieces_from(&self, sent: usize) -> impl Iterator<Item = &[u8]> {
        let mut skip = sent;
        self.pieces().filter_map(move |piece| {
            let skipped = skip.min(piece.len());
            skip -= skipped;
            let rest = &piece[skipped..];
            (!rest.is_empty()).then_some(rest)
        })
    }

    /// Forgets everything. The buffers go back to where they came from; the space for heads and
    /// parts stays.
    pub fn clear(&mut self) {
        self.heads.clear();
        self.bufs.clear();
        self.parts.clear();
        self.bytes = 0;
    }

    fn push_part(&mut self, source: Source, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        self.bytes += range.len();
        match self.parts.last_mut() {
            Some(last) if last.source == source && last.range.end == range.start => {
                last.range.end = range.end;
            }
            _ => self.parts.push(Part { source, range }),
        }
    }

    fn piece(&self, part: &Part) -> &[u8] {
        let bytes: &[u8] = match part.source {
            Source::Heads => &self.heads,
            Source::Buf(index) => &self.bufs[index],
        };
        &bytes[part.range.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Outbox {
        let mut outbox = Outbox::new();
        outbox.push_head(b"ab");
        outbox.push_head(b"cd");
        outbox.push_data(Buf::from(&b"data"[..]));
        outbox.push_data(Buf::from(&b""[..]));
        outbox.push_head(b"ef");
        let kept = outbox.keep(Buf::from(&b"0123456789"[..]));
        outbox.push_kept(kept, 2..4);
        outbox.push_kept(kept, 4..5);
        outbox.push_kept(kept, 7..8);
        outbox
    }

    #[test]
    fn neighbours_become_one_piece() {
        let outbox = sample();
        let pieces: Vec<&[u8]> = outbox.pieces().collect();
        assert_eq!(pieces, [&b"abcd"[..], b"data", b"ef", b"234", b"7"]);
        assert_eq!(outbox.bytes(), 14);
        assert_eq!(outbox.piece_count(), 5);
    }

    #[test]
    fn a_send_may_end_anywhere() {
        let outbox = sample();
        let all = outbox.pieces().collect::<Vec<_>>().concat();
        for sent in 0..=all.len() {
            let rest: Vec<&[u8]> = outbox.pieces_from(sent).collect();
            assert!(rest.iter().all(|piece| !piece.is_empty()));
            assert_eq!(rest.concat(), all[sent..]);
        }
        assert_eq!(outbox.pieces_from(all.len()).count(), 0);
    }

    #[test]
    fn a_cleared_outbox_holds_nothing() {
        let mut outbox = sample();
        assert!(outbox.held_bytes() > 0);
        outbox.clear();
        assert!(outbox.is_empty());
        assert_eq!((outbox.held_bytes(), outbox.pieces().count()), (0, 0));
    }
}
