//! Requests, from the bytes of a header to a command that is right for its export.
//!
//! proto.md, "Request message" and "Request types". The order of the checks decides which error
//! a client sees: first the flags, then whether the export may be written, then the range.

use super::agreed::Agreed;
use super::agreed::Framing;
use super::bytes::Reader;
use super::command::Command;
use super::contexts::Context;
use super::contexts::Contexts;
use super::error::NbdError;
use super::wire::command;
use super::wire::command_flag;
use crate::base::Durability;
use crate::base::Extent;
use crate::base::ZeroMode;
use crate::base::limits::PAYLOAD_BYTES_MAX;

/// The length of a request without extended headers, in bytes.
const COMPACT_BYTES: usize = 28;
/// The length of a request with extended headers, in bytes.
const EXTENDED_BYTES: usize = 32;

/// The payload of a filtered block status, without its context ids, in bytes.
const FILTER_BYTES_MIN: usize = 8;

/// A request that does not begin with the magic of its framing. Where the next one begins cannot
/// be known, so the connection has to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadMagic(pub u32);

impl std::fmt::Display for BadMagic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not a request: it begins with {:#010x}", self.0)
    }
}

impl std::error::Error for BadMagic {}

/// The header of a request, as it came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Flags of the command.
    pub flags: u16,
    /// The command.
    pub command: u16,
    /// What the client calls this request.
    pub cookie: u64,
    /// Where, in bytes.
    pub offset: u64,
    /// How much, in bytes: of the disk or, with `NBD_CMD_FLAG_PAYLOAD_LEN`, of payload.
    pub length: u64,
}

impl Header {
    /// The length of a header, in bytes.
    pub const fn bytes(framing: Framing) -> usize {
        match framing {
            Framing::Simple | Framing::Structured => COMPACT_BYTES,
            Framing::Extended => EXTENDED_BYTES,
        }
    }

    /// The header at the front of `input`, or `None` where it is not all there yet.
    pub fn decode(framing: Framing, input: &[u8]) -> Result<Option<Self>, BadMagic> {
        let mut reader = Reader::new(input);
        let Some(magic) = reader.u32() else {
            return Ok(None);
        };
        if magic != framing.request_magic() {
            return Err(BadMagic(magic));
        }
        Ok(Self::decode_fields(framing, reader))
    }

    fn decode_fields(framing: Framing, mut reader: Reader<'_>) -> Option<Self> {
        Some(Self {
            flags: reader.u16()?,
            command: reader.u16()?,
            cookie: reader.u64()?,
            offset: reader.u64()?,
            length: match framing {
                Framing::Simple | Framing::Structured => u64::from(reader.u32()?),
                Framing::Extended => reader.u64()?,
            },
        })
    }

    /// How many bytes follow the header on the wire, whether or not the request is a right one.
    ///
    /// With extended headers a flag says whether there are any. QEMU's client (seen in 10.0.2)
    /// sends writes without it, and their payload all the same, so a write always has one.
    pub const fn payload_bytes(&self, framing: Framing) -> u64 {
        let carries = match framing {
            Framing::Simple | Framing::Structured => self.command == command::WRITE,
            Framing::Extended => {
                self.command == command::WRITE || self.has(command_flag::PAYLOAD_LEN)
            }
        };
        if carries { self.length } else { 0 }
    }

    /// The command, if it is one that this client may give. An error is the answer; the payload
    /// still follows and has to be thrown away.
    pub fn check(&self, agreed: &Agreed) -> Result<Command, NbdError> {
        match self.command {
            command::READ => self.check_read(agreed),
            command::WRITE => self.check_write(agreed),
            // It has no answer that could carry an error.
            command::DISC => Ok(Command::Disconnect),
            command::FLUSH => {
                // Offset and length are reserved, but not every client leaves them zero.
                self.allow(0)?;
                Ok(Command::Flush)
            }
            command::TRIM => {
                self.allow(0)?;
                writable(agreed)?;
                Ok(Command::Trim {
                    at: self.extent(agreed, NbdError::INVAL)?,
                    durability: self.durability(),
                })
            }
            command::CACHE => {
                self.allow(0)?;
                let at = self.extent(agreed, NbdError::INVAL)?;
                Ok(Command::Cache { at })
            }
            command::WRITE_ZEROES => self.check_write_zeroes(agreed),
            command::BLOCK_STATUS => self.check_block_status(agreed),
            _ => Err(NbdError::INVAL),
        }
    }

    fn check_read(&self, agreed: &Agreed) -> Result<Command, NbdError> {
        let chunks = agreed.framing != Framing::Simple;
        self.allow(if chunks { command_flag::DF } else { 0 })?;
        let fragments = chunks && !self.has(command_flag::DF);
        let at = self.extent(agreed, NbdError::INVAL)?;
        if at.is_empty() {
            // A chunk of data has at least one byte, so there would be nothing to answer with.
            return Err(NbdError::INVAL);
        }
        if usize::try_from(at.bytes()).is_ok_and(|bytes| bytes <= PAYLOAD_BYTES_MAX) {
            return Ok(Command::Read { at, fragments });
        }
        // EOVERFLOW tells a client that insisted on one chunk to ask again without that (proto.md,
        // `NBD_CMD_FLAG_DF`). To others it means nothing; they were told the maximum.
        Err(if self.has(command_flag::DF) {
            NbdError::OVERFLOW
        } else {
            NbdError::INVAL
        })
    }

    fn check_write(&self, agreed: &Agreed) -> Result<Command, NbdError> {
        if agreed.framing == Framing::Extended {
            self.allow(command_flag::PAYLOAD_LEN)?;
        } else {
            self.allow(0)?;
        }
        writable(agreed)?;
        let bytes = usize::try_from(self.length)
            .ok()
            .filter(|bytes| *bytes <= PAYLOAD_BYTES_MAX)
            .ok_or(NbdError::INVAL)?;
        let at = self.extent(agreed, NbdError::NOSPC)?;
        Ok(Command::Write {
            offset: at.offset(),
            bytes,
            durability: self.durability(),
        })
    }

    fn check_write_zeroes(&self, agreed: &Agreed) -> Result<Command, NbdError> {
        let fast = if agreed.export.can_fast_zero {
            command_flag::FAST_ZERO
        } else {
            0
        };
        self.allow(command_flag::NO_HOLE | fast)?;
        writable(agreed)?;
        Ok(Command::WriteZeroes {
            at: self.extent(agreed, NbdError::NOSPC)?,
            mode: ZeroMode {
                may_unmap: !self.has(command_flag::NO_HOLE),
                only_if_fast: self.has(command_flag::FAST_ZERO),
            },
            durability: self.durability(),
        })
    }

    fn check_block_status(&self, agreed: &Agreed) -> Result<Command, NbdError> {
        if agreed.contexts.is_empty() {
            return Err(NbdError::INVAL);
        }
        let one = self.has(command_flag::REQ_ONE);
        if self.has(command_flag::PAYLOAD_LEN) && agreed.can_filter_status() {
            self.allow(command_flag::REQ_ONE | command_flag::PAYLOAD_LEN)?;
            let offset = self.offset;
            return usize::try_from(self.length)
                .ok()
                .filter(|bytes| filter_sizes(agreed).any(|size| size == *bytes))
                .map(|_| Command::FilteredBlockStatus { offset, one })
                .ok_or(NbdError::INVAL);
        }
        self.allow(command_flag::REQ_ONE)?;
        let at = self.extent(agreed, NbdError::INVAL)?;
        if at.is_empty() {
            return Err(NbdError::INVAL);
        }
        Ok(Command::BlockStatus { at, one })
    }

    /// Refuses all flags but `flags` and FUA, which the protocol allows everywhere and which
    /// means nothing where nothing is written.
    const fn allow(&self, flags: u16) -> Result<(), NbdError> {
        if self.flags & !(flags | command_flag::FUA) == 0 {
            Ok(())
        } else {
            Err(NbdError::INVAL)
        }
    }

    const fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    const fn durability(&self) -> Durability {
        if self.has(command_flag::FUA) {
            Durability::Durable
        } else {
            Durability::Cached
        }
    }

    /// The range of the request, or `beyond` where it leaves the export.
    fn extent(&self, agreed: &Agreed, beyond: NbdError) -> Result<Extent, NbdError> {
        on_export(self.offset, self.length, agreed).ok_or(beyond)
    }
}

/// Reads the payload of a [`Command::FilteredBlockStatus`] at `offset`: how many bytes to
/// describe (not zero), then the ids of at least one context, each selected and none twice
/// (extended headers, `NBD_CMD_BLOCK_STATUS`).
pub fn status_filter(
    payload: &[u8],
    offset: u64,
    agreed: &Agreed,
) -> Result<(Extent, Contexts), NbdError> {
    let mut reader = Reader::new(payload);
    let at = reader
        .u64()
        .and_then(|bytes| on_export(offset, bytes, agreed))
        .filter(|at| !at.is_empty())
        .ok_or(NbdError::INVAL)?;
    let (ids, []) = reader.rest().as_chunks::<4>() else {
        return Err(NbdError::INVAL);
    };
    let mut wanted = Contexts::NONE;
    for id in ids {
        let context = Context::from_id(u32::from_be_bytes(*id))
            .filter(|context| agreed.contexts.contains(*context))
            .filter(|context| !wanted.contains(*context))
            .ok_or(NbdError::INVAL)?;
        wanted = wanted.with(context);
    }
    if wanted.is_empty() {
        return Err(NbdError::INVAL);
    }
    Ok((at, wanted))
}

/// How long the payload of a filtered block status may be: with one context to with all.
fn filter_sizes(agreed: &Agreed) -> impl Iterator<Item = usize> {
    (1..=agreed.contexts.len()).map(|count| FILTER_BYTES_MIN + 4 * count)
}

fn on_export(offset: u64, bytes: u64, agreed: &Agreed) -> Option<Extent> {
    Extent::new(offset, bytes).filter(|at| at.fits(agreed.export.size))
}

fn writable(agreed: &Agreed) -> Result<(), NbdError> {
    if agreed.export.read_only {
        return Err(NbdError::PERM);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::agreed::tests::export;
    use super::super::client_reply::encode_request;
    use super::super::export::ExportInfo;
    use super::*;
    use crate::base::limits::MIB;
    use Framing::Extended;
    use Framing::Simple;
    use Framing::Structured;
    use command::*;
    use command_flag::*;

    const SIZE: u64 = 1 << 40;

    fn agreed(framing: Framing) -> Agreed {
        Agreed {
            export: export("disk", SIZE),
            framing,
            contexts: Contexts::ALLOCATION,
        }
    }

    fn header(flags: u16, command: u16, offset: u64, length: u64) -> Header {
        Header {
            flags,
            command,
            cookie: 7,
            offset,
            length,
        }
    }

    fn at(offset: u64, bytes: u64) -> Extent {
        Extent::new(offset, bytes).unwrap()
    }

    fn check(framing: Framing, request: (u16, u16, u64, u64), expected: Result<Command, NbdError>) {
        let (flags, command, offset, length) = request;
        let checked = header(flags, command, offset, length).check(&agreed(framing));
        assert_eq!(checked, expected, "{framing:?} {request:?}");
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for framing in [Simple, Structured, Extended] {
            let mut bytes = Vec::new();
            encode_request(framing, 3, 1, u64::MAX, 5, 1 << 31, &mut bytes);
            assert_eq!(bytes.len(), Header::bytes(framing));
            let expected = Header {
                cookie: u64::MAX,
                ..header(3, 1, 5, 1 << 31)
            };
            assert_eq!(Header::decode(framing, &bytes), Ok(Some(expected)));
            for end in 0..bytes.len() {
                assert_eq!(Header::decode(framing, &bytes[..end]), Ok(None));
            }
        }
    }

    #[test]
    fn the_magic_belongs_to_the_framing() {
        let mut bytes = Vec::new();
        encode_request(Extended, 0, 0, 0, 0, 0, &mut bytes);
        assert_eq!(Header::decode(Simple, &bytes), Err(BadMagic(0x21e4_1c71)));
        bytes.clear();
        encode_request(Structured, 0, 0, 0, 0, 0, &mut bytes);
        assert_eq!(
            Header::decode(Extended, &bytes[..4]),
            Err(BadMagic(0x2560_9513))
        );
    }

    #[test]
    fn payload_follows_writes_or_the_flag() {
        let cases = [
            (Simple, 0, WRITE, 9),
            (Structured, PAYLOAD_LEN, WRITE, 9),
            (Simple, PAYLOAD_LEN, READ, 0),
            (Simple, 0, 99, 0),
            (Extended, 0, WRITE, 9),
            (Extended, PAYLOAD_LEN, WRITE, 9),
            (Extended, 0, READ, 0),
            (Extended, PAYLOAD_LEN, READ, 9),
            (Extended, PAYLOAD_LEN, 99, 9),
        ];
        for (framing, flags, command, bytes) in cases {
            let header = header(flags, command, 0, 9);
            assert_eq!(
                header.payload_bytes(framing),
                bytes,
                "{framing:?} {header:?}"
            );
        }
    }

    #[test]
    fn right_reads_and_writes_become_commands() {
        let (cached, durable) = (Durability::Cached, Durability::Durable);
        let read = |at, fragments| Ok(Command::Read { at, fragments });
        check(Simple, (0, READ, 1, 2), read(at(1, 2), false));
        check(Simple, (FUA, READ, 1, 2), read(at(1, 2), false));
        check(Structured, (0, READ, 1, 2), read(at(1, 2), true));
        check(Structured, (DF, READ, 1, 2), read(at(1, 2), false));
        check(Simple, (0, READ, SIZE - 1, 1), read(at(SIZE - 1, 1), false));
        let write = |offset, bytes, durability| {
            Ok(Command::Write {
                offset,
                bytes,
                durability,
            })
        };
        check(Simple, (0, WRITE, 1, 2), write(1, 2, cached));
        check(
            Structured,
            (FUA, WRITE, 1, 32 << 20),
            write(1, 32 * MIB, durable),
        );
        check(
            Extended,
            (PAYLOAD_LEN | FUA, WRITE, 1, 2),
            write(1, 2, durable),
        );
        check(Extended, (0, WRITE, 1, 2), write(1, 2, cached));
    }

    #[test]
    fn right_requests_without_data_become_commands() {
        let (cached, durable) = (Durability::Cached, Durability::Durable);
        check(Simple, (FUA, FLUSH, 1, 2), Ok(Command::Flush));
        check(Simple, (0xffff, DISC, u64::MAX, 9), Ok(Command::Disconnect));
        let trim = Command::Trim {
            at: at(0, SIZE),
            durability: durable,
        };
        check(Extended, (FUA, TRIM, 0, SIZE), Ok(trim));
        check(
            Extended,
            (0, CACHE, 0, SIZE),
            Ok(Command::Cache { at: at(0, SIZE) }),
        );
        for (flags, may_unmap, only_if_fast) in [
            (0, true, false),
            (NO_HOLE, false, false),
            (FAST_ZERO, true, true),
            (NO_HOLE | FAST_ZERO, false, true),
        ] {
            let mode = ZeroMode {
                may_unmap,
                only_if_fast,
            };
            let zeroes = Command::WriteZeroes {
                at: at(0, SIZE),
                mode,
                durability: cached,
            };
            check(Extended, (flags, WRITE_ZEROES, 0, SIZE), Ok(zeroes));
        }
        let status = |one| Ok(Command::BlockStatus { at: at(0, 1), one });
        check(Structured, (0, BLOCK_STATUS, 0, 1), status(false));
        check(Extended, (REQ_ONE, BLOCK_STATUS, 0, 1), status(true));
        let filtered = Ok(Command::FilteredBlockStatus {
            offset: 5,
            one: true,
        });
        check(
            Extended,
            (REQ_ONE | PAYLOAD_LEN, BLOCK_STATUS, 5, 12),
            filtered,
        );
    }

    #[test]
    fn flags_that_do_not_belong_are_refused() {
        let refused = [
            (Simple, DF, READ),
            (Structured, REQ_ONE, READ),
            (Extended, PAYLOAD_LEN, READ),
            (Simple, PAYLOAD_LEN, WRITE),
            (Extended, PAYLOAD_LEN | DF, WRITE),
            (Simple, NO_HOLE, FLUSH),
            (Simple, NO_HOLE, TRIM),
            (Extended, PAYLOAD_LEN, TRIM),
            (Simple, 1 << 6, CACHE),
            (Simple, DF, WRITE_ZEROES),
            (Extended, PAYLOAD_LEN, WRITE_ZEROES),
            (Structured, PAYLOAD_LEN, BLOCK_STATUS),
            (Structured, DF, BLOCK_STATUS),
            (Extended, DF | PAYLOAD_LEN, BLOCK_STATUS),
            (Simple, 0, 8),
            (Simple, 0, u16::MAX),
        ];
        for (framing, flags, command) in refused {
            check(framing, (flags, command, 0, 12), Err(NbdError::INVAL));
        }
    }

    #[test]
    fn ranges_beyond_the_end_are_refused() {
        for command in [READ, TRIM, CACHE, BLOCK_STATUS] {
            for (offset, length) in [(SIZE, 1), (SIZE - 1, 2), (u64::MAX, 1)] {
                check(
                    Structured,
                    (0, command, offset, length),
                    Err(NbdError::INVAL),
                );
            }
        }
        for command in [WRITE, WRITE_ZEROES] {
            for (offset, length) in [(SIZE, 1), (SIZE - 1, 2), (u64::MAX, 1)] {
                check(Simple, (0, command, offset, length), Err(NbdError::NOSPC));
            }
        }
        check(
            Extended,
            (0, WRITE_ZEROES, 1, u64::MAX),
            Err(NbdError::NOSPC),
        );
        check(Extended, (0, TRIM, 1, u64::MAX), Err(NbdError::INVAL));
    }

    #[test]
    fn nothing_is_longer_than_a_payload() {
        let long = (32 << 20) + 1;
        check(Simple, (0, READ, 0, long), Err(NbdError::INVAL));
        check(Structured, (0, READ, 0, long), Err(NbdError::INVAL));
        check(Structured, (DF, READ, 0, long), Err(NbdError::OVERFLOW));
        check(Extended, (DF, READ, 0, SIZE), Err(NbdError::OVERFLOW));
        check(Simple, (0, WRITE, 0, long), Err(NbdError::INVAL));
        check(
            Extended,
            (PAYLOAD_LEN, WRITE, 0, u64::MAX),
            Err(NbdError::INVAL),
        );
    }

    #[test]
    fn empty_ranges_are_refused_only_where_the_answer_has_contents() {
        check(Simple, (0, READ, 0, 0), Err(NbdError::INVAL));
        check(Structured, (0, BLOCK_STATUS, 0, 0), Err(NbdError::INVAL));
        for command in [WRITE, TRIM, WRITE_ZEROES, CACHE] {
            assert!(header(0, command, SIZE, 0).check(&agreed(Simple)).is_ok());
        }
    }

    #[test]
    fn a_read_only_export_is_not_written() {
        let mut agreed = agreed(Simple);
        agreed.export.read_only = true;
        for command in [WRITE, TRIM, WRITE_ZEROES] {
            let checked = header(0, command, u64::MAX, 9).check(&agreed);
            assert_eq!(checked, Err(NbdError::PERM));
        }
        for command in [READ, FLUSH, CACHE, BLOCK_STATUS] {
            assert!(header(0, command, 0, 9).check(&agreed).is_ok());
        }
    }

    #[test]
    fn what_was_not_offered_is_refused() {
        let agreed = Agreed {
            export: ExportInfo {
                can_fast_zero: false,
                ..export("disk", SIZE)
            },
            framing: Extended,
            contexts: Contexts::NONE,
        };
        for (flags, command, length) in [
            (FAST_ZERO, WRITE_ZEROES, 1),
            (0, BLOCK_STATUS, 1),
            (PAYLOAD_LEN, BLOCK_STATUS, 12),
        ] {
            let checked = header(flags, command, 0, length).check(&agreed);
            assert_eq!(checked, Err(NbdError::INVAL));
        }
    }

    #[test]
    fn a_status_filter_names_each_selected_context_once() {
        let filter = |bytes: u64, ids: &[u32]| {
            let ids = ids.iter().flat_map(|id| id.to_be_bytes());
            bytes
                .to_be_bytes()
                .into_iter()
                .chain(ids)
                .collect::<Vec<u8>>()
        };
        let agreed = agreed(Extended);
        let read = |payload: &[u8]| status_filter(payload, 4096, &agreed);
        let whole = SIZE - 4096;
        assert_eq!(
            read(&filter(whole, &[1])),
            Ok((at(4096, whole), Contexts::ALLOCATION))
        );
        let wrong = [
            filter(0, &[1]),
            filter(whole + 1, &[1]),
            filter(u64::MAX, &[1]),
            filter(9, &[]),
            filter(9, &[2]),
            filter(9, &[0]),
            filter(9, &[1, 1]),
            filter(9, &[1])[..11].to_vec(),
            filter(9, &[])[..7].to_vec(),
            Vec::new(),
        ];
        for payload in wrong {
            assert_eq!(read(&payload), Err(NbdError::INVAL), "{payload:?}");
        }
        for bytes in [0, 7, 13, 16, u64::MAX] {
            check(
                Extended,
                (PAYLOAD_LEN, BLOCK_STATUS, 0, bytes),
                Err(NbdError::INVAL),
            );
        }
    }
}
