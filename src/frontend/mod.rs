//! The doors through which clients reach volumes.

pub mod nbd;
pub mod ublk;
