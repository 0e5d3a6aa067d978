//! The house rules that can be counted, checked over the whole repository: sizes of functions,
//! lines and files, the direction of imports and the absence of circles ([`circles`]), the language
//! of comments ([`english`]), forbidden words.
//!
//! A rule looks at text whose comments and literals are blanked out ([`source`]), unless it is
//! about them. Each rule must first find planted offences.

mod circles;
mod edits;
mod embedding;
mod english;
mod imports;
mod jobs;
mod modules;
mod source;

use std::fs;

use source::{Source, files, hold, relative, root, rust_sources, words};

const FUNCTION_LINES_MAX: usize = 70;
const LINE_COLUMNS_MAX: usize = 100;
const FILE_LINES_MAX: usize = 800;
/// For the type that runs the turn: it is the loop, and its parts belong to other types.
const LOOP_METHODS_MAX: usize = 40;

/// Modules that a folder must not import from its own crate: dependencies point downward only.
/// Between crates Cargo enforces that.
const ABOVE: [(&str, &[&str]); 6] = [
    (
        "crates/engine/src/fanout/",
        &["exchange", "engine", "hooks"],
    ),
    ("crates/engine/src/exchange/", &["engine", "hooks"]),
    (
        "crates/engine/src/engine/clients/",
        &["edge", "shard", "hooks"],
    ),
    ("crates/engine/src/engine/edge/", &["shard", "hooks"]),
    ("crates/engine/src/engine/", &["hooks"]),
    ("src/guard/", &["relay", "config", "admin"]),
];

/// Modules that may use `unsafe`, each use explained: none is needed so far.
const UNSAFE_ALLOWED: [&str; 0] = [];

/// Files with tests that may sleep: to poll until a deadline, or because the test is about a
/// stalled server.
const SLEEP_ALLOWED: [&str; 5] = [
    "crates/test/src/stand_in.rs",
    "crates/test/src/waiting.rs",
    "loadgen/tests/deliveries.rs",
    "tests/admin/http.rs",
    "tests/faults/stage.rs",
];

/// The first and the last line of each function with a body.
fn functions(code: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (first, line) in lines.iter().enumerate() {
        let qualifiers = ["pub", "crate", "super", "in", "const", "async"];
        let word = words(line).find(|word| !qualifiers.contains(word));
        let is_function = word == Some("fn");
        if is_function && let Some(last) = end_of_body(&lines[first..]) {
            found.push((first, first + last));
        }
    }
    found
}

/// The line, counted from the first, with the brace that ends the item that begins there.
fn end_of_body(lines: &[&str]) -> Option<usize> {
    let (mut braces, mut others) = (0, 0);
    for (number, line) in lines.iter().enumerate() {
        for letter in line.chars() {
            match letter {
                '(' | '[' => others += 1,
                ')' | ']' => others -= 1,
                '{' => braces += 1,
                '}' => {
                    braces -= 1;
                    if braces == 0 && others == 0 {
                        return Some(number);
                    }
                }
                ';' if braces == 0 && others == 0 => return None,
                _ => {}
            }
        }
    }
    None
}

#[test]
fn functions_are_short() {
    let long = |source: &Source| {
        let each = functions(&source.code).into_iter();
        each.filter(|(first, last)| last - first + 1 > FUNCTION_LINES_MAX)
            .map(|(first, last)| source.at(first, &format!("{} lines", last - first + 1)))
            .collect()
    };
    let body = "    call(\"}\"); // }\n    '}';\n".repeat(FUNCTION_LINES_MAX / 2);
    let bad = format!(
        "fn declared(x: [u8; 3]);\npub(super) fn long<'a>(\n    x: &'a str,\n) {{\n{body}}}\n\
         fn short() {{}}\n"
    );
    hold(long, "src/long.rs", &bad, 1);
}

#[test]
fn lines_are_narrow() {
    let wide = |source: &Source| {
        let lines = source.text.lines().enumerate();
        lines
            .filter(|(_, line)| line.chars().count() > LINE_COLUMNS_MAX)
            .map(|(number, line)| source.at(number, &format!("{} columns", line.chars().count())))
            .collect()
    };
    let bad = format!("{}\n{}\n", "─".repeat(100), "x".repeat(101));
    hold(wide, "src/wide.rs", &bad, 1);
}

#[test]
fn files_are_not_long() {
    let long = |source: &Source| {
        let lines = source.text.lines().count();
        let is_long = lines > FILE_LINES_MAX;
        Vec::from_iter(is_long.then(|| format!("{}: {lines} lines", source.path)))
    };
    hold(long, "src/long.rs", &"//\n".repeat(801), 1);
}

/// Where the links of a text lead, those to other sites aside: a file, or none within a page, and a
/// heading or none.
fn links(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let targets = text.split("](").skip(1);
    let targets = targets.filter_map(|rest| rest.split([')', ' ', '\n']).next());
    let targets = targets.filter(|target| !target.is_empty() && !target.contains(':'));
    targets.map(|target| target.split_once('#').unwrap_or((target, "")))
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(page: &str) -> Vec<String> {
    let outside_of_blocks = page.split("\n```").step_by(2);
    let headings = outside_of_blocks
        .flat_map(str::lines)
        .filter(|line| line.starts_with('#'));
    let to_anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words
            .chars()
            .filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
        kept.map(|letter| if letter == ' ' { '-' } else { letter })
            .collect()
    };
    headings.map(to_anchor).collect()
}

#[test]
fn links_of_pages_lead_somewhere() {
    let page = "[a](docs/a.md#b) [c](https://c.d) [e](#f)";
    assert!(links(page).eq([("docs/a.md", "b"), ("", "f")]));
    let page = "# One\n\n```sh\n# two\n```\n\n## `a --b`, and c's\n";
    assert_eq!(anchors(page), ["one", "a---b-and-cs"]);
    let mut looked_at = 0;
    for path in files(&[".md"]) {
        let text = fs::read_to_string(&path).expect("UTF-8");
        let folder = path.parent().expect("a folder");
        for (link, heading) in links(&text) {
            looked_at += 1;
            let target = if link.is_empty() {
                path.clone()
            } else {
                folder.join(link)
            };
            let place = format!("{}: {link}#{heading}", relative(&path));
            assert!(target.exists(), "{place}");
            if !heading.is_empty() {
                let page = fs::read_to_string(&target).expect("a page");
                assert!(anchors(&page).contains(&heading.to_owned()), "{place}");
            }
        }
    }
    assert!(looked_at > 100, "only {looked_at} links found");
}

/// The number of methods in a file's `impl Shard` blocks.
fn methods_of_the_loop(code: &str) -> usize {
    let blocks = code.split("\nimpl Shard {\n").skip(1);
    let bodies = blocks.map(|block| block.split("\n}\n").next().unwrap_or_default());
    let is_method = |line: &&str| line.starts_with("    ") && !line.starts_with("     ");
    let methods = |body: &str| {
        let lines = body.lines().filter(is_method);
        lines
            .filter(|line| words(line).any(|word| word == "fn"))
            .count()
    };
    bodies.map(methods).sum()
}

#[test]
fn the_loop_has_few_methods() {
    let two = [
        "\nimpl Shard {",
        "    pub(super) fn a(&self) {\n        fn b() {}\n    }",
        "    fn c() {}\n}\n",
    ];
    let two = two.join("\n");
    assert_eq!(
        methods_of_the_loop(&format!("{two}impl Edge {{\n    fn d() {{}}\n}}\n")),
        2
    );
    let sources = rust_sources();
    let engine = sources
        .iter()
        .filter(|each| each.path.contains("engine/src/engine/"));
    let methods: usize = engine.map(|each| methods_of_the_loop(&each.code)).sum();
    assert!(
        (20..=LOOP_METHODS_MAX).contains(&methods),
        "{methods} methods"
    );
}

/// The modules that a statement names: after `crate::`, also in braces, and after `super::`.
fn modules_named(line: &str) -> Vec<&str> {
    let mut named = Vec::new();
    for prefix in ["crate::", "super::"] {
        for (at, _) in line.match_indices(prefix) {
            let rest = &line[at + prefix.len()..];
            match rest.strip_prefix('{') {
                Some(group) => named.extend(top_of_group(group)),
                None => named.extend(words(rest).next()),
            }
        }
    }
    named
}

/// The first word of each part of `{a::b, c, d::{e, f}}`, without nested parts.
fn top_of_group(group: &str) -> Vec<&str> {
    let mut depth = 0;
    let parts = group.split(move |letter| {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        depth <= 0 && (letter == ',' || letter == '}')
    });
    parts.filter_map(|part| words(part).next()).collect()
}

#[test]
fn imports_point_downward() {
    let upward = |source: &Source| {
        let above = ABOVE
            .iter()
            .find(|(folder, _)| source.path.starts_with(folder));
        let above = above.map_or(&[][..], |(_, modules)| modules);
        // One statement per line, however it was wrapped.
        let statements = source
            .code
            .split(';')
            .map(|each| each.replace(char::is_whitespace, ""));
        let found = statements.flat_map(|statement| {
            let named = modules_named(&statement).into_iter();
            named
                .filter(|module| above.contains(module))
                .map(|module| format!("{}: {module} is above it", source.path))
                .collect::<Vec<String>>()
        });
        found.collect()
    };
    let bad = "use crate::relay::Core;\n// crate::config\n\
               use crate::{\n    limits::X,\n    wire::{a, config},\n    relay,\n};\n\
               fn f() { super::super::admin::g(); crate::wire::http::config() }\n";
    hold(upward, "src/guard/bad.rs", bad, 3);
}

#[test]
fn nothing_is_left_to_do() {
    let unfinished = |source: &Source| {
        let lines = source.code.lines().enumerate();
        lines
            .filter(|(_, line)| {
                let macros = ["todo!", "unimplemented!", "dbg!"];
                macros.iter().any(|name| line.contains(name))
            })
            .map(|(number, line)| source.at(number, line.trim()))
            .collect()
    };
    hold(
        unfinished,
        "src/bad.rs",
        "fn f() {\n    todo!()\n}\n// dbg!\n",
        1,
    );
}

#[test]
fn unsafe_code_stays_in_its_modules() {
    let unsafe_lines = |source: &Source| {
        let is_allowed = UNSAFE_ALLOWED.contains(&source.path.as_str());
        let lines = source.code.lines().enumerate();
        lines
            .filter(|(_, line)| {
                !is_allowed && words(line).any(|word| word == "unsafe" || word == "unsafe_code")
            })
            .filter(|(_, line)| !line.contains("deny(") && !line.contains("forbid("))
            .map(|(number, line)| source.at(number, line.trim()))
            .collect()
    };
    let bad = "#![allow(unsafe_code)]\n#![deny(unsafe_code)]\nunsafe { f() } // unsafe\n";
    hold(unsafe_lines, "src/bad.rs", bad, 2);
}

/// The test-only lines of a file: all of it, or everything after `#[cfg(test)]`.
fn test_lines(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    let is_test_file = source.path.contains("tests/")
        || source.path.starts_with("crates/test/")
        || source.path.ends_with("tests.rs");
    let module = source
        .code
        .lines()
        .position(|line| line.trim() == "#[cfg(test)]");
    let from = if is_test_file { Some(0) } else { module };
    let lines = source.code.lines().enumerate();
    lines.skip(from.unwrap_or(usize::MAX))
}

/// Whether the line calls `sleep`; a module's name does not count.
fn calls_sleep(line: &str) -> bool {
    line.contains("sleep(") && words(line).any(|word| word == "sleep")
}

#[test]
fn tests_do_not_sleep() {
    let sleeps = |source: &Source| {
        let is_allowed = SLEEP_ALLOWED.contains(&source.path.as_str());
        test_lines(source)
            .filter(|(_, line)| !is_allowed && calls_sleep(line))
            .map(|(number, line)| source.at(number, line.trim()))
            .collect()
    };
    let bad =
        "fn run() { sleep(T) }\n#[cfg(test)]\nmod tests {\n    fn t() { thread::sleep(T) }\n}\n";
    hold(sleeps, "src/bad.rs", bad, 1);
    assert_eq!(sleeps(&Source::new("tests/bad.rs", bad)).len(), 2);
}

#[test]
fn no_place_outside_the_repository_is_named() {
    // In pieces, or this file would contain them.
    let places = [
        concat!("/wo", "rk/"),
        concat!("../", "shared"),
        concat!("/ro", "ot/"),
    ];
    let names_one = |text: &str| places.iter().any(|place| text.contains(place));
    assert!(names_one(concat!("see /wo", "rk/main")) && !names_one("a worker's path"));
    let endings = [
        ".rs", ".toml", ".md", ".yaml", ".yml", ".sh", ".py", ".mjs", ".html", ".json",
    ];
    let mut paths = files(&endings);
    paths.extend(
        fs::read_dir(root().join("scripts"))
            .expect("scripts")
            .map(|each| {
                let path = each.expect("an entry").path();
                assert!(path.is_file(), "{} is no script", path.display());
                path
            }),
    );
    let offenders: Vec<String> = paths
        .iter()
        .filter(|path| names_one(&fs::read_to_string(path).expect("UTF-8")))
        .map(|path| relative(path))
        .collect();
    assert!(offenders.is_empty(), "{offenders:#?}");
}

/// The names in the column `test` of a page's tables, each with the line that has it.
fn tests_named_in(page: &str) -> Vec<(usize, &str)> {
    let mut is_table_of_tests = false;
    let mut named = Vec::new();
    for (number, line) in page.lines().enumerate() {
        let Some(row) = line
            .strip_prefix("| ")
            .and_then(|row| row.strip_suffix(" |"))
        else {
            is_table_of_tests &= line.starts_with("|---");
            continue;
        };
        match row.rsplit(" | ").next() {
            Some("test") => is_table_of_tests = true,
            Some(name) if is_table_of_tests => named.push((number, name.trim_matches('`'))),
            _ => {}
        }
    }
    named
}

#[test]
fn every_test_that_a_page_names_is_there() {
    let page = "| a | test |\n|---|---|\n| x | `one` |\n| y | `two` |\n\n| b |\n|---|\n| three |\n";
    assert_eq!(tests_named_in(page), [(2, "one"), (3, "two")]);
    let sources = rust_sources();
    let tests: Vec<&str> = sources
        .iter()
        .flat_map(|source| source.code.split("#[test]").skip(1))
        .filter_map(|rest| rest.split_once("fn ")?.1.split('(').next())
        .collect();
    let mut missing = Vec::new();
    let mut named = 0;
    for path in files(&[".md"]) {
        let text = fs::read_to_string(&path).expect("UTF-8");
        for (line, name) in tests_named_in(&text) {
            named += 1;
            if !tests.contains(&name) {
                missing.push(format!("{}:{}: {name}", relative(&path), line + 1));
            }
        }
    }
    assert!(named > 30, "only {named} tests are named");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
