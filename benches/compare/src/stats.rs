//! Medians, spreads and paired ratios: from rounds of noisy readings to one figure.

use serde::{Deserialize, Serialize};

/// Resamples of a bootstrap: the interval's ends then move by less than a hundredth.
const RESAMPLES: usize = 2_000;
/// Arbitrary, but fixed, so that the same readings give the same report.
const SEED: u64 = 0x636f_7265_6361_7374;

/// A figure over the rounds: its median, and its uncertainty.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    /// For readings the lower quartile, for ratios the lower end of the 95 % confidence interval.
    pub(crate) low: f64,
    /// The upper one.
    pub(crate) high: f64,
    /// Rounds that it was made of.
    pub(crate) rounds: usize,
}

impl Figure {
    /// Of the readings that exist; `None` without readings.
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

    /// The median with its 95 % confidence interval: the range of the medians of as many rounds,
    /// drawn from these with replacement, in 95 of 100 cases (the percentile bootstrap). For fewer
    /// than five rounds it is the whole range.
    pub(crate) fn bootstrapped(readings: &[Option<f64>]) -> Option<Self> {
        let figure = Self::of(readings)?;
        let values: Vec<f64> = readings.iter().flatten().copied().collect();
        let mut random = fastrand::Rng::with_seed(SEED);
        let mut resample = || -> Option<f64> {
            let mut drawn: Vec<f64> = (values.iter())
                .map(|_| values[random.usize(..values.len())])
                .collect();
            drawn.sort_by(f64::total_cmp);
            quantile(&drawn, 0.5)
        };
        let mut medians: Vec<f64> = match values.len() {
            0..5 => values.clone(),
            _ => (0..RESAMPLES).filter_map(|_| resample()).collect(),
        };
        medians.sort_by(f64::total_cmp);
        let (low, high) = match values.len() {
            0..5 => (0.0, 1.0),
            _ => (0.025, 0.975),
        };
        Some(Self {
            low: quantile(&medians, low)?,
            high: quantile(&medians, high)?,
            ..figure
        })
    }
}

/// Reading by base, round by round: a disturbance that lasts longer than a round affects both and
/// cancels out. A round in which either is missing has no ratio.
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
    fn the_spread_by_quartiles_ignores_an_outlier() {
        let figure = Figure::of(&some(&[1.0, 2.0, 3.0, 4.0, 1000.0])).expect("there are readings");
        assert_eq!((figure.low, figure.median, figure.high), (2.0, 3.0, 4.0));
    }

    #[test]
    fn the_interval_holds_the_true_median_in_about_95_of_100_cases() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut held = 0;
        for _ in 0..200 {
            let drawn: Vec<_> = (0..15).map(|_| Some(random.f64())).collect();
            let figure = Figure::bootstrapped(&drawn).expect("there are readings");
            assert!(figure.low <= figure.median && figure.median <= figure.high);
            held += u32::from((figure.low..=figure.high).contains(&0.5));
        }
        assert!((180..=199).contains(&held), "{held} of 200");
    }

    #[test]
    fn intervals_are_repeatable_and_few_rounds_give_the_range() {
        let readings = some(&[1.0, 1.2, 0.9, 1.1, 1.3, 0.8, 1.0]);
        let figure = Figure::bootstrapped(&readings);
        assert_eq!(figure, Figure::bootstrapped(&readings));
        let few = Figure::bootstrapped(&some(&[3.0, 1.0, 2.0])).expect("there are readings");
        assert_eq!((few.low, few.median, few.high), (1.0, 2.0, 3.0));
        assert_eq!(Figure::bootstrapped(&[None]), None);
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
