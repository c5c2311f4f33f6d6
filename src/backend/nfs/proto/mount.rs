//! How one gets to a file system: the port mapper (RFC 1833) and MOUNT (RFC 1813, appendix I).

use super::nfs3::{FILE_HANDLE_BYTES_MAX, FileHandle};
use super::rpc::{Call, Procedure};
use super::status::Status;
use super::xdr::{Malformed, Reader, Writer};
use super::{Outcome, nfs3};

/// Where port mappers listen.
pub const PORTMAP_PORT: u16 = 111;

/// The version of MOUNT that belongs to NFS version 3.
pub const MOUNT_VERSION: u32 = 3;

const MOUNT: u32 = 100_005;
const TCP: u32 = 6;

/// Asks a port mapper where MOUNT is reached by TCP.
pub fn get_port() -> Call {
    let mut writer = Writer::default();
    writer.u32(MOUNT).u32(MOUNT_VERSION).u32(TCP).u32(0);
    Call {
        procedure: Procedure {
            program: 100_000,
            version: 2,
            number: 3,
        },
        arguments: writer.0,
    }
}

/// Reads the port; `None` if MOUNT is not there.
///
/// # Errors
/// If it is none.
pub fn parse_port(results: &[u8]) -> Result<Option<u16>, Malformed> {
    let port = Reader::new(results).u32()?;
    let port = u16::try_from(port).map_err(|_| Malformed)?;
    Ok((port != 0).then_some(port))
}

/// Asks for the folder `path`.
pub fn mount(path: &str) -> Call {
    let mut writer = Writer::default();
    writer.opaque(path.as_bytes());
    Call {
        procedure: Procedure {
            program: MOUNT,
            version: MOUNT_VERSION,
            number: 1,
        },
        arguments: writer.0,
    }
}

/// Reads the handle of that folder.
///
/// # Errors
/// If there is neither a handle nor a status.
pub fn parse_mount(results: &[u8]) -> Outcome<FileHandle> {
    let mut reader = Reader::new(results);
    match reader.u32()? {
        0 => {
            let handle = reader.opaque(FILE_HANDLE_BYTES_MAX)?;
            Ok(Ok(nfs3::handle(handle)?))
        }
        status => Ok(Err(Status(status))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        assert_eq!(parse_port(&[0, 0, 8, 1]), Ok(Some(2049)));
        assert_eq!(parse_port(&[0; 4]), Ok(None));
        assert_eq!(parse_port(&[1, 0, 0, 0]), Err(Malformed));
        let found = parse_mount(&[0, 0, 0, 0, 0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 0, 0]);
        assert_eq!(found.expect("right").expect("a handle").bytes(), [7, 8]);
        let refused = parse_mount(&[0, 0, 0, 13]).expect("right");
        assert_eq!(refused.expect_err("refused").errno(), libc::EACCES);
        assert!(parse_mount(&[0, 0, 0, 0, 0, 0, 0, 65]).is_err());
    }
}
