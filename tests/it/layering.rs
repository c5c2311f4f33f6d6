//! The house has floors, and dependencies point down.
//!
//! `src/lib.rs` lists the modules from the ground up, one floor per group of lines. A module may
//! name only modules of lower floors, so siblings do not know each other either. Rust itself
//! allows cycles between the modules of one crate; this test is what forbids them. It reads
//! `crate::` paths, so it also closes the ways around them. `src/main.rs` is above all floors.

use crate::source::{Source, identifier, read, rust_files, words};

#[test]
fn modules_name_only_lower_floors() {
    let lib = read("src/lib.rs");
    let floors = floors(&lib);
    let top = floors.iter().map(|(floor, _)| *floor).max();
    assert!(top > Some(0), "src/lib.rs lists one floor only: {floors:?}");
    let mut upward = Vec::new();
    for (_, module) in &floors {
        let mut sources = rust_files(&format!("src/{module}"));
        sources.extend(rust_files(&format!("src/{module}.rs")));
        assert!(!sources.is_empty(), "{module} has no source file");
        upward.extend(
            sources
                .iter()
                .flat_map(|source| climbs(&floors, module, source)),
        );
    }
    assert!(
        upward.is_empty(),
        "dependencies must point down:\n{}",
        upward.join("\n")
    );
}

/// Each module that `lib` declares with the number of its floor. Blank lines part the floors:
/// rustfmt sorts the lines within a group, never across.
fn floors(lib: &str) -> Vec<(usize, &str)> {
    let mut found: Vec<(usize, &str)> = Vec::new();
    let mut floor = 0;
    let mut floor_is_empty = true;
    for line in lib.lines() {
        if line.trim().is_empty() && !floor_is_empty {
            (floor, floor_is_empty) = (floor + 1, true);
        }
        let declaration = line.strip_prefix("pub ").unwrap_or(line);
        let name = declaration
            .strip_prefix("mod ")
            .and_then(|rest| rest.strip_suffix(';'));
        if let Some(name) = name {
            found.push((floor, name));
            floor_is_empty = false;
        }
    }
    found
}

/// What `source`, a file of `module`, names that is not on a lower floor.
fn climbs(floors: &[(usize, &str)], module: &str, source: &Source) -> Vec<String> {
    let floor_of = |name: &str| {
        floors
            .iter()
            .find(|(_, m)| *m == name)
            .map(|(floor, _)| *floor)
    };
    let own = floor_of(module);
    let mut found = Vec::new();
    for at in words(&source.code, "crate") {
        let Some(path) = source.code[at..].strip_prefix("crate::") else {
            continue;
        };
        let other = identifier(path);
        if other == module || floor_of(other).is_some_and(|floor| Some(floor) < own) {
            continue;
        }
        let why = match floor_of(other) {
            Some(_) => format!("{module} names {other}"),
            None => "a path of the crate begins with a floor".to_owned(),
        };
        found.push(format!("{}:{}: {why}", source.path, source.line_of(at)));
    }
    for at in ways_around(source) {
        let why = "say it as a path from `crate::`, which this test reads";
        found.push(format!("{}:{}: {why}", source.path, source.line_of(at)));
    }
    found
}

/// Where `source` reaches the crate's root without saying so: by as many steps up as the file is
/// deep, or by another name for the crate.
fn ways_around(source: &Source) -> Vec<usize> {
    let code = &source.code;
    let tests = source.test_modules();
    let mut found = words(code, "extern crate self");
    found.extend(words(code, "crate as"));
    for at in words(code, "super") {
        let deeper = tests.iter().filter(|range| range.contains(&at)).count();
        let path: String = code[at..]
            .chars()
            .take_while(|c| !c.is_whitespace())
            .collect();
        if path.split("::").take_while(|part| *part == "super").count() >= depth(source) + deeper {
            found.push(at);
        }
    }
    found
}

/// How many modules one is inside of at the top of the file.
fn depth(source: &Source) -> usize {
    let path = source
        .path
        .trim_start_matches("src/")
        .trim_end_matches(".rs");
    path.split('/').filter(|part| *part != "mod").count()
}

#[cfg(test)]
mod tests {
    use super::{climbs, floors};
    use crate::source::Source;

    const LIB: &str = "#![doc = \"\"]\n\npub mod base;\n\npub mod a;\nmod b;\n\npub mod top;\n";

    fn check(path: &str, text: &str, count: usize) {
        let module = path.split(['/', '.']).nth(1).expect("a path below src");
        let found = climbs(&floors(LIB), module, &Source::new(path, text));
        assert_eq!(found.len(), count, "{text}: {found:?}");
    }

    #[test]
    fn groups_of_lines_are_floors() {
        assert_eq!(floors(LIB), [(0, "base"), (1, "a"), (1, "b"), (2, "top")]);
    }

    #[test]
    fn down_is_allowed() {
        check("src/a/mod.rs", "use crate::base::Buf;", 0);
        check(
            "src/top/x.rs",
            "use crate::a; fn f() { crate::b::g(); super::h() }",
            0,
        );
        check("src/a/x.rs", "use crate::a::Y; pub(crate) fn f() {}", 0);
    }

    #[test]
    fn up_and_sideways_are_not() {
        check("src/base/mod.rs", "use crate::a::X;", 1);
        check("src/a.rs", "fn f() { crate::b::g() }", 1);
        check("src/a.rs", "use crate::{base, top};", 1);
        check("src/a.rs", "use crate::Reexported;", 1);
    }

    #[test]
    fn nor_are_the_ways_around() {
        check("src/a/x.rs", "use super::super::top;", 1);
        check("src/a/x.rs", "use super::y;", 0);
        check(
            "src/a/x.rs",
            "#[cfg(test)]\nmod tests { use super::super::y::Y; }",
            0,
        );
        check("src/a/x/y.rs", "use super::super::z::Z;", 0);
        check("src/a.rs", "fn f() { super::top::g() }", 1);
        check("src/a/mod.rs", "use super::top;", 1);
        check(
            "src/a/mod.rs",
            "#[cfg(test)]\nmod tests { use super::X; }",
            0,
        );
        check("src/a/mod.rs", "use crate as all;", 1);
    }

    #[test]
    fn words_in_comments_and_strings_are_free() {
        check(
            "src/base/mod.rs",
            "//! See [`crate::top`].\nconst S: &str = \"crate::top\";",
            0,
        );
        check("src/base/mod.rs", "use crate::basement;", 1);
    }
}
