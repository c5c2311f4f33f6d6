//! Why a run ended without a result.

use std::fmt;
use std::io;
use std::time::Duration;

use super::errno;
use super::verify::Mismatch;
use crate::base::OpenError;
use crate::frontend::nbd::proto::ReplyError;

/// Why a run ended without a result; shown on one line.
#[derive(Debug)]
pub enum BenchError {
    /// What was asked for cannot be done.
    Unusable(OpenError),
    /// The kernel gives no ring or no thread.
    Kernel(io::Error),
    /// A connection broke.
    Broken(io::Error),
    /// The server closed a connection with so many requests unanswered.
    Closed(usize),
    /// A reply that cannot be understood.
    Reply(ReplyError),
    /// A reply to a request that was not made, or not any more; its cookie.
    Stray(u64),
    /// Data for a request that asked for none there, or too little data, at this byte of the
    /// export.
    Misplaced(u64),
    /// No reply has come for so long.
    Stalled(Duration),
    /// In a run that verifies, a request for this byte of the export failed with this number.
    Failed(u64, u32),
    /// What was read is not what was written.
    Mismatch(Mismatch),
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable(why) => why.fmt(f),
            Self::Kernel(error) => write!(
                f,
                "cannot start: {error}; the kernel must be 6.1 or newer and allow io_uring"
            ),
            Self::Broken(error) => write!(
                f,
                "the connection broke: {error}; see whether the server still runs"
            ),
            Self::Closed(unanswered) => write!(
                f,
                "the server closed a connection with {unanswered} requests unanswered; see its log"
            ),
            Self::Reply(error) => write!(f, "the server broke the protocol: {error}"),
            Self::Stray(cookie) => write!(
                f,
                "the server broke the protocol: a reply to no request (cookie {cookie:#x})"
            ),
            Self::Misplaced(offset) => write!(
                f,
                "the server broke the protocol: a read at {offset} got data that is not its own, \
                 or too little"
            ),
            Self::Stalled(time) => write!(
                f,
                "no reply for {} s; see whether the server still runs",
                time.as_secs()
            ),
            Self::Failed(offset, number) => write!(
                f,
                "a request at {offset} failed with {}; see the server's log",
                errno::name(*number)
            ),
            Self::Mismatch(mismatch) => mismatch.fmt(f),
        }
    }
}

impl std::error::Error for BenchError {}

impl From<OpenError> for BenchError {
    fn from(error: OpenError) -> Self {
        Self::Unusable(error)
    }
}

impl From<ReplyError> for BenchError {
    fn from(error: ReplyError) -> Self {
        Self::Reply(error)
    }
}
