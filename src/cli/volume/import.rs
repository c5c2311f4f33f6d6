//! `bedplate volume import`: a volume with the content of a file.
//!
//! The content goes into a volume of another name, which gets its own once everything is there and
//! durable. So a volume of that name is whole, whatever ends the import; what is left of one that
//! was killed is replaced by the next.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use clap::Args;

use super::copy::{Copied, copy};
use super::interrupt::Interrupt;
use super::properties::PropertyArgs;
use super::report::CopyFacts;
use super::{known, qemu_img};
use crate::backend;
use crate::backend::{Access, Location};
use crate::base::OpenError;
use crate::cli::names::{TreePath, parse_url};
use crate::cli::offline::StoreChoice;
use crate::cli::print;
use crate::store::{Store, StoreError, TreeKind, TreeName};
use crate::volume::{Disk, RawDisk, StoredDisk};

const EXAMPLES: &str = "\
Examples:
  bedplate volume import main/vm1 disk.img --store main=/srv/store.img
  bedplate volume import main/vm1 debian-12.qcow2 --store main=/srv/store.img
  bedplate volume import main/vm1 /dev/sdb --force --store main=/srv/store.img

Holes stay holes, and blocks of zeroes become holes. A file whose name ends in .qcow2 is \
converted with qemu-img to a raw file beside it, which goes away afterwards; with a backing \
file, that one's content comes along. While it is under way the volume is called \
VOL.importing. What is printed as xxh128 is the XXH3 checksum of the content with 128 bits: \
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
    disk: Rc<Disk>,
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
pub(super) fn run(stores: &StoreChoice, args: ImportArgs) -> Result<(), OpenError> {
    let (name, json) = (args.volume.to_string(), args.json);
    let copied = stores.run(&args.volume.store.clone(), async move |store| {
        import(&store, &args).await
    })?;
    let facts = CopyFacts::new(name, copied);
    match json {
        true => print::json(&facts),
        false => print::line(&facts.text()),
    }
    Ok(())
}

async fn import(store: &Arc<Store>, args: &ImportArgs) -> Result<Copied, OpenError> {
    let path = &args.volume;
    let volume = path.tree.volume_name();
    let fail = |error: StoreError| error.of(&path.to_string());
    let staged = TreeName::volume(&format!("{volume}.importing")).map_err(fail)?;
    let replaces = demand_place(store, args)?;
    let interrupt = Interrupt::listen()?;
    let source = open_source(&args.source, &interrupt).await?;
    if known(store, &staged).is_some() {
        store.delete(&staged).await.map_err(fail)?;
    }
    let properties = args.properties.properties();
    let size = source.disk.size();
    let created = store.create_volume(staged.volume_name(), size, properties);
    created.await.map_err(fail)?;
    let filled = fill(store, &staged, &source, args, &interrupt).await;
    if filled.is_err() {
        // If that fails, too, its name still says that it is not whole.
        let _ = store.delete(&staged).await;
        return filled;
    }
    // 1. Delete the old volume. After a stop here the content is in VOL.importing, whole.
    // 2. Rename. After a stop here everything is done.
    if replaces {
        store.delete(&path.tree).await.map_err(fail)?;
    }
    let renamed = store.rename(staged.volume_name(), volume).await;
    renamed.map_err(fail)?;
    filled
}

/// Whether a volume is to be replaced; an error if it may not be.
fn demand_place(store: &Store, args: &ImportArgs) -> Result<bool, OpenError> {
    let path = &args.volume;
    if known(store, &path.tree).is_none() {
        return Ok(false);
    }
    let volume = path.tree.volume_name();
    if !args.force {
        let exists = StoreError::Exists(volume.to_owned());
        let remedy = "choose another name, or replace it with --force";
        return Err(OpenError::new(path.to_string(), exists, remedy));
    }
    let mut trees = store.list().into_iter();
    let is_snapshot = |kind| kind == TreeKind::Snapshot;
    if trees.any(|tree| is_snapshot(tree.kind) && tree.name.volume_name() == volume) {
        let why = "it has snapshots, so it is not replaced";
        let remedy = "choose another name, or delete them first";
        return Err(OpenError::new(path.to_string(), why, remedy));
    }
    Ok(true)
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
        disk: Rc::new(disk.into()),
        _unpacked: unpacked,
    })
}

async fn fill(
    store: &Arc<Store>,
    staged: &TreeName,
    source: &Source,
    args: &ImportArgs,
    interrupt: &Interrupt,
) -> Result<Copied, OpenError> {
    let target = args.volume.to_string();
    let disk = store.disk(staged).map_err(|error| error.of(&target))?;
    let to = Rc::new(StoredDisk::new(disk).into());
    let copied = copy(Rc::clone(&source.disk), to, "importing", interrupt).await;
    copied.map_err(|error| error.of(&args.source.to_string(), &target))
}
