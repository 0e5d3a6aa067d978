//! The text format of Prometheus, version 0.0.4: rows, and the numbers that they read.

use prometheus::TextEncoder;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::row::{Kind, Read, Row, combinations};
use super::source::Source;

pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The answer to a scrape.
pub(super) fn text<'r>(
    rows: impl Iterator<Item = &'r Row>,
    source: &Source<'_>,
) -> prometheus::Result<String> {
    let families: Vec<MetricFamily> = rows.filter_map(|row| family(row, source)).collect();
    TextEncoder::new().encode_to_string(&families)
}

/// The row with its samples; `None` if it has none.
fn family(row: &Row, source: &Source<'_>) -> Option<MetricFamily> {
    let metrics = metrics(row, source);
    if metrics.is_empty() {
        return None;
    }
    let mut family = MetricFamily::default();
    family.set_name(row.name.to_owned());
    family.set_help(row.help.to_owned());
    family.set_field_type(match row.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
    });
    family.set_metric(metrics);
    Some(family)
}

fn metrics(row: &Row, source: &Source<'_>) -> Vec<Metric> {
    match &row.read {
        Read::One(read) => {
            let value = read(source).map(|value| sample(row.kind, &[], value));
            value.into_iter().collect()
        }
        Read::Each(labels, read) => {
            let (combinations, values) = (combinations(labels), read(source));
            let is_whole = values.is_empty() || values.len() == combinations.len();
            debug_assert!(is_whole, "{} has a value for each label", row.name);
            let samples = combinations.iter().zip(values);
            let samples = samples.map(|(labels, value)| sample(row.kind, labels, value));
            samples.collect()
        }
        Read::Named(names, read) => {
            let samples = read(source).into_iter();
            let samples = samples.map(|(of, value)| sample(row.kind, &[(names.label, &of)], value));
            samples.collect()
        }
        Read::Info(labels) => vec![sample(row.kind, labels, 1.0)],
        Read::Histogram(read) => read(source).map(|each| each.metric()).into_iter().collect(),
    }
}

fn sample(kind: Kind, labels: &[(&str, &str)], value: f64) -> Metric {
    let mut metric = Metric::default();
    if kind == Kind::Counter {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric.set_label(labels.iter().map(|(label, of)| pair(label, of)).collect());
    metric
}

fn pair(label: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(label.to_owned());
    pair.set_value(value.to_owned());
    pair
}
