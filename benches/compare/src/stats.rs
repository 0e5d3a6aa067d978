//! Medians, spreads and paired ratios: what turns rounds of noisy readings into one figure.

use serde::Serialize;

/// A figure over the rounds: its median, and the quartiles as its spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// Rounds that it was made of.
    pub(crate) rounds: usize,
}

impl Figure {
    /// Of the readings that are there. None where there is none.
    pub(crate) fn of(readings: &[Option<f64>]) -> Option<Self> {
        let mut values: Vec<f64> = readings.iter().flatten().copied().collect();
        values.sort_by(f64::total_cmp);
        Some(Self {
            median: quantile(&values, 0.5)?,
            low: quantile(&values, 0.25)?,
            high: quantile(&values, 0.75)?,
            rounds: values.len(),
        })
    }
}

/// Reading by base, round by round: what disturbs the machine for longer than a round falls on both
/// and cancels out. A round in which either is missing has none.
pub(crate) fn paired_ratios(readings: &[Option<f64>], bases: &[Option<f64>]) -> Vec<Option<f64>> {
    let pairs = readings.iter().zip(bases);
    pairs
        .map(|pair| Some((*pair.0)? / (*pair.1).filter(|base| *base > 0.0)?))
        .collect()
}

/// Quantile of sorted values, with linear interpolation between the two nearest ranks.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = share * sorted.len().checked_sub(1)? as f64;
    let below = *sorted.get(rank.floor() as usize)?;
    let above = *sorted.get(rank.ceil() as usize)?;
    Some(below + (above - below) * rank.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(values: &[f64]) -> Vec<Option<f64>> {
        values.iter().copied().map(Some).collect()
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middles() {
        let median = |values: &[f64]| Figure::of(&some(values)).map(|figure| figure.median);
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn the_spread_is_the_quartiles_so_that_one_outlier_does_not_move_it() {
        let figure = Figure::of(&some(&[1.0, 2.0, 3.0, 4.0, 1000.0])).expect("there are readings");
        assert_eq!((figure.low, figure.median, figure.high), (2.0, 3.0, 4.0));
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        // The machine is twice as slow in the second round: the ratio of medians would be 1.0.
        let ratios = paired_ratios(&some(&[1.1, 2.2, 1.1]), &some(&[1.0, 2.0, 1.0]));
        let figure = Figure::of(&ratios).expect("there are ratios");
        assert!((figure.median - 1.1).abs() < 1e-9 && (figure.high - figure.low).abs() < 1e-9);
    }

    #[test]
    fn a_round_without_one_of_the_two_is_left_out() {
        let ratios = paired_ratios(
            &[Some(3.0), None, Some(4.0), Some(1.0)],
            &[None, Some(1.0), Some(2.0), Some(0.0)],
        );
        assert_eq!(ratios, [None, None, Some(2.0), None]);
        assert_eq!(Figure::of(&ratios).map(|figure| figure.rounds), Some(1));
    }
}
