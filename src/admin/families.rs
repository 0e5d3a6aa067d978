//! Metric families: names, help and numbers in the form that the encoder takes.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use crate::engine::{Counts, Durations};

/// The bounds of exported durations: about 1 µs to 13 s, two for each power of two. All of them
/// are bounds of [`Durations`] too, so that nothing is interpolated.
const DURATION_BOUNDS_NS: std::ops::RangeInclusive<u64> = 1 << 10..=3 << 32;

/// Families that are being gathered.
#[derive(Default)]
pub(super) struct Families(pub(super) Vec<MetricFamily>);

impl Families {
    /// A counter without labels.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.add(name, help, MetricType::COUNTER, vec![counter(value)]);
    }

    /// A gauge without labels.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.add(name, help, MetricType::GAUGE, vec![gauge(value)]);
    }

    /// A counter for each value of one label.
    pub(super) fn counters<L: ToString>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (L, f64)>,
    ) {
        let labelled = |(of, value): (L, f64)| with_label(counter(value), label, &of);
        let metrics = values.into_iter().map(labelled).collect();
        self.add(name, help, MetricType::COUNTER, metrics);
    }

    /// A counter for each pair of values of two labels.
    pub(super) fn counters_by_two(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; 2],
        values: impl IntoIterator<Item = ([&'static str; 2], f64)>,
    ) {
        let labelled = |(of, value): ([&str; 2], f64)| {
            let mut metric = counter(value);
            let pairs = labels.iter().zip(of).map(|(label, of)| pair(label, of));
            metric.set_label(pairs.collect());
            metric
        };
        let metrics = values.into_iter().map(labelled).collect();
        self.add(name, help, MetricType::COUNTER, metrics);
    }

    /// A gauge for each value of one label.
    pub(super) fn gauges<L: ToString>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (L, f64)>,
    ) {
        let labelled = |(of, value): (L, f64)| with_label(gauge(value), label, &of);
        let metrics = values.into_iter().map(labelled).collect();
        self.add(name, help, MetricType::GAUGE, metrics);
    }

    /// A gauge that is always 1: what there is to say is in its labels.
    pub(super) fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) {
        let mut metric = gauge(1.0);
        metric.set_label(labels.iter().map(|(of, value)| pair(of, value)).collect());
        self.add(name, help, MetricType::GAUGE, vec![metric]);
    }

    /// A histogram of what all shards have measured, in seconds. A bucket counts what was less than
    /// its bound: a duration of exactly so many nanoseconds is in the next one.
    pub(super) fn durations<'d>(
        &mut self,
        name: &str,
        help: &str,
        of_shards: impl Iterator<Item = &'d Durations>,
    ) {
        let mut buckets = Vec::new();
        let mut sum_seconds = 0.0;
        for durations in of_shards {
            add_up(&mut buckets, durations.buckets());
            sum_seconds += durations.sum_ns() as f64 / 1e9;
        }
        let seconds = |ns| is_exported(ns).then_some(ns as f64 / 1e9);
        let metric = histogram(&buckets, seconds, sum_seconds);
        self.add(name, help, MetricType::HISTOGRAM, vec![metric]);
    }

    /// A histogram of what all shards have counted.
    pub(super) fn counts<'c>(
        &mut self,
        name: &str,
        help: &str,
        of_shards: impl Iterator<Item = &'c Counts>,
    ) {
        let mut buckets = Vec::new();
        let mut sum = 0.0;
        for counts in of_shards {
            add_up(&mut buckets, counts.buckets());
            sum += counts.sum() as f64;
        }
        let metric = histogram(&buckets, |bound| Some(bound as f64), sum);
        self.add(name, help, MetricType::HISTOGRAM, vec![metric]);
    }

    fn add(&mut self, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }
}

fn counter(value: f64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = Metric::default();
    metric.set_counter(counter);
    metric
}

fn gauge(value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    Metric::from_gauge(gauge)
}

fn with_label(mut metric: Metric, label: &str, value: &impl ToString) -> Metric {
    metric.set_label(vec![pair(label, &value.to_string())]);
    metric
}

fn pair(label: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(label.to_owned());
    pair.set_value(value.to_owned());
    pair
}

/// Upper bounds, `None` for the last, and counts.
type Buckets = Vec<(Option<u64>, u64)>;

fn add_up(total: &mut Buckets, more: impl Iterator<Item = (Option<u64>, u64)>) {
    if total.is_empty() {
        total.extend(more);
        return;
    }
    for (bucket, (bound, count)) in total.iter_mut().zip(more) {
        debug_assert_eq!(bucket.0, bound);
        bucket.1 += count;
    }
}

/// A histogram of the buckets whose bounds `export` has a value for. The count is the sum of all
/// buckets as they were read here, so that it always is that of the last one.
fn histogram(buckets: &Buckets, export: impl Fn(u64) -> Option<f64>, sum: f64) -> Metric {
    let mut cumulative = 0;
    let mut exported = Vec::new();
    for (bound, count) in buckets {
        cumulative += count;
        if let Some(bound) = bound.and_then(&export) {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(cumulative);
            exported.push(bucket);
        }
    }
    let mut histogram = Histogram::default();
    histogram.set_bucket(exported);
    histogram.set_sample_count(cumulative);
    histogram.set_sample_sum(sum);
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    metric
}

/// Powers of two and what is halfway between them, within [`DURATION_BOUNDS_NS`].
fn is_exported(bound_ns: u64) -> bool {
    let is_halfway = bound_ns.is_multiple_of(3) && (bound_ns / 3).is_power_of_two();
    DURATION_BOUNDS_NS.contains(&bound_ns) && (bound_ns.is_power_of_two() || is_halfway)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exported_bounds_are_internal_ones_from_one_microsecond_to_ten_seconds() {
        let durations = Durations::default();
        let bounds: Vec<u64> = durations
            .buckets()
            .filter_map(|(bound, _)| bound.filter(|bound| is_exported(*bound)))
            .collect();
        assert_eq!(bounds.len(), 2 * (33 - 10) + 2);
        assert_eq!(bounds[..3], [1_024, 1_536, 2_048]);
        assert!(bounds.is_sorted() && bounds.last() == DURATION_BOUNDS_NS.max().as_ref());
    }

    #[test]
    fn shards_are_added_up_and_buckets_are_cumulative() {
        let (one, other) = (Durations::default(), Durations::default());
        for (durations, ns) in [
            (&one, 1_000),
            (&one, 1_500),
            (&other, 1_500),
            (&other, 60 << 30),
        ] {
            durations.record(ns, 1);
        }
        let mut families = Families::default();
        families.durations("a_seconds", "Help.", [&one, &other].into_iter());
        let histogram = families.0[0].get_metric()[0].get_histogram();
        let counts: Vec<u64> = histogram.get_bucket()[..3]
            .iter()
            .map(Bucket::cumulative_count)
            .collect();
        assert_eq!(counts, [1, 3, 3]);
        assert_eq!(histogram.get_sample_count(), 4);
        let sum = (4_000 + (60_u64 << 30)) as f64 / 1e9;
        assert!((histogram.get_sample_sum() - sum).abs() < 1e-9);
    }
}
