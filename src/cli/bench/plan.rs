//! A run that can be done: the arguments checked against the export.

use std::time::Duration;

use super::args::BenchArgs;
use super::args::DataKind;
use super::args::FramingChoice;
use super::args::Op;
use super::args::Pattern;
use crate::base::OpenError;
use crate::base::limits::PAYLOAD_BYTES_MAX;
use crate::base::size;
use crate::frontend::nbd::proto::ClientExport;
use crate::frontend::nbd::proto::ClientWants;
use crate::frontend::nbd::proto::Framing;
use crate::frontend::nbd::proto::wire::transmission;

/// Blocks that a run may verify: each takes four bytes of memory.
const VERIFIED_BLOCKS_MAX: u64 = 1 << 26;
/// Bytes that the requests of a verified run may carry at once: each is made in memory.
const VERIFIED_BYTES_MAX: u64 = 1 << 30;

/// What every connection of a run is to do.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) op: Op,
    pub(super) pattern: Pattern,
    /// Requests that a connection keeps unanswered.
    pub(super) depth: usize,
    pub(super) connections: u64,
    pub(super) block_bytes: usize,
    /// Where the range begins on the export, in bytes.
    pub(super) range_offset: u64,
    /// How many blocks the range has.
    pub(super) block_count: u64,
    pub(super) framing: Framing,
    pub(super) data: DataKind,
    pub(super) dedup_percent: u8,
    pub(super) verify: bool,
    pub(super) seed: u64,
    pub(super) warm_up: Duration,
    pub(super) window: Duration,
}

/// What to ask for in the handshake.
pub(super) fn wants(choice: FramingChoice) -> ClientWants {
    ClientWants {
        structured: choice == FramingChoice::Structured,
        extended: choice == FramingChoice::Extended,
        allocation: false,
    }
}

impl Plan {
    /// The run that `args` ask for on `export`.
    ///
    /// # Errors
    /// If the export does not have room for it or does not offer it; says what to change.
    pub(super) fn new(
        args: &BenchArgs,
        export: &ClientExport,
        seed: u64,
    ) -> Result<Self, OpenError> {
        check_offer(args, export)?;
        check_block(args, export)?;
        let range_bytes = range_bytes(args, export)?;
        let window = Duration::from_secs_f64(args.seconds);
        let plan = Self {
            op: args.op,
            pattern: args.pattern,
            depth: usize::try_from(args.depth).expect("bounded by the arguments"),
            connections: args.connections,
            block_bytes: usize::try_from(args.block).expect("checked above"),
            range_offset: args.offset,
            block_count: range_bytes / args.block,
            framing: export.framing,
            data: args.data,
            dedup_percent: args.dedup,
            verify: args.verify,
            seed,
            warm_up: (window / 5).min(Duration::from_secs(1)),
            window,
        };
        if plan.verify {
            plan.check_verify()?;
        }
        Ok(plan)
    }

    /// A block's length as a number of the protocol.
    pub(super) const fn block_length(&self) -> u64 {
        self.block_bytes as u64
    }

    /// Where a block begins on the export, in bytes.
    pub(super) const fn offset_of(&self, block: u64) -> u64 {
        self.range_offset + block * self.block_length()
    }

    fn check_verify(&self) -> Result<(), OpenError> {
        let fail = |why: String, remedy| Err(OpenError::new("--verify", why, remedy));
        if matches!(self.op, Op::Trim | Op::Flush) {
            let why = format!("there is nothing to compare after {}", self.op.name());
            return fail(why, "verify read, write, write-flush or write-zeroes");
        }
        if self.data == DataKind::Zero {
            let why = "zeroes are the same everywhere".to_owned();
            return fail(why, "leave out --data zero");
        }
        if self.block_count > VERIFIED_BLOCKS_MAX {
            let why = format!("the range has {} blocks", self.block_count);
            return fail(why, "give a smaller --size");
        }
        let at_once = u64::try_from(self.depth).unwrap_or(u64::MAX) * self.connections;
        if self.block_count < at_once {
            let why = format!(
                "{} blocks are too few for {at_once} requests at once that may not overlap",
                self.block_count
            );
            return fail(why, "lower --depth or give a larger --size");
        }
        if at_once * self.block_length() > VERIFIED_BYTES_MAX {
            let why = format!(
                "{at_once} requests of {} take more than {} of memory",
                size::format(self.block_length()),
                size::format(VERIFIED_BYTES_MAX)
            );
            return fail(why, "lower --depth, --connections or --block");
        }
        Ok(())
    }
}

/// Whether the export offers what is asked for.
fn check_offer(args: &BenchArgs, export: &ClientExport) -> Result<(), OpenError> {
    let agreed = match args.framing {
        FramingChoice::Simple => Framing::Simple,
        FramingChoice::Structured => Framing::Structured,
        FramingChoice::Extended => Framing::Extended,
    };
    if agreed != export.framing {
        let what = format!("--framing {:?}", args.framing).to_lowercase();
        let why = "the server does not offer it";
        return Err(OpenError::new(what, why, "use --framing simple"));
    }
    let what = args.uri.to_string();
    let offers = |flag: u16| export.flags & flag != 0;
    if offers(transmission::READ_ONLY) && (args.op.changes_data() || args.verify) {
        let remedy = "use --op read without --verify, or an export that can be written";
        return Err(OpenError::new(what, "the export is read-only", remedy));
    }
    let needs = match args.op {
        Op::Read | Op::Write => transmission::HAS_FLAGS,
        Op::WriteFlush | Op::Flush => transmission::SEND_FLUSH,
        Op::Trim => transmission::SEND_TRIM,
        Op::WriteZeroes => transmission::SEND_WRITE_ZEROES,
    };
    if !offers(needs) {
        let why = format!("the export does not offer {}", args.op.name());
        return Err(OpenError::new(what, why, "choose another --op"));
    }
    Ok(())
}

/// Whether the export takes requests of this size.
fn check_block(args: &BenchArgs, export: &ClientExport) -> Result<(), OpenError> {
    let fail = |why: &str, remedy| {
        let what = format!("--block {}", size::format(args.block));
        Err(OpenError::new(what, why, remedy))
    };
    if args.block == 0 {
        return fail("a request has at least one byte", "use 4k");
    }
    if args.block > PAYLOAD_BYTES_MAX as u64 {
        return fail("a request has 32M at most", "use a smaller --block");
    }
    if args.op.carries_data() && args.block > u64::from(export.block_max) {
        let why = format!(
            "the export takes {} at most",
            size::format(export.block_max.into())
        );
        return fail(&why, "use a smaller --block");
    }
    let min = u64::from(export.block_min.max(1));
    if !args.block.is_multiple_of(min) || !args.offset.is_multiple_of(min) {
        let why = format!("the export has blocks of {}", size::format(min));
        return fail(&why, "make --block and --offset multiples of that");
    }
    Ok(())
}

fn range_bytes(args: &BenchArgs, export: &ClientExport) -> Result<u64, OpenError> {
    let room = export.size.saturating_sub(args.offset);
    let bytes = args.size.unwrap_or(room);
    if bytes > room || room == 0 {
        let what = match args.size {
            Some(bytes) => format!("--size {}", size::format(bytes)),
            None => format!("--offset {}", size::format(args.offset)),
        };
        let why = format!("the export has {}", size::format(export.size));
        return Err(OpenError::new(what, why, "stay inside the export"));
    }
    if args.block > bytes {
        let what = format!("--block {}", size::format(args.block));
        let why = format!("the range has {} only", size::format(bytes));
        return Err(OpenError::new(
            what,
            why,
            "use a smaller --block or a larger --size",
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::args::tests::args;
    use super::*;

    /// An export of `bytes` that offers everything.
    pub(in super::super) fn export(bytes: u64) -> ClientExport {
        ClientExport {
            size: bytes,
            flags: !transmission::READ_ONLY,
            block_min: 1,
            block_preferred: 4096,
            block_max: 32 << 20,
            framing: Framing::Simple,
            allocation_id: None,
        }
    }

    /// The plan for `words` on an export of 1 MiB.
    pub(in super::super) fn plan(words: &str) -> Plan {
        Plan::new(&args(words).unwrap(), &export(1 << 20), 7).unwrap()
    }

    #[test]
    fn the_range_is_the_export_unless_said() {
        assert_eq!(plan("").block_count, 256);
        let part = plan("--offset 4k --size 10000");
        assert_eq!((part.block_count, part.offset_of(1)), (2, 8192));
        assert_eq!(plan("--seconds 2").warm_up, Duration::from_millis(400));
    }

    #[test]
    fn what_an_export_cannot_do_is_refused_with_a_remedy() {
        let whole = export(1 << 20);
        let read_only = ClientExport {
            flags: transmission::HAS_FLAGS | transmission::READ_ONLY,
            ..whole
        };
        let coarse = ClientExport {
            block_min: 4096,
            block_max: 64 << 10,
            ..whole
        };
        let cases = [
            (
                "--size 2M",
                whole,
                "--size 2M: the export has 1M; stay inside",
            ),
            ("--offset 1M", whole, "--offset 1M: the export has 1M; stay"),
            ("--block 2M", whole, "the range has 1M only; use a smaller"),
            ("--block 0", whole, "at least one byte"),
            ("--block 64M", whole, "32M at most"),
            ("--block 128k", coarse, "64K at most"),
            ("--block 512", coarse, "blocks of 4K"),
            ("--offset 512", coarse, "blocks of 4K"),
            ("--op write", read_only, "is read-only; use --op read"),
            ("--verify", read_only, "is read-only; use --op read"),
            ("--op flush", read_only, "does not offer flush; choose"),
            (
                "--framing extended",
                whole,
                "--framing extended: the server",
            ),
            ("--op trim --verify", whole, "nothing to compare after trim"),
            ("--data zero --verify", whole, "same everywhere"),
            ("--depth 257 --verify", whole, "too few for 257"),
        ];
        for (words, export, part) in cases {
            let why = Plan::new(&args(words).unwrap(), &export, 7)
                .unwrap_err()
                .to_string();
            assert!(why.contains(part), "{words}: {why}");
        }
    }
}
