//! `bedplate raw`: prepares disks that are served as they are, while nobody serves them.

use clap::builder::RangedI64ValueParser;
use clap::{Args, Subcommand};

use super::keys::KeyArgs;
use super::names::parse_url;
use super::offline::on_reactor;
use super::vacancy::demand_nothing;
use crate::backend;
use crate::backend::{Access, Checked, Location, Made};
use crate::base::{OpenError, size};
use crate::codec::{Credential, luks};
use crate::volume::{RawDisk, make_luks};

const FORMAT_EXAMPLES: &str = "\
Examples:
  bedplate raw format /srv/disk.img --size 10G --passphrase-file words
  bedplate raw format /dev/sdb --key-file /etc/bedplate/disk.key
  bedplate serve --raw disk=/srv/disk.img --passphrase-file disk=words --nbd 127.0.0.1:10809
  qemu-img info --object secret,id=words,file=words \\
      --image-opts driver=luks,file.filename=/srv/disk.img,key-secret=words
  cryptsetup open /dev/sdb disk --key-file /etc/bedplate/disk.key

Writes a LUKS1 header, which 'qemu-img' and 'cryptsetup' know, in the first 2 MiB; the disk begins
behind it, and reads as random bytes where it was never written. QEMU takes only text for a key,
and the end of the line in a file for a part of it: make the file with printf, without one.
A copy of the first 2 MiB, kept in a safe place, is the only help when they are damaged.";

/// The least is what cryptsetup takes too.
fn iterations() -> RangedI64ValueParser<u32> {
    RangedI64ValueParser::new().range(1000..=i64::from(luks::PBKDF2_ITERATIONS_MAX))
}

/// Prepare disks that are served as they are, while nobody serves them.
#[derive(Debug, Args)]
pub(super) struct RawArgs {
    #[command(subcommand)]
    command: RawCommand,
}

#[derive(Debug, Subcommand)]
enum RawCommand {
    Format(FormatArgs),
}

/// Make a disk that is encrypted in place (LUKS1, AES-256-XTS).
#[derive(Debug, Args)]
#[command(after_help = FORMAT_EXAMPLES)]
struct FormatArgs {
    /// Where: file:PATH or PATH, a file or a block device; or an rbd:, nfs: or iscsi: URL.
    #[arg(value_parser = parse_url)]
    url: Location,

    /// Make a file with room for so many bytes; what is there already has its size.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    size: Option<u64>,

    #[command(flatten)]
    key: KeyArgs,

    /// What each try at the key costs, in iterations of PBKDF2: half a second each million. A key
    /// of 32 random bytes needs no more than the least, 1000.
    #[arg(long, value_name = "N", default_value_t = luks::ITERATIONS, value_parser = iterations())]
    iterations: u32,

    /// Overwrite whatever is there.
    #[arg(long)]
    force: bool,
}

/// Does what the words after `raw` say.
///
/// # Errors
/// One line that says what could not be done, why, and what to do.
pub(super) fn run(args: RawArgs) -> Result<(), OpenError> {
    match args.command {
        RawCommand::Format(args) => format(args),
    }
}

fn format(args: FormatArgs) -> Result<(), OpenError> {
    let what = args.url.to_string();
    let key = args.key.read()?.ok_or_else(|| {
        let remedy = "name one with --key-file or --passphrase-file";
        OpenError::new(&what, "a disk that is encrypted needs a key", remedy)
    })?;
    key.check()
        .map_err(|error| OpenError::new(&what, error, "take another one"))?;
    let whole = args.size.map(whole_size).transpose()?;
    on_reactor(async move {
        let made = backend::make(&args.url, whole).await?;
        if made == Made::Before && whole.is_some() {
            let why = "it is there already, with the size that it has";
            return Err(OpenError::new(&what, why, "leave out --size"));
        }
        let written = write(&args, &key).await;
        if written.is_err() && made == Made::Here {
            // What could not be formatted is no use to anybody.
            backend::unmake(&args.url).await;
        }
        written
    })
}

/// How large the file is whose disk has `size` bytes.
fn whole_size(size: u64) -> Result<u64, OpenError> {
    let refused = |why| OpenError::new("--size", why, "name another one, such as 10G");
    if size == 0 || !size.is_multiple_of(512) {
        return Err(refused("not a multiple of 512 bytes"));
    }
    let whole = size.checked_add(luks::PAYLOAD_OFFSET);
    whole.ok_or_else(|| refused("more than there can be"))
}

async fn write(args: &FormatArgs, key: &Credential) -> Result<(), OpenError> {
    let url = &args.url;
    let backend: Checked = backend::open(url, Access::Write).await?;
    if !args.force {
        demand_nothing(&backend, url).await?;
    }
    let made = make_luks(&RawDisk::new(backend), key, args.iterations).await;
    made.map_err(|error| OpenError::new(url.to_string(), &error, error.remedy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_comes_on_top_of_the_size() {
        assert_eq!(whole_size(10 << 20), Ok(12 << 20));
        for size in [0, 1000, u64::MAX - 511] {
            assert!(whole_size(size).is_err(), "{size}");
        }
    }
}
