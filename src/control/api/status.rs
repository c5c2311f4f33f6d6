//! Errors as callers get them: a code for programs, one line for people.

use tonic::{Code, Status};

use crate::base::{Error, OpenError, Refusal};
use crate::store::StoreError;

/// Why something was not done with `what`.
pub(super) fn of(what: &str, error: StoreError) -> Status {
    Status::new(code(&error), error.of(what).to_string())
}

/// The same, for whatever could not be opened.
pub(super) fn of_open(error: &OpenError) -> Status {
    Status::new(Code::InvalidArgument, error.to_string())
}

/// The same, of the kind `code`.
pub(super) fn of_line(code: Code, line: &OpenError) -> Status {
    Status::new(code, line.to_string())
}

/// What is wrong with `what`, and what to do.
pub(super) fn new(code: Code, what: &str, why: &str, remedy: &'static str) -> Status {
    Status::new(code, OpenError::new(what, why, remedy).to_string())
}

/// There is no store of this name.
pub(super) fn no_such_store(name: &str) -> Status {
    let remedy = "see 'bedplate store list', or open it with 'bedplate store open'";
    new(
        Code::NotFound,
        name,
        "no store of this name is open",
        remedy,
    )
}

fn code(error: &StoreError) -> Code {
    match error {
        StoreError::Io(error) => code_of_request(*error),
        StoreError::Damaged(_) => Code::DataLoss,
        StoreError::NotAStore
        | StoreError::AlreadyAStore
        | StoreError::Newer(_)
        | StoreError::Locked(_)
        | StoreError::Invalid(_) => Code::InvalidArgument,
        StoreError::NotFound(_) => Code::NotFound,
        StoreError::Exists(_) => Code::AlreadyExists,
        StoreError::Busy(_) | StoreError::InUse(_) | StoreError::Unfinished(_) => {
            Code::FailedPrecondition
        }
        StoreError::NoSpace => Code::ResourceExhausted,
        StoreError::Closed => Code::Unavailable,
    }
}

/// The code of a request that failed.
pub(super) fn code_of_request(error: Error) -> Code {
    match error {
        Error::Refused(Refusal::NoSpace) => Code::ResourceExhausted,
        Error::Refused(Refusal::ShuttingDown) => Code::Unavailable,
        Error::Refused(_) => Code::InvalidArgument,
        Error::Corrupt(_) => Code::DataLoss,
        Error::Failed(_) | Error::Unknown(_) | Error::Poisoned => Code::Internal,
    }
}
