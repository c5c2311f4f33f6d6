//! Metrics as text, in version 0.0.4 of the Prometheus exposition format.

use std::fmt::{Display, Write};

/// Metrics, family after family.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
    family: &'static str,
}

/// What kind of number a family has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// It only grows, until the server ends.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How many took how long.
    Histogram,
}

/// A label and its value.
pub(super) type Label<'a> = (&'a str, &'a str);

impl Exposition {
    /// Begins the family `name`; what follows belongs to it.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        self.family = name;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// Adds a number to the family.
    pub(super) fn sample(&mut self, labels: &[Label<'_>], value: impl Display) {
        self.sample_of("", labels, value);
    }

    /// Adds a number under the family's name and `suffix`.
    pub(super) fn sample_of(&mut self, suffix: &str, labels: &[Label<'_>], value: impl Display) {
        let family = self.family;
        self.write(format_args!("{family}{suffix}"));
        let mut before = '{';
        for (label, value) in labels {
            self.write(format_args!("{before}{label}=\""));
            self.escape(value);
            self.text.push('"');
            before = ',';
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        self.write(format_args!(" {value}\n"));
    }

    /// All of it.
    pub(super) fn finish(self) -> String {
        self.text
    }

    /// Names come from people, who may have put anything into them.
    fn escape(&mut self, value: &str) {
        for c in value.chars() {
            match c {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                c => self.text.push(c),
            }
        }
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("a string takes all");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_written_as_the_format_says() {
        let mut all = Exposition::default();
        all.family("a_total", Kind::Counter, "How many.");
        all.sample(&[], 7);
        all.sample(&[("volume", "a\"b\\c\nd"), ("op", "read")], 8);
        all.family("b", Kind::Histogram, "How long.");
        all.sample_of("_bucket", &[("le", "+Inf")], 0.5);
        assert_eq!(
            all.finish(),
            "# HELP a_total How many.\n# TYPE a_total counter\na_total 7\n\
             a_total{volume=\"a\\\"b\\\\c\\nd\",op=\"read\"} 8\n\
             # HELP b How long.\n# TYPE b histogram\nb_bucket{le=\"+Inf\"} 0.5\n"
        );
    }
}
