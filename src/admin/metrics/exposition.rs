//! The text format of Prometheus, version 0.0.4: rows, and the numbers that they read.

use std::fmt::Write;

use super::row::{Read, Row, combinations};
use super::source::Source;

pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The answer to a scrape.
pub(super) fn text<'r>(rows: impl Iterator<Item = &'r Row>, source: &Source<'_>) -> String {
    let mut out = String::new();
    for row in rows {
        let samples = samples(row, source);
        if !samples.is_empty() {
            let kind: &str = row.kind.into();
            let (name, help) = (row.name, row.help);
            line(&mut out, format_args!("# HELP {name} {help}"));
            line(&mut out, format_args!("# TYPE {name} {kind}"));
            out.push_str(&samples);
        }
    }
    out
}

fn samples(row: &Row, source: &Source<'_>) -> String {
    let mut out = String::new();
    let name = row.name;
    match &row.read {
        Read::One(read) => {
            if let Some(value) = read(source) {
                sample(&mut out, name, &[], value);
            }
        }
        Read::Each(labels, read) => {
            let (combinations, values) = (combinations(labels), read(source));
            let is_whole = values.is_empty() || values.len() == combinations.len();
            debug_assert!(is_whole, "{name} has a value for each label");
            for (labels, value) in combinations.iter().zip(values) {
                sample(&mut out, name, labels, value);
            }
        }
        Read::Named(names, read) => {
            for (of, value) in read(source) {
                sample(&mut out, name, &[(names.label, &of)], value);
            }
        }
        Read::Info(labels) => sample(&mut out, name, labels, 1.0),
        Read::Histogram(read) => {
            if let Some(histogram) = read(source) {
                for sample in histogram.lines(name) {
                    line(&mut out, format_args!("{sample}"));
                }
            }
        }
    }
    out
}

fn sample(out: &mut String, name: &str, labels: &[(&str, &str)], value: f64) {
    if labels.is_empty() {
        return line(out, format_args!("{name} {value}"));
    }
    let pairs = labels
        .iter()
        .map(|(label, of)| format!("{label}=\"{}\"", escaped(of)));
    let pairs = pairs.collect::<Vec<_>>().join(",");
    line(out, format_args!("{name}{{{pairs}}} {value}"));
}

fn line(out: &mut String, line: std::fmt::Arguments<'_>) {
    let written = writeln!(out, "{line}");
    debug_assert!(written.is_ok(), "a string takes everything");
}

/// Names of endpoints and listeners are the operator's own.
fn escaped(value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    value.replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_would_break_the_format_are_escaped() {
        let mut out = String::new();
        sample(&mut out, "a", &[("b", "c\"\\\nd"), ("e", "f")], 2.5);
        assert_eq!(out, "a{b=\"c\\\"\\\\\\nd\",e=\"f\"} 2.5\n");
    }
}
