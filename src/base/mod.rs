//! The vocabulary that every other floor speaks: extents, buffers, requests, errors and limits.
//!
//! Nothing here does I/O, knows the time or starts anything.

mod buf;
mod error;
mod extent;
pub mod limits;
mod open_error;
mod request;
pub mod size;

pub use buf::Buf;
pub use error::{Error, Fault, Refusal, Result};
pub use extent::Extent;
pub use open_error::OpenError;
pub use request::{
    Answer, Aspect, Durability, Lent, Mark, Op, Reply, Request, Status, StatusRun, Ticket, ZeroMode,
};
