//! What NFS version 3 looks like on the wire: bytes in, bytes out, no sockets.
//!
//! Whatever a server sends is either understood or [`Malformed`]; nothing here allocates more than
//! it was given, and nothing it was given is believed beyond its length.

mod mount;
mod nfs3;
mod record;
mod rpc;
mod status;
mod xdr;

pub use mount::{MOUNT_VERSION, PORTMAP_PORT, get_port, mount, parse_mount, parse_port};
pub use nfs3::{
    ACCESS_EXTEND, ACCESS_MODIFY, ACCESS_READ, Attributes, Committed, FILE_HANDLE_BYTES_MAX,
    FileHandle, FileKind, Limits, Lookup, MODE_NEW, ReadReply, Stable, Verifier, Written, access,
    commit, create_exclusive, fsinfo, getattr, link, lookup, parse_access, parse_commit,
    parse_create, parse_done, parse_fsinfo, parse_getattr, parse_lookup, parse_read, parse_write,
    read, remove, resize, settle_new, write,
};
pub use record::Inbox;
pub use rpc::{Call, Credentials, Procedure, Refused, Reply, parse_reply};
pub use status::Status;
pub use xdr::Malformed;

/// What a procedure gave: what it was asked for, or the status that says why not.
pub type Outcome<T> = std::result::Result<std::result::Result<T, Status>, Malformed>;
