//! `bedplate snapshot`: takes, lists, deletes, compares and goes back to snapshots of volumes.

use clap::{Args, Subcommand};

use super::names::{TreePath, parse_new_bitmap};
use super::offline::StoreChoice;
use super::snapshot_diff::{self, DiffArgs};
use super::trees::TreeFacts;
use super::{print, trees};
use crate::base::OpenError;
use crate::store::{StoreError, TreeKind, TreeName};

const CREATE_EXAMPLES: &str = "\
Examples:
  bedplate snapshot create main/vm1@monday --store main=/srv/store.img
  bedplate snapshot create main/db@before main/log@before --store main=/srv/store.img
      both at the same moment
  bedplate snapshot create main/vm1@tuesday --bitmap since-tuesday --store main=/srv/store.img
      and a bitmap, which tells what changes from that moment on";

const LIST_EXAMPLES: &str = "\
Example:
  bedplate snapshot list main/vm1 --store main=/srv/store.img";

const DELETE_EXAMPLES: &str = "\
Example:
  bedplate snapshot delete main/vm1@monday --store main=/srv/store.img";

const ROLLBACK_EXAMPLES: &str = "\
Example:
  bedplate snapshot rollback main/vm1@monday --store main=/srv/store.img
      main/vm1 has the content of then; what was written since is gone";

/// Take, list, delete, compare and go back to snapshots.
#[derive(Debug, Args)]
pub(super) struct SnapshotArgs {
    #[command(flatten)]
    stores: StoreChoice,

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
    let stores = args.stores;
    match args.command {
        SnapshotCommand::Create(args) => create(&stores, args),
        SnapshotCommand::List(args) => list(&stores, args),
        SnapshotCommand::Delete(args) => delete(&stores, args),
        SnapshotCommand::Rollback(args) => rollback(&stores, args),
        SnapshotCommand::Diff(args) => snapshot_diff::run(&stores, args),
    }
}

fn create(stores: &StoreChoice, args: CreateArgs) -> Result<(), OpenError> {
    let [first, others @ ..] = args.snapshots.as_slice() else {
        unreachable!("the words demand one");
    };
    if let Some(other) = others.iter().find(|other| other.store != first.store) {
        let why = format!("it is not of the same store as {first}");
        let remedy = "take the snapshots of one store at a time";
        return Err(OpenError::new(other.to_string(), why, remedy));
    }
    let names: Vec<String> = args.snapshots.iter().map(TreePath::to_string).collect();
    let trees: Vec<TreeName> = args
        .snapshots
        .iter()
        .map(|path| path.tree.clone())
        .collect();
    stores.run(&first.store, async move |store| {
        let taken = match args.bitmap {
            Some(bitmap) => store.snapshot_with_bitmaps(&trees, &bitmap).await,
            None => store.snapshot(&trees).await,
        };
        taken.map_err(|error| error.of(&names.join(" ")))
    })
}

fn list(stores: &StoreChoice, args: ListArgs) -> Result<(), OpenError> {
    let volume = args.volume;
    let name = volume.store.clone();
    let found = stores.run(&name, async move |store| {
        let of_volume = |tree: &TreeName| tree.volume_name() == volume.tree.volume_name();
        let mut known = store.list();
        known.retain(|tree| of_volume(&tree.name));
        if known.is_empty() {
            let missing = StoreError::NotFound(volume.tree.to_string());
            return Err(missing.of(&volume.to_string()));
        }
        known.retain(|tree| tree.kind == TreeKind::Snapshot);
        let told = known.iter().map(|tree| TreeFacts::new(&volume.store, tree));
        Ok(told.collect::<Vec<_>>())
    })?;
    match args.json {
        true => print::json(&found),
        false => print::line(&trees::table(&found)),
    }
    Ok(())
}

fn delete(stores: &StoreChoice, args: DeleteArgs) -> Result<(), OpenError> {
    let path = args.snapshot;
    stores.run(&path.store.clone(), async move |store| {
        let deleted = store.delete(&path.tree).await;
        deleted.map_err(|error| error.of(&path.to_string()))
    })
}

fn rollback(stores: &StoreChoice, args: RollbackArgs) -> Result<(), OpenError> {
    let path = args.snapshot;
    stores.run(&path.store.clone(), async move |store| {
        let done = store.rollback(&path.tree).await;
        done.map_err(|error| error.of(&path.to_string()))
    })
}
