//! `bedplate store inspect`: shows the structures of a store.

use clap::{Args, Subcommand};

use super::keys::KeyArgs;
use super::names::parse_url;
use super::offline::on_reactor;
use super::print;
use crate::backend::{self, Access, Location};
use crate::base::OpenError;
use crate::store::inspect::{What, inspect};

const EXAMPLES: &str = "\
Examples:
  bedplate store inspect /srv/store.img superblocks
  bedplate store inspect /srv/store.img segment 12
  bedplate store inspect --json /srv/store.img log

Nobody may have the store open meanwhile. FORMAT.md says what everything means.";

/// Show the structures of a store, for whoever looks for a fault.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct StoreInspectArgs {
    /// The backend of the store.
    #[arg(value_name = "URL", value_parser = parse_url)]
    url: Location,

    #[command(flatten)]
    key: KeyArgs,

    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    what: Words,
}

#[derive(Debug, Subcommand)]
#[command(subcommand_value_name = "WHAT", subcommand_help_heading = "What")]
enum Words {
    /// What the four slots hold.
    Superblocks,
    /// The trees, and where the segment table is.
    Root,
    /// The segment table.
    Segments,
    /// What one segment says about itself.
    Segment {
        /// Its number.
        number: u32,
    },
    /// The nodes of a volume or snapshot.
    Tree {
        /// Its identity, as `root` shows it.
        id: u32,
    },
    /// The entries of a node.
    Node {
        /// Its place, as `tree` shows it.
        #[arg(value_name = "SEGMENT+OFFSET", value_parser = parse_place)]
        place: (u32, u32),
    },
    /// The log behind the checkpoint.
    Log,
}

/// Shows what was asked for.
///
/// # Errors
/// If it cannot be read.
pub(super) fn run(args: StoreInspectArgs) -> Result<(), OpenError> {
    let what = match args.what {
        Words::Superblocks => What::Superblocks,
        Words::Root => What::Root,
        Words::Segments => What::Segments,
        Words::Segment { number } => What::Segment(number),
        Words::Tree { id } => What::Tree(id),
        Words::Node { place } => What::Node(place.0, place.1),
        Words::Log => What::Log,
    };
    let (url, as_json, key) = (args.url, args.json, args.key.read()?);
    let shown = on_reactor(async move {
        let backend = backend::open(&url, Access::Read).await?;
        let shown = inspect(&backend, what, key.as_ref()).await;
        shown.map_err(|error| error.of(&url.to_string()))
    })?;
    match as_json {
        true => print::json(&shown),
        false => print::line(shown.to_string().trim_end()),
    }
    Ok(())
}

/// Reads `SEGMENT+OFFSET`; the offset may be hexadecimal.
fn parse_place(text: &str) -> Result<(u32, u32), String> {
    let place = text.split_once('+').and_then(|(seg, offset)| {
        let offset = match offset.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => offset.parse(),
        };
        Some((seg.parse().ok()?, offset.ok()?))
    });
    place.ok_or_else(|| format!("'{text}' is not SEGMENT+OFFSET, such as 18+0x1010"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_shown() {
        assert_eq!(parse_place("18+0x1010"), Ok((18, 0x1010)));
        assert_eq!(parse_place("18+16"), Ok((18, 16)));
        for text in ["", "18", "+", "18+", "+16", "18+0x", "a+b", "18+16+1"] {
            assert!(parse_place(text).is_err(), "{text}");
        }
    }
}
