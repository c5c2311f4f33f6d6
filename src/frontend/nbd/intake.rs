//! What a client has sent and nobody has used yet.

use std::io;

use super::channel::Channel;
use crate::base::Buf;
use crate::base::limits::{RECEIVE_BYTES_MAX, RECEIVE_BYTES_MIN};

/// The receive buffer of a connection. One receive takes all that has arrived, up to its size.
#[derive(Debug)]
pub(super) struct Intake {
    buf: Buf,
    start: usize,
    end: usize,
}

impl Intake {
    pub(super) fn new() -> Self {
        Self {
            buf: Buf::new(RECEIVE_BYTES_MIN),
            start: 0,
            end: 0,
        }
    }

    /// What has arrived and was not consumed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }

    /// Marks the first `count` bytes as used.
    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
        assert!(self.start <= self.end, "only what has arrived is used");
    }

    /// Waits for more; `false` if the client has finished sending.
    ///
    /// # Errors
    /// If the connection is broken.
    pub(super) async fn fill(&mut self, channel: &Channel) -> io::Result<bool> {
        self.make_room();
        // While the kernel writes, the buffer belongs to it.
        let buf = std::mem::replace(&mut self.buf, Buf::new(0));
        let (received, buf) = channel.receive(buf, self.end).await;
        self.buf = buf;
        let count = received?;
        self.end += count;
        self.adapt(count);
        Ok(count > 0)
    }

    /// Takes the next `bytes` bytes as a payload, if all of them have arrived.
    pub(super) fn arrived_payload(&mut self, bytes: usize) -> Option<Buf> {
        let payload = Buf::from(self.bytes().get(..bytes)?);
        self.consume(bytes);
        Some(payload)
    }

    /// Takes the next `bytes` bytes as a payload, those that have not arrived straight from the
    /// connection; `None` if the client finishes before.
    ///
    /// # Errors
    /// If the connection is broken.
    pub(super) async fn payload(
        &mut self,
        bytes: usize,
        channel: &Channel,
    ) -> io::Result<Option<Buf>> {
        let mut payload = Buf::new(bytes);
        let mut have = bytes.min(self.bytes().len());
        payload[..have].copy_from_slice(&self.bytes()[..have]);
        self.consume(have);
        while have < bytes {
            let (received, buf) = channel.receive(payload, have).await;
            payload = buf;
            match received? {
                0 => return Ok(None),
                count => have += count,
            }
        }
        Ok(Some(payload))
    }

    /// Throws away the next `bytes` bytes; `false` if the client finishes before.
    ///
    /// # Errors
    /// If the connection is broken.
    pub(super) async fn skip(&mut self, mut bytes: u64, channel: &Channel) -> io::Result<bool> {
        loop {
            let here = self.bytes().len();
            let now = usize::try_from(bytes).map_or(here, |bytes| bytes.min(here));
            self.consume(now);
            bytes -= now as u64;
            if bytes == 0 {
                return Ok(true);
            }
            if !self.fill(channel).await? {
                return Ok(false);
            }
        }
    }

    /// Moves what is left, which is less than a header, to the front.
    fn make_room(&mut self) {
        if self.start == 0 {
            return;
        }
        self.buf.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
    }

    /// Doubles the buffer when a receive has filled it, halves it when one left it nearly empty.
    fn adapt(&mut self, received: usize) {
        let size = self.buf.len();
        if self.end == size && size < RECEIVE_BYTES_MAX {
            self.resize(2 * size);
        } else if received < size / 16 && self.end <= size / 2 && size > RECEIVE_BYTES_MIN {
            self.resize(size / 2);
        }
    }

    fn resize(&mut self, size: usize) {
        let mut buf = Buf::new(size);
        buf[..self.end].copy_from_slice(&self.buf[..self.end]);
        self.buf = buf;
    }
}
