//! Histograms in the form of the text format: cumulative, in seconds or counts.

use prometheus::proto::{self, Bucket, Metric};

use crate::engine::{Counts, Durations};

/// The bounds of exported durations: about 1 µs to 13 s, two for each power of two. All of them
/// are bounds of [`Durations`] too, so that nothing is interpolated.
const DURATION_BOUNDS_NS: std::ops::RangeInclusive<u64> = 1 << 10..=3 << 32;

/// Upper bounds, `None` for the last, and counts.
type Buckets = Vec<(Option<u64>, u64)>;

/// A histogram in the form that is exported.
pub(super) struct Histogram {
    /// Upper bounds and how many values are at most as large.
    buckets: Vec<(f64, u64)>,
    count: u64,
    sum: f64,
}

impl Histogram {
    /// A histogram of measured durations, in seconds. A bucket counts durations less than its
    /// bound; one that equals the bound is in the next bucket.
    pub(super) fn seconds<'d>(measured: impl Iterator<Item = &'d Durations>) -> Histogram {
        let mut buckets = Buckets::new();
        let mut sum_seconds = 0.0;
        for durations in measured {
            add_up(&mut buckets, durations.buckets());
            sum_seconds += durations.sum_ns() as f64 / 1e9;
        }
        let seconds = |ns| is_exported(ns).then_some(ns as f64 / 1e9);
        Histogram::new(&buckets, seconds, sum_seconds)
    }

    /// A histogram of counts.
    pub(super) fn counts<'c>(counted: impl Iterator<Item = &'c Counts>) -> Histogram {
        let mut buckets = Buckets::new();
        let mut sum = 0.0;
        for counts in counted {
            add_up(&mut buckets, counts.buckets());
            sum += counts.sum() as f64;
        }
        Histogram::new(&buckets, |bound| Some(bound as f64), sum)
    }

    /// The buckets for whose bounds `export` has a value. The total is the sum of the buckets as
    /// they were read here, so that it always equals the last cumulative bucket.
    fn new(buckets: &Buckets, export: impl Fn(u64) -> Option<f64>, sum: f64) -> Histogram {
        let mut count = 0;
        let mut exported = Vec::new();
        for (bound, more) in buckets {
            count += more;
            if let Some(bound) = bound.and_then(&export) {
                exported.push((bound, count));
            }
        }
        Histogram {
            buckets: exported,
            count,
            sum,
        }
    }

    /// The histogram for the encoder.
    pub(super) fn metric(&self) -> Metric {
        let bucket = |(bound, count): &(f64, u64)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(*count);
            bucket
        };
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(self.buckets.iter().map(bucket).collect());
        histogram.set_sample_count(self.count);
        histogram.set_sample_sum(self.sum);
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        metric
    }
}

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

/// Whether a bound within [`DURATION_BOUNDS_NS`] is a power of two or halfway between two of them.
fn is_exported(bound_ns: u64) -> bool {
    let is_halfway = bound_ns.is_multiple_of(3) && (bound_ns / 3).is_power_of_two();
    DURATION_BOUNDS_NS.contains(&bound_ns) && (bound_ns.is_power_of_two() || is_halfway)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exported_bounds_are_internal_bounds_from_1_us_to_13_s() {
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
        let histogram = Histogram::seconds([&one, &other].into_iter());
        let counts: Vec<u64> = histogram.buckets[..3]
            .iter()
            .map(|(_, count)| *count)
            .collect();
        assert_eq!(counts, [1, 3, 3]);
        let sum = (4_000 + (60_u64 << 30)) as f64 / 1e9;
        assert!((histogram.sum - sum).abs() < 1e-9);
        let metric = histogram.metric();
        let metric = metric.get_histogram();
        assert_eq!(metric.get_bucket()[0].upper_bound(), 0.000_001_024);
        assert_eq!(metric.get_sample_count(), 4);
    }
}
