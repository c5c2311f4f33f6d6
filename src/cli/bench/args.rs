//! What a person may ask of `bedplate bench`.

use clap::Args;
use clap::ValueEnum;
use serde::Serialize;

use super::uri::NbdUri;
use crate::base::size;

/// The most requests that one connection keeps unanswered.
const DEPTH_MAX: u64 = 1024;
/// The most connections: beyond, the client measures itself.
const CONNECTIONS_MAX: u64 = 256;
/// The most threads.
const THREADS_MAX: u64 = 64;

const EXAMPLES: &str = "\
Examples:
  4 KiB random reads at queue depth 32, with the server's CPU time per read:
    bedplate bench 'nbd+unix:///disk?socket=/run/bedplate/nbd.sock' --pid $(pidof bedplate)
  Four connections writing compressible data, a third of it duplicates:
    bedplate bench nbd://127.0.0.1/main/vm1 --op write --connections 4 \\
        --data compressible --dedup 33
  Sixteen streams that flush after every write, as databases do:
    bedplate bench nbd://127.0.0.1/disk --op write-flush --depth 16
  Is what is read what was written? (overwrites the first 1 GiB)
    bedplate bench nbd://127.0.0.1/scratch --op write --size 1G --verify

Latency counts from when the client decides to send a request until it has received the reply, \
and so includes the time in which the client works through the batch before. CPU per op is user \
and system time of all threads, also what they spend on looking for work for up to 50 us before \
they sleep, as the client and bedplate's server do where that has paid. Writing ops destroy \
what is on the export; so does --verify, which begins by writing the whole range.";

/// Measure a served disk, whoever serves it
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    /// The export: nbd+unix:///NAME?socket=PATH or nbd://HOST:PORT/NAME
    #[arg(value_name = "NBD-URI", value_parser = NbdUri::parse)]
    pub(super) uri: NbdUri,

    /// What to do; write-flush follows each write with a flush and counts pairs
    #[arg(long, value_enum, default_value_t = Op::Read)]
    pub(super) op: Op,

    /// Where: blocks drawn at random from the range, or one after the other
    #[arg(long, value_enum, default_value_t = Pattern::Random)]
    pub(super) pattern: Pattern,

    /// Requests that each connection keeps unanswered
    #[arg(long, value_name = "N", default_value_t = 32,
          value_parser = clap::value_parser!(u64).range(1..=DEPTH_MAX))]
    pub(super) depth: u64,

    /// Connections
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..=CONNECTIONS_MAX))]
    pub(super) connections: u64,

    /// Threads that share the connections
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..=THREADS_MAX))]
    pub(super) threads: u64,

    /// Bytes in a request
    #[arg(long, value_name = "SIZE", default_value = "4k", value_parser = size::parse)]
    pub(super) block: u64,

    /// Seconds that count; a warm-up of a fifth of it, at most 1 s, goes before
    #[arg(long, value_name = "S", default_value_t = 5.0, value_parser = parse_seconds)]
    pub(super) seconds: f64,

    /// Stay in so many bytes of the export [default: to its end]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub(super) size: Option<u64>,

    /// Stay behind the first so many bytes of the export
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = size::parse)]
    pub(super) offset: u64,

    /// How replies are framed; with simple replies all data moves, while in the others a server
    /// may tell zeroes as a hole
    #[arg(long, value_enum, default_value_t = FramingChoice::Simple)]
    pub(super) framing: FramingChoice,

    /// What to write: compressible data shrinks to about 1/1.8 with LZ4
    #[arg(long, value_enum, default_value_t = DataKind::Random)]
    pub(super) data: DataKind,

    /// How many of 100 written 4 KiB blocks repeat one of a thousand others
    #[arg(long, value_name = "PERCENT", default_value_t = 0,
          value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(super) dedup: u8,

    /// Write the whole range first, then compare all that is read, or read back all that was
    /// written; the first difference ends the run
    #[arg(long)]
    pub(super) verify: bool,

    /// Repeat the offsets and the data of a run
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,

    /// The server's process, to tell its CPU time per operation
    #[arg(long, value_name = "SERVER")]
    pub(super) pid: Option<u32>,

    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// What each request, or pair of them, does.
#[derive(ValueEnum, Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Op {
    Read,
    Write,
    WriteFlush,
    Flush,
    Trim,
    WriteZeroes,
}

impl Op {
    /// Whether the export is not the same afterwards.
    pub(super) const fn changes_data(self) -> bool {
        !matches!(self, Self::Read | Self::Flush)
    }

    /// Whether data travels, either way.
    pub(super) const fn carries_data(self) -> bool {
        matches!(self, Self::Read | Self::Write | Self::WriteFlush)
    }

    /// How the command line calls it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::WriteFlush => "write-flush",
            Self::Flush => "flush",
            Self::Trim => "trim",
            Self::WriteZeroes => "write-zeroes",
        }
    }
}

/// In which order blocks are taken.
#[derive(ValueEnum, Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Pattern {
    Random,
    Sequential,
}

/// What is asked for in the handshake.
#[derive(ValueEnum, Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FramingChoice {
    Simple,
    Structured,
    Extended,
}

/// What written data looks like.
#[derive(ValueEnum, Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(super) enum DataKind {
    Random,
    Zero,
    Compressible,
}

/// A time from 10 ms to a day.
fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.01..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err(format!("'{text}' is not a number from 0.01 to 86400")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        args: BenchArgs,
    }

    /// The arguments that `words` stand for, on some export.
    pub(in super::super) fn args(words: &str) -> Result<BenchArgs, clap::Error> {
        let all = ["bench", "nbd://localhost/x"].into_iter();
        Words::try_parse_from(all.chain(words.split_whitespace())).map(|words| words.args)
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let args = args("").unwrap();
        assert_eq!((args.depth, args.connections, args.block), (32, 1, 4096));
        assert_eq!((args.op, args.framing), (Op::Read, FramingChoice::Simple));
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for words in [
            "--depth 0",
            "--depth 1025",
            "--connections 257",
            "--threads 0",
            "--dedup 101",
            "--seconds 0",
            "--seconds inf",
            "--seconds nan",
            "--block 4X",
        ] {
            assert!(args(words).is_err(), "{words}");
        }
    }
}
