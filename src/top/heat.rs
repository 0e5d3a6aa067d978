//! A heat map of the latency: a column for each second, denser shades for more messages.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::widgets::Widget;

use super::colors::{ACCENT, DIM};
use super::numbers::micros;
use super::seen::Seen;
use crate::admin::dashboard::Snapshot;

/// Shades from few messages of a second to nearly all. They differ in density rather than colour,
/// so that they also work without colours and on a light terminal.
const SHADES: [&str; 4] = ["░", "▒", "▓", "█"];

/// The largest bound of a latency bucket, in nanoseconds; longer latencies are drawn there.
const LONGEST_NS: u64 = 1 << 34;

/// Columns for the names of rows.
const LABELS: u16 = 10;

/// From this number of messages on, a single very long one counts as an outlier.
const OUTLIER_OF: u64 = 20;

/// The heat map of the last seconds.
pub(super) struct Heat<'s>(pub(super) &'s Seen);

/// Maps latencies to rows. Latencies far above nearly all others have a row of their own at the
/// top, so that one outlier does not stretch the axis.
#[derive(Debug, PartialEq)]
pub(super) struct Scale {
    /// Lower and upper end of the axis: decimal logarithms of nanoseconds.
    low: f64,
    high: f64,
    /// Rows of the axis, without the row above it.
    rows: usize,
    /// Whether there is a row for latencies above the axis.
    has_over: bool,
}

impl Scale {
    /// A scale for buckets, given as upper bounds in nanoseconds and numbers of messages.
    pub(super) fn new(mut buckets: Vec<(u64, u64)>, rows: usize) -> Scale {
        buckets.sort_unstable();
        let total: u64 = buckets.iter().map(|bucket| bucket.1).sum();
        let least = buckets.first().map_or(10_000, |bucket| bucket.0) as f64;
        let most = buckets.last().map_or(10_000_000, |bucket| bucket.0) as f64;
        // The outliers: a thousandth of the messages, or one if there are few.
        let apart = (total / 1_000).max(u64::from(total >= OUTLIER_OF));
        let mut below = 0;
        let usual = buckets.iter().find(|(_, count)| {
            below += count;
            below + apart >= total
        });
        let usual = usual.map_or(most, |bucket| bucket.0 as f64);
        let low = (least.log10() - 0.1).floor();
        let high = round_up(usual).log10().max(low + 1.0);
        // Outliers that are nearly on the axis do not deserve a row of their own.
        let has_over = rows > 2 && most.log10() > high + 0.5;
        let high = if has_over {
            high
        } else {
            high.max(round_up(most).log10())
        };
        Scale {
            low,
            high,
            rows: rows - usize::from(has_over),
            has_over,
        }
    }

    /// The row, from the bottom, of the bucket with this upper bound.
    pub(super) fn row(&self, below_ns: u64) -> usize {
        // The bound is exclusive, so the bucket's values are a little smaller.
        let decade = (below_ns as f64 * 0.95).log10();
        if self.has_over && decade > self.high {
            return self.rows;
        }
        let row = (decade - self.low) / (self.high - self.low) * self.rows as f64;
        (row.max(0.0) as usize).min(self.rows.saturating_sub(1))
    }

    /// The labels of rows; not every row has one.
    pub(super) fn labels(&self) -> Vec<(usize, String)> {
        let name = |ns: f64| micros(Some(ns / 1e3)).replace(".0 ", " ");
        let decades = self.low as i32..self.high.ceil() as i32;
        let mut labels: Vec<_> = decades
            .map(|decade| 10_f64.powi(decade))
            .map(|ns| (self.row((ns * 1.1) as u64), name(ns)))
            .collect();
        if self.has_over {
            labels.retain(|(row, _)| *row < self.rows);
            labels.push((self.rows, format!("> {}", name(10_f64.powf(self.high)))));
        }
        labels
    }
}

/// Rounds up to 1, 2 or 5 times a power of ten.
fn round_up(ns: f64) -> f64 {
    let power = 10_f64.powf(ns.log10().floor());
    let steps = [1.0, 2.0, 5.0].map(|step| step * power);
    let fits = |step: &f64| *step >= ns * 0.999;
    steps.into_iter().find(fits).unwrap_or(power * 10.0)
}

fn buckets(snapshot: &Snapshot) -> impl Iterator<Item = (u64, u64)> {
    let buckets = snapshot.latency.buckets.iter();
    buckets.map(|bucket| (bucket.below.unwrap_or(LONGEST_NS), bucket.count))
}

impl Widget for Heat<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let columns = usize::from(area.width.saturating_sub(LABELS));
        if columns == 0 || area.height == 0 {
            return;
        }
        let from = self.0.snapshots.len().saturating_sub(columns);
        let shown = self.0.snapshots.range(from..);
        let all = shown.clone().flat_map(buckets).collect();
        let scale = Scale::new(all, usize::from(area.height));
        for (row, label) in scale.labels() {
            let y = area.bottom() - 1 - row as u16;
            buffer.set_string(area.x, y, format!("{label:>8}"), Style::new().fg(DIM));
        }
        let count = shown.len();
        for (column, snapshot) in shown.enumerate() {
            let x = area.right() - (count - column) as u16;
            let mut counts = vec![0.0; usize::from(area.height)];
            for (below, count) in buckets(snapshot) {
                counts[scale.row(below)] += count as f64;
            }
            let total: f64 = counts.iter().sum();
            for (row, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
                let shade = ((count / total).sqrt() * SHADES.len() as f64) as usize;
                let shade = SHADES[shade.min(SHADES.len() - 1)];
                let y = area.bottom() - 1 - row as u16;
                buffer.set_string(x, y, shade, Style::new().fg(ACCENT));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn one_outlier_gets_the_row_at_the_top_and_the_axis_stays() {
        let usual = vec![(20_000, 500), (40_000, 400), (110_000, 99)];
        let alone = Scale::new(usual.clone(), 10);
        assert!(!alone.has_over, "{alone:?}");
        let scale = Scale::new([usual, vec![(3_000 * MS, 1)]].concat(), 10);
        assert!(scale.has_over, "{scale:?}");
        assert_eq!((scale.high, scale.rows), (200_000_f64.log10(), 9));
        assert_eq!(scale.row(3_000 * MS), 9);
        assert!(scale.row(110_000) < 9 && scale.row(110_000) > scale.row(20_000));
        let labels = scale.labels();
        assert_eq!(labels.last(), Some(&(9, "> 200 µs".to_owned())));
        assert!(labels.iter().all(|(row, _)| *row < 10), "{labels:?}");
    }

    #[test]
    fn latencies_that_are_common_are_on_the_axis_however_long() {
        let scale = Scale::new(vec![(20_000, 900), (3_000 * MS, 100)], 10);
        assert!(!scale.has_over && scale.row(3_000 * MS) == 9, "{scale:?}");
        // Among a handful of messages none counts as an outlier.
        let scale = Scale::new(vec![(20_000, 2), (3_000 * MS, 1)], 10);
        assert!(!scale.has_over, "{scale:?}");
    }

    #[test]
    fn every_bound_has_a_row_whatever_is_shown() {
        for buckets in [
            vec![],
            vec![(1, 1)],
            vec![(512, 10_000), (LONGEST_NS, 1)],
            vec![(LONGEST_NS, 7)],
        ] {
            for rows in 1..30 {
                let scale = Scale::new(buckets.clone(), rows);
                for ns in [1, 700, 40_000, MS, LONGEST_NS, u64::MAX] {
                    assert!(scale.row(ns) < rows, "{scale:?}");
                }
                assert!(
                    scale.labels().iter().all(|(row, _)| *row < rows),
                    "{scale:?}"
                );
            }
        }
    }
}
