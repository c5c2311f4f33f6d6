//! Records on a stream (RFC 5531, section 11), put together where they are received.

use super::rpc::LAST;
use super::xdr::Malformed;
use crate::base::Buf;

/// What was received and not understood yet. It never grows: what does not fit into it is no
/// record that anybody asked for.
#[derive(Debug)]
pub struct Inbox {
    buf: Option<Buf>,
    start: usize,
    end: usize,
}

impl Inbox {
    /// Room for records of `bytes`, marks included, of which the latter half may be incomplete.
    pub fn new(bytes: usize) -> Self {
        Self {
            buf: Some(Buf::new(bytes)),
            start: 0,
            end: 0,
        }
    }

    /// The memory to receive into, and from where on. To be given back with
    /// [`received`](Self::received).
    pub fn take(&mut self) -> (Buf, usize) {
        let mut buf = self.buf.take().expect("given back after each receive");
        if self.start > 0 {
            buf.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        (buf, self.end)
    }

    /// Gives the memory back, with `count` bytes more in it.
    pub fn received(&mut self, buf: Buf, count: usize) {
        self.end += count;
        assert!(self.end <= buf.len(), "received what there is room for");
        self.buf = Some(buf);
    }

    /// The next record, if all of it has been received.
    ///
    /// # Errors
    /// If it is longer than there is room for.
    pub fn record(&mut self) -> Result<Option<&[u8]>, Malformed> {
        let buf = self.buf.as_mut().expect("given back after each receive");
        let (start, mut at, mut record) = (self.start, self.start, 0);
        // Fragments are counted first, and moved together once all of them are there.
        let mut fragments = 0;
        loop {
            let Some(mark) = buf[at..self.end].first_chunk() else {
                return incomplete(buf.len(), self.end - start);
            };
            let mark = u32::from_be_bytes(*mark);
            let bytes = usize::try_from(mark & !LAST).map_err(|_| Malformed)?;
            if bytes + (at - start) + 4 > buf.len() {
                return Err(Malformed);
            }
            if at + 4 + bytes > self.end {
                return incomplete(buf.len(), self.end - start);
            }
            at += 4 + bytes;
            record += bytes;
            fragments += 1;
            if mark & LAST != 0 {
                break;
            }
        }
        self.start = at;
        if fragments > 1 {
            join(&mut buf[start..at], fragments);
        }
        Ok(Some(&buf[start + 4..start + 4 + record]))
    }
}

/// What is incomplete may become a record while there is room for more.
fn incomplete<T>(room: usize, have: usize) -> Result<Option<T>, Malformed> {
    match have < room {
        true => Ok(None),
        false => Err(Malformed),
    }
}

/// Moves the fragments in `bytes` together, behind the first mark.
fn join(bytes: &mut [u8], fragments: usize) {
    let (mut from, mut to) = (0, 4);
    for _ in 0..fragments {
        let mark = bytes[from..].first_chunk().expect("it was counted");
        let mark = u32::from_be_bytes(*mark) & !LAST;
        let count = usize::try_from(mark).expect("it was counted");
        bytes.copy_within(from + 4..from + 4 + count, to);
        from += 4 + count;
        to += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(inbox: &mut Inbox, bytes: &[u8]) {
        let (mut buf, from) = inbox.take();
        buf[from..from + bytes.len()].copy_from_slice(bytes);
        inbox.received(buf, bytes.len());
    }

    #[test]
    fn records_come_out_as_they_went_in_however_they_arrive() {
        let stream = [
            &[0x80, 0, 0, 3, 1, 2, 3][..],
            &[0, 0, 0, 2, 4, 5, 0, 0, 0, 0, 0x80, 0, 0, 1, 6],
            &[0x80, 0, 0, 0],
        ]
        .concat();
        for step in 1..stream.len() {
            let mut inbox = Inbox::new(32);
            let mut found: Vec<Vec<u8>> = Vec::new();
            for piece in stream.chunks(step) {
                push(&mut inbox, piece);
                while let Some(record) = inbox.record().expect("right records") {
                    found.push(record.to_vec());
                }
            }
            assert_eq!(found, [&[1, 2, 3][..], &[4, 5, 6], &[]], "{step} at a time");
        }
    }

    #[test]
    fn what_does_not_fit_is_no_record() {
        let mut inbox = Inbox::new(16);
        push(&mut inbox, &[0x80, 0, 0, 13]);
        assert_eq!(inbox.record(), Err(Malformed));
        let mut inbox = Inbox::new(16);
        push(&mut inbox, &[0xff; 4]);
        assert_eq!(inbox.record(), Err(Malformed));
        // Fragments of nothing, without end.
        let mut inbox = Inbox::new(16);
        push(&mut inbox, &[0; 12]);
        assert_eq!(inbox.record(), Ok(None));
        push(&mut inbox, &[0; 4]);
        assert_eq!(inbox.record(), Err(Malformed));
    }
}
