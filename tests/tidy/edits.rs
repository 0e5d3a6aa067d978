//! How many places name one thing of a kind: what it takes to add another one.
//!
//! A counter takes three edits: its field, the line that counts, and its row among the metrics. A
//! close reason or a refusal takes two: its row or variant, and its line on the page beside the
//! code. `docs/metrics.md` is written from the rows.

use std::fs;

use crate::source::{Source, root, rust_sources};

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|_| panic!("no {path}"))
}

/// Everything before the unit tests.
fn product(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod ").next().unwrap_or_default()
}

/// How often `word` stands in `text` as a whole word.
fn count(text: &str, word: &str) -> usize {
    let is_part = |of: char| of.is_ascii_alphanumeric() || of == '_';
    let words = text.split(|of| !is_part(of));
    words.filter(|each| *each == word).count()
}

/// The text between `from` and the next `to`.
fn between<'t>(text: &'t str, from: &str, to: &str) -> &'t str {
    let rest = text
        .split_once(from)
        .unwrap_or_else(|| panic!("no {from}"))
        .1;
    rest.split_once(to).unwrap_or_else(|| panic!("no {to}")).0
}

/// The code of the product: no tests, no comments, no literals.
fn product_sources() -> Vec<Source> {
    let sources = rust_sources().into_iter();
    let is_product = |source: &Source| {
        source.path.starts_with("src/") || source.path.starts_with("crates/engine/src/")
    };
    sources.filter(is_product).collect()
}

/// The metrics, as the page that is written from them lists them.
fn metrics() -> Vec<String> {
    let page = read("docs/metrics.md");
    let names = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    names.map(str::to_owned).collect()
}

#[test]
fn a_metric_is_named_once() {
    let metrics = metrics();
    assert!(metrics.len() > 70, "{metrics:?}");
    let sources = product_sources();
    for name in &metrics {
        let literal = format!("\"{name}\"");
        let named: Vec<&str> = sources
            .iter()
            .flat_map(|source| vec![&*source.path; source.text.matches(&literal).count()])
            .collect();
        let [path] = named[..] else {
            panic!("{name} stands in {named:?}");
        };
        assert!(
            path.starts_with("src/admin/metrics/"),
            "{name} stands in {path}"
        );
    }
}

#[test]
fn a_counter_is_a_field_a_line_that_counts_and_a_row() {
    // The youngest one, and one that is counted in one place alone, from before.
    for field in ["pings", "send_errors"] {
        let mut places = Vec::new();
        for source in product_sources() {
            let lines = product(&source.code).lines().enumerate();
            let named = lines.filter(|(_, line)| count(line, field) > 0);
            places.extend(named.map(|(line, _)| source.at(line, field)));
        }
        assert_eq!(places.len(), 3, "{places:#?}");
    }
}

#[test]
fn every_field_that_counts_has_a_row() {
    let stats = read("crates/engine/src/engine/stats.rs");
    let fields = between(&stats, "pub struct ShardStats {\n", "\n}");
    let fields: Vec<&str> = fields
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(": "))
        .filter(|(_, kind)| kind.contains("Count") || kind.contains("Durations"))
        .map(|(name, _)| name)
        .collect();
    assert!(fields.len() > 30, "{fields:?}");
    // These are read by methods of `View`.
    let elsewhere = ["evicted", "last_turn_ns"];
    let rows = read("src/admin/metrics/rows.rs");
    for field in fields.iter().filter(|field| !elsewhere.contains(field)) {
        assert!(
            rows.contains(&format!("stats.{field}")),
            "{field} has no row"
        );
    }
}

#[test]
fn a_close_reason_is_a_row_and_a_line_of_its_page() {
    let code = read("crates/engine/src/engine/close_reason.rs");
    let page = read("crates/engine/src/engine/CLOSE.md");
    let rows = between(&code, "\nclose_reasons! {\n", "\n}\n").lines();
    let rows: Vec<(&str, &str)> = rows
        .filter(|line| !line.trim().starts_with("//"))
        .filter_map(|line| line.trim().split_once(": \""))
        .map(|(variant, rest)| (variant, rest.split('"').next().unwrap_or_default()))
        .collect();
    assert!(rows.len() > 12, "{rows:?}");
    let source = Source::new("", product(&code));
    for (variant, label) in rows {
        assert_eq!(count(&source.code, variant), 1, "{variant}");
        let literal = format!("\"{label}\"");
        assert_eq!(source.text.matches(&literal).count(), 1, "{label}");
        assert_eq!(
            page.matches(&format!("| `{label}` |")).count(),
            1,
            "{label}"
        );
    }
}

#[test]
fn a_refusal_is_a_variant_and_a_line_of_its_page() {
    let code = read("crates/engine/src/engine/refusal.rs");
    let page = read("crates/engine/src/engine/edge/HANDSHAKE.md");
    let of_guard = between(&page, "\n| refused by the guard |", "\n\n");
    let source = Source::new("", product(&code));
    let variants = between(&source.code, "pub enum Refusal {\n", "\n}");
    let variants: Vec<&str> = variants
        .lines()
        .filter_map(|line| line.trim().strip_suffix(','))
        .filter(|line| line.chars().all(|of| of.is_ascii_alphanumeric()))
        .collect();
    assert!(variants.len() > 12, "{variants:?}");
    for variant in variants {
        let arm = format!("Refusal::{variant} =>");
        assert_eq!(source.code.matches(&arm).count(), 0, "{arm}");
    }
    let guard = read("src/guard/denial.rs");
    let reasons = between(&guard, "\nreasons! {\n", "\n}\n").lines();
    let reasons: Vec<(&str, &str)> = reasons
        .filter_map(|line| line.trim().strip_suffix("\";")?.split_once(" = \""))
        .collect();
    assert!(reasons.len() > 10, "{reasons:?}");
    for (_, label) in reasons {
        assert_eq!(guard.matches(&format!("\"{label}\"")).count(), 1, "{label}");
        assert_eq!(
            of_guard.matches(&format!("\n| `{label}` |")).count(),
            1,
            "{label}"
        );
    }
}

/// The lines that list labels by hand: a list with a length in figures is one.
fn lists_of_labels(source: &Source) -> Vec<String> {
    let lines = source.code.lines().enumerate();
    let is_list = |line: &str| {
        let list = line.split_once("const LABELS: [").map(|(_, rest)| rest);
        let len = list
            .and_then(|rest| rest.split_once("; "))
            .map(|(_, len)| len);
        len.is_some_and(|len| len.starts_with(|of: char| of.is_ascii_digit()))
    };
    let lists = lines.filter(|(_, line)| is_list(line));
    lists
        .map(|(line, text)| source.at(line, text.trim()))
        .collect()
}

#[test]
fn labels_are_not_listed_beside_their_enum() {
    let sources = rust_sources();
    let lists: Vec<String> = sources.iter().flat_map(lists_of_labels).collect();
    assert_eq!(lists, Vec::<String>::new());
    let list = Source::new(
        "",
        "    pub const LABELS: [&'static str; 3] = [\"a\", \"b\", \"c\"];\n",
    );
    assert_eq!(lists_of_labels(&list).len(), 1);
}
