//! `bedplate key`: adds, lists, removes and replaces what opens encrypted stores, and what they are
//! encrypted with.
//!
//! A store that nobody serves is opened for the last only: its key slots lie apart from all else.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::keys;
use super::offline::{StoreChoice, on_reactor};
use super::place::{Place, ServerChoice};
use super::print;
use super::renewal::RenewalArgs;
use crate::backend::{self, Access, Checked};
use crate::base::OpenError;
use crate::codec::{Cost, Credential};
use crate::control::StoreName;
use crate::control::api::proto;
use crate::store::{self, KeyChange, NewKey, StoreError};

const ADD_EXAMPLES: &str = "\
Examples:
  bedplate key add main --new-key-file new.key --label backup --key-file main=old.key
  bedplate key add main --new-passphrase-file /dev/fd/3 3<<<\"$words\" \\
      --store main=/srv/store.img --key-file main=main.key      which nobody serves";

const LIST_EXAMPLES: &str = "\
Examples:
  bedplate key list main
  bedplate key list main --store main=/srv/store.img      which nobody serves";

const REMOVE_EXAMPLES: &str = "\
Examples:
  bedplate key remove main 0 --key-file main=new.key
  bedplate key remove main --all --store main=/srv/store.img --key-file main=new.key

What a removed key opened it opens no more. Whoever copied the first two MiB of the store while
the key was there, and has the key, can still read: to be safe from them make a new store, and copy.
With --all nobody can read the store ever again, whatever the keys: that deletes it for good.";

const ROTATE_EXAMPLES: &str = "\
Example:
  bedplate key rotate main --new-key-file new.key --key-file main=old.key

Afterwards the new key opens the store, and the one that was named does not; a stop in between
leaves it as it was. A server that opens the store by itself must be told of the new key.";

const REENCRYPT_EXAMPLES: &str = "\
Examples:
  bedplate key reencrypt main --key-file main=main.key
  bedplate key reencrypt main --key-file main=main.key --drop-others
  bedplate key reencrypt main --stop      leaves the rest under the old master key

Whoever has had the master key, from a key slot or the memory of a server, reads nothing that is
written from now on, and when this is done nothing that is in the store. The key that is named opens
it as before; the others cannot be kept, since nobody knows them here: add them again. Clients are
served meanwhile, and it goes on by itself when the store is opened again. Old segments are not
overwritten at once: copies of the medium, and space that is free, still hold what they held.";

/// Add, list, remove and replace the keys that open an encrypted store.
#[derive(Debug, Args)]
pub(super) struct KeyCommandArgs {
    #[command(flatten)]
    place: KeyPlace,

    #[command(subcommand)]
    command: KeyCommand,
}

/// Where a store is, and what opens it.
#[derive(Debug, Args)]
struct KeyPlace {
    #[command(flatten)]
    stores: StoreChoice,

    #[command(flatten)]
    server: ServerChoice,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    Add(AddArgs),
    List(ListArgs),
    Remove(RemoveArgs),
    Rotate(RotateArgs),
    Reencrypt(ReencryptArgs),
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

/// Encrypt all of a store again, under a new master key.
#[derive(Debug, Args)]
#[command(after_help = REENCRYPT_EXAMPLES)]
struct ReencryptArgs {
    /// The store.
    #[arg(value_name = "STORE", value_parser = StoreName::new)]
    store: StoreName,

    /// Let the other keys be lost.
    #[arg(long)]
    drop_others: bool,

    #[command(flatten)]
    renewal: RenewalArgs,
}

/// A key slot, as it is told.
#[derive(Serialize)]
struct SlotFacts {
    slot: u32,
    kind: String,
    label: String,
}

/// All key slots of a store.
#[derive(Serialize)]
struct KeyFacts {
    cipher: String,
    keys: Vec<SlotFacts>,
}

/// Does what the words after `key` say.
///
/// # Errors
/// One line that says what could not be done, why, and what to do.
pub(super) fn run(args: KeyCommandArgs) -> Result<(), OpenError> {
    let place = args.place;
    let (store, change) = match args.command {
        KeyCommand::List(args) => return list(&place, args),
        KeyCommand::Reencrypt(args) => return reencrypt(&place, args),
        KeyCommand::Add(AddArgs { store, new }) => (store, KeyChange::Add(new.read()?)),
        KeyCommand::Rotate(RotateArgs { store, new }) => (store, KeyChange::Rotate(new.read()?)),
        KeyCommand::Remove(RemoveArgs { store, slot, .. }) => {
            (store, slot.map_or(KeyChange::Destroy, KeyChange::Remove))
        }
    };
    if let Some(slot) = place.change(&store, change)? {
        print::line(&format!("added as key {slot}"));
    }
    Ok(())
}

impl NewKeyArgs {
    fn read(self) -> Result<NewKey, OpenError> {
        let (key, passphrase) = (&self.new_key_file, &self.new_passphrase_file);
        let source = keys::source(key.as_deref(), passphrase.as_deref());
        Ok(NewKey {
            credential: source.expect("one of the two is required").read()?,
            label: self.label,
            cost: Cost::default(),
        })
    }
}

impl KeyPlace {
    /// Changes what opens `store`; gives the slot of a new key.
    fn change(&self, store: &StoreName, change: KeyChange) -> Result<Option<usize>, OpenError> {
        let known = self.known(store)?;
        if self.stores.is_empty() {
            let store = store.to_string();
            return self
                .server
                .run(async move |place| change_there(&place, store, &known, change).await);
        }
        self.with_backend(store, Access::Write, async move |backend| {
            store::change_keys(&backend, &known, change).await
        })
    }

    /// Opens what the store is on for this command alone, and does `work` with it.
    fn with_backend<T: 'static>(
        &self,
        name: &StoreName,
        access: Access,
        work: impl AsyncFnOnce(Checked) -> Result<T, StoreError> + 'static,
    ) -> Result<T, OpenError> {
        let url = self.stores.find(name)?.clone();
        on_reactor(async move {
            let backend = backend::open(&url, access).await?;
            work(backend)
                .await
                .map_err(|error| error.of(&url.to_string()))
        })
    }

    fn known(&self, store: &StoreName) -> Result<Credential, OpenError> {
        let missing = || {
            let remedy = "name one that opens it now with --key-file NAME=FILE";
            OpenError::new(store.as_str(), "no key was named", remedy)
        };
        self.stores.key_of(store).ok_or_else(missing)?.read()
    }
}

fn reencrypt(place: &KeyPlace, args: ReencryptArgs) -> Result<(), OpenError> {
    let ReencryptArgs {
        store,
        drop_others,
        renewal,
    } = args;
    let known = match renewal.stop {
        true => None,
        false => Some((&place.known(&store)?).into()),
    };
    let begin = async move |place: &Place, store: String| {
        let message = proto::ReencryptRequest {
            store,
            known,
            drop_others,
        };
        Ok(place.reencrypt(message).await?.renewal)
    };
    let name = store.to_string();
    let work = async move |place: Place| renewal.see_to(&place, name, "encrypting", begin).await;
    match place.stores.is_empty() {
        true => place.server.run(work),
        false => place.stores.run(Some(&store), work),
    }
}

async fn change_there(
    place: &Place,
    store: String,
    known: &Credential,
    change: KeyChange,
) -> Result<Option<usize>, OpenError> {
    let known = Some(known.into());
    let slot = match change {
        KeyChange::Add(new) => {
            let message = proto::AddKeyRequest {
                store,
                known,
                new: Some((&new.credential).into()),
                label: new.label,
            };
            place.add_key(message).await?.slot
        }
        KeyChange::Rotate(new) => {
            let message = proto::RotateKeyRequest {
                store,
                known,
                new: Some((&new.credential).into()),
                label: new.label,
            };
            place.rotate_key(message).await?.slot
        }
        KeyChange::Remove(slot) => {
            let slot = u32::try_from(slot).unwrap_or(u32::MAX);
            let message = proto::RemoveKeyRequest { store, known, slot };
            return place.remove_key(message).await.map(|_| None);
        }
        KeyChange::Destroy => {
            let why = "a store that is served is not deleted";
            let remedy = "close it with 'bedplate store close', and say where it is with --store";
            return Err(OpenError::new(store, why, remedy));
        }
    };
    Ok(usize::try_from(slot).ok())
}

fn list(place: &KeyPlace, args: ListArgs) -> Result<(), OpenError> {
    let store = args.store.to_string();
    let told = match place.stores.is_empty() {
        true => place
            .server
            .run(async move |place| place.list_keys(proto::ListKeysRequest { store }).await)?,
        false => {
            let list = async move |backend: Checked| store::list_keys(&backend).await;
            let (cipher, slots) = place.with_backend(&args.store, Access::Read, list)?;
            proto::ListKeysResponse {
                cipher: cipher.name().to_owned(),
                keys: slots.into_iter().map(Into::into).collect(),
            }
        }
    };
    let facts = KeyFacts {
        cipher: told.cipher,
        keys: told.keys.into_iter().map(SlotFacts::new).collect(),
    };
    match args.json {
        true => print::json(&facts),
        false => print::line(&facts.text()),
    }
    Ok(())
}

impl SlotFacts {
    fn new(key: proto::Key) -> Self {
        let kind = match key.kind() {
            proto::key::Kind::Passphrase => "passphrase",
            proto::key::Kind::KeyFile => "key file",
            proto::key::Kind::Unspecified => "unknown",
        };
        Self {
            slot: key.slot,
            kind: kind.to_owned(),
            label: key.label,
        }
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
