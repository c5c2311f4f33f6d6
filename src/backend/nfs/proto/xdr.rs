//! The few forms of XDR (RFC 4506) that are needed.

/// What was received is not what it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

/// Writes values one after the other.
#[derive(Debug, Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Bytes whose number both sides know.
    pub(super) fn fixed(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len() + padding(bytes.len()), 0);
        self
    }

    /// Bytes with their number before them.
    pub(super) fn opaque(&mut self, bytes: &[u8]) -> &mut Self {
        self.u32(length(bytes.len())).fixed(bytes)
    }
}

/// Reads values one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        let (value, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*value))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        let (value, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(u64::from_be_bytes(*value))
    }

    pub(super) fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    pub(super) fn fixed(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let padded = count.checked_add(padding(count)).ok_or(Malformed)?;
        let (bytes, rest) = self.0.split_at_checked(padded).ok_or(Malformed)?;
        self.0 = rest;
        Ok(&bytes[..count])
    }

    /// At most `count_max` bytes with their number before them.
    pub(super) fn opaque(&mut self, count_max: usize) -> Result<&'a [u8], Malformed> {
        let count = usize::try_from(self.u32()?).map_err(|_| Malformed)?;
        match count <= count_max {
            true => self.fixed(count),
            false => Err(Malformed),
        }
    }
}

/// How many zeroes follow `count` bytes.
pub(super) fn padding(count: usize) -> usize {
    count.wrapping_neg() % 4
}

/// A length as it is sent. Nothing that is sent is longer than a request.
pub(super) fn length(count: usize) -> u32 {
    u32::try_from(count).expect("requests are smaller than 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        writer.u32(7).u64(1 << 40).opaque(b"abcde").fixed(b"xyz");
        assert_eq!(writer.0.len(), 4 + 8 + 4 + 8 + 4);
        let mut reader = Reader::new(&writer.0);
        assert_eq!(reader.u32(), Ok(7));
        assert_eq!(reader.u64(), Ok(1 << 40));
        assert_eq!(reader.opaque(5), Ok(&b"abcde"[..]));
        assert_eq!(reader.fixed(3), Ok(&b"xyz"[..]));
        assert!(reader.rest().is_empty());
        assert_eq!(reader.u32(), Err(Malformed));
    }

    #[test]
    fn lengths_are_not_believed() {
        let absurd = [0xff; 12];
        assert_eq!(Reader::new(&absurd).opaque(usize::MAX), Err(Malformed));
        assert_eq!(Reader::new(&[0, 0, 0, 5, 1]).opaque(64), Err(Malformed));
        assert_eq!(Reader::new(&[0, 0, 0, 8]).opaque(7), Err(Malformed));
        assert_eq!(Reader::new(&[0, 0, 0, 2]).bool(), Err(Malformed));
    }
}
