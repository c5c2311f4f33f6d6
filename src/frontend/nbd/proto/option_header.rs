//! The header of an option: magic, option, length of its data (proto.md, "Newstyle negotiation").

use super::bytes::Reader;
use super::handshake_error::HandshakeError;
use super::wire::magic;
use crate::base::limits::PAYLOAD_BYTES_MAX;

/// An option that is to come.
#[derive(Clone, Copy)]
pub(super) struct OptionHeader {
    pub(super) option: u32,
    /// The length of its data as it came.
    pub(super) length: u32,
    /// The same for use: at most [`PAYLOAD_BYTES_MAX`].
    pub(super) bytes: usize,
}

impl OptionHeader {
    /// The length of a header, in bytes.
    pub(super) const BYTES: usize = 16;

    /// Reads a header.
    ///
    /// # Panics
    /// If it is not whole.
    pub(super) fn decode(header: &[u8]) -> Result<Self, HandshakeError> {
        let mut reader = Reader::new(header);
        let fields = (reader.u64(), reader.u32(), reader.u32());
        let (Some(magic), Some(option), Some(length)) = fields else {
            unreachable!("a whole header was gathered")
        };
        if magic != magic::OPTION {
            return Err(HandshakeError::BadMagic(magic));
        }
        let bytes = usize::try_from(length)
            .ok()
            .filter(|bytes| *bytes <= PAYLOAD_BYTES_MAX)
            .ok_or(HandshakeError::OptionTooLong(length))?;
        Ok(Self {
            option,
            length,
            bytes,
        })
    }
}
