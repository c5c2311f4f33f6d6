//! Volumes as block devices of this machine, `/dev/ublkbN`: a server of the kernel's ublk driver.
//!
//! The `uapi` is what driver and server say to each other, pure. `control` is the driver as a
//! whole, a `queue` is where requests come in. [`Devices`] has all of them, and the rules: what is
//! in use stays, and what a server leaves waits for the next one.

mod control;
mod device;
mod devices;
mod error;
mod occupants;
mod queue;
mod uapi;

pub use devices::{Attached, Devices, Shape};
pub use error::{UblkError, UblkErrorKind};
pub use uapi::DEPTH_MAX;
