//! Why a handshake ends without an agreement.

use std::fmt;

use crate::base::limits::OPTIONS_MAX;

/// Why a client is not talked to any more. There is nothing left to send to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandshakeError {
    /// Client flags that this server did not offer.
    ClientFlags(u32),
    /// An option that does not begin with `IHAVEOPT`.
    BadMagic(u64),
    /// An option other than `NBD_OPT_EXPORT_NAME` by a client that does not know that options
    /// are answered.
    NotFixedNewstyle(u32),
    /// An option with so many bytes of data.
    OptionTooLong(u32),
    /// More options than [`OPTIONS_MAX`].
    TooManyOptions,
    /// `NBD_OPT_EXPORT_NAME`, which has no error reply, of an export that there is not.
    UnknownExport,
    /// `NBD_OPT_EXPORT_NAME` before TLS, where TLS is required.
    TlsRequired,
    /// `NBD_OPT_EXPORT_NAME` after extended headers, which the extension forbids.
    ExportNameWithExtendedHeaders,
    /// `NBD_OPT_EXPORT_NAME` while the server is going.
    ShuttingDown,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientFlags(flags) => write!(f, "unknown client flags {flags:#x}"),
            Self::BadMagic(magic) => write!(f, "not an NBD option: it begins with {magic:#018x}"),
            Self::NotFixedNewstyle(option) => {
                write!(f, "option {option} without the fixed newstyle flag")
            }
            Self::OptionTooLong(bytes) => write!(f, "an option with {bytes} bytes of data"),
            Self::TooManyOptions => write!(f, "more than {OPTIONS_MAX} options"),
            Self::UnknownExport => f.write_str("the client asked for an unknown export"),
            Self::TlsRequired => f.write_str("the client asked for an export without TLS"),
            Self::ExportNameWithExtendedHeaders => {
                f.write_str("EXPORT_NAME cannot follow extended headers")
            }
            Self::ShuttingDown => f.write_str("the server is going"),
        }
    }
}

impl std::error::Error for HandshakeError {}
