//! `bedplate man`: manual pages, made of the definitions of commands and of the commented config
//! file, so that they cannot differ from what the program does.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::print;
use crate::base::OpenError;

/// The config file that the package installs: every key, and what it is for.
const CONFIG: &str = include_str!("../../scripts/packaging/bedplate.toml");

/// How the examples of a command begin.
const EXAMPLES: &str = "Examples:\n";

/// The date of a page: the same source gives the same page. An empty word would not be there.
const NO_DATE: &str = " ";

/// Write the manual pages of all commands, and of the config file, for whoever makes a package.
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// The folder to write them to.
    folder: PathBuf,
}

/// Writes the pages of `words`, all that this program knows, and prints how many there are.
///
/// # Errors
/// One line that says what could not be written.
pub(super) fn run(args: ManArgs, words: Command) -> Result<(), OpenError> {
    let mut words = words.disable_help_subcommand(true);
    words.build();
    let mut pages = vec![("bedplate.toml.5".to_owned(), config_page())];
    command_pages(&words, &mut pages);
    for (name, page) in &pages {
        write(&args.folder.join(name), page)?;
    }
    print::line(&format!("{} pages", pages.len()));
    Ok(())
}

fn write(path: &Path, page: &[u8]) -> Result<(), OpenError> {
    let remedy = "name a folder that is there";
    fs::write(path, page).map_err(|error| OpenError::new(path.display().to_string(), error, remedy))
}

fn command_pages(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) {
    for inner in command.get_subcommands().filter(|one| !one.is_hide_set()) {
        command_pages(inner, pages);
    }
    // Its examples are lines, not paragraphs to be filled, so they are set here.
    let behind = command.get_after_help().map(ToString::to_string);
    let man = Man::new(command.clone().after_help(None::<&'static str>))
        .date(NO_DATE)
        .source(source())
        .manual("Bedplate");
    let mut page = Vec::new();
    man.render(&mut page).expect("memory takes all");
    let mut roff = Roff::new();
    if let Some(behind) = behind {
        let (heading, text) = match behind.strip_prefix(EXAMPLES) {
            Some(text) => ("EXAMPLES", text),
            None => ("NOTES", &*behind),
        };
        roff.control("SH", [heading]);
        set(&mut roff, text.lines());
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman("bedplate(1), bedplate.toml(5)")]);
    roff.to_writer(&mut page).expect("memory takes all");
    pages.push((man.get_filename(), page));
}

fn config_page() -> Vec<u8> {
    let mut roff = Roff::new();
    roff.control("TH", ["bedplate.toml", "5", NO_DATE, &source(), "Bedplate"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman("bedplate.toml - what the Bedplate server serves")]);
    roff.control("SH", ["DESCRIPTION"]);
    set(&mut roff, config_lines(CONFIG));
    roff.control("SH", ["FILES"]);
    roff.text([roman(
        "/etc/bedplate/bedplate.toml, where the service looks",
    )]);
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman("bedplate-serve(1), bedplate(1)")]);
    let mut page = Vec::new();
    roff.to_writer(&mut page).expect("memory takes all");
    page
}

/// The lines of a commented config file as [`set`] wants them: what is said as it is, what is to be
/// typed indented.
fn config_lines(config: &'static str) -> impl Iterator<Item = String> {
    config
        .lines()
        .map(|line| match line.strip_prefix('#').unwrap_or(line) {
            "" => String::new(),
            said if said.starts_with(' ') => said[1..].to_owned(),
            typed => format!("  {typed}"),
        })
}

/// Sets `lines`: those that are indented as they are, all others as paragraphs.
fn set(roff: &mut Roff, lines: impl IntoIterator<Item = impl AsRef<str>>) {
    let mut is_literal = false;
    for line in lines {
        let line = line.as_ref();
        if line.is_empty() {
            roff.control(if is_literal { "sp" } else { "PP" }, []);
            continue;
        }
        let typed = line.strip_prefix("  ");
        match (is_literal, typed.is_some()) {
            (false, true) => roff.control("RS", ["4"]).control("nf", []),
            (true, false) => roff.control("fi", []).control("RE", []),
            _ => roff,
        };
        is_literal = typed.is_some();
        roff.text([roman(typed.unwrap_or(line))]);
    }
    if is_literal {
        roff.control("fi", []).control("RE", []);
    }
}

fn source() -> String {
    format!("Bedplate {}", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(lines: &[&str]) -> String {
        let mut roff = Roff::new();
        set(&mut roff, lines);
        roff.to_roff()
    }

    #[test]
    fn what_is_indented_stays_as_it_is() {
        let text = text_of(&["one", "two", "  bedplate x", "    y", "", "  z", "three"]);
        let wanted = "one\ntwo\n.RS 4\n.nf\nbedplate x\n  y\n.sp\nz\n.fi\n.RE\nthree\n";
        assert_eq!(text, wanted);
    }

    #[test]
    fn a_page_that_ends_with_an_example_ends_it() {
        assert!(text_of(&["  bedplate x"]).ends_with(".fi\n.RE\n"));
    }

    #[test]
    fn a_config_file_is_words_and_lines() {
        let lines: Vec<String> = config_lines("# Why.\n#   how\n#\n#a = 1\n\nb = 2").collect();
        assert_eq!(lines, ["Why.", "  how", "", "  a = 1", "", "  b = 2"]);
    }
}
