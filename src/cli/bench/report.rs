//! What a run found, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::args::BenchArgs;
use super::args::DataKind;
use super::args::FramingChoice;
use super::args::Op;
use super::args::Pattern;
use super::errno;
use super::leader::Outcome;
use crate::base::size;

/// The result of a run and all its settings. The names of the fields are those of the JSON object;
/// they are kept from one version to the next.
#[derive(Serialize, Debug)]
pub(super) struct Report {
    uri: String,
    op: Op,
    pattern: Pattern,
    depth: u64,
    connections: u64,
    threads: u64,
    block_bytes: u64,
    range_offset_bytes: u64,
    range_bytes: u64,
    export_bytes: u64,
    framing: FramingChoice,
    data: DataKind,
    dedup_percent: u8,
    verify: bool,
    seed: u64,
    pid: Option<u32>,
    seconds: f64,
    warm_up_seconds: f64,
    operations: u64,
    iops: f64,
    bytes_per_second: f64,
    latency_ns_mean: f64,
    latency_ns_p50: u64,
    latency_ns_p90: u64,
    latency_ns_p99: u64,
    latency_ns_p99_9: u64,
    latency_ns_max: u64,
    /// CPU time of this process, all threads.
    client_cpu_ns_per_op: Option<f64>,
    client_cpu_cores: f64,
    server_cpu_ns_per_op: Option<f64>,
    server_cpu_cores: Option<f64>,
    errors: u64,
    errors_by_kind: BTreeMap<String, u64>,
}

impl Report {
    pub(super) fn new(args: &BenchArgs, outcome: &Outcome) -> Self {
        let (plan, tally) = (&outcome.plan, &outcome.tally);
        let seconds = plan.window.as_secs_f64();
        let operations = tally.operations();
        let per_second = |count: u64| count as f64 / seconds;
        let moves_bytes = plan.op != Op::Flush;
        let bytes_per_op = if moves_bytes { plan.block_length() } else { 0 };
        // With no operations, no time was spent on each.
        let per_op =
            |cpu: Duration| (operations > 0).then(|| cpu.as_secs_f64() * 1e9 / operations as f64);
        let cores = |cpu: Duration| cpu.as_secs_f64() / seconds;
        let errors = tally.errors().iter();
        Self {
            uri: args.uri.to_string(),
            op: plan.op,
            pattern: plan.pattern,
            depth: args.depth,
            connections: plan.connections,
            threads: args.threads.min(args.connections),
            block_bytes: plan.block_length(),
            range_offset_bytes: plan.range_offset,
            range_bytes: plan.block_count * plan.block_length(),
            export_bytes: outcome.export.size,
            framing: args.framing,
            data: plan.data,
            dedup_percent: plan.dedup_percent,
            verify: plan.verify,
            seed: plan.seed,
            pid: args.pid,
            seconds,
            warm_up_seconds: plan.warm_up.as_secs_f64(),
            operations,
            iops: per_second(operations),
            bytes_per_second: per_second(operations) * bytes_per_op as f64,
            latency_ns_mean: tally.latency_ns_mean(),
            latency_ns_p50: tally.latency_ns_at(0.5),
            latency_ns_p90: tally.latency_ns_at(0.9),
            latency_ns_p99: tally.latency_ns_at(0.99),
            latency_ns_p99_9: tally.latency_ns_at(0.999),
            latency_ns_max: tally.latency_ns_at(1.0),
            client_cpu_ns_per_op: per_op(outcome.client_cpu),
            client_cpu_cores: cores(outcome.client_cpu),
            server_cpu_ns_per_op: outcome.server_cpu.and_then(per_op),
            server_cpu_cores: outcome.server_cpu.map(cores),
            errors: tally.errors().values().sum(),
            errors_by_kind: errors
                .map(|(number, count)| (errno::name(*number), *count))
                .collect(),
        }
    }

    /// One JSON object on one line.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers and words have a JSON form")
    }

    /// What was done, in a line.
    fn write_settings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pattern = match self.pattern {
            Pattern::Random => "random",
            Pattern::Sequential => "sequential",
        };
        let block = size::format(self.block_bytes);
        match self.op {
            Op::Flush => write!(f, "flush")?,
            op => write!(f, "{pattern} {} {block}", op.name())?,
        }
        write!(f, ", depth {}", self.depth)?;
        match self.connections {
            1 => write!(f, ", 1 connection")?,
            many => write!(f, ", {many} connections on {} threads", self.threads)?,
        }
        write!(f, ", {} s", self.seconds)?;
        match (self.op.changes_data(), self.data) {
            (false, _) | (true, DataKind::Random) => {}
            (true, DataKind::Zero) => write!(f, ", zeroes")?,
            (true, DataKind::Compressible) => write!(f, ", compressible")?,
        }
        if self.dedup_percent > 0 && self.op.changes_data() {
            write!(f, ", {} % duplicates", self.dedup_percent)?;
        }
        match self.framing {
            FramingChoice::Simple => Ok(()),
            FramingChoice::Structured => write!(f, ", structured replies"),
            FramingChoice::Extended => write!(f, ", extended headers"),
        }
    }

    fn write_cpu(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |who: &str, ns_per_op: Option<f64>, cores: f64| {
            let time = ns_per_op.map_or_else(|| "-".to_owned(), duration);
            writeln!(f, "  {who:<12} {time:>12} CPU per op   {cores:.2} cores")
        };
        if let Some(cores) = self.server_cpu_cores {
            line("server", self.server_cpu_ns_per_op, cores)?;
        }
        line("client", self.client_cpu_ns_per_op, self.client_cpu_cores)
    }

    /// What makes the figures doubtful.
    fn write_doubts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A client that waits for a moment only, waits awake, so this cannot tell the two apart.
        let busy = self.client_cpu_cores > 0.9 * self.threads as f64;
        let server_is_busier = self.server_cpu_cores.is_some_and(|cores| cores >= 0.9);
        if busy && !server_is_busier && self.depth > 1 {
            write!(
                f,
                "\n  note: the client was busy or on the look-out all the time; if more "
            )?;
            write!(
                f,
                "--threads and\n  --connections give more, this is its limit and not the server's"
            )?;
        }
        if self.operations == 0 {
            write!(
                f,
                "\n  note: nothing succeeded in the window; try more --seconds"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.uri)?;
        self.write_settings(f)?;
        writeln!(f, "\n")?;
        writeln!(f, "  {:<12} {:>12}", self.rate_name(), grouped(self.iops))?;
        if self.op != Op::Flush {
            let megabytes = self.bytes_per_second / 1e6;
            writeln!(f, "  {:<12} {:>12}", "MB/s", grouped(megabytes))?;
        }
        for (name, nanos) in [
            ("latency p50", self.latency_ns_p50),
            ("p90", self.latency_ns_p90),
            ("p99", self.latency_ns_p99),
            ("p99.9", self.latency_ns_p99_9),
            ("max", self.latency_ns_max),
        ] {
            writeln!(f, "  {name:>12} {:>12}", duration(nanos as f64))?;
        }
        self.write_cpu(f)?;
        write!(f, "  {:<12} {:>12}", "errors", self.errors)?;
        for (kind, count) in &self.errors_by_kind {
            write!(f, "   {kind} {count}")?;
        }
        if self.verify {
            write!(f, "\n  {:<12} {:>12}", "verified", "all equal")?;
        }
        self.write_doubts(f)
    }
}

impl Report {
    fn rate_name(&self) -> &'static str {
        match self.op {
            Op::WriteFlush => "pairs/s",
            _ => "IOPS",
        }
    }
}

/// A number with its thousands apart; small ones with a decimal.
fn grouped(number: f64) -> String {
    let text = match number < 100.0 {
        true => return format!("{number:.1}"),
        false => format!("{number:.0}"),
    };
    let mut apart = String::new();
    for (index, digit) in text.chars().enumerate() {
        if index > 0 && (text.len() - index).is_multiple_of(3) {
            apart.push(',');
        }
        apart.push(digit);
    }
    apart
}

/// Nanoseconds in a unit that suits them.
fn duration(nanos: f64) -> String {
    match nanos {
        ..1e3 => format!("{nanos:.0} ns"),
        ..1e5 => format!("{:.2} us", nanos / 1e3),
        ..1e6 => format!("{:.0} us", nanos / 1e3),
        ..1e9 => format!("{:.2} ms", nanos / 1e6),
        _ => format!("{:.2} s", nanos / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!(grouped(1_234_567.4), "1,234,567");
        assert_eq!(
            (grouped(123.0), grouped(12.34)),
            ("123".to_owned(), "12.3".to_owned())
        );
        for (nanos, text) in [
            (414.0, "414 ns"),
            (3_190.0, "3.19 us"),
            (118_000.0, "118 us"),
            (1_200_000.0, "1.20 ms"),
            (2.5e9, "2.50 s"),
        ] {
            assert_eq!(duration(nanos), text);
        }
    }
}
