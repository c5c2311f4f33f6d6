//! The protocol's error numbers by name.

use crate::frontend::nbd::proto::wire::errno;

/// The name of an error number of a reply.
pub(super) fn name(number: u32) -> String {
    let name = match number {
        errno::EPERM => "EPERM",
        errno::EIO => "EIO",
        errno::ENOMEM => "ENOMEM",
        errno::EINVAL => "EINVAL",
        errno::ENOSPC => "ENOSPC",
        errno::EOVERFLOW => "EOVERFLOW",
        errno::ENOTSUP => "ENOTSUP",
        errno::ESHUTDOWN => "ESHUTDOWN",
        _ => return format!("error {number}"),
    };
    name.to_owned()
}
