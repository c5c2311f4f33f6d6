//! Remote procedure calls: RFC 5531, with the credentials of AUTH_SYS.

use super::xdr::{Malformed, Reader, Writer, length, padding};

/// Which procedure of which program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Procedure {
    pub(super) program: u32,
    pub(super) version: u32,
    pub(super) number: u32,
}

/// A call without its number: the procedure, and the arguments as they are sent, but for a payload
/// that may follow them.
#[derive(Clone, Debug)]
pub struct Call {
    pub(super) procedure: Procedure,
    pub(super) arguments: Vec<u8>,
}

/// Who calls, as the server is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credentials {
    /// The number of the user.
    pub uid: u32,
    /// The number of the group.
    pub gid: u32,
}

/// Why a server does not do a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// It does not have the program, not in this version, or not the procedure.
    Unavailable,
    /// It does not understand the call.
    Garbage,
    /// It has trouble of its own.
    Trouble,
    /// It does not take the credentials.
    Credentials,
}

/// A reply: which call it answers, and the results or why there are none.
#[derive(Debug)]
pub struct Reply<'a> {
    /// The number of the call.
    pub xid: u32,
    /// What the procedure gave, not looked at yet.
    pub results: Result<&'a [u8], Refused>,
}

/// The last fragment of a record has this bit set in its mark.
pub(super) const LAST: u32 = 1 << 31;

const CALL: u32 = 0;
const REPLY: u32 = 1;
const RPC_VERSION: u32 = 2;
const AUTH_NONE: u32 = 0;
const AUTH_SYS: u32 = 1;

/// The longest credentials or verifier (RFC 5531, section 8.2).
const AUTH_BYTES_MAX: usize = 400;

impl Call {
    /// The call as it is sent, with its record mark, up to a payload of `payload_bytes` that
    /// follows it, [padded](Self::padding) to a multiple of 4.
    pub fn encode(&self, xid: u32, who: &Credentials, payload_bytes: usize) -> Vec<u8> {
        let mut writer = Writer(Vec::with_capacity(96 + self.arguments.len()));
        let Procedure {
            program,
            version,
            number,
        } = self.procedure;
        writer.u32(0);
        writer.u32(xid).u32(CALL).u32(RPC_VERSION);
        writer.u32(program).u32(version).u32(number);
        let mut credentials = Writer::default();
        credentials.u32(0).opaque(b"bedplate");
        credentials.u32(who.uid).u32(who.gid).u32(0);
        writer.u32(AUTH_SYS).opaque(&credentials.0);
        writer.u32(AUTH_NONE).opaque(&[]);
        writer.fixed(&self.arguments);
        let mut bytes = writer.0;
        let record = bytes.len() - 4 + payload_bytes + padding(payload_bytes);
        bytes[..4].copy_from_slice(&(LAST | length(record)).to_be_bytes());
        bytes
    }

    /// The zeroes that follow a payload of `payload_bytes`.
    pub fn padding(payload_bytes: usize) -> &'static [u8] {
        &[0; 3][..padding(payload_bytes)]
    }
}

/// Reads a record that should be a reply.
///
/// # Errors
/// If it is none.
pub fn parse_reply(record: &[u8]) -> Result<Reply<'_>, Malformed> {
    let mut reader = Reader::new(record);
    let xid = reader.u32()?;
    if reader.u32()? != REPLY {
        return Err(Malformed);
    }
    let results = match reader.u32()? {
        0 => {
            reader.u32()?;
            reader.opaque(AUTH_BYTES_MAX)?;
            match reader.u32()? {
                0 => Ok(reader.rest()),
                1..=3 => Err(Refused::Unavailable),
                4 => Err(Refused::Garbage),
                5 => Err(Refused::Trouble),
                _ => return Err(Malformed),
            }
        }
        1 => match reader.u32()? {
            0 => Err(Refused::Unavailable),
            1 => Err(Refused::Credentials),
            _ => return Err(Malformed),
        },
        _ => return Err(Malformed),
    };
    Ok(Reply { xid, results })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn a_call_is_marked_with_its_length_and_payload() {
        let call = Call {
            procedure: Procedure {
                program: 100_003,
                version: 3,
                number: 7,
            },
            arguments: vec![1, 2, 3, 4],
        };
        let who = Credentials { uid: 1, gid: 2 };
        let bytes = call.encode(9, &who, 5);
        let mark = u32::from_be_bytes(bytes[..4].try_into().expect("four"));
        assert_eq!(mark, LAST | (length(bytes.len()) - 4 + 8));
        assert_eq!(Call::padding(5).len(), 3);
        assert_eq!(bytes[4..8], [0, 0, 0, 9]);
        assert!(bytes.ends_with(&[1, 2, 3, 4]));
    }

    #[test]
    fn replies_are_told_apart() {
        let done = words(&[5, 1, 0, 0, 0, 0, 42]);
        let reply = parse_reply(&done).expect("a reply");
        assert_eq!(reply.xid, 5);
        assert_eq!(reply.results, Ok(&[0, 0, 0, 42][..]));
        for (record, why) in [
            (&[5, 1, 0, 0, 0, 1][..], Refused::Unavailable),
            (&[5, 1, 0, 0, 0, 2, 2, 2], Refused::Unavailable),
            (&[5, 1, 0, 0, 0, 4], Refused::Garbage),
            (&[5, 1, 0, 0, 0, 5], Refused::Trouble),
            (&[5, 1, 1, 1, 5], Refused::Credentials),
        ] {
            let record = words(record);
            let reply = parse_reply(&record).expect("a reply");
            assert_eq!(reply.results, Err(why));
        }
        for record in [
            &[][..],
            &[5],
            &[5, 0, 0, 0, 0, 0],
            &[5, 1, 2],
            &[5, 1, 0, 0, 9999],
            &[5, 1, 0, 0, 0, 6],
        ] {
            assert!(parse_reply(&words(record)).is_err(), "{record:?}");
        }
    }
}
