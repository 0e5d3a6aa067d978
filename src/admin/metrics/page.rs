//! `docs/metrics.md`, written from the rows.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::GROUPS;
use super::row::{Group, Names, Read, Row};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");

/// Set to write the page anew.
const UPDATE: &str = "CORECAST_UPDATE_DOCS";

/// The part that is written by hand.
const INTRO: &str = include_str!("intro.md");

fn page() -> String {
    let mut page = format!(
        "<!-- Written by a test from src/admin/metrics/: change the rows or intro.md there, then run\n     \
         {UPDATE}=1 cargo test --lib docs_page_of_metrics -->\n\n{INTRO}"
    );
    for group in GROUPS {
        section(&mut page, group).expect("a string takes everything");
    }
    page
}

fn section(page: &mut String, group: &Group) -> std::fmt::Result {
    writeln!(page, "\n## {}\n", group.title)?;
    if !group.about.is_empty() {
        writeln!(page, "{}\n", group.about)?;
    }
    writeln!(
        page,
        "| Metric | Type | Labels | Meaning |\n|---|---|---|---|"
    )?;
    for row in group.rows {
        let kind: &str = row.kind.into();
        let (name, help) = (row.name, row.help);
        writeln!(page, "| `{name}` | {kind} | {} | {help} |", labels(row))?;
    }
    Ok(())
}

fn labels(row: &Row) -> String {
    let listed = |values: &[&str]| {
        let values = values.iter().map(|value| format!("`{value}`"));
        values.collect::<Vec<_>>().join(", ")
    };
    match &row.read {
        Read::One(_) | Read::Histogram(_) => String::new(),
        Read::Each(labels, _) => {
            let each = labels.iter();
            let each = each.map(|(name, values)| format!("`{name}`: {}", listed(values)));
            each.collect::<Vec<_>>().join("; ")
        }
        Read::Named(
            Names {
                label,
                known,
                others,
            },
            _,
        ) => {
            format!("`{label}`: {}{others}", listed(&known()))
        }
        Read::Info(labels) => listed(&labels.iter().map(|(name, _)| *name).collect::<Vec<_>>()),
    }
}

#[test]
fn the_docs_page_of_metrics_is_what_the_rows_say() {
    let page = page();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(PATH, &page).expect("docs/ can be written");
    }
    let committed = std::fs::read_to_string(PATH).expect("docs/metrics.md");
    let same = committed
        .lines()
        .zip(page.lines())
        .take_while(|(a, b)| a == b);
    let line = same.count() + 1;
    assert!(
        committed == page,
        "line {line} differs: {UPDATE}=1 writes the page anew"
    );
}

#[test]
fn the_introduction_names_metrics_that_exist() {
    let names: BTreeSet<&str> = GROUPS
        .iter()
        .flat_map(|group| group.rows)
        .map(|row| row.name)
        .collect();
    let words = INTRO.split(|of: char| !of.is_ascii_alphanumeric() && of != '_');
    let mut named = words
        .filter(|word| word.starts_with("corecast_"))
        .peekable();
    assert!(named.peek().is_some(), "it names some");
    for word in named {
        let family = word.strip_suffix("_bucket").unwrap_or(word);
        assert!(names.contains(family), "{word} is not a metric");
    }
}

#[test]
fn a_row_keeps_the_conventions_of_prometheus() {
    let rows = GROUPS.iter().flat_map(|group| group.rows);
    let mut names = BTreeSet::new();
    for row in rows {
        let (name, kind): (_, &str) = (row.name, row.kind.into());
        assert!(names.insert(name), "{name} stands twice");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        let help = row.help;
        assert!(
            help.ends_with('.') && !help.contains(['|', '\n', '\\']),
            "{name}: {help}"
        );
    }
}
