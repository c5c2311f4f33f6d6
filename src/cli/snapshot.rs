//! `bedplate snapshot`: takes, lists, deletes, compares and goes back to snapshots of volumes.

use clap::{Args, Subcommand};

use super::names::parse_new_bitmap;
use super::place::PlaceChoice;
use super::snapshot_diff::{self, DiffArgs};
use super::{print, trees};
use crate::base::OpenError;
use crate::control::TreePath;
use crate::control::api::proto;

const CREATE_EXAMPLES: &str = "\
Examples:
  bedplate snapshot create main/vm1@monday
  bedplate snapshot create main/db@before main/log@before
      both at the same moment, while they are written
  bedplate snapshot create main/vm1@tuesday --bitmap since-tuesday
      and a bitmap, which tells what changes from that moment on
  bedplate snapshot create main/vm1@monday --store main=/srv/store.img     which nobody serves";

const LIST_EXAMPLES: &str = "\
Example:
  bedplate snapshot list main/vm1";

const DELETE_EXAMPLES: &str = "\
Example:
  bedplate snapshot delete main/vm1@monday

Refused while clients have it open; 'bedplate status' says how many.";

const ROLLBACK_EXAMPLES: &str = "\
Example:
  bedplate snapshot rollback main/vm1@monday
      main/vm1 has the content of then; what was written since is gone

Refused while clients have main/vm1 open: they would not know that it has changed.";

/// Take, list, delete, compare and go back to snapshots, in a running server or a store that nobody
/// serves.
#[derive(Debug, Args)]
pub(super) struct SnapshotArgs {
    #[command(flatten)]
    place: PlaceChoice,

    #[command(subcommand)]
    command: SnapshotCommand,
}

#[derive(Debug, Subcommand)]
enum SnapshotCommand {
    Create(CreateArgs),
    List(ListArgs),
    Delete(DeleteArgs),
    Rollback(RollbackArgs),
    Diff(DiffArgs),
}

/// Keep volumes as they are now; several of one store at one moment.
#[derive(Debug, Args)]
#[command(after_help = CREATE_EXAMPLES)]
struct CreateArgs {
    /// Volumes, and what the snapshot of each is to be called.
    #[arg(required = true, value_name = "STORE/VOL@SNAP", value_parser = TreePath::parse_snapshot)]
    snapshots: Vec<TreePath>,

    /// Make a bitmap of each of these volumes, at the same moment.
    #[arg(long, value_name = "NAME", value_parser = parse_new_bitmap)]
    bitmap: Option<String>,
}

/// List the snapshots of a volume.
#[derive(Debug, Args)]
#[command(after_help = LIST_EXAMPLES)]
struct ListArgs {
    /// The volume.
    #[arg(value_name = "STORE/VOL", value_parser = TreePath::parse_volume)]
    volume: TreePath,

    /// Print a JSON array; sizes are in bytes.
    #[arg(long)]
    json: bool,
}

/// Delete a snapshot. Its volume, and clones of it, stay as they are.
#[derive(Debug, Args)]
#[command(after_help = DELETE_EXAMPLES)]
struct DeleteArgs {
    /// The snapshot.
    #[arg(value_name = "STORE/VOL@SNAP", value_parser = TreePath::parse_snapshot)]
    snapshot: TreePath,
}

/// Give a volume the content of one of its snapshots.
#[derive(Debug, Args)]
#[command(after_help = ROLLBACK_EXAMPLES)]
struct RollbackArgs {
    /// The snapshot.
    #[arg(value_name = "STORE/VOL@SNAP", value_parser = TreePath::parse_snapshot)]
    snapshot: TreePath,
}

/// Does what the words after `snapshot` say.
///
/// # Errors
/// One line that says what could not be done, why, and what to do.
pub(super) fn run(args: SnapshotArgs) -> Result<(), OpenError> {
    let place = args.place;
    match args.command {
        SnapshotCommand::Create(args) => create(&place, args),
        SnapshotCommand::List(args) => list(&place, args),
        SnapshotCommand::Delete(args) => delete(&place, args),
        SnapshotCommand::Rollback(args) => rollback(&place, args),
        SnapshotCommand::Diff(args) => snapshot_diff::run(place.stores(), args),
    }
}

fn create(place: &PlaceChoice, args: CreateArgs) -> Result<(), OpenError> {
    let store = &args.snapshots[0].store;
    let names = args.snapshots.iter().map(TreePath::to_string).collect();
    let bitmap = args.bitmap;
    place.run(Some(store), async move |place| {
        let message = proto::CreateSnapshotsRequest { names, bitmap };
        place.create_snapshots(message).await.map(drop)
    })
}

fn list(place: &PlaceChoice, args: ListArgs) -> Result<(), OpenError> {
    let volume = args.volume.to_string();
    let found = place.run(Some(&args.volume.store), async move |place| {
        let message = proto::ListSnapshotsRequest { volume };
        place.list_snapshots(message).await
    })?;
    let found = trees::facts(found.snapshots);
    match args.json {
        true => print::json(&found),
        false => print::line(&trees::table(&found)),
    }
    Ok(())
}

fn delete(place: &PlaceChoice, args: DeleteArgs) -> Result<(), OpenError> {
    let name = args.snapshot.to_string();
    place.run(Some(&args.snapshot.store), async move |place| {
        let message = proto::DeleteSnapshotRequest { name };
        place.delete_snapshot(message).await.map(drop)
    })
}

fn rollback(place: &PlaceChoice, args: RollbackArgs) -> Result<(), OpenError> {
    let name = args.snapshot.to_string();
    place.run(Some(&args.snapshot.store), async move |place| {
        let message = proto::RollbackSnapshotRequest { name };
        place.roll_back(message).await.map(drop)
    })
}
