//! `bedplate stats`: what was written to the stores of a running server, and what became of it.

use clap::Args;
use serde::Serialize;

use super::place::{Place, ServerChoice};
use super::print;
use super::trees::TreeFacts;
use crate::base::OpenError;
use crate::control::api::proto;
use crate::control::{StoreName, TreePath};

const EXAMPLES: &str = "\
Examples:
  bedplate stats
  bedplate stats main --json | jq '.[0].write_amplification'
  bedplate stats main/vm1

Counted since the store was opened. Deduplication, compression and garbage collection work on a
store as a whole, so what they did is counted there; of one volume it is told who uses it and how it
is treated.";

/// Tell what was written since a store was opened.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct StatsArgs {
    /// A store, or a volume of one; all stores without it.
    #[arg(value_name = "STORE[/VOL]", value_parser = parse_what)]
    what: Option<What>,

    #[command(flatten)]
    server: ServerChoice,

    /// Print a JSON array, or for a volume one JSON object; sizes are in bytes.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug)]
enum What {
    Store(StoreName),
    Volume(TreePath),
}

/// What was written to a store, in bytes.
#[derive(Debug, Serialize)]
struct TrafficFacts {
    name: String,
    clients: u64,
    deduplicated: u64,
    new: u64,
    log: u64,
    moved: u64,
    repacked: u64,
    metadata: u64,
    passes: u64,
    /// What was written to the backend for each byte that clients wrote.
    write_amplification: Option<f64>,
}

/// Asks, and prints what was answered.
///
/// # Errors
/// One line that says why there is no answer.
pub(super) fn run(args: StatsArgs) -> Result<(), OpenError> {
    if let Some(What::Volume(path)) = args.what {
        let name = path.to_string();
        let message = proto::GetVolumeRequest { name };
        let told = args
            .server
            .run(async move |place| place.get_volume(message).await)?;
        let facts = TreeFacts::new(told.volume.unwrap_or_default());
        match args.json {
            true => print::json(&facts),
            false => print::line(&print::facts(&facts.lines())),
        }
        return Ok(());
    }
    let what = args.what;
    let stores = args
        .server
        .run(async move |place| stores(&place, what).await)?;
    let facts: Vec<TrafficFacts> = stores.into_iter().map(TrafficFacts::new).collect();
    match args.json {
        true => print::json(&facts),
        false => {
            let texts: Vec<String> = facts.iter().map(TrafficFacts::text).collect();
            print::line(&texts.join("\n\n"));
        }
    }
    Ok(())
}

async fn stores(place: &Place, what: Option<What>) -> Result<Vec<proto::Store>, OpenError> {
    match what {
        Some(What::Store(name)) => {
            let name = name.to_string();
            let told = place.get_store(proto::GetStoreRequest { name }).await?;
            Ok(told.store.into_iter().collect())
        }
        _ => Ok(place.list_stores(proto::ListStoresRequest {}).await?.stores),
    }
}

impl TrafficFacts {
    fn new(store: proto::Store) -> Self {
        let traffic = store.traffic.unwrap_or_default();
        let written = traffic.log + traffic.moved + traffic.metadata;
        // Sizes that a fraction of a percent does not matter for.
        #[allow(clippy::cast_precision_loss)]
        let amplification = written as f64 / traffic.clients as f64;
        let hundredths = (amplification * 100.0).round() / 100.0;
        Self {
            name: store.name,
            clients: traffic.clients,
            deduplicated: traffic.deduplicated,
            new: traffic.new,
            log: traffic.log,
            moved: traffic.moved,
            repacked: traffic.repacked,
            metadata: traffic.metadata,
            passes: traffic.passes,
            write_amplification: (traffic.clients > 0).then_some(hundredths),
        }
    }

    fn text(&self) -> String {
        let amplification = self.write_amplification;
        let amplification = amplification.map(|ratio| format!("{ratio:.2}"));
        let amplification = amplification.unwrap_or_else(|| "-".to_owned());
        print::facts(&[
            ("store", self.name.clone()),
            ("written by clients", print::brief(self.clients)),
            ("deduplicated", print::brief(self.deduplicated)),
            ("not deduplicated", print::brief(self.new)),
            ("log", print::brief(self.log)),
            ("moved", print::brief(self.moved)),
            ("repacked", print::brief(self.repacked)),
            ("checkpoints", print::brief(self.metadata)),
            ("passes", self.passes.to_string()),
            ("write amplification", amplification),
        ])
    }
}

fn parse_what(text: &str) -> Result<What, String> {
    match text.contains('/') {
        true => TreePath::parse_volume(text).map(What::Volume),
        false => StoreName::new(text).map(What::Store),
    }
}
