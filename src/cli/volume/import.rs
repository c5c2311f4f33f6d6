//! `bedplate volume import`: a volume with the content of a file.
//!
//! This process reads the file, which the server may have no right to, and whoever has the store
//! open writes the volume: see `control/import.rs` for what becomes of one that is not finished.

use std::path::PathBuf;
use std::rc::Rc;

use clap::Args;

use super::copy::{Copied, copy};
use super::properties::PropertyArgs;
use super::qemu_img;
use super::report::CopyFacts;
use super::side::{Job, Side};
use crate::backend;
use crate::backend::{Access, Location};
use crate::base::OpenError;
use crate::cli::interrupt::Interrupt;
use crate::cli::names::parse_url;
use crate::cli::place::{Place, PlaceChoice};
use crate::cli::print;
use crate::control::TreePath;
use crate::control::api::proto;
use crate::store::StoreError;
use crate::volume::{Disk, RawDisk};

const EXAMPLES: &str = "\
Examples:
  bedplate volume import main/vm1 disk.img
  bedplate volume import main/vm1 debian-12.qcow2
  bedplate volume import main/vm1 /dev/sdb --force

Holes stay holes, and blocks of zeroes become holes. A file whose name ends in .qcow2 is \
converted with qemu-img to a raw file beside it, which goes away afterwards; with a backing \
file, that one's content comes along. While it is under way the volume is called \
VOL.importing, and 'bedplate job list' has it; it goes away if this command does. What is \
printed as xxh128 is the XXH3 checksum of the content with 128 bits: \
'bedplate volume export' prints the same for the same content, and so does 'xxhsum -H2' of a \
raw file.";

/// Make a volume with the content of a file, a block device or another backend.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ImportArgs {
    /// What the volume is to be called. It gets the size of the source.
    #[arg(value_name = "STORE/VOL", value_parser = TreePath::parse_volume)]
    volume: TreePath,

    /// Whose content: a raw file, a .qcow2 file, a block device, or a backend URL.
    #[arg(value_name = "FILE|URL", value_parser = parse_url)]
    source: Location,

    /// Replace a volume of that name, once the new content is there. One that has snapshots is
    /// not replaced.
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    properties: PropertyArgs,

    /// Print one JSON object; sizes are in bytes.
    #[arg(long)]
    json: bool,
}

/// A source that is open.
struct Source {
    disk: Rc<Side>,
    /// The raw file that was made of it, which goes away with this.
    _unpacked: Option<Temporary>,
}

/// A file that goes away with this.
pub(super) struct Temporary(pub(super) PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // It may be gone, or never have come.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Imports, and prints what arrived.
///
/// # Errors
/// One line that says what could not be done, why, and what to do.
pub(super) fn run(place: &PlaceChoice, args: ImportArgs) -> Result<(), OpenError> {
    let (name, json) = (args.volume.to_string(), args.json);
    let store = args.volume.store.clone();
    let copied = place.run(Some(&store), async move |place| import(&place, &args).await)?;
    let facts = CopyFacts::new(name, copied);
    match json {
        true => print::json(&facts),
        false => print::line(&facts.text()),
    }
    Ok(())
}

async fn import(place: &Place, args: &ImportArgs) -> Result<Copied, OpenError> {
    demand_room(place, args).await?;
    let interrupt = Interrupt::listen()?;
    let source = open_source(&args.source, &interrupt).await?;
    let told = place.import(proto::ImportRequest {
        name: args.volume.to_string(),
        size: source.disk.size(),
        properties: Some(args.properties.properties()),
        replace: args.force,
    });
    let job = Job::begun(place, told.await?).await?;
    let id = job.id();
    let to = Rc::new(Side::Job(job));
    let copied = copy(
        Rc::clone(&source.disk),
        Rc::clone(&to),
        "importing",
        &interrupt,
    )
    .await;
    match copied {
        Ok(copied) => {
            let checksum = format!("xxh128:{:032x}", copied.checksum);
            let message = proto::FinishImportRequest { job: id, checksum };
            place.finish_import(message).await?;
            Ok(copied)
        }
        Err(error) => {
            to.give_up().await;
            Err(error.of(&args.source.to_string(), &args.volume.to_string()))
        }
    }
}

/// Refuses a name that is taken before anything is done for it. It is looked at again by who makes
/// the volume.
async fn demand_room(place: &Place, args: &ImportArgs) -> Result<(), OpenError> {
    let message = proto::ListVolumesRequest {
        store: args.volume.store.to_string(),
    };
    let name = args.volume.to_string();
    let known = place.list_volumes(message).await?;
    if !known.volumes.iter().any(|volume| volume.name == name) || args.force {
        return Ok(());
    }
    let exists = StoreError::Exists(args.volume.tree.to_string());
    let remedy = "choose another name, or replace it with --force";
    Err(OpenError::new(name, exists, remedy))
}

async fn open_source(location: &Location, interrupt: &Interrupt) -> Result<Source, OpenError> {
    let mut readable = location.clone();
    let mut unpacked = None;
    if let Location::File(path) = location
        && qemu_img::is_qcow2(path)
    {
        qemu_img::demand(path)?;
        let mut raw = path.clone().into_os_string();
        raw.push(format!(".raw-{}", std::process::id()));
        let raw = Temporary(raw.into());
        qemu_img::unpack(path, &raw.0, interrupt).await?;
        readable = Location::File(raw.0.clone());
        unpacked = Some(raw);
    }
    let disk = RawDisk::new(backend::open(&readable, Access::Read).await?);
    if !disk.size().is_multiple_of(512) {
        let why = format!("{} bytes are not a multiple of 512", disk.size());
        let remedy = "fill its last sector with: truncate -s %512 FILE";
        return Err(OpenError::new(location.to_string(), why, remedy));
    }
    Ok(Source {
        disk: Rc::new(Disk::from(disk).into()),
        _unpacked: unpacked,
    })
}
