//! `bedplate volume export`: a file with the content of a volume or snapshot.
//!
//! The content goes into a file of another name in the same folder, which gets its own once
//! everything is there and durable. So a file of that name is whole, whatever ends the export.

use std::fs;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Args;

use super::copy::{Copied, copy};
use super::import::Temporary;
use super::qemu_img;
use super::report::CopyFacts;
use super::side::{Job, Side};
use crate::backend;
use crate::backend::{Access, Location};
use crate::base::OpenError;
use crate::cli::interrupt::Interrupt;
use crate::cli::place::{Place, PlaceChoice};
use crate::cli::print;
use crate::control::TreePath;
use crate::control::api::proto;
use crate::volume::{Disk, RawDisk};

const EXAMPLES: &str = "\
Examples:
  bedplate volume export main/vm1@monday vm1.img
  bedplate volume export main/vm1 vm1.qcow2

Holes stay holes. A file whose name ends in .qcow2 is made with qemu-img from a raw file beside \
it, which goes away afterwards. What is printed as xxh128 is the XXH3 checksum of the content \
with 128 bits: 'bedplate volume import' prints the same for the same content, and so does \
'xxhsum -H2' of a raw file.";

/// Make a file with the content of a volume or snapshot.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExportArgs {
    /// Whose content.
    #[arg(value_name = "STORE/VOL[@SNAP]", value_parser = TreePath::parse)]
    tree: TreePath,

    /// The file that is to be made: raw, or qcow2 if its name ends in .qcow2.
    file: PathBuf,

    /// Replace a file of that name, once the new one is complete.
    #[arg(long)]
    force: bool,

    /// Print one JSON object; sizes are in bytes.
    #[arg(long)]
    json: bool,
}

/// Exports, and prints what was copied.
///
/// # Errors
/// One line that says what could not be done, why, and what to do.
pub(super) fn run(place: &PlaceChoice, args: ExportArgs) -> Result<(), OpenError> {
    demand_place(&args)?;
    if qemu_img::is_qcow2(&args.file) {
        qemu_img::demand(&args.file)?;
    }
    let (name, json) = (args.tree.to_string(), args.json);
    let store = args.tree.store.clone();
    let copied = place.run(Some(&store), async move |place| export(&place, &args).await)?;
    let facts = CopyFacts::new(name, copied);
    match json {
        true => print::json(&facts),
        false => print::line(&facts.text()),
    }
    Ok(())
}

/// Refuses to make the file where there is one, unless that may be replaced.
fn demand_place(args: &ExportArgs) -> Result<(), OpenError> {
    let what = args.file.display().to_string();
    match fs::symlink_metadata(&args.file) {
        Ok(found) if !found.is_file() => {
            let why = "it is there, and is not a regular file";
            Err(OpenError::new(what, why, "name another file"))
        }
        Ok(_) if !args.force => {
            let why = "there is such a file already";
            Err(OpenError::new(
                what,
                why,
                "name another, or replace it with --force",
            ))
        }
        _ if args.file.file_name().is_none() => Err(OpenError::new(
            what,
            "that is no name of a file",
            "name a file",
        )),
        _ => Ok(()),
    }
}

async fn export(place: &Place, args: &ExportArgs) -> Result<Copied, OpenError> {
    let interrupt = Interrupt::listen()?;
    let name = args.tree.to_string();
    let told = place
        .export(proto::ExportRequest { name: name.clone() })
        .await?;
    let job = Job::begun(place, told).await?;
    let id = job.id();
    let from = Rc::new(Side::Job(job));
    let raw = Temporary(beside(&args.file, "partial"));
    let target = Disk::from(make_raw(&raw.0, from.size()).await?);
    let copied = copy(
        Rc::clone(&from),
        Rc::new(target.into()),
        "exporting",
        &interrupt,
    )
    .await;
    let file = args.file.display().to_string();
    if copied.is_err() {
        from.give_up().await;
    }
    let copied = copied.map_err(|error| error.of(&name, &file))?;
    place
        .finish_export(proto::FinishExportRequest { job: id })
        .await?;
    if qemu_img::is_qcow2(&args.file) {
        let packed = Temporary(beside(&args.file, "packed"));
        qemu_img::pack(&raw.0, &packed.0, &interrupt).await?;
        put_in_place(&packed.0, &args.file)?;
    } else {
        put_in_place(&raw.0, &args.file)?;
    }
    Ok(copied)
}

/// A name in the folder of `file` that nobody takes for it.
fn beside(file: &Path, what: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{what}-{}", std::process::id()));
    name.into()
}

/// Makes a file of `size` bytes, all holes, and opens it.
async fn make_raw(path: &Path, size: u64) -> Result<RawDisk, OpenError> {
    let what = path.display().to_string();
    let refused = |error| OpenError::new(&what, error, "name a place that can be written");
    let file = File::create_new(path).map_err(refused)?;
    file.set_len(size).map_err(refused)?;
    let location = Location::File(path.to_owned());
    Ok(RawDisk::new(backend::open(&location, Access::Write).await?))
}

/// Gives the complete file `made` its name. Its content is durable before its name is.
fn put_in_place(made: &Path, file: &Path) -> Result<(), OpenError> {
    let what = file.display().to_string();
    let refused = |error| OpenError::new(&what, error, "name a place that can be written");
    let durable = File::open(made).and_then(|made| made.sync_all());
    durable.map_err(refused)?;
    fs::rename(made, file).map_err(refused)?;
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let folder = File::open(folder).and_then(|folder| folder.sync_all());
    folder.map_err(refused)
}
