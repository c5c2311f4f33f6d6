//! `bedplate bitmap`: makes, lists, clears and deletes dirty bitmaps of volumes.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::names::BitmapPath;
use super::offline::StoreChoice;
use super::{date, print};
use crate::base::OpenError;
use crate::control::TreePath;
use crate::store::{BitmapName, Store, StoreError};

const CREATE_EXAMPLES: &str = "\
Examples:
  bedplate bitmap create main/vm1:daily --store main=/srv/store.img
  nbdinfo --map=qemu:dirty-bitmap:daily 'nbd+unix:///main/vm1?socket=/run/bedplate/nbd.sock'
      what has changed since, once the store is served

To make a bitmap at the moment of a snapshot: bedplate snapshot create --bitmap";

const LIST_EXAMPLES: &str = "\
Example:
  bedplate bitmap list main/vm1 --store main=/srv/store.img";

const CLEAR_EXAMPLES: &str = "\
Example:
  bedplate bitmap clear main/vm1:daily --store main=/srv/store.img
      what was written before is not told any more";

const DELETE_EXAMPLES: &str = "\
Example:
  bedplate bitmap delete main/vm1:daily --store main=/srv/store.img";

/// Make, list, clear and delete dirty bitmaps, which tell what of a volume has changed.
///
/// A bitmap survives crashes, costs writes nothing, keeps no old data, and is exact at 4 KiB.
#[derive(Debug, Args)]
pub(super) struct BitmapArgs {
    #[command(flatten)]
    stores: StoreChoice,

    #[command(subcommand)]
    command: BitmapCommand,
}

#[derive(Debug, Subcommand)]
enum BitmapCommand {
    /// Tell from now on what changes.
    #[command(after_help = CREATE_EXAMPLES)]
    Create(OneArgs),
    List(ListArgs),
    /// Tell what changes from now on, and nothing of before.
    #[command(after_help = CLEAR_EXAMPLES)]
    Clear(OneArgs),
    /// Delete a bitmap. Its volume stays as it is.
    #[command(after_help = DELETE_EXAMPLES)]
    Delete(OneArgs),
}

#[derive(Debug, Args)]
struct OneArgs {
    /// The volume, and what the bitmap is called.
    #[arg(value_name = "STORE/VOL:NAME", value_parser = BitmapPath::parse)]
    bitmap: BitmapPath,
}

/// List the bitmaps of a volume.
#[derive(Debug, Args)]
#[command(after_help = LIST_EXAMPLES)]
struct ListArgs {
    /// The volume.
    #[arg(value_name = "STORE/VOL", value_parser = TreePath::parse_volume)]
    volume: TreePath,

    /// Print a JSON array.
    #[arg(long)]
    json: bool,
}

/// A bitmap, as it is told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct BitmapFacts {
    /// `STORE/VOL:NAME`.
    name: String,
    /// ISO 8601, in UTC.
    since: String,
    /// Whether it was given up for lack of space, so that everything counts as changed.
    given_up: bool,
}

/// Does what the words after `bitmap` say.
///
/// # Errors
/// One line that says what could not be done, why, and what to do.
pub(super) fn run(args: BitmapArgs) -> Result<(), OpenError> {
    let stores = args.stores;
    match args.command {
        BitmapCommand::Create(OneArgs { bitmap }) => {
            change(&stores, bitmap, async |store, name| {
                store.create_bitmap(name).await
            })
        }
        BitmapCommand::List(args) => list(&stores, args),
        BitmapCommand::Clear(OneArgs { bitmap }) => change(&stores, bitmap, async |store, name| {
            store.clear_bitmap(name).await
        }),
        BitmapCommand::Delete(OneArgs { bitmap }) => {
            change(&stores, bitmap, async |store, name| {
                store.delete_bitmap(name).await
            })
        }
    }
}

/// Does `work` with a bitmap.
fn change(
    stores: &StoreChoice,
    path: BitmapPath,
    work: impl AsyncFnOnce(&Store, &BitmapName) -> Result<(), StoreError> + 'static,
) -> Result<(), OpenError> {
    stores.with_store(&path.store.clone(), async move |store| {
        let done = work(&store, &path.bitmap).await;
        done.map_err(|error| error.of(&path.to_string()))
    })
}

fn list(stores: &StoreChoice, args: ListArgs) -> Result<(), OpenError> {
    let path = args.volume;
    let name = path.store.clone();
    let found = stores.with_store(&name, async move |store| {
        let volume = path.tree.volume_name();
        if !store.list().iter().any(|tree| tree.name == path.tree) {
            let missing = StoreError::NotFound(path.tree.to_string());
            return Err(missing.of(&path.to_string()));
        }
        let mut known = store.list_bitmaps();
        known.retain(|bitmap| bitmap.name.volume_name() == volume);
        let told = known.into_iter().map(|bitmap| BitmapFacts {
            name: format!("{}/{}", path.store, bitmap.name),
            since: date::utc(bitmap.created),
            given_up: bitmap.given_up,
        });
        Ok(told.collect::<Vec<_>>())
    })?;
    if args.json {
        print::json(&found);
        return Ok(());
    }
    let cells = |facts: BitmapFacts| {
        let tells = match facts.given_up {
            true => "everything: it was given up for lack of space",
            false => "4K",
        };
        [facts.name, facts.since, tells.to_owned()]
    };
    let rows: Vec<_> = found.into_iter().map(cells).collect();
    print::line(&print::table(["NAME", "SINCE", "TELLS"], &rows));
    Ok(())
}
