//! `bedplate volume`: makes, shows, changes and copies the volumes of a store.

mod copy;
mod export;
mod flight;
mod import;
mod interrupt;
mod pieces;
mod progress;
mod properties;
mod qemu_img;
mod report;

use clap::{Args, Subcommand};

use properties::{PropertyArgs, Setting};

use super::names::{TreePath, parse_new_name};
use super::offline::StoreChoice;
use super::trees::TreeFacts;
use super::{print, trees};
use crate::base::{OpenError, size};
use crate::control::StoreName;
use crate::store::{Store, StoreError, TreeInfo, TreeKind, TreeName};

const CREATE_EXAMPLES: &str = "\
Examples:
  bedplate volume create main/vm1 --size 100G --store main=/srv/store.img
  bedplate volume create main/journal --size 1G --write-through --store main=/srv/store.img";

const LIST_EXAMPLES: &str = "\
Examples:
  bedplate volume list --store main=/srv/store.img
  bedplate volume list main --store main=/srv/store.img --json | jq -r '.[].name'";

const SHOW_EXAMPLES: &str = "\
Example:
  bedplate volume show main/vm1 --store main=/srv/store.img";

const RESIZE_EXAMPLES: &str = "\
Example:
  bedplate volume resize main/vm1 200G --store main=/srv/store.img";

const DELETE_EXAMPLES: &str = "\
Example:
  bedplate volume delete main/vm1 --store main=/srv/store.img";

const RENAME_EXAMPLES: &str = "\
Example:
  bedplate volume rename main/vm1 vm2 --store main=/srv/store.img";

const CLONE_EXAMPLES: &str = "\
Examples:
  bedplate volume clone main/golden@v7 vm8 --store main=/srv/store.img
  bedplate volume clone main/vm1 try --store main=/srv/store.img";

const SET_EXAMPLES: &str = "\
Example:
  bedplate volume set main/vm1 compress=zstd write-through=on --store main=/srv/store.img

Keys:
  compress=adaptive|lz4|zstd|off    how blocks are compressed that are written from now on
  dedup=on|off|verify               whether what the store has already is written once, from now on
  write-through=on|off              whether every write is durable before it is answered";

/// Make, show, change and copy volumes.
#[derive(Debug, Args)]
pub(super) struct VolumeArgs {
    #[command(flatten)]
    stores: StoreChoice,

    #[command(subcommand)]
    command: VolumeCommand,
}

#[derive(Debug, Subcommand)]
enum VolumeCommand {
    Create(CreateArgs),
    List(ListArgs),
    Show(ShowArgs),
    Resize(ResizeArgs),
    Delete(DeleteArgs),
    Rename(RenameArgs),
    Clone(CloneArgs),
    Set(SetArgs),
    Import(import::ImportArgs),
    Export(export::ExportArgs),
}

/// Make a volume, all holes.
#[derive(Debug, Args)]
#[command(after_help = CREATE_EXAMPLES)]
struct CreateArgs {
    /// What it is to be called.
    #[arg(value_name = "STORE/VOL", value_parser = TreePath::parse_volume)]
    volume: TreePath,

    /// How large it is to be, a multiple of 512. It takes only the space that is written.
    #[arg(long, value_parser = parse_volume_bytes)]
    size: u64,

    #[command(flatten)]
    properties: PropertyArgs,
}

/// List the volumes of a store.
#[derive(Debug, Args)]
#[command(after_help = LIST_EXAMPLES)]
struct ListArgs {
    /// The store; all that are named without it.
    #[arg(value_name = "STORE", value_parser = StoreName::new)]
    store: Option<StoreName>,

    /// Print a JSON array; sizes are in bytes.
    #[arg(long)]
    json: bool,
}

/// Tell everything about a volume.
#[derive(Debug, Args)]
#[command(after_help = SHOW_EXAMPLES)]
struct ShowArgs {
    /// The volume.
    #[arg(value_name = "STORE/VOL", value_parser = TreePath::parse_volume)]
    volume: TreePath,

    /// Print one JSON object; sizes are in bytes.
    #[arg(long)]
    json: bool,
}

/// Make a volume larger. What is added reads as zeroes.
#[derive(Debug, Args)]
#[command(after_help = RESIZE_EXAMPLES)]
struct ResizeArgs {
    /// The volume.
    #[arg(value_name = "STORE/VOL", value_parser = TreePath::parse_volume)]
    volume: TreePath,

    /// How large it is to be, a multiple of 512, not less than now.
    #[arg(value_parser = parse_volume_bytes)]
    size: u64,
}

/// Delete a volume that has no snapshots.
#[derive(Debug, Args)]
#[command(after_help = DELETE_EXAMPLES)]
struct DeleteArgs {
    /// The volume.
    #[arg(value_name = "STORE/VOL", value_parser = TreePath::parse_volume)]
    volume: TreePath,
}

/// Give a volume, and so its snapshots, another name.
#[derive(Debug, Args)]
#[command(after_help = RENAME_EXAMPLES)]
struct RenameArgs {
    /// The volume.
    #[arg(value_name = "STORE/VOL", value_parser = TreePath::parse_volume)]
    volume: TreePath,

    /// What it is to be called in its store.
    #[arg(value_name = "NEW", value_parser = parse_new_name)]
    name: String,
}

/// Make a volume with the content of another one, or of a snapshot. Nothing is copied.
#[derive(Debug, Args)]
#[command(after_help = CLONE_EXAMPLES)]
struct CloneArgs {
    /// Whose content.
    #[arg(value_name = "STORE/VOL[@SNAP]", value_parser = TreePath::parse)]
    origin: TreePath,

    /// What the new volume is to be called in the same store.
    #[arg(value_name = "NEW", value_parser = parse_new_name)]
    name: String,
}

/// Change how a volume is treated.
#[derive(Debug, Args)]
#[command(after_help = SET_EXAMPLES)]
struct SetArgs {
    /// The volume.
    #[arg(value_name = "STORE/VOL", value_parser = TreePath::parse_volume)]
    volume: TreePath,

    /// What is to change.
    #[arg(required = true, value_name = "KEY=VALUE", value_parser = Setting::parse)]
    settings: Vec<Setting>,
}

/// Does what the words after `volume` say.
///
/// # Errors
/// One line that says what could not be done, why, and what to do.
pub(super) fn run(args: VolumeArgs) -> Result<(), OpenError> {
    let stores = args.stores;
    match args.command {
        VolumeCommand::Create(args) => create(&stores, args),
        VolumeCommand::List(args) => list(&stores, args),
        VolumeCommand::Show(args) => show(&stores, args),
        VolumeCommand::Resize(args) => resize(&stores, args),
        VolumeCommand::Delete(args) => delete(&stores, args),
        VolumeCommand::Rename(args) => rename(&stores, args),
        VolumeCommand::Clone(args) => clone(&stores, args),
        VolumeCommand::Set(args) => set(&stores, args),
        VolumeCommand::Import(args) => import::run(&stores, args),
        VolumeCommand::Export(args) => export::run(&stores, args),
    }
}

fn create(stores: &StoreChoice, args: CreateArgs) -> Result<(), OpenError> {
    let path = args.volume;
    let properties = args.properties.properties();
    stores.run(&path.store.clone(), async move |store| {
        let name = path.tree.volume_name();
        let created = store.create_volume(name, args.size, properties).await;
        created.map_err(|error| error.of(&path.to_string()))
    })
}

fn list(stores: &StoreChoice, args: ListArgs) -> Result<(), OpenError> {
    let names = match args.store {
        Some(name) => vec![name],
        None => stores.names()?,
    };
    let mut found = Vec::new();
    for name in names {
        let told = stores.run(&name.clone(), async move |store| {
            let mut known = store.list();
            known.retain(|tree| tree.kind == TreeKind::Volume);
            let told = known.iter().map(|tree| TreeFacts::new(&name, tree));
            Ok(told.collect::<Vec<_>>())
        })?;
        found.extend(told);
    }
    match args.json {
        true => print::json(&found),
        false => print::line(&trees::table(&found)),
    }
    Ok(())
}

fn show(stores: &StoreChoice, args: ShowArgs) -> Result<(), OpenError> {
    let path = args.volume;
    let told = stores.run(&path.store.clone(), async move |store| {
        let volume = find(&store, &path)?;
        let of_volume = |tree: &TreeInfo| {
            tree.kind == TreeKind::Snapshot && tree.name.volume_name() == path.tree.volume_name()
        };
        let mut known = store.list();
        known.retain(of_volume);
        let told = known.iter().map(|tree| TreeFacts::new(&path.store, tree));
        Ok(report::VolumeFacts {
            volume: TreeFacts::new(&path.store, &volume),
            snapshots: told.collect(),
        })
    })?;
    match args.json {
        true => print::json(&told),
        false => print::line(&told.text()),
    }
    Ok(())
}

fn resize(stores: &StoreChoice, args: ResizeArgs) -> Result<(), OpenError> {
    let path = args.volume;
    stores.run(&path.store.clone(), async move |store| {
        let resized = store.resize(path.tree.volume_name(), args.size).await;
        resized.map_err(|error| error.of(&path.to_string()))
    })
}

fn delete(stores: &StoreChoice, args: DeleteArgs) -> Result<(), OpenError> {
    let path = args.volume;
    stores.run(&path.store.clone(), async move |store| {
        let deleted = store.delete(&path.tree).await;
        deleted.map_err(|error| match error {
            StoreError::Busy(_) => {
                let remedy = "see 'bedplate snapshot list', and delete what is not needed";
                OpenError::new(path.to_string(), error, remedy)
            }
            error => error.of(&path.to_string()),
        })
    })
}

fn rename(stores: &StoreChoice, args: RenameArgs) -> Result<(), OpenError> {
    let path = args.volume;
    stores.run(&path.store.clone(), async move |store| {
        let renamed = store.rename(path.tree.volume_name(), &args.name).await;
        renamed.map_err(|error| error.of(&path.to_string()))
    })
}

fn clone(stores: &StoreChoice, args: CloneArgs) -> Result<(), OpenError> {
    let path = args.origin;
    stores.run(&path.store.clone(), async move |store| {
        let cloned = store.clone_volume(&path.tree, &args.name).await;
        cloned.map_err(|error| error.of(&path.to_string()))
    })
}

fn set(stores: &StoreChoice, args: SetArgs) -> Result<(), OpenError> {
    let path = args.volume;
    stores.run(&path.store.clone(), async move |store| {
        let mut properties = find(&store, &path)?.properties;
        for setting in &args.settings {
            setting.apply(&mut properties);
        }
        let name = path.tree.volume_name();
        let done = store.set_properties(name, properties).await;
        done.map_err(|error| error.of(&path.to_string()))
    })
}

/// What `store` knows about the volume or snapshot at `path`.
fn find(store: &Store, path: &TreePath) -> Result<TreeInfo, OpenError> {
    known(store, &path.tree).ok_or_else(|| {
        let missing = StoreError::NotFound(path.tree.to_string());
        missing.of(&path.to_string())
    })
}

/// What `store` knows about `name`, if there is such a thing.
fn known(store: &Store, name: &TreeName) -> Option<TreeInfo> {
    store.list().into_iter().find(|tree| tree.name == *name)
}

fn parse_volume_bytes(text: &str) -> Result<u64, String> {
    match size::parse(text)? {
        0 => Err("a volume has at least 512 bytes".to_owned()),
        bytes if bytes % 512 != 0 => Err(format!("{text} is not a multiple of 512 bytes")),
        bytes => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_made_of_sectors() {
        assert_eq!(parse_volume_bytes("10G"), Ok(10 << 30));
        for text in ["0", "1000", "x"] {
            assert!(parse_volume_bytes(text).is_err(), "{text}");
        }
    }
}
