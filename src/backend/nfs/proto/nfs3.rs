//! The procedures of NFS version 3 that a disk needs (RFC 1813, section 3.3).

use super::Outcome;
use super::rpc::{Call, Procedure};
use super::status::Status;
use super::xdr::{Malformed, Reader, Writer, length};

/// The longest handle of a file, in bytes.
pub const FILE_HANDLE_BYTES_MAX: usize = 64;

/// The mode of a file that is made: its user's alone.
pub const MODE_NEW: u32 = 0o600;

/// Rights that are asked for.
pub const ACCESS_READ: u32 = 0x01;
/// To change what is there.
pub const ACCESS_MODIFY: u32 = 0x04;
/// To write behind what is there.
pub const ACCESS_EXTEND: u32 = 0x08;

/// How a server knows a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileHandle(Vec<u8>);

/// What the instance of a server is known by that has taken writes.
pub type Verifier = [u8; 8];

/// How durable a write is to be, or has become.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stable {
    /// When it has been committed.
    Unstable,
    /// Now, with what is needed to find it again.
    Data,
    /// Now.
    File,
}

/// What a name may stand for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// A file.
    Regular,
    /// A folder.
    Directory,
    /// Anything else.
    Other,
}

/// What is known about a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attributes {
    /// What it is.
    pub kind: FileKind,
    /// Its length, in bytes.
    pub size: u64,
}

/// What one call may carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The most that one READ gives, in bytes.
    pub read_bytes_max: u32,
    /// The most that one WRITE takes, in bytes.
    pub write_bytes_max: u32,
}

/// What LOOKUP found.
pub type Lookup = FileHandle;

/// What READ gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadReply<'a> {
    /// The bytes.
    pub data: &'a [u8],
    /// Whether the file ends behind them.
    pub is_end: bool,
}

/// What WRITE did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// How many of the bytes were written.
    pub count: u32,
    /// How durable they are.
    pub stable: Stable,
    /// Which instance of the server has them.
    pub verifier: Verifier,
}

/// What COMMIT did, and which instance of the server.
pub type Committed = Verifier;

impl FileHandle {
    /// The bytes that it consists of.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The handle in `bytes`.
pub(super) fn handle(bytes: &[u8]) -> Result<FileHandle, Malformed> {
    match bytes.len() {
        1..=FILE_HANDLE_BYTES_MAX => Ok(FileHandle(bytes.to_vec())),
        _ => Err(Malformed),
    }
}

fn call(number: u32, arguments: Writer) -> Call {
    Call {
        procedure: Procedure {
            program: 100_003,
            version: 3,
            number,
        },
        arguments: arguments.0,
    }
}

fn about(file: &FileHandle) -> Writer {
    let mut writer = Writer::default();
    writer.opaque(file.bytes());
    writer
}

fn named(folder: &FileHandle, name: &str) -> Writer {
    let mut writer = about(folder);
    writer.opaque(name.as_bytes());
    writer
}

/// Asks what a file is.
pub fn getattr(file: &FileHandle) -> Call {
    call(1, about(file))
}

/// Makes a file `size` bytes long.
pub fn resize(file: &FileHandle, size: u64) -> Call {
    let mut writer = about(file);
    // Neither mode, user nor group; the size; neither time; no guard.
    writer.u32(0).u32(0).u32(0);
    writer.u32(1).u64(size);
    writer.u32(0).u32(0).u32(0);
    call(2, writer)
}

/// Gives a file that was made exclusively what such a file lacks: a mode, times that are none of
/// its verifier, and a size.
pub fn settle_new(file: &FileHandle, size: u64) -> Call {
    let mut writer = about(file);
    writer.u32(1).u32(MODE_NEW).u32(0).u32(0);
    writer.u32(1).u64(size);
    // Both times as the server's clock says.
    writer.u32(1).u32(1).u32(0);
    call(2, writer)
}

/// Asks what `name` stands for in `folder`.
pub fn lookup(folder: &FileHandle, name: &str) -> Call {
    call(3, named(folder, name))
}

/// Asks which of `rights` there are to a file.
pub fn access(file: &FileHandle, rights: u32) -> Call {
    let mut writer = about(file);
    writer.u32(rights);
    call(4, writer)
}

/// Reads `count` bytes from `offset`.
pub fn read(file: &FileHandle, offset: u64, count: usize) -> Call {
    let mut writer = about(file);
    writer.u64(offset).u32(length(count));
    call(6, writer)
}

/// Writes the `count` bytes of payload that follow to `offset`.
pub fn write(file: &FileHandle, offset: u64, count: usize, stable: Stable) -> Call {
    let mut writer = about(file);
    let how = match stable {
        Stable::Unstable => 0,
        Stable::Data => 1,
        Stable::File => 2,
    };
    let count = length(count);
    writer.u64(offset).u32(count).u32(how).u32(count);
    call(7, writer)
}

/// Makes the file `name` in `folder`, unless it is there; the same `verifier` makes it once.
pub fn create_exclusive(folder: &FileHandle, name: &str, verifier: Verifier) -> Call {
    let mut writer = named(folder, name);
    writer.u32(2).fixed(&verifier);
    call(8, writer)
}

/// Takes the file `name` out of `folder`.
pub fn remove(folder: &FileHandle, name: &str) -> Call {
    call(12, named(folder, name))
}

/// Gives `file` another name in `folder`, unless somebody has it.
pub fn link(file: &FileHandle, folder: &FileHandle, name: &str) -> Call {
    let mut writer = about(file);
    writer.opaque(folder.bytes()).opaque(name.as_bytes());
    call(15, writer)
}

/// Asks what one call may carry.
pub fn fsinfo(file: &FileHandle) -> Call {
    call(19, about(file))
}

/// Makes everything durable that was written to a file.
pub fn commit(file: &FileHandle) -> Call {
    let mut writer = about(file);
    writer.u64(0).u32(0);
    call(21, writer)
}

/// Reads the status, and then what follows it where all went well.
fn outcome<'a, T>(
    results: &'a [u8],
    parse: impl FnOnce(&mut Reader<'a>) -> Result<T, Malformed>,
) -> Outcome<T> {
    let mut reader = Reader::new(results);
    match reader.u32()? {
        0 => parse(&mut reader).map(Ok),
        status => Ok(Err(Status(status))),
    }
}

fn attributes(reader: &mut Reader<'_>) -> Result<Attributes, Malformed> {
    let kind = match reader.u32()? {
        1 => FileKind::Regular,
        2 => FileKind::Directory,
        3..=7 => FileKind::Other,
        _ => return Err(Malformed),
    };
    // Mode, links, user, group.
    reader.fixed(16)?;
    let size = reader.u64()?;
    // Space used, device, file system, number, three times.
    reader.fixed(8 + 8 + 8 + 8 + 24)?;
    Ok(Attributes { kind, size })
}

fn skip_attributes(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    if reader.bool()? {
        attributes(reader)?;
    }
    Ok(())
}

/// Skips what a file was before and after (`wcc_data`).
fn skip_change(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    if reader.bool()? {
        reader.fixed(24)?;
    }
    skip_attributes(reader)
}

fn verifier(reader: &mut Reader<'_>) -> Result<Verifier, Malformed> {
    let bytes = reader.fixed(8)?;
    Ok(bytes.try_into().expect("eight bytes"))
}

/// Reads what a procedure gives that gives nothing but its success.
///
/// # Errors
/// If there is no status.
pub fn parse_done(results: &[u8]) -> Outcome<()> {
    outcome(results, |_| Ok(()))
}

/// Reads what a file is.
///
/// # Errors
/// If there is neither that nor a status.
pub fn parse_getattr(results: &[u8]) -> Outcome<Attributes> {
    outcome(results, attributes)
}

/// Reads what a name stands for.
///
/// # Errors
/// If there is neither that nor a status.
pub fn parse_lookup(results: &[u8]) -> Outcome<Lookup> {
    outcome(results, |reader| {
        handle(reader.opaque(FILE_HANDLE_BYTES_MAX)?)
    })
}

/// Reads which rights there are.
///
/// # Errors
/// If there is neither that nor a status.
pub fn parse_access(results: &[u8]) -> Outcome<u32> {
    outcome(results, |reader| {
        skip_attributes(reader)?;
        reader.u32()
    })
}

/// Reads what was read, which is at most `count` bytes.
///
/// # Errors
/// If there is neither that nor a status.
pub fn parse_read(results: &[u8], count: usize) -> Outcome<ReadReply<'_>> {
    outcome(results, |reader| {
        skip_attributes(reader)?;
        let told = reader.u32()?;
        let is_end = reader.bool()?;
        let data = reader.opaque(count)?;
        match length(data.len()) == told && (told > 0 || is_end || count == 0) {
            true => Ok(ReadReply { data, is_end }),
            false => Err(Malformed),
        }
    })
}

/// Reads what became of a write of `count` bytes.
///
/// # Errors
/// If there is neither that nor a status.
pub fn parse_write(results: &[u8], count: usize) -> Outcome<Written> {
    outcome(results, |reader| {
        skip_change(reader)?;
        let told = reader.u32()?;
        let stable = match reader.u32()? {
            0 => Stable::Unstable,
            1 => Stable::Data,
            2 => Stable::File,
            _ => return Err(Malformed),
        };
        let verifier = verifier(reader)?;
        match told > 0 && told <= length(count) {
            true => Ok(Written {
                count: told,
                stable,
                verifier,
            }),
            false => Err(Malformed),
        }
    })
}

/// Reads what was made, if the server says so.
///
/// # Errors
/// If there is neither that nor a status.
pub fn parse_create(results: &[u8]) -> Outcome<Option<FileHandle>> {
    outcome(results, |reader| match reader.bool()? {
        true => handle(reader.opaque(FILE_HANDLE_BYTES_MAX)?).map(Some),
        false => Ok(None),
    })
}

/// Reads what one call may carry.
///
/// # Errors
/// If there is neither that nor a status, or nothing can be carried.
pub fn parse_fsinfo(results: &[u8]) -> Outcome<Limits> {
    outcome(results, |reader| {
        skip_attributes(reader)?;
        let read_bytes_max = reader.u32()?;
        reader.fixed(8)?;
        let write_bytes_max = reader.u32()?;
        match read_bytes_max.min(write_bytes_max) {
            0 => Err(Malformed),
            _ => Ok(Limits {
                read_bytes_max,
                write_bytes_max,
            }),
        }
    })
}

/// Reads which instance of the server has committed.
///
/// # Errors
/// If there is neither that nor a status.
pub fn parse_commit(results: &[u8]) -> Outcome<Committed> {
    outcome(results, |reader| {
        skip_change(reader)?;
        verifier(reader)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn a_write_carries_the_length_of_its_payload_twice() {
        let file = handle(&[1, 2, 3, 4]).expect("a handle");
        let call = write(&file, 1 << 32, 4096, Stable::Unstable);
        assert_eq!(
            call.arguments,
            words(&[4, 0x0102_0304, 1, 0, 4096, 0, 4096])
        );
    }

    #[test]
    fn what_was_written_is_no_more_than_was_sent_and_no_less_than_something() {
        let reply = |count| words(&[0, 0, 0, count, 0, 0xab, 0xcd]);
        let written = parse_write(&reply(512), 4096).expect("right");
        let written = written.expect("written");
        assert_eq!((written.count, written.stable), (512, Stable::Unstable));
        assert_eq!(written.verifier, [0, 0, 0, 0xab, 0, 0, 0, 0xcd]);
        assert!(parse_write(&reply(4097), 4096).is_err());
        assert!(parse_write(&reply(0), 4096).is_err());
    }

    #[test]
    fn what_was_read_is_what_was_told() {
        let reply = words(&[0, 0, 4, 0, 4, 7]);
        let read = parse_read(&reply, 8).expect("right").expect("read");
        assert_eq!((read.data, read.is_end), (&[0, 0, 0, 7][..], false));
        assert!(parse_read(&reply, 3).is_err(), "more than was asked for");
        assert!(parse_read(&words(&[0, 0, 5, 0, 4, 7]), 8).is_err());
        // Nothing, for ever.
        assert!(parse_read(&words(&[0, 0, 0, 0, 0]), 8).is_err());
    }

    #[test]
    fn what_is_cut_off_anywhere_is_malformed() {
        let mut all = words(&[0, 1, 0, 0, 0, 0, 0, 0, 1, 1]);
        all.extend(words(&[0; 22]));
        assert!(parse_commit(&all).is_ok(), "all of it");
        for end in 0..4 + 4 + 24 + 4 + 84 + 7 {
            let _ = parse_write(&all[..end], 1);
            assert!(parse_commit(&all[..end]).is_err(), "{end}");
        }
        for end in 0..84 + 4 {
            assert!(parse_getattr(&all[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn handles_have_a_length() {
        assert!(handle(&[]).is_err());
        assert!(handle(&[0; 65]).is_err());
        assert!(handle(&[0; 64]).is_ok());
    }
}
