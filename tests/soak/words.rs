//! What people type to run the soak.

use std::time::Duration;

use super::world::Kindof;

pub(crate) const USAGE: &str = "\
Usage: scripts/soak [--seconds N] [--worlds N] [--seed S] [--trace]

Runs simulated worlds on all cores. In each a store is used by several clients and admins on a disk
that loses power, reorders and tears what was not flushed, and in some worlds fails. After each
crash the store must show what it promised, and nothing that was not written. Ends with 1 at the
first violation, and says how to see it again.

  --seconds N  for so long (60, if --worlds does not say either)
  --worlds N   so many worlds
  --seed S     the seed of the first world; the others count up from it (1)
  --trace      print every event, for one world and one reader

Examples:
  scripts/soak
  scripts/soak --seconds 3600 --seed 1000000
  scripts/soak --worlds 3000
  scripts/soak --seed 4711 --worlds 1 --trace
";

/// What was typed.
#[derive(Clone, Debug)]
pub(crate) struct Words {
    pub(crate) seed: u64,
    pub(crate) worlds: Option<u64>,
    pub(crate) time: Option<Duration>,
    pub(crate) trace: bool,
}

impl Words {
    /// Reads the words; nothing if they ask for help.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut parsed = Self {
            seed: 1,
            worlds: None,
            time: None,
            trace: false,
        };
        let mut words = words;
        while let Some(word) = words.next() {
            if word == "--help" || word == "-h" {
                return Ok(None);
            }
            let value = || words.next().ok_or_else(|| format!("{word} wants a number"));
            let number = |text: String| {
                let parsed = text.parse::<u64>();
                parsed.map_err(|_| format!("{word} {text}: not a number"))
            };
            match word.as_str() {
                "--trace" => parsed.trace = true,
                "--seed" => parsed.seed = { value }().and_then(number)?,
                "--worlds" => parsed.worlds = Some({ value }().and_then(number)?),
                "--seconds" => {
                    let seconds = { value }().and_then(number)?;
                    parsed.time = Some(Duration::from_secs(seconds));
                }
                _ => return Err(format!("'{word}' is not an option")),
            }
        }
        if parsed.worlds.is_none() && parsed.time.is_none() {
            parsed.time = Some(Duration::from_secs(60));
        }
        Ok(Some(parsed))
    }
}

/// The store as it is.
pub(crate) fn store() -> Kindof {
    Kindof::Store(|_| {})
}
