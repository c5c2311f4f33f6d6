//! `bedplate snapshot diff`: what differs between a snapshot and another, or its volume.

use std::io::Write;

use clap::Args;
use serde::Serialize;

use super::offline::StoreChoice;
use crate::base::{OpenError, Status};
use crate::control::TreePath;
use crate::store::format::BLOCK;
use crate::store::{Disk, Mark, TreeName};

const EXAMPLES: &str = "\
Examples:
  bedplate snapshot diff main/vm1@monday --store main=/srv/store.img
      what has changed in main/vm1 since
  bedplate snapshot diff main/vm1@monday main/vm1@tuesday --json --store main=/srv/store.img
      what changed from the one to the other

Told are multiples of 4096 bytes, except at the end of a volume. What was written again may be the
same as before.";

/// Runs of changed and unchanged blocks that are asked for at once.
const RUNS: usize = 4096;

/// Tell what differs between a snapshot and another one, or its volume.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DiffArgs {
    /// The older one.
    #[arg(value_name = "STORE/VOL@A", value_parser = TreePath::parse_snapshot)]
    from: TreePath,

    /// The newer one: a snapshot, or a volume; by default the volume of the older one.
    #[arg(value_name = "STORE/VOL@B", value_parser = TreePath::parse)]
    to: Option<TreePath>,

    /// Print a JSON array of objects with offset and length, in bytes.
    #[arg(long)]
    json: bool,
}

/// A changed range, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
struct Changed {
    offset: u64,
    length: u64,
}

/// Does what the words after `snapshot diff` say.
///
/// # Errors
/// One line that says what could not be done, why, and what to do.
pub(super) fn run(stores: &StoreChoice, args: DiffArgs) -> Result<(), OpenError> {
    let DiffArgs { from, to, json } = args;
    let to = match to {
        Some(to) if to.store != from.store => {
            let why = format!("it is not of the same store as {from}");
            let remedy = "compare what is in one store";
            return Err(OpenError::new(to.to_string(), why, remedy));
        }
        Some(to) => to,
        None => TreePath {
            store: from.store.clone(),
            tree: volume_of(&from)?,
        },
    };
    stores.with_store(&from.store.clone(), async move |store| {
        let mark = store.mark(&from.tree);
        let mark = mark.map_err(|error| error.of(&from.to_string()))?;
        let disk = store.disk(&to.tree);
        let disk = disk.map_err(|error| error.of(&to.to_string()))?;
        let told = tell(&disk, mark, json).await;
        told.map_err(|error| OpenError::new(to.to_string(), error, "see 'bedplate store check'"))
    })
}

fn volume_of(path: &TreePath) -> Result<TreeName, OpenError> {
    let volume = TreeName::volume(path.tree.volume_name());
    volume.map_err(|error| error.of(&path.to_string()))
}

/// Prints what has changed as it is found: it may be any number of ranges.
async fn tell(disk: &Disk, since: Mark, json: bool) -> crate::base::Result<()> {
    let mut printer = Printer::begin(json);
    let size = disk.size();
    let blocks = size.div_ceil(BLOCK as u64);
    let mut at = 0;
    while at < blocks {
        for run in disk.changes(since, at, blocks - at, RUNS).await? {
            let offset = at * BLOCK as u64;
            if run.status == Status::Dirty {
                printer.add(Changed {
                    offset,
                    length: run.bytes.min(size - offset),
                });
            }
            at += run.bytes / BLOCK as u64;
        }
    }
    printer.end();
    Ok(())
}

/// Prints ranges, neighbours as one.
struct Printer {
    out: std::io::StdoutLock<'static>,
    json: bool,
    is_first: bool,
    held: Option<Changed>,
}

impl Printer {
    fn begin(json: bool) -> Self {
        let mut printer = Self {
            out: std::io::stdout().lock(),
            json,
            is_first: true,
            held: None,
        };
        printer.put(if json { "[" } else { "OFFSET  LENGTH\n" });
        printer
    }

    fn add(&mut self, changed: Changed) {
        match &mut self.held {
            Some(held) if held.offset + held.length == changed.offset => {
                held.length += changed.length;
            }
            held => {
                let before = held.replace(changed);
                self.print(before);
            }
        }
    }

    fn end(mut self) {
        let last = self.held.take();
        self.print(last);
        self.put(if self.json { "]\n" } else { "" });
        // Whoever reads may have seen enough: that is no failure.
        let _ = self.out.flush();
    }

    fn print(&mut self, changed: Option<Changed>) {
        let Some(changed) = changed else { return };
        let Changed { offset, length } = changed;
        let text = match (self.json, self.is_first) {
            (false, _) => format!("{offset}  {length}\n"),
            (true, is_first) => {
                let comma = if is_first { "" } else { "," };
                let text = serde_json::to_string(&changed).expect("it has text for keys");
                format!("{comma}{text}")
            }
        };
        self.is_first = false;
        self.put(&text);
    }

    fn put(&mut self, text: &str) {
        // As above.
        let _ = self.out.write_all(text.as_bytes());
    }
}
