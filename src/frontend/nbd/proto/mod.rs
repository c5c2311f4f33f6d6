//! The NBD protocol as bytes in and bytes out: no sockets, no clock, no threads.
//!
//! A session feeds what it received to a [`Handshake`] until that yields an [`Agreed`], then
//! decodes one [`Header`] after the other, has it [`check`](Header::check)ed into a [`Command`],
//! and encodes what it has to say with a [`ReplyTo`] into an [`Outbox`]. The client side is here
//! too, for the load generator and for tests.
//!
//! The specification is `doc/proto.md` of the NBD project ("proto.md" below), with its branch
//! `extension-ext-header` for extended headers. Nothing that a peer sends makes this module panic
//! or hold more memory than [`limits`](crate::base::limits) allows.

mod agreed;
mod bytes;
mod client;
mod client_outcome;
mod client_reply;
mod command;
mod contexts;
mod error;
mod export;
mod handshake;
mod handshake_error;
mod meta_context;
mod option_header;
mod options;
mod outbox;
mod reply;
mod request;
mod sparse;
mod tls;
pub mod wire;

pub use agreed::{Agreed, Framing};
pub use client::{ClientHandshake, ClientStep};
pub use client_outcome::{ClientError, ClientExport, ClientWants};
pub use client_reply::{
    ReplyError, ReplyHead, ReplyKind, ReplyPayload, decode_reply, encode_request,
};
pub use command::Command;
pub use contexts::{Context, Contexts};
pub use error::NbdError;
pub use export::{ExportInfo, Exports};
pub use handshake::{Handshake, Step};
pub use handshake_error::HandshakeError;
pub use outbox::Outbox;
pub use reply::ReplyTo;
pub use request::{BadMagic, Header, status_filter};
pub use tls::TlsPolicy;
