//! The repository's files, and their text without comments and literals: the input of every rule.

use std::fs;
use std::path::{Path, PathBuf};

/// A file, its path relative to the repository's root.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text without comments and literals, line by line the same.
    pub(crate) code: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Source {
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
            code: blank(text),
        }
    }

    pub(crate) fn at(&self, line: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, line + 1)
    }
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The repository's files with one of these endings, in order.
pub(crate) fn files(endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder that can be read") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_foreign = name.starts_with("target")
                || name == "node_modules"
                || (name.starts_with('.') && name != ".ci");
            if path.is_dir() && !is_foreign {
                folders.push(path);
            } else if endings.iter().any(|ending| name.ends_with(ending)) && path.is_file() {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

pub(crate) fn rust_sources() -> Vec<Source> {
    let sources: Vec<Source> = files(&[".rs"])
        .iter()
        .map(|path| {
            let text = fs::read_to_string(path).expect("UTF-8");
            Source::new(&relative(path), &text)
        })
        .collect();
    assert!(sources.len() > 50, "only {} files found", sources.len());
    sources
}

pub(crate) fn relative(path: &Path) -> String {
    let path = path.strip_prefix(root()).expect("a path below the root");
    path.to_string_lossy().into_owned()
}

/// Runs a rule over the repository's Rust files, after it has found the offences in `bad`.
pub(crate) fn hold(rule: impl Fn(&Source) -> Vec<String>, path: &str, bad: &str, offences: usize) {
    let found = rule(&Source::new(path, bad));
    assert_eq!(found.len(), offences, "the rule is broken: {found:#?}");
    let found: Vec<String> = rust_sources().iter().flat_map(rule).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Blanks out comments and the content of string and character literals; newlines stay.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = opaque_length(rest, code.chars().next_back());
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            let (opaque, after) = rest.split_at(length);
            code.extend(opaque.chars().map(|c| if c == '\n' { c } else { ' ' }));
            rest = after;
        }
    }
    code
}

/// Bytes of the comment or literal at the start of `rest`; 0 if there is none.
fn opaque_length(rest: &str, before: Option<char>) -> usize {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return comment_length(rest);
    }
    if rest.starts_with('"') {
        return quoted_length(rest, '"');
    }
    if !in_word && (rest.starts_with("r\"") || rest.starts_with("r#") || rest.starts_with("br")) {
        return raw_length(rest);
    }
    if let Some(inside) = rest.strip_prefix('\'') {
        let mut letters = inside.chars();
        let first = letters.next();
        // Otherwise a lifetime.
        if first == Some('\\') || letters.next() == Some('\'') {
            return quoted_length(rest, '\'');
        }
    }
    0
}

/// A block comment, which may hold others.
fn comment_length(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// A literal in quotes, with escapes.
fn quoted_length(rest: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, letter) in rest.char_indices().skip(1) {
        if is_escaped {
            is_escaped = false;
        } else if letter == '\\' {
            is_escaped = true;
        } else if letter == quote {
            return at + 1;
        }
    }
    rest.len()
}

/// A raw string; 0 for anything else (a raw identifier, a word).
fn raw_length(rest: &str) -> usize {
    let prefix = rest.len() - rest.trim_start_matches('b').len() + 1;
    let hashes = rest
        .get(prefix..)
        .map_or(0, |after| after.len() - after.trim_start_matches('#').len());
    let opens = rest.get(prefix + hashes..).unwrap_or_default();
    if !rest[prefix - 1..].starts_with('r') || !opens.starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let begin = prefix + hashes + 1;
    rest[begin..]
        .find(&end)
        .map_or(rest.len(), |at| begin + at + end.len())
}

/// The words of a line of code.
pub(crate) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}
