//! The language of comments and Markdown pages: plain English has forms that can be recognised.
//!
//! Only forms that are nearly always wrong are listed, since a rule that cries wolf is switched
//! off: sentences that begin with "What" or "Who", "is no" in place of "is not a", "where" in place
//! of "if", and picturesque words in place of the standard ones. Names in backticks, code and
//! headings are ignored, and so are questions.

use std::fs;

use super::source::{Source, files, relative, root, rust_sources};

/// Names of tests are not longer than this, and begin with none of [`NAME_OPENINGS`].
const NAME_CHARS_MAX: usize = 60;
const NAME_OPENINGS: [&str; 5] = ["what_", "who_", "whom_", "whoever_", "where_"];

/// This file, and configurations of earlier versions that tests keep as they were.
const IGNORED: [&str; 3] = [
    "tests/tidy/english.rs",
    "tests/config/before.yaml",
    "tests/upgrade/configs/",
];

/// Openings of a sentence that make a clause its subject.
const OPENINGS: [&str; 3] = ["What", "Who", "Whoever"];

/// What may follow "is no": a comparison.
const COMPARISONS: [&str; 10] = [
    "longer", "more", "less", "larger", "smaller", "later", "earlier", "shorter", "fewer",
    "stronger",
];

/// Subjects after which "where" means "if".
const SUBJECTS: [&str; 6] = ["there", "nobody", "somebody", "nothing", "none", "that"];

/// Results before which "where" means "if". A name in backticks (`x`) is one if `it` follows.
const RESULTS: [&str; 6] = ["none", "true", "false", "null", "panics", "empty"];

/// Picturesque words, and the standard ones.
const PICTURESQUE: [(&str, &str); 8] = [
    ("doom", "schedule the close"),
    ("doomed", "closing"),
    ("obey", "handle"),
    ("obeys", "handles"),
    ("goodbye", "Close frame"),
    ("whence", "the origin"),
    ("hiccup", "outlier"),
    ("hiccups", "outliers"),
];

/// A paragraph and the line that it begins in.
struct Paragraph {
    line: usize,
    text: String,
}

/// The comments of a file: successive lines that begin with the same marker, without fenced code.
fn comments(text: &str, markers: &[&'static str]) -> Vec<Paragraph> {
    let mut found: Vec<Paragraph> = Vec::new();
    let (mut last, mut is_code) = (None, false);
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let marker = markers.iter().find(|marker| line.starts_with(**marker));
        let Some(marker) = marker else {
            (last, is_code) = (None, false);
            continue;
        };
        let content = line[marker.len()..].trim();
        is_code ^= content.starts_with("```");
        if is_code || content.is_empty() || begins_apart(content) {
            last = None;
        }
        if is_code || content.starts_with("```") || content.starts_with('|') {
            continue;
        }
        match found.last_mut().filter(|_| last == Some(marker)) {
            Some(paragraph) => {
                paragraph.text.push(' ');
                paragraph.text.push_str(content);
            }
            None if content.is_empty() => continue,
            None => found.push(Paragraph {
                line: number,
                text: content.to_owned(),
            }),
        }
        last = Some(marker);
    }
    found
}

/// The paragraphs of a Markdown page, without headings, tables and fenced code.
fn page(text: &str) -> Vec<Paragraph> {
    let marked: Vec<String> = text
        .lines()
        .map(|line| match line.starts_with('#') {
            true => String::new(),
            false => format!("> {}", line.trim_start()),
        })
        .collect();
    comments(&marked.join("\n"), &[">"])
}

/// Whether the line begins a paragraph of its own: an item of a list or a heading.
fn begins_apart(content: &str) -> bool {
    ["- ", "* ", "# "]
        .iter()
        .any(|mark| content.starts_with(mark))
}

/// The sentences of a paragraph; names in backticks become `x`.
fn sentences(paragraph: &str) -> Vec<String> {
    let mut plain = String::new();
    for (number, part) in paragraph.split('`').enumerate() {
        plain.push_str(if number % 2 == 0 { part } else { "x" });
    }
    let mut found = vec![String::new()];
    for word in plain.split_whitespace() {
        let sentence = found.last_mut().expect("one at least");
        sentence.push_str(word);
        sentence.push(' ');
        if word.ends_with(['.', '!', '?']) {
            found.push(String::new());
        }
    }
    found
}

/// The words of a sentence without punctuation, in lower case. `,` stands for a break.
fn plain_words(sentence: &str) -> Vec<String> {
    let mut found = Vec::new();
    for word in sentence.split_whitespace() {
        let bare = word.trim_matches(|letter: char| !letter.is_alphanumeric());
        if !bare.is_empty() {
            found.push(bare.to_lowercase());
        }
        if word.ends_with([',', ';', ':', '.', ')', '"']) {
            found.push(",".to_owned());
        }
    }
    found
}

/// The offences of one sentence.
fn offences(sentence: &str) -> Vec<String> {
    let mut found = Vec::new();
    let first = sentence
        .trim_start_matches(['-', '*', '|', '>', ' ', '"', '('])
        .split_whitespace()
        .next()
        .unwrap_or_default();
    if OPENINGS.contains(&first) && !sentence.contains('?') {
        found.push(format!("begins with {first:?}"));
    }
    let words = plain_words(sentence);
    let at = |number: usize| words.get(number).map_or("", String::as_str);
    for number in 0..words.len() {
        let before = number.checked_sub(1).map_or("", &at);
        let (word, next, after) = (at(number), at(number + 1), at(number + 2));
        let is_existential = before == "there" || before == ",";
        if ["is", "are"].contains(&word)
            && !is_existential
            && (next == "none" || next == "no" && !COMPARISONS.contains(&after))
        {
            found.push(format!("{word} {next} {after}"));
        }
        let is_result = RESULTS.contains(&before) || before == "x" && next == "it";
        if word == "where" && (SUBJECTS.contains(&next) || is_result) {
            found.push(format!("{before} where {next}"));
        }
        if let Some((_, standard)) = PICTURESQUE.iter().find(|(each, _)| *each == word) {
            found.push(format!("{word:?}, write {standard:?}"));
        }
    }
    found
}

/// The offences of a file, each with its place.
fn check(path: &str, text: &str) -> Vec<String> {
    let paragraphs = match path.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "md" => page(text),
        "rs" | "js" | "mjs" => comments(text, &["//!", "///", "//"]),
        _ => comments(text, &["#"]),
    };
    let mut found = Vec::new();
    for paragraph in paragraphs {
        for sentence in sentences(&paragraph.text) {
            for offence in offences(&sentence) {
                found.push(format!("{path}:{}: {offence}", paragraph.line + 1));
            }
        }
    }
    found
}

#[test]
fn planted_offences_are_found() {
    let bad = "//! What is sent. Who asks gets it.\n\nfn f() {}\n\
               /// Whoever asks\n/// is no member where there is no room.\n\
               fn g() {} // What is not at the start of a line\n\
               // `None` where it ends; a `goodbye` is a goodbye.\n";
    let found = check("src/bad.rs", bad);
    assert_eq!(found.len(), 7, "{found:#?}");
    assert!(
        found[3].starts_with("src/bad.rs:4: is no member"),
        "{found:#?}"
    );
    let page = "# What it is\n\nWhat it does is\nthis. It is none.\n\n\
                | What |\n```text\nWhat\n```\n- Who asks\n\n> doomed\n";
    let found = check("docs/bad.md", page);
    assert_eq!(found.len(), 4, "{found:#?}");
    assert_eq!(check("a.py", "# What comes next\nx = 1\n").len(), 1);
}

#[test]
fn plain_sentences_are_left_alone() {
    let good = "/// A room is no longer than this; it is no more than 5. There is no other, or\n\
                /// there are none. What is this? The folder where it runs, where clients are.\n\
                /// ```\n/// What\n/// ```\n/// `What` is a word, and \"is not one\" is plain.\n\
                fn f() { g(\"What is\") }\n";
    assert_eq!(check("src/good.rs", good), Vec::<String>::new());
}

#[test]
fn comments_and_pages_are_plain_english() {
    let endings = [".rs", ".md", ".js", ".mjs", ".py", ".toml", ".yaml"];
    let mut found = Vec::new();
    let mut paths = files(&endings);
    let scripts = fs::read_dir(root().join("scripts")).expect("scripts");
    paths.extend(scripts.map(|script| script.expect("an entry").path()));
    paths.sort();
    paths.dedup();
    assert!(paths.len() > 100, "only {} files", paths.len());
    for path in paths {
        let (path, text) = (relative(&path), fs::read_to_string(&path).expect("UTF-8"));
        if IGNORED.iter().any(|ignored| path.starts_with(ignored)) {
            continue;
        }
        found.extend(check(&path, &text));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The tests of a file whose names are riddles or too long.
fn riddles(source: &Source) -> Vec<String> {
    let tests = source.code.split("#[test]").skip(1);
    let names = tests.filter_map(|rest| rest.split_once("fn ")?.1.split('(').next());
    names
        .filter(|name| {
            let begins = NAME_OPENINGS
                .iter()
                .any(|opening| name.starts_with(opening));
            begins || name.len() > NAME_CHARS_MAX
        })
        .map(|name| format!("{}: {name}", source.path))
        .collect()
}

#[test]
fn test_names_state_a_behaviour() {
    let long = "a".repeat(NAME_CHARS_MAX + 1);
    let bad = format!(
        "#[test]\nfn what_is_sent() {{}}\n#[test]\nfn {long}() {{}}\n#[test]\nfn a_name() {{}}\n"
    );
    assert_eq!(riddles(&Source::new("src/bad.rs", &bad)).len(), 2);
    let found: Vec<String> = rust_sources().iter().flat_map(riddles).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}
