//! The histograms of a run: nanoseconds, three significant digits, up to a minute.
//!
//! Every delivery is recorded in [`Buckets`], which are those of the histogram and nothing else:
//! sums and extremes are computed on demand and cost nothing before.

use hdrhistogram::Histogram;

/// Below this, values are distinguished by 64 ns at best, which keeps the table within a cache.
const LOWEST_NS: u64 = 1 << UNIT_BITS;
const HIGHEST_NS: u64 = 60_000_000_000;
const UNIT_BITS: u32 = 6;
/// From the second half of the first octave on, each octave has two to the power of this buckets:
/// three digits.
const HALF_BITS: u32 = 10;
const BUCKETS: usize = bucket_of(HIGHEST_NS) + 1;

/// An empty histogram.
pub(crate) fn new() -> Histogram<u64> {
    // The bounds are constants that the library accepts; a table that grows would do as well.
    Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, 3)
        .or_else(|_| Histogram::new(3))
        .unwrap_or_else(|_| unreachable!("three digits are allowed"))
}

/// Records one value; more than a minute counts as a minute.
#[inline]
pub(crate) fn record(histogram: &mut Histogram<u64>, value_ns: u64) {
    histogram.saturating_record(value_ns);
}

/// Adds the values of `other`, which has the same bounds.
pub(crate) fn merge(sum: &mut Histogram<u64>, other: &Histogram<u64>) {
    // Adding fails only if the other's values are out of bounds.
    let _ = sum.add(other);
}

/// Number of values of a minute or more, which count as one minute.
pub(crate) fn clamped(histogram: &Histogram<u64>) -> u64 {
    histogram.count_between(HIGHEST_NS, u64::MAX)
}

/// An empty histogram for numbers other than times.
pub(crate) fn of_counts() -> Histogram<u64> {
    Histogram::new(3).unwrap_or_else(|_| unreachable!("three digits are allowed"))
}

/// The number of values in each bucket of a histogram: recording is one addition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Buckets {
    counts: Vec<u64>,
}

impl Buckets {
    pub(crate) fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS],
        }
    }

    /// Records a value `count` times; more than a minute counts as a minute.
    #[inline]
    pub(crate) fn record(&mut self, value_ns: u64, count: u64) {
        self.counts[bucket_of(value_ns)] += count;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
            *sum += count;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.counts.fill(0);
    }

    /// A histogram with the same values.
    pub(crate) fn histogram(&self) -> Histogram<u64> {
        let mut histogram = new();
        for (bucket, count) in self
            .counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
        {
            histogram.saturating_record_n(lowest_of(bucket), *count);
        }
        histogram
    }
}

/// The bucket of a value, divided as in the histogram.
#[inline]
const fn bucket_of(value_ns: u64) -> usize {
    let value_ns = if value_ns < HIGHEST_NS {
        value_ns
    } else {
        HIGHEST_NS
    };
    let units = value_ns >> UNIT_BITS;
    let first_octaves = (2 << HALF_BITS) - 1;
    let octave = (units | first_octaves).ilog2() - HALF_BITS;
    ((octave as usize) << HALF_BITS) + (units >> octave) as usize
}

/// The lowest value of a bucket, in nanoseconds.
fn lowest_of(bucket: usize) -> u64 {
    let octave = (bucket >> HALF_BITS).saturating_sub(1);
    ((bucket - (octave << HALF_BITS)) as u64) << octave << UNIT_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_say_what_a_histogram_of_the_same_values_says() {
        let (mut buckets, mut histogram) = (Buckets::new(), new());
        let mut value_ns = 64.0_f64;
        while value_ns < HIGHEST_NS as f64 {
            let value = value_ns as u64;
            for near_ns in [value, value.next_power_of_two().min(HIGHEST_NS)] {
                buckets.record(near_ns, 2);
                histogram.saturating_record_n(near_ns, 2);
            }
            value_ns *= 1.001;
        }
        let made = buckets.histogram();
        let values = |of: &Histogram<u64>| -> Vec<_> {
            let each = of.iter_recorded();
            each.map(|one| (one.value_iterated_to(), one.count_at_value()))
                .collect()
        };
        // A failed `assert_eq` would print all of them.
        assert!(values(&made) == values(&histogram));
        assert_eq!((made.min(), made.max()), (histogram.min(), histogram.max()));
        assert_eq!(made.mean(), histogram.mean());
        let mut twice = buckets.clone();
        twice.add(&buckets);
        assert_eq!(twice.histogram().len(), 2 * histogram.len());
        twice.clear();
        assert_eq!(twice, Buckets::new());
    }

    #[test]
    fn more_than_a_minute_is_a_minute() {
        let mut buckets = Buckets::new();
        buckets.record(59_000_000_000, 1);
        assert_eq!(clamped(&buckets.histogram()), 0);
        buckets.record(u64::MAX, 1);
        let longest_ns = buckets.histogram().max();
        assert_eq!(clamped(&buckets.histogram()), 1);
        let mut histogram = new();
        for value_ns in [59_000_000_000, HIGHEST_NS, u64::MAX] {
            record(&mut histogram, value_ns);
        }
        assert_eq!(clamped(&histogram), 2);
        assert!(longest_ns.abs_diff(HIGHEST_NS) < HIGHEST_NS / 1000);
    }
}
