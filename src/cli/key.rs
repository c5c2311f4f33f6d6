//! `bedplate key`: adds, lists and removes the keys of encrypted stores that nobody serves.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::keys;
use super::offline::{StoreChoice, on_reactor};
use super::print;
use crate::backend::{self, Access, Checked};
use crate::base::OpenError;
use crate::codec::{Cost, Credential, Kind, SlotInfo};
use crate::control::StoreName;
use crate::store::{self, StoreError};

const ADD_EXAMPLES: &str = "\
Examples:
  bedplate key add main --new-key-file new.key --label backup \\
      --store main=/srv/store.img --key-file main=old.key
  bedplate key add main --new-passphrase-file /dev/fd/3 3<<<\"$words\" \\
      --store main=/srv/store.img --key-file main=main.key";

const LIST_EXAMPLES: &str = "\
Example:
  bedplate key list main --store main=/srv/store.img";

const REMOVE_EXAMPLES: &str = "\
Examples:
  bedplate key remove main 0 --store main=/srv/store.img --key-file main=new.key
  bedplate key remove main --all --store main=/srv/store.img --key-file main=new.key

What a removed key opened it opens no more. Whoever copied the first two MiB of the store while
the key was there, and has the key, can still read: to be safe from them make a new store, and copy.
With --all nobody can read the store ever again, whatever the keys: that deletes it for good.";

const ROTATE_EXAMPLES: &str = "\
Example:
  bedplate key rotate main --new-key-file new.key \\
      --store main=/srv/store.img --key-file main=old.key

Adds the new key, then removes the one that was named. A stop in between leaves both.";

/// Add, list and remove the keys that open an encrypted store.
#[derive(Debug, Args)]
pub(super) struct KeyCommandArgs {
    #[command(flatten)]
    stores: StoreChoice,

    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    Add(AddArgs),
    List(ListArgs),
    Remove(RemoveArgs),
    Rotate(RotateArgs),
}

/// The new key, and what it is called.
#[derive(Debug, Args)]
struct NewKeyArgs {
    /// The new key is what FILE holds, 32 random bytes or more.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "new_passphrase_file",
        required_unless_present = "new_passphrase_file"
    )]
    new_key_file: Option<std::path::PathBuf>,

    /// The new passphrase is the first line of FILE.
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<std::path::PathBuf>,

    /// What the key is called in lists.
    #[arg(long, default_value = "")]
    label: String,
}

/// Let one more key or passphrase open a store.
#[derive(Debug, Args)]
#[command(after_help = ADD_EXAMPLES)]
struct AddArgs {
    /// The store.
    #[arg(value_name = "STORE", value_parser = StoreName::new)]
    store: StoreName,

    #[command(flatten)]
    new: NewKeyArgs,
}

/// List what opens a store. Needs no key.
#[derive(Debug, Args)]
#[command(after_help = LIST_EXAMPLES)]
struct ListArgs {
    /// The store.
    #[arg(value_name = "STORE", value_parser = StoreName::new)]
    store: StoreName,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Have a key open a store no more.
#[derive(Debug, Args)]
#[command(after_help = REMOVE_EXAMPLES)]
struct RemoveArgs {
    /// The store.
    #[arg(value_name = "STORE", value_parser = StoreName::new)]
    store: StoreName,

    /// Which, as 'key list' says.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    slot: Option<usize>,

    /// All of them: this deletes the store for good.
    #[arg(long)]
    all: bool,
}

/// Replace a key by another.
#[derive(Debug, Args)]
#[command(after_help = ROTATE_EXAMPLES)]
struct RotateArgs {
    /// The store.
    #[arg(value_name = "STORE", value_parser = StoreName::new)]
    store: StoreName,

    #[command(flatten)]
    new: NewKeyArgs,
}

/// A key slot, as it is told.
#[derive(Serialize)]
struct SlotFacts {
    slot: usize,
    kind: String,
    label: String,
}

/// All key slots of a store.
#[derive(Serialize)]
struct KeyFacts {
    cipher: &'static str,
    keys: Vec<SlotFacts>,
}

/// Does what the words after `key` say.
///
/// # Errors
/// One line that says what could not be done, why, and what to do.
pub(super) fn run(args: KeyCommandArgs) -> Result<(), OpenError> {
    let stores = args.stores;
    match args.command {
        KeyCommand::Add(args) => add(&stores, args),
        KeyCommand::List(args) => list(&stores, args),
        KeyCommand::Remove(args) => remove(&stores, args),
        KeyCommand::Rotate(args) => rotate(&stores, args),
    }
}

impl NewKeyArgs {
    fn read(&self) -> Result<Credential, OpenError> {
        let (key, passphrase) = (&self.new_key_file, &self.new_passphrase_file);
        keys::source(key.as_deref(), passphrase.as_deref())
            .expect("one of the two is required")
            .read()
    }
}

fn add(stores: &StoreChoice, args: AddArgs) -> Result<(), OpenError> {
    let (known, new) = (demand(stores, &args.store)?, args.new.read()?);
    with_backend(stores, &args.store, Access::Write, async move |backend| {
        put(&backend, &known, &new, &args.new.label).await
    })
}

async fn put(
    backend: &Checked,
    known: &Credential,
    new: &Credential,
    label: &str,
) -> Result<(), StoreError> {
    let slot = store::add_key(backend, known, new, label, Cost::default()).await?;
    print::line(&format!("added as key {slot}"));
    Ok(())
}

fn list(stores: &StoreChoice, args: ListArgs) -> Result<(), OpenError> {
    with_backend(stores, &args.store, Access::Read, async move |backend| {
        let (cipher, slots) = store::list_keys(&backend).await?;
        let facts = KeyFacts {
            cipher: cipher.name(),
            keys: slots.into_iter().map(told).collect(),
        };
        match args.json {
            true => print::json(&facts),
            false => print::line(&facts.text()),
        }
        Ok(())
    })
}

fn remove(stores: &StoreChoice, args: RemoveArgs) -> Result<(), OpenError> {
    let known = demand(stores, &args.store)?;
    with_backend(
        stores,
        &args.store,
        Access::Write,
        async move |backend| match args.slot {
            Some(slot) => store::remove_key(&backend, &known, slot).await,
            None => store::destroy_keys(&backend, &known).await,
        },
    )
}

fn rotate(stores: &StoreChoice, args: RotateArgs) -> Result<(), OpenError> {
    let (known, new) = (demand(stores, &args.store)?, args.new.read()?);
    with_backend(stores, &args.store, Access::Write, async move |backend| {
        let old = store::slot_of_key(&backend, &known).await?;
        put(&backend, &known, &new, &args.new.label).await?;
        store::remove_key(&backend, &new, old).await
    })
}

/// Opens what the store is on for this command alone, and does `work` with it.
fn with_backend(
    stores: &StoreChoice,
    name: &StoreName,
    access: Access,
    work: impl AsyncFnOnce(Checked) -> Result<(), StoreError> + 'static,
) -> Result<(), OpenError> {
    let url = stores.find(name)?.clone();
    on_reactor(async move {
        let backend = backend::open(&url, access).await?;
        work(backend)
            .await
            .map_err(|error| error.of(&url.to_string()))
    })
}

fn demand(stores: &StoreChoice, name: &StoreName) -> Result<Credential, OpenError> {
    let missing = || {
        let remedy = "name one that opens it now with --key-file NAME=FILE";
        OpenError::new(name.as_str(), "no key was named", remedy)
    };
    stores.key_of(name).ok_or_else(missing)?.read()
}

fn told(info: SlotInfo) -> SlotFacts {
    SlotFacts {
        slot: info.slot,
        kind: match info.kind {
            Kind::Passphrase => "passphrase".to_owned(),
            Kind::KeyFile => "key file".to_owned(),
        },
        label: info.label,
    }
}

impl KeyFacts {
    fn text(&self) -> String {
        let cells = |key: &SlotFacts| [key.slot.to_string(), key.kind.clone(), key.label.clone()];
        let rows: Vec<_> = self.keys.iter().map(cells).collect();
        format!(
            "{}\n{}",
            self.cipher,
            print::table(["KEY", "KIND", "LABEL"], &rows)
        )
    }
}
