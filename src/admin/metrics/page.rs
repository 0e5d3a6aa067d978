//! The tables of `docs/metrics.md`, written from the rows; the text above them is written by hand.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::GROUPS;
use super::row::{Group, Names, Read, Row};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");

/// If this variable is set, the tables are rewritten.
const UPDATE: &str = "CORECAST_UPDATE_DOCS";

/// The end of the comment above the tables.
const MARK: &str = "Change the rows, not the tables. -->\n";

fn committed() -> (String, String) {
    let page = std::fs::read_to_string(PATH).expect("docs/metrics.md");
    let (text, tables) = page.split_once(MARK).expect("the comment above the tables");
    (text.to_owned(), tables.to_owned())
}

fn tables() -> String {
    let mut page = String::new();
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
        Read::Named(names, _) => {
            let Names {
                label,
                known,
                others,
            } = names;
            format!("`{label}`: {}{others}", listed(&known()))
        }
        Read::Info(labels) => listed(&labels.iter().map(|(name, _)| *name).collect::<Vec<_>>()),
    }
}

#[test]
fn the_docs_page_of_metrics_has_the_tables_that_the_rows_give() {
    let (text, committed) = committed();
    let tables = tables();
    if std::env::var_os(UPDATE).is_some() {
        let page = format!("{text}{MARK}{tables}");
        return std::fs::write(PATH, page).expect("docs/ can be written");
    }
    let mut lines = committed.lines().zip(tables.lines());
    let differ = lines.find(|(one, other)| one != other);
    assert!(
        committed == tables,
        "{UPDATE}=1 writes the tables anew: {differ:#?}"
    );
}

#[test]
fn the_text_above_the_tables_names_metrics_that_exist() {
    let (text, _) = committed();
    let rows = GROUPS.iter().flat_map(|group| group.rows);
    let names: BTreeSet<&str> = rows.map(|row| row.name).collect();
    let words = text.split(|of: char| !of.is_ascii_alphanumeric() && of != '_');
    let named: Vec<&str> = words.filter(|word| word.starts_with("corecast_")).collect();
    assert!(named.len() > 5, "{named:?}");
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
        let is_plain = help.ends_with('.') && !help.contains(['|', '\n', '\\']);
        assert!(is_plain, "{name}: {help}");
    }
}
