//! `bedplate store`: makes, shows and grows stores that nobody serves, opens and closes those that
//! a server does.

use clap::{Args, Subcommand};

use super::keys::KeyArgs;
use super::names::parse_url;
use super::offline::{on_reactor, with_stores};
use super::place::Place;
use super::store_facts::StoreFacts;
use super::vacancy::{demand_nothing, occupied};
use super::{print, renewal, store_check, store_inspect, store_served};
use crate::backend;
use crate::backend::{Access, Location, Made};
use crate::base::{OpenError, size};
use crate::codec::{Cipher, Cost};
use crate::control::api::proto;
use crate::control::{KeySource, StoreName, StoreSettings};
use crate::store;
use crate::store::{Creation, Encryption, StoreError};

/// The smallest segment that is worth its bookkeeping, in bytes.
const SEGMENT_BYTES_MIN: u64 = 1 << 20;

/// The largest segment that the format has, in bytes.
const SEGMENT_BYTES_MAX: u64 = 1 << store::format::Shape::SEG_SHIFT_MAX;

const CREATE_EXAMPLES: &str = "\
Examples:
  bedplate store create /srv/store.img --size 100G --key-file /etc/bedplate/main.key
  bedplate store create /srv/store.img --size 100G     makes the file, too; it grows as it fills
  bedplate store create /dev/sdb
  bedplate serve --store main=/srv/store.img --nbd unix:/run/bedplate.sock";

const INFO_EXAMPLES: &str = "\
Examples:
  bedplate store info /srv/store.img
  bedplate store info /srv/store.img --json | jq .free";

const GROW_EXAMPLES: &str = "\
Examples:
  bedplate store grow /srv/store.img 200G     makes the file larger, too
  bedplate store grow /dev/sdb 2T             the device must have that size already";

/// Make, show, check, grow and repack stores that nobody serves; list, open, collect garbage in,
/// repack and close a server's.
#[derive(Debug, Args)]
pub(super) struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    Create(CreateArgs),
    Info(InfoArgs),
    Grow(GrowArgs),
    Check(store_check::StoreCheckArgs),
    Inspect(store_inspect::StoreInspectArgs),
    List(store_served::ListArgs),
    Show(store_served::ShowArgs),
    Open(store_served::OpenArgs),
    Collect(store_served::CollectArgs),
    Repack(renewal::RepackArgs),
    Close(store_served::CloseArgs),
}

/// Make an empty store.
#[derive(Debug, Args)]
#[command(after_help = CREATE_EXAMPLES)]
struct CreateArgs {
    /// Where: file:PATH or PATH, a file or a block device; or an rbd:, nfs: or iscsi: URL.
    #[arg(value_parser = parse_url)]
    url: Location,

    /// Use so many bytes, instead of all that are there. Makes a file that is not there.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    size: Option<u64>,

    /// What space is taken and freed in: a power of two from 1M to 64M; chosen by the size of the
    /// store without it.
    #[arg(long, value_name = "SIZE", value_parser = parse_segment_bytes)]
    segment_size: Option<u32>,

    /// How to encrypt what is in it; aes-256-xts if a key is named, and none otherwise.
    #[arg(long, value_name = "aes-256-xts|aes-256-gcm|none", value_parser = parse_cipher)]
    cipher: Option<CipherChoice>,

    #[command(flatten)]
    key: KeyArgs,

    /// Overwrite whatever is there.
    #[arg(long)]
    force: bool,
}

/// A cipher, or none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct CipherChoice(Option<Cipher>);

/// Tell how large a store is, and how full.
#[derive(Debug, Args)]
#[command(after_help = INFO_EXAMPLES)]
struct InfoArgs {
    /// Where it is.
    #[arg(value_parser = parse_url)]
    url: Location,

    #[command(flatten)]
    key: KeyArgs,

    /// Print one JSON object; sizes are in bytes.
    #[arg(long)]
    json: bool,
}

/// Let a store use more of what it is on.
#[derive(Debug, Args)]
#[command(after_help = GROW_EXAMPLES)]
struct GrowArgs {
    /// Where it is.
    #[arg(value_parser = parse_url)]
    url: Location,

    #[command(flatten)]
    key: KeyArgs,

    /// How much it is to use in all, not less than now.
    #[arg(value_parser = size::parse)]
    size: u64,
}

/// Does what the words after `store` say.
///
/// # Errors
/// One line that says what could not be done, why, and what to do.
pub(super) fn run(args: StoreArgs) -> Result<(), OpenError> {
    match args.command {
        StoreCommand::Create(args) => create(args),
        StoreCommand::Info(args) => info(args),
        StoreCommand::Grow(args) => grow(args),
        StoreCommand::Check(args) => store_check::run(args),
        StoreCommand::Inspect(args) => store_inspect::run(args),
        StoreCommand::List(args) => store_served::list(args),
        StoreCommand::Show(args) => store_served::show(args),
        StoreCommand::Open(args) => store_served::open(args),
        StoreCommand::Collect(args) => store_served::collect(args),
        StoreCommand::Repack(args) => renewal::repack(args),
        StoreCommand::Close(args) => store_served::close(args),
    }
}

fn create(args: CreateArgs) -> Result<(), OpenError> {
    let (cipher, key) = (choose_cipher(&args)?, args.key.read()?);
    on_reactor(async move {
        let made = backend::make(&args.url, args.size).await?;
        let encryption = cipher.zip(key.as_ref()).map(|(cipher, key)| Encryption {
            cipher,
            key,
            cost: Cost::default(),
        });
        let created = create_on(&args, encryption).await;
        if created.is_err() && made == Made::Here {
            // What could not become a store is no use to anybody.
            backend::unmake(&args.url).await;
        }
        created
    })
}

async fn create_on(args: &CreateArgs, encryption: Option<Encryption<'_>>) -> Result<(), OpenError> {
    let backend = backend::open(&args.url, Access::Write).await?;
    if !args.force {
        demand_nothing(&backend, &args.url).await?;
    }
    let creation = Creation {
        size: args.size,
        segment_bytes: args.segment_size,
        overwrite: args.force,
        encryption,
    };
    let created = store::create(backend, creation).await;
    created.map(drop).map_err(|error| match error {
        StoreError::AlreadyAStore => occupied(&args.url, error),
        error => error.of(&args.url.to_string()),
    })
}

/// What the words say of encryption.
fn choose_cipher(args: &CreateArgs) -> Result<Option<Cipher>, OpenError> {
    let refused = |why, remedy| Err(OpenError::new(args.url.to_string(), why, remedy));
    match (args.cipher, args.key.source()) {
        (None, None) | (Some(CipherChoice(None)), None) => Ok(None),
        (None, Some(_)) => Ok(Some(Cipher::Xts)),
        (Some(CipherChoice(Some(cipher))), Some(_)) => Ok(Some(cipher)),
        (Some(CipherChoice(Some(_))), None) => refused(
            "a store that is encrypted needs a key",
            "name one with --key-file or --passphrase-file",
        ),
        (Some(CipherChoice(None)), Some(_)) => {
            refused("it has a key but no cipher", "leave out one of the two")
        }
    }
}

fn parse_cipher(text: &str) -> Result<CipherChoice, String> {
    let found = Cipher::ALL.into_iter().find(|cipher| cipher.name() == text);
    match (found, text) {
        (Some(cipher), _) => Ok(CipherChoice(Some(cipher))),
        (None, "none") => Ok(CipherChoice(None)),
        _ => Err(format!(
            "'{text}' is none of aes-256-xts, aes-256-gcm and none"
        )),
    }
}

fn info(args: InfoArgs) -> Result<(), OpenError> {
    let found = with_url(&args.url, args.key.source(), async |place| {
        told(&place).await
    })?;
    let facts = StoreFacts::new(found);
    match args.json {
        true => print::json(&facts),
        false => print::line(&facts.text()),
    }
    Ok(())
}

fn grow(args: GrowArgs) -> Result<(), OpenError> {
    // The store is opened first as it is: what is no store, or not free, is left alone.
    let what = args.url.to_string();
    let now = with_url(&args.url, args.key.source(), async |place| {
        told(&place).await
    })?
    .size;
    if args.size < now {
        let why = format!(
            "it has {} already; a store does not shrink",
            print::brief(now)
        );
        return Err(OpenError::new(what, why, "name a larger size"));
    }
    let url = args.url.clone();
    on_reactor(async move { backend::grow(&url, args.size).await })?;
    with_url(&args.url, args.key.source(), async move |place| {
        let message = proto::GrowStoreRequest {
            name: ONLY.to_owned(),
            size: args.size,
        };
        place.grow_store(message).await.map(drop)
    })
}

/// What a store is called here that has no name.
const ONLY: &str = "store";

/// Does `work` with the store at `url`, which is called [`ONLY`].
fn with_url<T: 'static>(
    url: &Location,
    key: Option<KeySource>,
    work: impl AsyncFnOnce(Place) -> Result<T, OpenError> + 'static,
) -> Result<T, OpenError> {
    let name = StoreName::new(ONLY).expect("a good name");
    let mut settings = StoreSettings::new(url.clone());
    settings.key = key;
    on_reactor(with_stores(vec![(name, settings)], work))
}

/// What is known of the only store.
async fn told(place: &Place) -> Result<proto::Store, OpenError> {
    let name = ONLY.to_owned();
    let found = place.get_store(proto::GetStoreRequest { name }).await?;
    Ok(found.store.unwrap_or_default())
}

fn parse_segment_bytes(text: &str) -> Result<u32, String> {
    let bytes = size::parse(text)?;
    let is_right =
        bytes.is_power_of_two() && (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&bytes);
    match u32::try_from(bytes) {
        Ok(bytes) if is_right => Ok(bytes),
        _ => Err(format!("{text} is not a power of two from 1M to 64M")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_powers_of_two_in_their_range() {
        assert_eq!(parse_segment_bytes("1M"), Ok(1 << 20));
        assert_eq!(parse_segment_bytes("64M"), Ok(64 << 20));
        for text in ["512K", "3M", "128M", "0", "x"] {
            assert!(parse_segment_bytes(text).is_err(), "{text}");
        }
    }
}
