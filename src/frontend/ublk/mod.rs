//! Volumes as block devices of this machine, `/dev/ublkbN`: a server of the kernel's ublk driver.
//!
//! The `uapi` is what driver and server say to each other, pure. `control` is the driver as a
//! whole, a `queue` is where requests come in. [`Devices`] has all of them, and the rules: what is
//! in use stays, and what a server leaves waits for the next one.

mod control;
mod device;
mod devices;
mod error;
mod home;
mod occupants;
mod queue;
mod shape;
mod uapi;

pub use devices::{Attached, Devices};
pub use error::{UblkError, UblkErrorKind};
pub use shape::Shape;
pub use uapi::DEPTH_MAX;
