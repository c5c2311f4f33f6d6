//! A file or a block device, through the ring and past the page cache.
//!
//! Direct I/O wants offsets, lengths and memory aligned; what this file wants is asked of the
//! kernel. Where direct I/O is not to be had (on some file systems, or for a file that does not
//! end at a block) the page cache is used instead; what a flush promises is the same.

mod space;

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, OFlags, SeekFrom, StatxFlags};
use rustix::io::Errno;

use super::{Access, Backend, Geometry, lock};
use crate::base::{
    Buf, Error, Extent, Fault, Lent, OpenError, Refusal, Result, StatusRun, ZeroMode,
};
use crate::env;
use crate::env::FileHandle;
use space::Space;

/// A regular file or a block device.
#[derive(Debug)]
pub struct File {
    handle: FileHandle,
    geometry: Geometry,
    sector: u64,
    memory_align: usize,
    space: Space,
}

impl File {
    /// Opens and locks the file at `path`, which exists.
    ///
    /// # Errors
    /// If there is none, if it is no file or block device, if another process keeps it locked, or
    /// if the system refuses.
    pub async fn open(path: &Path, access: Access) -> std::result::Result<Self, OpenError> {
        let what = path.display().to_string();
        let fail = |why: &dyn std::fmt::Display, remedy| OpenError::new(&what, why, remedy);
        let refused = |error: Errno| fail(&io::Error::from(error), remedy_for(error));
        let device = match FileType::from_raw_mode(rustix::fs::stat(path).map_err(refused)?.st_mode)
        {
            FileType::RegularFile => false,
            FileType::BlockDevice => true,
            FileType::Directory => return Err(refused(Errno::ISDIR)),
            _ => {
                return Err(fail(
                    &"neither a file nor a block device",
                    "name one that is",
                ));
            }
        };
        let flags = OFlags::CLOEXEC
            | match (access, device) {
                (Access::Read, _) => OFlags::RDONLY,
                (Access::Write, false) => OFlags::RDWR,
                (Access::Write, true) => OFlags::RDWR | OFlags::EXCL,
            };
        let file = match lock::open(path, flags).await {
            Err(Errno::BUSY) => {
                return Err(fail(
                    &"in use: mounted, or claimed by what uses it",
                    "stop that first",
                ));
            }
            opened => opened.map_err(refused)?,
        };
        match lock::lock(&file, access).await {
            Ok(true) => {}
            Ok(false) => return Err(fail(&"in use by another process", "stop that one first")),
            Err(error) => return Err(fail(&error, "use a file system that has file locks")),
        }
        let size = rustix::fs::seek(&file, SeekFrom::End(0)).map_err(refused)?;
        if size == 0 {
            return Err(fail(
                &"it is empty",
                "give it a size with: truncate -s SIZE PATH",
            ));
        }
        let align = go_direct(&file, size);
        if align.is_none() {
            tracing::warn!(
                path = what,
                "no direct I/O on this file; using the page cache"
            );
        }
        let align = align.unwrap_or(Alignment {
            block: 1,
            memory: 1,
        });
        let handle = Arc::new(file);
        Ok(Self {
            space: Space::new(Arc::clone(&handle), device),
            handle,
            geometry: Geometry {
                size,
                block: align.block,
                preferred_block: 4096,
                fast_zeroes: true,
            },
            sector: if device { align.sector() } else { 512 },
            memory_align: align.memory,
        })
    }
}

impl Backend for File {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn sector(&self) -> u64 {
        self.sector
    }

    async fn read(&self, at: Extent, mut buf: Buf) -> Result<Buf> {
        let mut done = 0;
        loop {
            let (read, part) = env::read_at(&self.handle, at.offset() + done as u64, buf).await;
            buf = part;
            let failed = |error| Error::Failed(Fault::new("read", &error));
            done += match read.map_err(failed)? {
                // Somebody has made the file shorter: what is gone reads as zeroes, as a hole.
                0 => {
                    buf.fill(0);
                    buf.len()
                }
                count => count,
            };
            if done == at.len() {
                return Ok(buf.widen(at.len()));
            }
            // A short read is simply another turn, from where it stopped.
            let rest = at.len() - done;
            let all = buf.len();
            buf = buf.window(all - rest, all);
        }
    }

    async fn write(&self, offset: u64, data: Buf) -> Result<()> {
        let mut data = aligned(data, self.memory_align);
        let mut at = offset;
        loop {
            let (written, part) = env::write_at(&self.handle, at, data).await;
            let count = written.map_err(|error| write_error("write", &error))?;
            if count == part.len() {
                return Ok(());
            }
            if count == 0 {
                return Err(Error::Refused(Refusal::NoSpace));
            }
            at += count as u64;
            let all = part.len();
            data = aligned(part.window(count, all), self.memory_align);
        }
    }

    fn lent_align(&self) -> Option<u32> {
        u32::try_from(self.memory_align).ok()
    }

    async fn read_to(&self, at: Extent, memory: Lent) -> Result<()> {
        let mut done = 0;
        while done < at.len() {
            let read = env::read_to(&self.handle, at, memory, done).await;
            let read = read.and_then(|count| match count {
                // Nobody here can put zeroes there.
                0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                _ => Ok(count),
            });
            done += read.map_err(|error| Error::Failed(Fault::new("read", &error)))?;
        }
        Ok(())
    }

    async fn write_from(&self, at: Extent, memory: Lent) -> Result<()> {
        let mut done = 0;
        while done < at.len() {
            let written = env::write_from(&self.handle, at, memory, done).await;
            done += match written.map_err(|error| write_error("write", &error))? {
                0 => return Err(Error::Refused(Refusal::NoSpace)),
                count => count,
            };
        }
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        env::fdatasync(&self.handle)
            .await
            .map_err(|error| Error::Unknown(Fault::new("flush", &error)))
    }

    async fn discard(&self, at: Extent) -> Result<()> {
        self.space.discard(at).await
    }

    async fn write_zeroes(&self, at: Extent, mode: ZeroMode) -> Result<()> {
        if self.space.write_zeroes(at, mode).await? {
            return Ok(());
        }
        if mode.only_if_fast {
            return Err(Error::Refused(Refusal::NotSupported));
        }
        let mut offset = at.offset();
        while offset < at.end() {
            let bytes = space::SLOW_ZEROES_BYTES.min(at.end() - offset);
            let part = Extent::between(offset, offset + bytes);
            self.write(offset, Buf::zeroed(part.len())).await?;
            offset += bytes;
        }
        Ok(())
    }

    async fn status(&self, at: Extent, runs_max: usize) -> Result<Vec<StatusRun>> {
        self.space.status(at, runs_max).await
    }
}

/// What direct I/O on a file wants aligned, in bytes.
#[derive(Clone, Copy)]
struct Alignment {
    /// Offsets and lengths.
    block: u64,
    /// Memory.
    memory: usize,
}

impl Alignment {
    /// The sector of a device, in bytes, of which all direct I/O is.
    fn sector(&self) -> u64 {
        self.block.clamp(512, 4096)
    }
}

/// Switches `file` to direct I/O and says what that wants, where all of the file can be reached
/// that way.
fn go_direct(file: &OwnedFd, size: u64) -> Option<Alignment> {
    let align = alignment(file);
    if !size.is_multiple_of(align.block) {
        return None;
    }
    let flags = rustix::fs::fcntl_getfl(file).ok()?;
    rustix::fs::fcntl_setfl(file, flags | OFlags::DIRECT).ok()?;
    Some(align)
}

/// What the kernel says about direct I/O on `file` (statx(2), since Linux 6.1), or, where it does
/// not say, what suits every disk.
fn alignment(file: &OwnedFd) -> Alignment {
    let asked = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN);
    let told = asked.ok().filter(|found| {
        found.stx_mask & StatxFlags::DIOALIGN.bits() != 0
            && found.stx_dio_offset_align.is_power_of_two()
            && found.stx_dio_offset_align <= 4096
            && found.stx_dio_mem_align.is_power_of_two()
            && found.stx_dio_mem_align <= 4096
    });
    match told {
        Some(found) => Alignment {
            block: found.stx_dio_offset_align.into(),
            memory: found.stx_dio_mem_align as usize,
        },
        None => Alignment {
            block: 4096,
            memory: 4096,
        },
    }
}

/// `data` where the memory is aligned, which it is unless a window was taken of it.
fn aligned(data: Buf, align: usize) -> Buf {
    if data.as_ptr().addr().is_multiple_of(align) {
        return data;
    }
    Buf::from(&data[..])
}

/// A write that failed may have been done in part, unless there was no space to begin with.
fn write_error(during: &'static str, error: &io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => Error::Refused(Refusal::NoSpace),
        _ => Error::Unknown(Fault::new(during, error)),
    }
}

fn remedy_for(error: Errno) -> &'static str {
    match error {
        Errno::NOENT => "make it first, for example with: truncate -s SIZE PATH",
        Errno::ISDIR => "name a file in it, or a block device",
        Errno::ACCESS | Errno::PERM | Errno::ROFS => "give the server the right to open it",
        _ => "",
    }
}
