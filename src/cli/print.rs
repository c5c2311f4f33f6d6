//! What is printed: tables and facts for people, JSON for programs.

use std::io::Write;
use std::time::Duration;

use serde::Serialize;

use crate::base::size;

/// Prints `text`, and the end of a line. Whoever reads may have seen enough: that is no failure.
pub(super) fn line(text: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Prints `facts` as JSON.
pub(super) fn json(facts: &impl Serialize) {
    line(&serde_json::to_string(facts).expect("facts have text for keys"));
}

/// `rows` below a `header`, in columns as wide as what is in them.
pub(super) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = header.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut lines = vec![aligned(header, widths)];
    for row in rows {
        lines.push(aligned(row.each_ref().map(String::as_str), widths));
    }
    lines.join("\n")
}

/// Facts about one thing, a line each.
pub(super) fn facts(facts: &[(&str, String)]) -> String {
    let widths = [facts.iter().map(|(key, _)| key.len()).max().unwrap_or(0), 0];
    let lines: Vec<String> = facts
        .iter()
        .map(|(key, value)| aligned([key, value], widths))
        .collect();
    lines.join("\n")
}

fn aligned<const N: usize>(cells: [&str; N], widths: [usize; N]) -> String {
    let padded = cells.iter().zip(widths);
    let text: Vec<String> = padded
        .map(|(cell, width)| format!("{cell:width$}"))
        .collect();
    text.join("  ").trim_end().to_owned()
}

/// `bytes` as briefly as people want it: exact where that is short, else with a digit behind the
/// point.
pub(super) fn brief(bytes: u64) -> String {
    let exact = size::format(bytes);
    if exact.len() <= 5 {
        return exact;
    }
    let units = [('P', 50), ('T', 40), ('G', 30), ('M', 20), ('K', 10)];
    let fits = units.iter().find(|(_, shift)| bytes >> shift > 0);
    let (unit, shift) = fits.copied().unwrap_or(('K', 10));
    let tenths = (u128::from(bytes) * 10) >> shift;
    format!("{}.{}{unit}", tenths / 10, tenths % 10)
}

/// A time as briefly as people want it.
pub(super) fn time(time: Option<Duration>) -> String {
    let Some(time) = time else {
        return "-".to_owned();
    };
    let nanos = time.as_nanos();
    let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")];
    let fits = units.iter().find(|(size, _)| nanos >= *size);
    match fits {
        None => format!("{nanos} ns"),
        // One digit behind the point, where there is only one before it.
        Some((size, unit)) if nanos < 10 * size => {
            let tenths = nanos * 10 / size;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        Some((size, unit)) => format!("{} {unit}", nanos / size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let rows = [
            ["main/vm1", "10G", "-"].map(str::to_owned),
            ["a", "1P", "x"].map(str::to_owned),
        ];
        let expected = "NAME      SIZE  ORIGIN\nmain/vm1  10G   -\na         1P    x";
        assert_eq!(table(["NAME", "SIZE", "ORIGIN"], &rows), expected);
        assert_eq!(table(["A"], &[]), "A");
    }

    #[test]
    fn facts_stand_in_two_columns() {
        let list = [("size", "1G".to_owned()), ("created", "now".to_owned())];
        assert_eq!(facts(&list), "size     1G\ncreated  now");
    }

    #[test]
    fn times_are_brief() {
        for (nanos, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_500, "1.5 us"),
            (16_384, "16 us"),
            (1_048_576, "1.0 ms"),
            (17_179_869_184, "17 s"),
        ] {
            assert_eq!(time(Some(Duration::from_nanos(nanos))), text);
        }
        assert_eq!(time(None), "-");
    }

    #[test]
    fn sizes_are_brief() {
        for (bytes, text) in [
            (0, "0"),
            (10 << 30, "10G"),
            (4096, "4K"),
            ((10 << 30) + 1, "10.0G"),
            ((3 << 40) / 2, "1536G"),
            ((1 << 40) + (1 << 30) * 600, "1624G"),
            ((1 << 30) * 12_345, "12.0T"),
            (u64::MAX, "16383.9P"),
        ] {
            assert_eq!(brief(bytes), text, "{bytes}");
        }
    }
}
