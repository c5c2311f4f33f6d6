//! Facts and tables, as a person reads them and as a program does.

use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};

/// What was asked for, in sections.
#[derive(Clone, Debug, Default)]
pub struct Inspection(Vec<Section>);

/// Some facts, or a table.
#[derive(Clone, Debug)]
pub struct Section {
    name: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    /// Whether there is one row, shown one fact a line.
    is_facts: bool,
}

/// One fact.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    /// It does not apply.
    Nothing,
    /// Yes or no.
    Flag(bool),
    /// A number.
    Number(u64),
    /// Anything else.
    Text(String),
}

/// A number.
pub(super) fn number(number: u64) -> Cell {
    Cell::Number(number)
}

/// What it looks like.
pub(super) fn text(text: impl fmt::Display) -> Cell {
    Cell::Text(text.to_string())
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> Cell {
    Cell::Text(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Inspection {
    /// One section.
    pub(super) fn of(section: Section) -> Self {
        Self(vec![section])
    }

    /// Adds a section behind the others.
    pub(super) fn add(&mut self, section: Section) {
        self.0.push(section);
    }
}

impl Section {
    /// Facts, none yet.
    pub(super) fn facts(name: &'static str) -> Self {
        Self {
            name,
            columns: Vec::new(),
            rows: vec![Vec::new()],
            is_facts: true,
        }
    }

    /// A table without rows.
    pub(super) fn table(name: &'static str, columns: &[&'static str]) -> Self {
        Self {
            name,
            columns: columns.to_vec(),
            rows: Vec::new(),
            is_facts: false,
        }
    }

    /// A single fact: what is wrong with the thing that is not shown.
    pub(super) fn note(name: &'static str, why: &dyn fmt::Display) -> Self {
        let mut section = Self::facts(name);
        section.fact("state", text(why));
        section
    }

    /// Adds a fact.
    pub(super) fn fact(&mut self, name: &'static str, value: Cell) {
        self.columns.push(name);
        self.rows[0].push(value);
    }

    /// Adds a row to a table.
    pub(super) fn row(&mut self, row: Vec<Cell>) {
        assert_eq!(row.len(), self.columns.len(), "a cell for each column");
        self.rows.push(row);
    }

    fn write_facts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.columns.iter().map(|name| name.len()).max();
        let width = width.unwrap_or(0);
        writeln!(f, "{}", self.name)?;
        for (name, value) in self.columns.iter().zip(&self.rows[0]) {
            writeln!(f, "  {name:width$}  {value}")?;
        }
        Ok(())
    }

    fn write_table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(ToString::to_string).collect())
            .collect();
        let widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let cells = shown.iter().map(|row| row[index].chars().count());
                cells.chain([name.len()]).max().unwrap_or(0)
            })
            .collect();
        writeln!(f, "{} ({})", self.name, self.rows.len())?;
        let names = self.columns.iter().map(|name| (*name).to_owned()).collect();
        for row in [&names].into_iter().chain(&shown) {
            let cells = row.iter().zip(&widths);
            let line: String = cells
                .map(|(cell, width)| format!("  {cell:width$}"))
                .collect();
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, section) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            match section.is_facts {
                true => section.write_facts(f)?,
                false => section.write_table(f)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.pad("-"),
            Self::Flag(true) => f.pad("yes"),
            Self::Flag(false) => f.pad("no"),
            Self::Number(number) => f.pad(&number.to_string()),
            Self::Text(text) => f.pad(text),
        }
    }
}

/// A list of sections, each an object: its name, and its rows, each an object.
impl Serialize for Inspection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.0)
    }
}

impl Serialize for Section {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("section", self.name)?;
        let rows: Vec<Row<'_>> = self.rows.iter().map(|row| Row(self, row)).collect();
        map.serialize_entry("rows", &rows)?;
        map.end()
    }
}

/// A row with the section whose columns it has.
struct Row<'a>(&'a Section, &'a [Cell]);

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.columns.iter().zip(self.1))
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nothing => serializer.serialize_none(),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown() -> Inspection {
        let mut facts = Section::facts("root");
        facts.fact("next_tree", number(7));
        facts.fact("at", text("3+0x10"));
        facts.fact("full", Cell::Flag(true));
        let mut table = Section::table("trees", &["id", "name"]);
        table.row(vec![number(1), text("vm1")]);
        table.row(vec![number(12), Cell::Nothing]);
        let mut shown = Inspection::of(facts);
        shown.add(table);
        shown
    }

    #[test]
    fn a_person_reads_facts_by_line_and_tables_by_column() {
        let expected = "root\n  next_tree  7\n  at         3+0x10\n  full       yes\n\n\
            trees (2)\n  id  name\n  1   vm1\n  12  -\n";
        assert_eq!(shown().to_string(), expected);
    }

    #[test]
    fn a_program_reads_objects() {
        let json = serde_json::to_string(&shown()).expect("it has a form");
        let expected = r#"[{"section":"root","rows":[{"next_tree":7,"at":"3+0x10","full":true}]},"#
            .to_owned()
            + r#"{"section":"trees","rows":[{"id":1,"name":"vm1"},{"id":12,"name":null}]}]"#;
        assert_eq!(json, expected);
    }
}
