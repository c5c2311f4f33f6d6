//! `bedplate volume`: makes, shows, changes and copies the volumes of a store.

mod copy;
mod export;
mod flight;
mod import;
mod libvirt;
mod pieces;
mod properties;
mod qemu_img;
mod reach;
mod report;
mod side;

use clap::{Args, Subcommand};

use properties::{PropertyArgs, Setting};

use super::names::parse_new_name;
use super::place::PlaceChoice;
use super::trees::TreeFacts;
use super::{print, trees};
use crate::base::{OpenError, size};
use crate::control::api::proto;
use crate::control::{StoreName, TreePath};

const CREATE_EXAMPLES: &str = "\
Examples:
  bedplate volume create main/vm1 --size 100G
  bedplate volume create main/journal --size 1G --write-through
  bedplate volume create main/vm1 --size 100G --store main=/srv/store.img     which nobody serves";

const LIST_EXAMPLES: &str = "\
Examples:
  bedplate volume list
  bedplate volume list main --json | jq -r '.[].name'";

const SHOW_EXAMPLES: &str = "\
Example:
  bedplate volume show main/vm1";

const RESIZE_EXAMPLES: &str = "\
Example:
  bedplate volume resize main/vm1 200G

A client sees the new size when it connects the next time: NBD has no way to tell it of one. QEMU
follows without a stop of the guest where the disk is a raw node above an nbd node: have it add a
second nbd node, 'blockdev-reopen' the raw node with that as its file, and 'block_resize' the raw
node.";

const DELETE_EXAMPLES: &str = "\
Example:
  bedplate volume delete main/vm1

Refused while clients have it open; 'bedplate status' says how many.";

const RENAME_EXAMPLES: &str = "\
Example:
  bedplate volume rename main/vm1 vm2

Clients that have it open go on. One that connects again must know the new name.";

const CLONE_EXAMPLES: &str = "\
Examples:
  bedplate volume clone main/golden@v7 vm8
  bedplate volume clone main/vm1 try";

const SET_EXAMPLES: &str = "\
Example:
  bedplate volume set main/vm1 compress=zstd write-through=on

Keys:
  compress=adaptive|lz4|zstd|off    how blocks are compressed that are written from now on
  dedup=on|off|verify               whether what the store has already is written once, from now on
  write-through=on|off              whether every write is durable before it is answered";

/// Make, show, change and copy volumes, of a running server or of a store that nobody serves.
#[derive(Debug, Args)]
pub(super) struct VolumeArgs {
    #[command(flatten)]
    place: PlaceChoice,

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
    Xml(libvirt::XmlArgs),
    SecretXml(libvirt::SecretArgs),
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
    let place = args.place;
    match args.command {
        VolumeCommand::Create(args) => create(&place, args),
        VolumeCommand::List(args) => list(&place, args),
        VolumeCommand::Show(args) => show(&place, args),
        VolumeCommand::Resize(args) => resize(&place, args),
        VolumeCommand::Delete(args) => delete(&place, args),
        VolumeCommand::Rename(args) => rename(&place, args),
        VolumeCommand::Clone(args) => clone(&place, args),
        VolumeCommand::Set(args) => set(&place, args),
        VolumeCommand::Import(args) => import::run(&place, args),
        VolumeCommand::Export(args) => export::run(&place, args),
        VolumeCommand::Xml(args) => libvirt::disk(&place, &args),
        VolumeCommand::SecretXml(args) => libvirt::secret(&place, &args),
    }
}

fn create(place: &PlaceChoice, args: CreateArgs) -> Result<(), OpenError> {
    let message = proto::CreateVolumeRequest {
        name: args.volume.to_string(),
        size: args.size,
        properties: Some(args.properties.properties()),
    };
    place.run(Some(&args.volume.store), async move |place| {
        place.create_volume(message).await.map(drop)
    })
}

fn list(place: &PlaceChoice, args: ListArgs) -> Result<(), OpenError> {
    let store = args.store.as_ref().map(ToString::to_string);
    let message = proto::ListVolumesRequest {
        store: store.unwrap_or_default(),
    };
    let found = place.run(args.store.as_ref(), async move |place| {
        place.list_volumes(message).await
    })?;
    let found = trees::facts(found.volumes);
    match args.json {
        true => print::json(&found),
        false => print::line(&trees::table(&found)),
    }
    Ok(())
}

fn show(place: &PlaceChoice, args: ShowArgs) -> Result<(), OpenError> {
    let name = args.volume.to_string();
    let found = place.run(Some(&args.volume.store), async move |place| {
        place.get_volume(proto::GetVolumeRequest { name }).await
    })?;
    let told = report::VolumeFacts {
        volume: TreeFacts::new(found.volume.unwrap_or_default()),
        snapshots: trees::facts(found.snapshots),
    };
    match args.json {
        true => print::json(&told),
        false => print::line(&told.text()),
    }
    Ok(())
}

fn resize(place: &PlaceChoice, args: ResizeArgs) -> Result<(), OpenError> {
    let message = proto::ResizeVolumeRequest {
        name: args.volume.to_string(),
        size: args.size,
    };
    let done = place.run(Some(&args.volume.store), async move |place| {
        place.resize_volume(message).await
    })?;
    if done.connections > 0 {
        let plural = if done.connections == 1 { "" } else { "s" };
        print::line(&format!(
            "{} connection{plural} made before see the size of before; see 'bedplate volume resize \
            --help'",
            done.connections
        ));
    }
    if !done.device_problem.is_empty() {
        print::line(&done.device_problem);
    }
    Ok(())
}

fn delete(place: &PlaceChoice, args: DeleteArgs) -> Result<(), OpenError> {
    let name = args.volume.to_string();
    place.run(Some(&args.volume.store), async move |place| {
        let message = proto::DeleteVolumeRequest { name };
        place.delete_volume(message).await.map(drop)
    })
}

fn rename(place: &PlaceChoice, args: RenameArgs) -> Result<(), OpenError> {
    let message = proto::RenameVolumeRequest {
        name: args.volume.to_string(),
        new_name: args.name,
    };
    place.run(Some(&args.volume.store), async move |place| {
        place.rename_volume(message).await.map(drop)
    })
}

fn clone(place: &PlaceChoice, args: CloneArgs) -> Result<(), OpenError> {
    let message = proto::CloneVolumeRequest {
        origin: args.origin.to_string(),
        new_name: args.name,
    };
    place.run(Some(&args.origin.store), async move |place| {
        place.clone_volume(message).await.map(drop)
    })
}

fn set(place: &PlaceChoice, args: SetArgs) -> Result<(), OpenError> {
    let mut properties = proto::Properties::default();
    for setting in &args.settings {
        setting.apply(&mut properties);
    }
    let message = proto::SetVolumeRequest {
        name: args.volume.to_string(),
        properties: Some(properties),
    };
    place.run(Some(&args.volume.store), async move |place| {
        place.set_volume(message).await.map(drop)
    })
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
