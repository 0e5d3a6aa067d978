//! The histograms of a run: nanoseconds, three significant digits, up to a minute.

use hdrhistogram::Histogram;

/// Below this, values are told apart by 64 ns at best, which keeps the table within a cache.
const LOWEST_NS: u64 = 64;
const HIGHEST_NS: u64 = 60_000_000_000;

/// An empty histogram.
pub(crate) fn new() -> Histogram<u64> {
    // The bounds are constants that the library allows; a table that grows is as good.
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
    // Adding fails only where the other's values lie out of bounds.
    let _ = sum.add(other);
}

/// An empty histogram for numbers that are no times.
pub(crate) fn of_counts() -> Histogram<u64> {
    Histogram::new(3).unwrap_or_else(|_| unreachable!("three digits are allowed"))
}
