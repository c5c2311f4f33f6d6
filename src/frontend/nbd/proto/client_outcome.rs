//! What a client wants of a handshake and what it gets: an export, or a reason why not.

use std::fmt;

use super::agreed::Framing;
use super::wire::option_reply;

/// What a client would like beyond the basics. A server may decline all of it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ClientWants {
    /// Structured replies.
    pub structured: bool,
    /// Extended headers.
    pub extended: bool,
    /// The metadata context `base:allocation`, which needs one of the others.
    pub allocation: bool,
}

/// What a client knows of its export.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientExport {
    /// The size, in bytes.
    pub size: u64,
    /// Transmission flags.
    pub flags: u16,
    /// The smallest block that may be asked for, in bytes.
    pub block_min: u32,
    /// The block size that works best, in bytes.
    pub block_preferred: u32,
    /// The longest payload, in bytes.
    pub block_max: u32,
    /// How requests and replies are framed.
    pub framing: Framing,
    /// What block status replies call `base:allocation`, where it was selected.
    pub allocation_id: Option<u32>,
}

/// Why a server cannot be talked to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientError {
    /// It did not greet as a newstyle server does.
    NotNewstyle,
    /// An answer without its magic, to another option, or cut short.
    BadReply,
    /// An answer with so many bytes of data.
    ReplyTooLong(u32),
    /// It refused `NBD_OPT_GO` for this reason (proto.md, "Option reply types").
    Refused(u32),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotNewstyle => f.write_str("not a newstyle NBD server"),
            Self::BadReply => f.write_str("a malformed answer to an option"),
            Self::ReplyTooLong(bytes) => write!(f, "an answer to an option of {bytes} bytes"),
            Self::Refused(option_reply::ERR_UNKNOWN) => f.write_str("there is no such export"),
            Self::Refused(option_reply::ERR_TLS_REQD) => f.write_str("the server requires TLS"),
            Self::Refused(kind) => write!(f, "the server refused the export: {kind:#x}"),
        }
    }
}

impl std::error::Error for ClientError {}
