//! The ratio by which two sides differ, with an interval: Hodges and Lehmann's estimates, which are
//! robust against outliers, and the intervals that belong to the signed-rank and the rank-sum test.

/// The share of intervals that miss the true value by chance, given enough values.
const MISSED_MAX: f64 = 0.05;
/// The same in standard deviations of the normal distribution.
const MISSED_DEVIATIONS: f64 = 1.959_964;
/// For more values, the distribution of ranks is close enough to normal.
const EXACT_MAX: usize = 20;

/// B over A.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shift {
    pub(crate) ratio: f64,
    /// The interval holds the true value in 95 % of cases; with 5 pairs, where it cannot be wider,
    /// in 93.75 %.
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Shift {
    /// From the logarithms of the pairs' ratios: the median of all means of two of them.
    pub(super) fn of_pairs(logs: &[f64]) -> Self {
        let count = logs.len();
        let mut means = Vec::with_capacity(count * (count + 1) / 2);
        for (at, one) in logs.iter().enumerate() {
            means.extend(logs[at..].iter().map(|other| (one + other) / 2.0));
        }
        let cut = match count <= EXACT_MAX {
            true => cut(&signed_ranks(count)),
            false => {
                let count = count as f64;
                normal_cut(
                    count * (count + 1.0) / 2.0,
                    count * (count + 1.0) * (2.0 * count + 1.0) / 24.0,
                )
            }
        };
        Self::of(means, cut)
    }

    /// From the logarithms of the values: the median of all differences.
    pub(super) fn of_samples(a: &[f64], b: &[f64]) -> Self {
        let differences = b.iter().flat_map(|b| a.iter().map(move |a| b - a));
        let cut = match a.len().max(b.len()) <= EXACT_MAX {
            true => cut(&rank_sums(a.len(), b.len())),
            false => {
                let (a, b) = (a.len() as f64, b.len() as f64);
                normal_cut(a * b, a * b * (a + b + 1.0) / 12.0)
            }
        };
        Self::of(differences.collect(), cut)
    }

    /// `cut` values at either end lie outside the interval.
    fn of(mut logs: Vec<f64>, cut: usize) -> Self {
        logs.sort_by(f64::total_cmp);
        let last = logs.len().saturating_sub(1);
        let at = |at: usize| logs.get(at).copied().unwrap_or(0.0);
        Self {
            ratio: median(&logs).exp(),
            low: at(cut.min(last / 2)).exp(),
            high: at(last - cut.min(last / 2)).exp(),
        }
    }

    /// Whether the whole interval lies within this margin, in logarithms.
    pub(super) fn is_within(&self, margin: f64) -> bool {
        self.low.ln() >= -margin && self.high.ln() <= margin
    }
}

/// Returns 0 for no values.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count => (sorted[(count - 1) / 2] + sorted[count / 2]) / 2.0,
    }
}

/// How many values may be left out at each end, for a distribution of ranks.
fn cut(chances: &[f64]) -> usize {
    let mut below = 0.0;
    let left_out = chances.iter().take_while(|chance| {
        below += **chance;
        2.0 * below <= MISSED_MAX
    });
    left_out.count().saturating_sub(1)
}

fn normal_cut(sum: f64, variance: f64) -> usize {
    (sum / 2.0 - MISSED_DEVIATIONS * variance.sqrt() - 0.5).max(0.0) as usize
}

/// The probability of each sum of those ranks from 1 to `count` that have a plus, if plus and minus
/// are equally likely.
fn signed_ranks(count: usize) -> Vec<f64> {
    let mut chances = vec![0.0; count * (count + 1) / 2 + 1];
    chances[0] = 1.0;
    for rank in 1..=count {
        for sum in (0..chances.len()).rev() {
            let without = chances[sum];
            let with = sum.checked_sub(rank).map_or(0.0, |rest| chances[rest]);
            chances[sum] = (without + with) / 2.0;
        }
    }
    chances
}

/// The probability of each number of pairs, one of `a` values and one of `b`, in which the first is
/// larger, if both sides are equal.
fn rank_sums(a: usize, b: usize) -> Vec<f64> {
    // Adds one value at a time: the largest is either one of A's, and larger than all of B's, or
    // one of B's.
    let mut rows: Vec<Vec<f64>> = vec![vec![1.0]; b + 1];
    for of_a in 1..=a {
        let mut next: Vec<Vec<f64>> = vec![vec![1.0]];
        for of_b in 1..=b {
            let mut chances = vec![0.0; of_a * of_b + 1];
            let share_of_a = of_a as f64 / (of_a + of_b) as f64;
            for (larger, chance) in rows[of_b].iter().enumerate() {
                chances[larger + of_b] += share_of_a * chance;
            }
            for (larger, chance) in next[of_b - 1].iter().enumerate() {
                chances[larger] += (1.0 - share_of_a) * chance;
            }
            next.push(chances);
        }
        rows = next;
    }
    rows.pop().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Critical values from textbooks, for 5 % on both sides together.
    #[test]
    fn so_many_values_are_left_out_as_the_tables_say() {
        let of_pairs = [5, 6, 8, 10, 15, 20].map(|count| cut(&signed_ranks(count)));
        assert_eq!(of_pairs, [0, 0, 3, 8, 25, 52]);
        let of_samples = [(5, 5), (6, 8), (10, 10), (20, 20)].map(|(a, b)| cut(&rank_sums(a, b)));
        assert_eq!(of_samples, [2, 8, 23, 127]);
        for chances in [signed_ranks(12), rank_sums(7, 11)] {
            assert!((chances.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        }
        assert_eq!(normal_cut(210.0, 717.5), 52);
    }

    #[test]
    fn one_wild_value_does_not_move_the_ratio() {
        let ln = f64::ln;
        let logs = [1.19, 1.2, 1.21, 1.2, 1.2, 1.19, 1.21, 1.2, 1.2, 40.0].map(ln);
        let shift = Shift::of_pairs(&logs);
        assert!((1.19..1.22).contains(&shift.ratio), "{shift:?}");
        assert!(shift.low > 1.18 && shift.high < 7.0, "{shift:?}");
        let (a, b) = ([1.0; 6].map(ln), [2.0, 2.0, 2.0, 2.0, 2.0, 90.0].map(ln));
        let shift = Shift::of_samples(&a, &b);
        assert_eq!((shift.ratio, shift.low), (2.0, 2.0));
        assert!(!shift.is_within(0.5) && Shift::of_pairs(&[0.1; 5]).is_within(0.11));
    }
}
