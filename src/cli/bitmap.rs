//! `bedplate bitmap`: makes, lists, clears and deletes dirty bitmaps of volumes.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::place::PlaceChoice;
use super::{date, print};
use crate::base::OpenError;
use crate::base::size;
use crate::control::BitmapTarget;
use crate::control::api::proto;

const CREATE_EXAMPLES: &str = "\
Examples:
  bedplate bitmap create main/vm1:daily
  bedplate bitmap create main/vm1:daily --store main=/srv/store.img     which nobody serves
  bedplate bitmap create legacy:daily                                   of a raw disk
  nbdinfo --map=qemu:dirty-bitmap:daily 'nbd+unix:///main/vm1?socket=/run/bedplate/nbd.sock'
      what has changed since

To make a bitmap at the moment of a snapshot: bedplate snapshot create --bitmap";

const LIST_EXAMPLES: &str = "\
Example:
  bedplate bitmap list main/vm1";

const CLEAR_EXAMPLES: &str = "\
Example:
  bedplate bitmap clear main/vm1:daily
      what was written before is not told any more";

const DELETE_EXAMPLES: &str = "\
Example:
  bedplate bitmap delete main/vm1:daily";

/// Make, list, clear and delete dirty bitmaps, which tell what of a volume has changed.
///
/// A bitmap survives crashes, costs writes nothing, keeps no old data, and is exact at 4 KiB. A raw
/// disk has bitmaps if the config file names a file for them; they are exact at 64 KiB, and the
/// first write to each 64 KiB waits for that file.
#[derive(Debug, Args)]
pub(super) struct BitmapArgs {
    #[command(flatten)]
    place: PlaceChoice,

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
    /// The volume or raw disk, and what the bitmap is called.
    #[arg(value_name = "STORE/VOL:NAME|EXPORT:NAME", value_parser = BitmapTarget::parse)]
    bitmap: BitmapTarget,
}

/// List the bitmaps of a volume or a raw disk.
#[derive(Debug, Args)]
#[command(after_help = LIST_EXAMPLES)]
struct ListArgs {
    /// The volume or raw disk.
    #[arg(value_name = "STORE/VOL|EXPORT", value_parser = BitmapTarget::parse_volume)]
    volume: BitmapTarget,

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
    /// What is told apart, in bytes.
    granularity: u64,
    /// Whether it was given up for lack of space, so that everything counts as changed.
    given_up: bool,
}

/// Does what the words after `bitmap` say.
///
/// # Errors
/// One line that says what could not be done, why, and what to do.
pub(super) fn run(args: BitmapArgs) -> Result<(), OpenError> {
    let place = args.place;
    match args.command {
        BitmapCommand::Create(OneArgs { bitmap }) => {
            let name = bitmap.to_string();
            let message = proto::CreateBitmapRequest { name };
            place.run(bitmap.store.as_ref(), async move |place| {
                place.create_bitmap(message).await.map(drop)
            })
        }
        BitmapCommand::List(args) => list(&place, args),
        BitmapCommand::Clear(OneArgs { bitmap }) => {
            let name = bitmap.to_string();
            let message = proto::ClearBitmapRequest { name };
            place.run(bitmap.store.as_ref(), async move |place| {
                place.clear_bitmap(message).await.map(drop)
            })
        }
        BitmapCommand::Delete(OneArgs { bitmap }) => {
            let name = bitmap.to_string();
            let message = proto::DeleteBitmapRequest { name };
            place.run(bitmap.store.as_ref(), async move |place| {
                place.delete_bitmap(message).await.map(drop)
            })
        }
    }
}

fn list(place: &PlaceChoice, args: ListArgs) -> Result<(), OpenError> {
    let volume = args.volume.to_string();
    let found = place.run(args.volume.store.as_ref(), async move |place| {
        let message = proto::ListBitmapsRequest { volume };
        Ok(place.list_bitmaps(message).await?.bitmaps)
    })?;
    let told = found.into_iter().map(|bitmap| BitmapFacts {
        name: bitmap.name,
        since: date::utc(bitmap.since),
        granularity: bitmap.granularity,
        given_up: bitmap.given_up,
    });
    let found: Vec<_> = told.collect();
    if args.json {
        print::json(&found);
        return Ok(());
    }
    let cells = |facts: BitmapFacts| {
        let tells = match facts.given_up {
            true => "everything: it was given up for lack of space".to_owned(),
            false => size::format(facts.granularity),
        };
        [facts.name, facts.since, tells]
    };
    let rows: Vec<_> = found.into_iter().map(cells).collect();
    print::line(&print::table(["NAME", "SINCE", "TELLS"], &rows));
    Ok(())
}
