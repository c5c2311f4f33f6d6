//! `bedplate store list`, `show`, `open` and `close`: the stores of a running server.

use clap::Args;

use super::keys::KeyArgs;
use super::names::parse_store;
use super::place::ServerChoice;
use super::print;
use super::store_facts::{StoreFacts, table};
use crate::backend::Location;
use crate::base::OpenError;
use crate::control::api::proto;
use crate::control::api::proto::open_store_request::Key;
use crate::control::{KeySource, StoreName};

const LIST_EXAMPLES: &str = "\
Example:
  bedplate store list --json | jq '.[] | {name, free}'";

const SHOW_EXAMPLES: &str = "\
Example:
  bedplate store show main     as 'bedplate store info' does for a store that nobody serves";

const OPEN_EXAMPLES: &str = "\
Examples:
  bedplate store open spare=/srv/spare.img
  bedplate store open secret=/dev/sdb --key-file /etc/bedplate/secret.key

The server opens the files, with its own rights; paths are those of this command's folder. The store
stays open until it is closed or the server ends: to have it opened at every start, name it in the
config file.";

const COLLECT_EXAMPLES: &str = "\
Examples:
  bedplate store collect main            until a pass frees nothing more, 8 at most
  bedplate store collect main --passes 1 --json | jq .counted

Garbage is collected by itself while space is short. This does it at once, and counts what volumes
and snapshots hold: 'store show' and 'volume show' tell it then, with the ratios of deduplication
and compression. Clients are served meanwhile; Ctrl-C ends it behind the pass that is under way.";

const CLOSE_EXAMPLES: &str = "\
Examples:
  bedplate store close spare                   refused while clients have a volume of it open
  bedplate store close spare --disconnect      finishes what they have asked for, then lets them go

Its exports vanish for new clients at once. Then everything is made durable, and the store is free
for another server, or for commands with --store.";

/// List the stores of a server.
#[derive(Debug, Args)]
#[command(after_help = LIST_EXAMPLES)]
pub(super) struct ListArgs {
    #[command(flatten)]
    server: ServerChoice,

    /// Print a JSON array; sizes are in bytes.
    #[arg(long)]
    json: bool,
}

/// Tell how large a store of a server is, and how full.
#[derive(Debug, Args)]
#[command(after_help = SHOW_EXAMPLES)]
pub(super) struct ShowArgs {
    /// The store.
    #[arg(value_name = "STORE", value_parser = StoreName::new)]
    store: StoreName,

    #[command(flatten)]
    server: ServerChoice,

    /// Print one JSON object; sizes are in bytes.
    #[arg(long)]
    json: bool,
}

/// Have a server open a store, and export its volumes and snapshots.
#[derive(Debug, Args)]
#[command(after_help = OPEN_EXAMPLES)]
pub(super) struct OpenArgs {
    /// What it is to be called, and where it is.
    #[arg(value_name = "NAME=URL", value_parser = parse_store)]
    store: (StoreName, Location),

    #[command(flatten)]
    key: KeyArgs,

    #[command(flatten)]
    server: ServerChoice,
}

/// Collect garbage in a store of a server, and count what is in use.
#[derive(Debug, Args)]
#[command(after_help = COLLECT_EXAMPLES)]
pub(super) struct CollectArgs {
    /// The store.
    #[arg(value_name = "STORE", value_parser = StoreName::new)]
    store: StoreName,

    /// Make so many passes at most.
    #[arg(long, value_name = "N", default_value_t = 8,
        value_parser = clap::value_parser!(u32).range(1..))]
    passes: u32,

    #[command(flatten)]
    server: ServerChoice,

    /// Print one JSON object as 'store show' does; sizes are in bytes.
    #[arg(long)]
    json: bool,
}

/// Have a server close a store.
#[derive(Debug, Args)]
#[command(after_help = CLOSE_EXAMPLES)]
pub(super) struct CloseArgs {
    /// The store.
    #[arg(value_name = "STORE", value_parser = StoreName::new)]
    store: StoreName,

    /// Let the clients go that have something of it open.
    #[arg(long)]
    disconnect: bool,

    #[command(flatten)]
    server: ServerChoice,
}

/// Lists the stores.
///
/// # Errors
/// One line that says why not.
pub(super) fn list(args: ListArgs) -> Result<(), OpenError> {
    let found = args
        .server
        .run(async |place| place.list_stores(proto::ListStoresRequest {}).await)?;
    let facts: Vec<StoreFacts> = found.stores.into_iter().map(StoreFacts::new).collect();
    match args.json {
        true => print::json(&facts),
        false => print::line(&table(&facts)),
    }
    Ok(())
}

/// Shows one.
///
/// # Errors
/// One line that says why not.
pub(super) fn show(args: ShowArgs) -> Result<(), OpenError> {
    let name = args.store.to_string();
    let found = args
        .server
        .run(async move |place| place.get_store(proto::GetStoreRequest { name }).await)?;
    let facts = StoreFacts::new(found.store.unwrap_or_default());
    match args.json {
        true => print::json(&facts),
        false => print::line(&facts.text()),
    }
    Ok(())
}

/// Has one opened.
///
/// # Errors
/// One line that says why not.
pub(super) fn open(args: OpenArgs) -> Result<(), OpenError> {
    let (name, location) = args.store;
    let location = match location {
        Location::File(path) => Location::File(absolute(path)?.into()),
        other => other,
    };
    let key = match args.key.source() {
        None => None,
        Some(KeySource::KeyFile(path)) => Some(Key::KeyFile(absolute(path)?)),
        Some(KeySource::PassphraseFile(path)) => Some(Key::PassphraseFile(absolute(path)?)),
    };
    let message = proto::OpenStoreRequest {
        name: name.to_string(),
        url: location.to_string(),
        key,
    };
    args.server
        .run(async move |place| place.open_store(message).await.map(drop))
}

/// Has garbage of one collected, pass by pass, until a pass frees nothing more. What a pass moves
/// is freed by the next, so one that freed nothing is not the last before a second has not either.
///
/// # Errors
/// One line that says why not.
pub(super) fn collect(args: CollectArgs) -> Result<(), OpenError> {
    let CollectArgs {
        store,
        passes,
        server,
        json,
    } = args;
    let facts = server.run(async move |place| {
        let (mut most, mut vain, mut pass) = (None, 0, 0);
        loop {
            let name = store.to_string();
            let done = place
                .collect_store(proto::CollectStoreRequest { name })
                .await?;
            let facts = StoreFacts::new(done.store.unwrap_or_default());
            pass += 1;
            if !json {
                print::line(&format!("pass {pass}: {} free", print::brief(facts.free())));
            }
            vain = match most.is_some_and(|most| facts.free() <= most) {
                true => vain + 1,
                false => 0,
            };
            most = most.max(Some(facts.free()));
            if pass == passes || vain == 2 {
                return Ok(facts);
            }
        }
    })?;
    match json {
        true => print::json(&facts),
        false => print::line(&facts.text()),
    }
    Ok(())
}

/// Has one closed.
///
/// # Errors
/// One line that says why not.
pub(super) fn close(args: CloseArgs) -> Result<(), OpenError> {
    let message = proto::CloseStoreRequest {
        name: args.store.to_string(),
        disconnect: args.disconnect,
    };
    let done = args
        .server
        .run(async move |place| place.close_store(message).await)?;
    if done.disconnected > 0 {
        print::line(&format!("{} connections were closed", done.disconnected));
    }
    Ok(())
}

/// `path` as the server, which runs in another folder, finds it.
fn absolute(path: std::path::PathBuf) -> Result<String, OpenError> {
    let what = path.display().to_string();
    let refused = |why: &dyn std::fmt::Display| OpenError::new(&what, why, "name another path");
    let path = std::path::absolute(&path).map_err(|error| refused(&error))?;
    let path = path.into_os_string().into_string();
    path.map_err(|_| refused(&"the path is no UTF-8"))
}
