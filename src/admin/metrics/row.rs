//! A metric as one row of a table.

use super::histogram::Histogram;
use super::source::Source;

/// Metrics that belong together. The title and the paragraph are for the documentation, which a
/// test writes.
#[allow(dead_code)]
pub(super) struct Group {
    /// The heading in the documentation.
    pub(super) title: &'static str,
    /// A paragraph of Markdown below it; empty if the rows say everything.
    pub(super) about: &'static str,
    pub(super) rows: &'static [Row],
}

/// One metric. It is left out of the answer if its reader returns no value, since a family without
/// series says nothing.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    pub(super) read: Read,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The labels of a metric, and the reader of its values.
pub(super) enum Read {
    /// Without labels.
    One(fn(&Source<'_>) -> Option<f64>),
    /// A value for each combination of labels with fixed values; those of the last label vary
    /// first.
    Each(&'static [Label], fn(&Source<'_>) -> Vec<f64>),
    /// A value for each member of a set that only the running relay knows.
    Named(Names, fn(&Source<'_>) -> Vec<(String, f64)>),
    /// Always 1: the labels are the information.
    Info(&'static [(&'static str, &'static str)]),
    Histogram(fn(&Source<'_>) -> Option<Histogram>),
}

/// A label, and the values that it has from the start.
pub(super) type Label = (&'static str, &'static [&'static str]);

/// A label whose values depend on the config or the machine. Their descriptions are for the
/// documentation, which a test writes.
#[allow(dead_code)]
pub(super) struct Names {
    pub(super) label: &'static str,
    /// The values that are known in advance.
    pub(super) known: fn() -> Vec<&'static str>,
    pub(super) others: &'static str,
}

impl Names {
    /// Values that are described by a phrase alone.
    pub(super) const fn of(label: &'static str, others: &'static str) -> Names {
        let known = Vec::new;
        Names {
            label,
            known,
            others,
        }
    }
}

impl Row {
    pub(super) const fn counter(
        name: &'static str,
        help: &'static str,
        read: fn(&Source<'_>) -> Option<f64>,
    ) -> Row {
        Row::new(name, help, Kind::Counter, Read::One(read))
    }

    pub(super) const fn gauge(
        name: &'static str,
        help: &'static str,
        read: fn(&Source<'_>) -> Option<f64>,
    ) -> Row {
        Row::new(name, help, Kind::Gauge, Read::One(read))
    }

    pub(super) const fn counters(
        name: &'static str,
        help: &'static str,
        labels: &'static [Label],
        read: fn(&Source<'_>) -> Vec<f64>,
    ) -> Row {
        Row::new(name, help, Kind::Counter, Read::Each(labels, read))
    }

    /// A value for each shard, by its number.
    pub(super) const fn of_shards(
        name: &'static str,
        help: &'static str,
        kind: Kind,
        read: fn(&Source<'_>) -> Vec<(String, f64)>,
    ) -> Row {
        let numbers = Names::of("shard", "numbers of the shards, from 0");
        Row::new(name, help, kind, Read::Named(numbers, read))
    }

    pub(super) const fn histogram(
        name: &'static str,
        help: &'static str,
        read: fn(&Source<'_>) -> Option<Histogram>,
    ) -> Row {
        Row::new(name, help, Kind::Histogram, Read::Histogram(read))
    }

    pub(super) const fn new(name: &'static str, help: &'static str, kind: Kind, read: Read) -> Row {
        Row {
            name,
            help,
            kind,
            read,
        }
    }
}

/// Every combination of the values of `labels`.
pub(super) fn combinations(labels: &'static [Label]) -> Vec<Vec<(&'static str, &'static str)>> {
    let mut all = vec![Vec::new()];
    for (name, values) in labels {
        let extended = all.iter().flat_map(|before: &Vec<_>| {
            values.iter().map(|value| {
                let mut next = before.clone();
                next.push((*name, *value));
                next
            })
        });
        all = extended.collect();
    }
    all
}
