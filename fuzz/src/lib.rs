//! What several fuzz targets need: exports, and input in pieces.
//!
//! Run a target from the top of the repository, with its seeds and the dictionary:
//!
//! ```text
//! cargo +nightly fuzz run handshake fuzz/corpus/handshake fuzz/seeds/handshake -- \
//!     -dict=fuzz/nbd.dict -max_total_time=20
//! ```
//!
//! The first bytes of an input are the [`Settings`] of its target, the rest is what the peer
//! sends. A finding becomes a unit test beside the code that it was found in.

use bedplate::base::Mark;
use bedplate::frontend::nbd::proto::{ExportInfo, Exports};

/// What every target but `replies` and `format` takes from the front of its input, so that seeds
/// can be written by hand: one byte of choices and eight lengths of pieces.
pub struct Settings<'a> {
    /// Choices of the target.
    pub choices: u8,
    lengths: &'a [u8; 8],
    /// What the peer sends.
    pub input: &'a [u8],
}

impl<'a> Settings<'a> {
    /// Reads the settings, or nothing from an input that is too short for them.
    pub fn new(data: &'a [u8]) -> Option<Self> {
        let (choices, data) = data.split_first()?;
        let (lengths, input) = data.split_first_chunk()?;
        Some(Self {
            choices: *choices,
            lengths,
            input,
        })
    }

    /// Choice number `index`.
    pub fn choice(&self, index: u8) -> bool {
        self.choices & (1 << index) != 0
    }

    /// The input in pieces of the given lengths, over and over.
    pub fn pieces(&self) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        let mut rest = self.input;
        for length in self.lengths.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(rest.len().min(1 + usize::from(*length)));
            pieces.push(piece);
            rest = after;
        }
        pieces
    }
}

/// Two exports, one of them the default and read-only.
pub struct Two;

/// More than the longest answer to one option about [`Two`], in bytes.
pub const ANSWER_BYTES_MAX: usize = 512;

impl Exports for Two {
    fn names(&self) -> Vec<String> {
        vec!["a".to_owned(), "b".to_owned()]
    }

    fn find(&self, name: &str) -> Option<ExportInfo> {
        let (name, read_only) = match name {
            "" | "a" => ("a", true),
            "b" => ("b", false),
            _ => return None,
        };
        Some(ExportInfo {
            name: name.to_owned(),
            description: "a disk".to_owned(),
            size: 1 << 40,
            read_only,
            preferred_block: 4096,
            can_fast_zero: true,
            has_depth: true,
            bitmaps: vec![("daily".to_owned(), Mark(7))],
        })
    }
}
