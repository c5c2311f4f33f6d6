//! Big-endian integers out of and into bytes.
//!
//! Reading never panics: what is not there is `None`.

/// Reads from the front of a slice.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A string as options carry it: a 32-bit length, then that many bytes.
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let bytes = usize::try_from(self.u32()?).ok()?;
        let (string, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(string)
    }

    /// All that is left.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }
}

pub(super) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(super) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(super) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a string as options carry it. Strings of ours are short: names, bounded by
/// [`NAME_BYTES_MAX`](crate::base::limits::NAME_BYTES_MAX).
pub(super) fn put_string(out: &mut Vec<u8>, string: &[u8]) {
    put_u32(out, length(string));
    out.extend_from_slice(string);
}

/// The length of something that we send in a 32-bit field.
pub(super) fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("what we send in one piece is far below 4 GiB")
}

/// Collects pieces of input until enough has come. The one who collects bounds how much.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Gather(Vec<u8>);

impl Gather {
    /// The next `want` bytes once they are all there, and an empty start after that. Until then
    /// all of `input` is taken.
    pub(super) fn take(&mut self, input: &mut &[u8], want: usize) -> Option<Vec<u8>> {
        let missing = want.saturating_sub(self.0.len());
        let (taken, rest) = input.split_at(missing.min(input.len()));
        self.0.extend_from_slice(taken);
        *input = rest;
        (self.0.len() == want).then(|| std::mem::take(&mut self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_read() {
        let mut out = Vec::new();
        put_u16(&mut out, 0x0102);
        put_u32(&mut out, 0x0304_0506);
        put_u64(&mut out, 7);
        put_string(&mut out, b"disk");
        let mut reader = Reader::new(&out);
        assert_eq!(reader.u16(), Some(0x0102));
        assert_eq!(reader.u32(), Some(0x0304_0506));
        assert_eq!(reader.u64(), Some(7));
        assert_eq!(reader.string(), Some(&b"disk"[..]));
        assert!(reader.rest().is_empty());
    }

    #[test]
    fn what_is_not_there_is_none() {
        assert_eq!(Reader::new(&[1]).u16(), None);
        assert_eq!(Reader::new(&[0, 0, 0]).u32(), None);
        assert_eq!(Reader::new(&[0; 7]).u64(), None);
        assert_eq!(Reader::new(&[0, 0, 0, 2, 9]).string(), None);
        assert_eq!(Reader::new(&[255; 10]).string(), None);
    }

    #[test]
    fn a_gather_stops_where_it_has_enough() {
        let mut gather = Gather::default();
        let mut input: &[u8] = &[1, 2];
        assert_eq!(gather.take(&mut input, 3), None);
        assert!(input.is_empty());
        input = &[3, 4];
        assert_eq!(gather.take(&mut input, 3), Some(vec![1, 2, 3]));
        assert_eq!(input, &[4]);
        assert_eq!(gather.take(&mut input, 0), Some(Vec::new()));
    }
}
