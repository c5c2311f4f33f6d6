//! Network Block Device: the server.
//!
//! [`proto`] is the protocol, bytes in and bytes out. A [`Server`] accepts connections and spreads
//! them over the reactors; a session carries one connection from its greeting to its end.

mod budget;
mod channel;
mod connection;
mod exports;
mod intake;
pub mod proto;
mod server;
mod session;
mod tls;

pub use server::Server;
pub use session::serve;
pub use tls::{TlsFiles, TlsServer};
