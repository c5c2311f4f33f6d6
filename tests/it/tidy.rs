//! Rules about the project's text that a compiler does not check.
//!
//! Each rule is a function from text to complaints, so that the tests at the end can show each of
//! them failing. Exceptions are written down here, with today's number, and may only shrink: an
//! exception that is larger than the truth is a complaint too.

use std::process::Command;

use crate::source::{Source, files, identifier, read, root, rust_files, words};

/// The longest line, in characters; what rustfmt keeps code to, and this test the rest.
const COLUMNS_MAX: usize = 100;

/// The longest function body, in lines: what one screen shows.
const BODY_LINES_MAX: usize = 70;

/// The longest file below `src/` and `benches/`, in lines outside its test modules.
const FILE_LINES_MAX: usize = 500;

/// Functions that are longer: path, name, lines of the body.
const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[];

/// Files that are longer: path, lines outside the test modules.
const LONG_FILES: &[(&str, usize)] = &[];

/// Words that must not stand in code, and what to write instead.
const BANNED: &[(&str, &str)] = &[
    ("dbg!(", "trace with the tracing crate, or nothing"),
    ("todo!(", "finish it, or return an error"),
    ("unimplemented!(", "finish it, or return an error"),
    (
        "use crate::{",
        "one module per line, so that the layering test can read it",
    ),
    ("#[path", "put the file where its module name says"),
];

/// Words that must not stand in comments either, and what to write instead.
const BANNED_ANYWHERE: &[(&str, &str)] = &[
    (
        "FIXME",
        "fix it, or say in a sentence what is not done and why",
    ),
    (
        "XXX",
        "fix it, or say in a sentence what is not done and why",
    ),
];

/// What only `src/env/` may do below `src/`, so that a simulation can own time and threads.
const ENV_ONLY: &[(&str, &str)] = &[
    ("Instant::now", "ask env for the time"),
    ("SystemTime::now", "ask env for the time"),
    ("thread::sleep", "await a timer of env"),
    ("thread::spawn", "let env start threads"),
    ("thread::scope", "let env start threads"),
    ("thread::Builder", "let env start threads"),
];

#[test]
fn source_files_are_tidy() {
    let mut complaints = Vec::new();
    for source in all_rust() {
        complaints.extend(header(&source));
        complaints.extend(wide_lines(&source.path, &source.text));
        complaints.extend(banned(&source));
        complaints.extend(unsafe_without_reason(&source));
    }
    assert_none(&complaints);
}

#[test]
fn functions_and_files_are_short() {
    let sources = all_rust();
    let mut complaints = long_functions(&sources, LONG_FUNCTIONS);
    complaints.extend(long_files(&sources, LONG_FILES));
    assert_none(&complaints);
}

#[test]
fn no_file_is_dead() {
    let src = rust_files("src");
    let mut complaints = dead_files(&src, &["src/lib.rs", "src/main.rs"]);
    complaints.extend(dead_files(&rust_files("tests/it"), &["tests/it/main.rs"]));
    for path in files("src").iter().filter(|path| path.ends_with(".md")) {
        let name = path.rsplit('/').next().expect("a path has a last part");
        let used = src
            .iter()
            .any(|s| s.text.contains(&format!("include_str!(\"{name}\")")));
        if !used {
            complaints.push(format!("{path}: no module has it as its documentation"));
        }
    }
    for path in files("fuzz/fuzz_targets") {
        let target = path.trim_start_matches("fuzz/");
        if !read("fuzz/Cargo.toml").contains(&format!("\"{target}\"")) {
            complaints.push(format!("{path}: no [[bin]] of fuzz/Cargo.toml names it"));
        }
    }
    assert_none(&complaints);
}

#[test]
fn scripts_stop_at_the_first_error() {
    let mut complaints = Vec::new();
    for folder in [
        "scripts",
        ".ci",
        "tests/clients",
        "tests/package",
        "tests/vm",
    ] {
        // What a package contains is Debian's to judge.
        let is_ours = |path: &String| !path.starts_with("scripts/packaging/");
        for path in files(folder).into_iter().filter(is_ours) {
            let text = read(&path);
            complaints.extend(wide_lines(&path, &text));
            complaints.extend(script_head(&path, &text));
            if is_shell(&path, &text) {
                complaints.extend(shell_syntax(&path));
            }
        }
    }
    assert_none(&complaints);
}

#[test]
fn fio_jobs_say_what_they_show() {
    let jobs = files("fio")
        .into_iter()
        .filter(|path| path.ends_with(".fio"));
    let complaints: Vec<String> = jobs
        .flat_map(|path| fio_head(&path, &read(&path)))
        .collect();
    assert_none(&complaints);
}

fn all_rust() -> Vec<Source> {
    ["src", "tests", "benches", "fuzz/fuzz_targets"]
        .into_iter()
        .flat_map(rust_files)
        .collect()
}

fn assert_none(complaints: &[String]) {
    assert!(
        complaints.is_empty(),
        "{} complaints:\n{}",
        complaints.len(),
        complaints.join("\n")
    );
}

/// A file says in its first line what its job is. The root of the library says it in a document.
fn header(source: &Source) -> Option<String> {
    let first = source.text.lines().next().unwrap_or("");
    let says = first
        .strip_prefix("//! ")
        .is_some_and(|job| !job.trim().is_empty());
    let includes = first.starts_with("#![doc = include_str!(");
    (!says && !includes).then(|| format!("{}:1: begin with `//!` and the file's job", source.path))
}

fn wide_lines(path: &str, text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.chars().count()).enumerate();
    let wide = lines.filter(|(_, columns)| *columns > COLUMNS_MAX);
    wide.map(|(index, columns)| format!("{path}:{}: {columns} columns", index + 1))
        .collect()
}

fn banned(source: &Source) -> Vec<String> {
    let mut hits = Vec::new();
    let mut find = |view: &str, list: &[(&str, &str)]| {
        for (word, instead) in list {
            for (at, _) in view.match_indices(word) {
                hits.push((at, format!("`{word}`: {instead}")));
            }
        }
    };
    find(&source.code, BANNED);
    find(&source.prose, BANNED_ANYWHERE);
    if source.path.starts_with("src/") && !source.path.starts_with("src/env/") {
        find(&source.code, ENV_ONLY);
    }
    let tests = source.test_modules();
    for (at, _) in source.code.match_indices("use super::*") {
        if !tests.iter().any(|range| range.contains(&at)) {
            hits.push((at, "`use super::*`: name what is used".to_owned()));
        }
    }
    let complaint = |(at, why)| format!("{}:{}: {why}", source.path, source.line_of(at));
    hits.into_iter().map(complaint).collect()
}

/// An unsafe block or implementation has its reason above the statement that it is part of.
fn unsafe_without_reason(source: &Source) -> Vec<String> {
    let text: Vec<&str> = source.text.lines().collect();
    let code: Vec<&str> = source.code.lines().collect();
    let mut found = Vec::new();
    for at in words(&source.code, "unsafe") {
        let next = source.code[at + "unsafe".len()..].trim_start();
        if !next.starts_with('{') && !next.starts_with("impl") {
            continue;
        }
        let line = source.line_of(at);
        let ends_statement = |line: &&str| line.trim_end().ends_with([';', '{', '}']);
        let above = code[..line - 1]
            .iter()
            .rposition(ends_statement)
            .map_or(0, |index| index + 1);
        if !text[above..line]
            .iter()
            .any(|line| line.contains("// SAFETY: "))
        {
            found.push(format!(
                "{}:{line}: `unsafe` without a `// SAFETY: `",
                source.path
            ));
        }
    }
    found
}

fn long_functions(sources: &[Source], exceptions: &[(&str, &str, usize)]) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen = Vec::new();
    for source in sources {
        for function in source.functions() {
            let (path, name, lines) = (&source.path, &function.name, function.body_lines);
            if lines <= BODY_LINES_MAX {
                continue;
            }
            let exception = (path.as_str(), name.as_str(), lines);
            if exceptions.contains(&exception) {
                seen.push(format!("{exception:?}"));
            } else {
                found.push(format!(
                    "{path}:{}: {name} has {lines} lines",
                    function.line
                ));
            }
        }
    }
    found.extend(stale(exceptions, &seen));
    found
}

fn long_files(sources: &[Source], exceptions: &[(&str, usize)]) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen = Vec::new();
    for source in sources {
        let lines = source.lines_without_tests();
        let is_test = source.path.starts_with("tests/") || source.path.ends_with("/tests.rs");
        if is_test || lines <= FILE_LINES_MAX {
            continue;
        }
        let exception = (source.path.as_str(), lines);
        if exceptions.contains(&exception) {
            seen.push(format!("{exception:?}"));
        } else {
            found.push(format!("{}: {lines} lines that are not tests", source.path));
        }
    }
    found.extend(stale(exceptions, &seen));
    found
}

/// Exceptions that nothing needs any more, or not at the number that they give.
fn stale<T: std::fmt::Debug>(exceptions: &[T], seen: &[String]) -> Vec<String> {
    let all = exceptions.iter().map(|exception| format!("{exception:?}"));
    let unused = all.filter(|exception| !seen.contains(exception));
    unused
        .map(|exception| format!("{exception}: not so (any more), shrink the list"))
        .collect()
}

/// Files among `sources` that no `mod` line leads to from the `roots`.
fn dead_files(sources: &[Source], roots: &[&str]) -> Vec<String> {
    let mut alive: Vec<String> = roots.iter().map(|root| (*root).to_owned()).collect();
    let mut next = 0;
    while let Some(path) = alive.get(next).cloned() {
        next += 1;
        if let Some(source) = sources.iter().find(|source| source.path == path) {
            alive.extend(module_files(source));
        }
    }
    let dead = sources
        .iter()
        .filter(|source| !alive.contains(&source.path));
    dead.map(|source| format!("{}: no `mod` line leads here", source.path))
        .collect()
}

/// The files in which the modules that `source` declares may be.
fn module_files(source: &Source) -> Vec<String> {
    let (folder, file) = source
        .path
        .rsplit_once('/')
        .expect("a source is in a folder");
    let folder = match file {
        "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
        _ => source.path.trim_end_matches(".rs").to_owned(),
    };
    let mut found = Vec::new();
    for at in words(&source.code, "mod") {
        let rest = source.code[at + "mod".len()..].trim_start();
        let name = identifier(rest);
        if rest[name.len()..].trim_start().starts_with(';') {
            found.push(format!("{folder}/{name}.rs"));
            found.push(format!("{folder}/{name}/mod.rs"));
        }
    }
    found
}

fn is_shell(path: &str, text: &str) -> bool {
    path.ends_with(".sh")
        || text
            .lines()
            .next()
            .is_some_and(|first| first.ends_with("sh"))
}

fn script_head(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if is_shell(path, text) {
        if text.lines().next() != Some("#!/usr/bin/env bash") {
            found.push(format!("{path}:1: begin with `#!/usr/bin/env bash`"));
        }
        let first = text
            .lines()
            .find(|line| !line.is_empty() && !line.starts_with('#'));
        if first != Some("set -euo pipefail") {
            found.push(format!("{path}: the first command is `set -euo pipefail`"));
        }
    } else if !path.ends_with(".md") && !text.starts_with("#!") {
        found.push(format!("{path}:1: begin with `#!` and the interpreter"));
    }
    let second = text.lines().nth(1).unwrap_or("");
    if !second.starts_with("# ") && !second.starts_with("\"\"\"") {
        found.push(format!("{path}:2: say what it does"));
    }
    found
}

fn shell_syntax(path: &str) -> Option<String> {
    let bash = Command::new("bash")
        .arg("-n")
        .arg(root().join(path))
        .output()
        .expect("bash runs");
    let why = String::from_utf8_lossy(&bash.stderr);
    (!bash.status.success()).then(|| format!("{path}: bash -n says: {why}"))
}

fn fio_head(path: &str, text: &str) -> Vec<String> {
    let head: Vec<&str> = text
        .lines()
        .take_while(|line| line.starts_with('#'))
        .collect();
    let says = |what: &str| head.iter().any(|line| line.starts_with(what));
    let wanted = ["# Shows: ", "# Lies when: "]
        .into_iter()
        .filter(|what| !says(what));
    wanted
        .map(|what| format!("{path}: the head comment has no `{what}`"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("src/a/x.rs", text)
    }

    #[test]
    fn a_file_without_a_job_is_seen() {
        assert!(header(&source("//! One job.\n")).is_none());
        assert!(
            header(&Source::new(
                "src/lib.rs",
                "#![doc = include_str!(\"A.md\")]"
            ))
            .is_none()
        );
        assert!(header(&source("//!\n")).is_some());
        assert!(header(&source("use std::fmt;\n//! Late.\n")).is_some());
        assert!(header(&source("")).is_some());
    }

    #[test]
    fn wide_lines_are_counted_in_characters() {
        assert!(wide_lines("x", &"é".repeat(COLUMNS_MAX)).is_empty());
        assert_eq!(
            wide_lines("x", &format!("\n{}", "a".repeat(101))),
            ["x:2: 101 columns"]
        );
    }

    #[test]
    fn banned_words_are_seen_where_they_count() {
        let count = |text: &str| banned(&source(text)).len();
        assert_eq!(count("fn f() { dbg!(1); todo!() }"), 2);
        assert_eq!(count("use crate::{a, b};"), 1);
        assert_eq!(count("// FIXME"), 1);
        assert_eq!(count("const S: &str = \"FIXME dbg!(\"; // dbg!("), 0);
        assert_eq!(count("let now = std::time::Instant::now();"), 1);
        assert_eq!(
            banned(&Source::new("src/env/x.rs", "Instant::now()")).len(),
            0
        );
        assert_eq!(
            banned(&Source::new("tests/it/x.rs", "thread::spawn(f)")).len(),
            0
        );
        assert_eq!(count("use super::*;"), 1);
        assert_eq!(count("#[cfg(test)]\nmod tests { use super::*; }"), 0);
    }

    #[test]
    fn unsafe_without_a_reason_is_seen() {
        let count = |text: &str| unsafe_without_reason(&source(text)).len();
        assert_eq!(count("fn f() {\n    unsafe { g() }\n}"), 1);
        assert_eq!(count("// SAFETY: no.\nfn f() {\n    unsafe { g() }\n}"), 1);
        assert_eq!(
            count("fn f() {\n    // SAFETY: yes.\n    let x =\n        unsafe { g() };\n}"),
            0
        );
        assert_eq!(count("unsafe impl Send for X {}"), 1);
        assert_eq!(count("// SAFETY: yes.\nunsafe impl Send for X {}"), 0);
        assert_eq!(
            count("unsafe fn f() {}\nconst S: &str = \"unsafe { }\";"),
            0
        );
    }

    #[test]
    fn long_functions_are_seen_and_their_exceptions_shrink() {
        let long = [source(&format!(
            "fn f() {{\n{}}}\n",
            "1;\n".repeat(BODY_LINES_MAX + 1)
        ))];
        assert_eq!(long_functions(&long, &[]).len(), 1);
        assert_eq!(long_functions(&long, &[("src/a/x.rs", "f", 71)]).len(), 0);
        assert_eq!(long_functions(&long, &[("src/a/x.rs", "f", 72)]).len(), 2);
        let short = [source(&format!(
            "fn f() {{\n{}}}\n",
            "1;\n".repeat(BODY_LINES_MAX)
        ))];
        assert_eq!(long_functions(&short, &[]).len(), 0);
        assert_eq!(long_functions(&short, &[("src/a/x.rs", "f", 71)]).len(), 1);
    }

    #[test]
    fn long_files_are_seen_but_not_for_their_tests() {
        let body = "\n".repeat(FILE_LINES_MAX);
        let tests = "#[cfg(test)]\nmod tests {\n    fn f() {}\n}\n";
        assert_eq!(
            long_files(&[source(&format!("{body}{tests}"))], &[]).len(),
            0
        );
        assert_eq!(
            long_files(&[source(&format!("{body}\n{tests}"))], &[]).len(),
            1
        );
        assert_eq!(
            long_files(&[source(&format!("{body}\n"))], &[("src/a/x.rs", 501)]).len(),
            0
        );
        assert_eq!(long_files(&[], &[("src/a/x.rs", 501)]).len(), 1);
    }

    #[test]
    fn dead_files_are_seen() {
        let at = |path: &str, text: &str| Source::new(path, text);
        let mut tree = vec![
            at("src/lib.rs", "pub mod a;\nmod b;\n// mod dead;\n"),
            at("src/a/mod.rs", "mod x;\n"),
            at("src/a/x.rs", ""),
            at("src/b.rs", "mod y;\nmod inline { }\n"),
            at("src/b/y.rs", ""),
        ];
        assert_eq!(dead_files(&tree, &["src/lib.rs"]).len(), 0);
        tree.push(at("src/dead.rs", "mod y;"));
        tree.push(at("src/a/y.rs", ""));
        assert_eq!(dead_files(&tree, &["src/lib.rs"]).len(), 2);
    }

    #[test]
    fn careless_scripts_are_seen() {
        let good = "#!/usr/bin/env bash\n# Does it.\nset -euo pipefail\n";
        assert_eq!(script_head("scripts/x", good).len(), 0);
        assert_eq!(
            script_head("x.sh", "#!/bin/sh\n# Does it.\nset -euo pipefail\n").len(),
            1
        );
        assert_eq!(
            script_head("x.sh", "#!/usr/bin/env bash\n# Does it.\necho\n").len(),
            1
        );
        assert_eq!(
            script_head("x.py", "#!/usr/bin/python3\n# Does it.\nimport os\n").len(),
            0
        );
        assert_eq!(script_head("x.py", "import os\n# Does it.\n").len(), 1);
        assert_eq!(
            script_head("x.py", "#!/usr/bin/python3\nimport os\n").len(),
            1
        );
    }

    #[test]
    fn fio_jobs_without_a_head_are_seen() {
        assert_eq!(
            fio_head("x.fio", "# Shows: a\n# Lies when: b\n[job]\n").len(),
            0
        );
        assert_eq!(
            fio_head("x.fio", "# Shows: a\n[job]\n# Lies when: b\n").len(),
            1
        );
        assert_eq!(fio_head("x.fio", "[job]\n").len(), 2);
    }
}
