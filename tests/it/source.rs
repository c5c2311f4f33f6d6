//! The project's own text, read so that the tests of its text need no parser.
//!
//! A file is cut into code, comments and literals, and each view of it keeps the byte positions and
//! the lines of the original: what a view leaves out is spaces. So a banned word in a string does
//! not count as code, and a position found in one view is good in all.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One Rust source file.
pub(crate) struct Source {
    /// The path from the top of the repository.
    pub(crate) path: String,
    /// What the file says.
    pub(crate) text: String,
    /// The text without comments and literals.
    pub(crate) code: String,
    /// The text without literals.
    pub(crate) prose: String,
}

/// A function that has a body.
#[derive(PartialEq, Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// The line of its `fn`, counted from 1.
    pub(crate) line: usize,
    /// Lines between its braces.
    pub(crate) body_lines: usize,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Code,
    Comment,
    Literal,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (mut code, mut prose) = (String::new(), String::new());
        let mut at = 0;
        while at < text.len() {
            let (kind, len) = piece(&text[at..]);
            let piece = &text[at..at + len];
            at += len;
            match kind {
                Kind::Code => code.push_str(piece),
                Kind::Comment | Kind::Literal => blank(piece, &mut code),
            }
            match kind {
                Kind::Code | Kind::Comment => prose.push_str(piece),
                Kind::Literal => blank(piece, &mut prose),
            }
        }
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            prose,
        }
    }

    /// The line that holds the byte at `at`, counted from 1.
    pub(crate) fn line_of(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }

    /// Byte ranges of the inline modules that exist for tests only.
    pub(crate) fn test_modules(&self) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        for (at, _) in self.code.match_indices("#[cfg(test)]") {
            let rest = self.code[at + "#[cfg(test)]".len()..].trim_start();
            let open = rest
                .find(['{', ';', '}'])
                .filter(|open| rest[*open..].starts_with('{'));
            let is_module = |open: usize| !words(&rest[..open], "mod").is_empty();
            if let Some(open) = open.filter(|open| is_module(*open)) {
                let open = self.code.len() - rest.len() + open;
                found.push(at..block_end(&self.code, open));
            }
        }
        found
    }

    /// Lines that are not inside a test module.
    pub(crate) fn lines_without_tests(&self) -> usize {
        let tests = self.test_modules();
        let tests = tests
            .iter()
            .map(|range| self.text[range.clone()].lines().count());
        self.text.lines().count() - tests.sum::<usize>()
    }

    pub(crate) fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for at in words(&self.code, "fn") {
            let name = identifier(self.code[at + 2..].trim_start());
            let body = body_start(&self.code[at..]).map(|open| at + open);
            if let (false, Some(open)) = (name.is_empty(), body) {
                let lines = self.line_of(block_end(&self.code, open) - 1) - self.line_of(open);
                let line = self.line_of(at);
                let body_lines = lines.saturating_sub(1);
                found.push(Function {
                    name: name.to_owned(),
                    line,
                    body_lines,
                });
            }
        }
        found
    }
}

/// Every Rust source file below `folder`, in a fixed order.
pub(crate) fn rust_files(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    for path in files(folder) {
        if path.ends_with(".rs") {
            found.push(Source::new(&path, &read(&path)));
        }
    }
    found
}

/// Every file below `folder`, as a path from the top of the repository. A folder that is not there
/// holds none.
pub(crate) fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![PathBuf::from(folder)];
    while let Some(path) = todo.pop() {
        if path.ends_with("__pycache__") {
            continue;
        }
        if let Ok(entries) = fs::read_dir(root().join(&path)) {
            todo.extend(entries.map(|entry| path.join(entry.expect("readable entry").file_name())));
        } else if root().join(&path).is_file() {
            found.push(path.to_str().expect("UTF-8 path").to_owned());
        }
    }
    found.sort();
    found
}

/// What the file at `path` from the top of the repository says.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where `word` stands in `code` as a word of its own.
pub(crate) fn words(code: &str, word: &str) -> Vec<usize> {
    let starts_word = |at: &usize| !code[..*at].ends_with(is_identifier);
    let ends_word = |at: &usize| !code[at + word.len()..].starts_with(is_identifier);
    let all = code.match_indices(word).map(|(at, _)| at);
    all.filter(|at| starts_word(at) && ends_word(at)).collect()
}

/// The identifier that `code` begins with, or nothing.
pub(crate) fn identifier(code: &str) -> &str {
    &code[..code.find(|c| !is_identifier(c)).unwrap_or(code.len())]
}

fn is_identifier(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Just behind the brace that closes the one at `open`.
fn block_end(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, c) in code[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return open + at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// Where the body of the function that `code` begins with opens; a mere declaration has none.
/// Brackets are counted because `[u8; 4]` in the arguments holds the sign that ends a declaration.
fn body_start(code: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => return Some(at),
            ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The kind and the length in bytes of what `rest` begins with.
fn piece(rest: &str) -> (Kind, usize) {
    let word = identifier(rest);
    if !word.is_empty() {
        let literal = match word {
            "b" | "c" | "r" | "br" | "cr" => literal_len(word, &rest[word.len()..]),
            _ => None,
        };
        return match literal {
            Some(len) => (Kind::Literal, word.len() + len),
            None => (Kind::Code, word.len()),
        };
    }
    if rest.starts_with("//") {
        return (Kind::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Kind::Comment, block_comment_len(rest));
    }
    if let Some(len) = literal_len("", rest) {
        return (Kind::Literal, len);
    }
    (
        Kind::Code,
        rest.chars().next().expect("something is left").len_utf8(),
    )
}

/// The length of the string or character behind `prefix`, if there is one.
fn literal_len(prefix: &str, rest: &str) -> Option<usize> {
    if prefix.ends_with('r') {
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        let inside = rest[hashes..].strip_prefix('"')?;
        let close = format!("\"{}", "#".repeat(hashes));
        let len = inside
            .find(&close)
            .map_or(inside.len(), |at| at + close.len());
        return Some(hashes + 1 + len);
    }
    if let Some(inside) = rest.strip_prefix('"') {
        return Some(1 + quoted_len(inside, '"'));
    }
    let inside = rest.strip_prefix('\'')?;
    let mut chars = inside.chars();
    let (first, second) = (chars.next()?, chars.next()?);
    // Otherwise it is a lifetime or a label, which has no closing quote.
    (first == '\\' || second == '\'').then(|| 1 + quoted_len(inside, '\''))
}

/// The length up to and with the closing `quote`.
fn quoted_len(inside: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    inside.len()
}

fn block_comment_len(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

fn blank(piece: &str, view: &mut String) {
    view.extend(
        piece
            .bytes()
            .map(|byte| if byte == b'\n' { '\n' } else { ' ' }),
    );
}

#[cfg(test)]
mod tests {
    use super::{Function, Source};

    fn check(text: &str, code: &str, prose: &str) {
        let source = Source::new("src/x.rs", text);
        assert_eq!(source.code, code);
        assert_eq!(source.prose, prose);
    }

    #[test]
    fn comments_and_literals_become_spaces() {
        check("a // b\nc", "a     \nc", "a // b\nc");
        check(
            "a /* /* b */ */ c",
            "a               c",
            "a /* /* b */ */ c",
        );
        check(r#"f("\"//", 'x')"#, "f(      ,    )", "f(      ,    )");
        check(r##"r#"a"b"# c"##, "         c", "         c");
        check(r"b'\'' x", "      x", "      x");
        check("\"é\n\"x", "   \n x", "   \n x");
    }

    #[test]
    fn lifetimes_and_raw_identifiers_are_code() {
        let text = "fn f<'a>(r#type: &'a str) { 'l: loop { break 'l; } }";
        check(text, text, text);
    }

    #[test]
    fn functions_are_measured_between_their_braces() {
        let text = "fn one() {}\ntrait T { fn none(x: [u8; 2]); }\nfn three(\n) {\n1;\n2;\n3\n}\n";
        let functions = Source::new("src/x.rs", text).functions();
        let one = Function {
            name: "one".into(),
            line: 1,
            body_lines: 0,
        };
        let three = Function {
            name: "three".into(),
            line: 3,
            body_lines: 3,
        };
        assert_eq!(functions, [one, three]);
    }

    #[test]
    fn test_modules_do_not_count_as_lines() {
        let text = "fn f() {}\n#[cfg(test)]\nmod tests {\n    fn g() {}\n}\nfn h() {}\n";
        assert_eq!(Source::new("src/x.rs", text).lines_without_tests(), 2);
        let shared = "#[cfg(test)]\npub(super) mod tests {\n}\nfn h() {}\n";
        assert_eq!(Source::new("src/x.rs", shared).lines_without_tests(), 1);
        let elsewhere = "#[cfg(test)]\nmod tests;\nfn h() {}\n";
        assert_eq!(Source::new("src/x.rs", elsewhere).lines_without_tests(), 3);
    }
}
