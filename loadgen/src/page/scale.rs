//! Axes: the position of a value, and the ticks.

/// A log axis from its smallest value to so many times that has ticks at 2 and 5 too.
const MANY_TICKS: f64 = 120.0;

/// How values are distributed over an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Linear,
    Log,
    /// Quantiles by their distance from 1, as `HdrHistogram` draws them: each nine as wide as the
    /// one before.
    Nines,
}

/// One axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scale {
    kind: Kind,
    min: f64,
    max: f64,
    /// Values with a line and a label.
    pub(super) ticks: Vec<(f64, String)>,
}

impl Scale {
    /// From 0 to a round number above `max`.
    pub(super) fn from_zero(max: f64, label: impl Fn(f64) -> String) -> Self {
        let step = round_step(max.max(1e-9) / 4.0);
        let steps = (max / step).ceil().max(1.0);
        Self {
            kind: Kind::Linear,
            min: 0.0,
            max: steps * step,
            ticks: (0..=steps as u32)
                .map(|tick| f64::from(tick) * step)
                .map(|value| (value, label(value)))
                .collect(),
        }
    }

    /// From `min` to `max` as they are, with round ticks between them.
    pub(super) fn between(min: f64, max: f64, label: impl Fn(f64) -> String) -> Self {
        let max = if max > min { max } else { min + 1.0 };
        let step = round_step((max - min) / 5.0);
        let first = (min / step).ceil() as i64;
        let last = (max / step).floor() as i64;
        Self {
            kind: Kind::Linear,
            min,
            max,
            ticks: (first..=last)
                .map(|tick| tick as f64 * step)
                .map(|value| (value, label(value)))
                .collect(),
        }
    }

    /// From and to 1, 2 or 5 times a power of ten; over many decades only these have ticks. Values
    /// below 1 count as 1.
    pub(super) fn log(min: f64, max: f64, label: impl Fn(f64) -> String) -> Self {
        let min = min.max(1.0);
        let max = max.max(min).max(2.0);
        let decades = (min.log10().floor() as i32)..=(max.log10().ceil() as i32);
        let all: Vec<f64> = decades
            .flat_map(|decade| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(decade)))
            .collect();
        // Rounding in logarithms may put 1000 a little below itself.
        let below = all
            .iter()
            .rposition(|tick| *tick <= min * 1.000_001)
            .unwrap_or(0);
        let above = all.iter().position(|tick| *tick >= max * 0.999_999);
        let above = above.map_or(all.len() - 1, |above| above.max(below + 1));
        let (min, max) = (all[below], all[above]);
        let is_wide = max / min > MANY_TICKS;
        let is_kept = |tick: &&f64| !is_wide || tick.log10().fract().abs() < 1e-9;
        Self {
            kind: Kind::Log,
            min,
            max,
            ticks: all[below..=above]
                .iter()
                .filter(is_kept)
                .map(|value| (*value, label(*value)))
                .collect(),
        }
    }

    /// Quantiles from 0 to the last one that `count` values can resolve.
    pub(super) fn nines(count: u64) -> Self {
        let nines = (count.max(10) as f64).log10().clamp(1.0, 7.0);
        let named = [
            (0.0, "0"),
            (0.5, "50"),
            (0.9, "90"),
            (0.99, "99"),
            (0.999, "99.9"),
        ];
        let further = [
            (0.9999, "99.99"),
            (0.99999, "99.999"),
            (0.999_999, "99.9999"),
        ];
        let last = 1.0 - 10f64.powf(-nines);
        Self {
            kind: Kind::Nines,
            min: 0.0,
            max: last,
            ticks: named
                .into_iter()
                .chain(further)
                .filter(|(quantile, _)| *quantile <= last + 1e-12)
                .map(|(quantile, name)| (quantile, format!("{name} %")))
                .collect(),
        }
    }

    /// The position of a value, from 0 to 1. Values beyond the ends lie at the ends.
    pub(super) fn at(&self, value: f64) -> f64 {
        let along =
            |of: &dyn Fn(f64) -> f64| (of(value) - of(self.min)) / (of(self.max) - of(self.min));
        let at = match self.kind {
            Kind::Linear => along(&|value| value),
            Kind::Log => along(&|value| value.max(1.0).log10()),
            Kind::Nines => along(&|value| -(1.0 - value).max(1e-9).log10()),
        };
        if at.is_finite() {
            at.clamp(0.0, 1.0)
        } else {
            0.0
        }
    }

    /// The value at a position from 0 to 1, on an axis of quantiles.
    pub(super) fn quantile_at(&self, at: f64) -> f64 {
        1.0 - 10f64.powf((1.0 - self.max).log10() * at)
    }
}

/// The nearest of 1, 2, 5 and 10 times a power of ten that is not below `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let fits = |factor: &&f64| **factor * power >= step * 0.999_999;
    factors.iter().find(fits).unwrap_or(&10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(value: f64) -> String {
        value.to_string()
    }

    fn ticks(scale: &Scale) -> Vec<f64> {
        scale.ticks.iter().map(|(value, _)| *value).collect()
    }

    #[test]
    fn ticks_are_round_and_reach_over_the_largest_value() {
        let scale = Scale::from_zero(930.0, plain);
        assert_eq!(ticks(&scale), [0.0, 500.0, 1000.0]);
        assert_eq!(
            (scale.at(0.0), scale.at(500.0), scale.at(5000.0)),
            (0.0, 0.5, 1.0)
        );
        assert_eq!(ticks(&Scale::between(3.0, 9.0, plain)), [4.0, 6.0, 8.0]);
    }

    #[test]
    fn a_log_axis_fits_its_values_with_few_ticks() {
        assert_eq!(
            ticks(&Scale::log(120.0, 450.0, plain)),
            [100.0, 200.0, 500.0]
        );
        let wide = Scale::log(2e3, 9e6, plain);
        assert_eq!(ticks(&wide), [1e4, 1e5, 1e6, 1e7]);
        assert_eq!((wide.at(2e3), wide.at(1e7)), (0.0, 1.0));
    }

    #[test]
    fn each_nine_is_as_wide_as_the_one_before() {
        let scale = Scale::nines(10_000);
        assert!((scale.at(0.9) - 0.25).abs() < 1e-9 && (scale.at(0.99) - 0.5).abs() < 1e-9);
        assert_eq!(ticks(&scale), [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999]);
        assert!((scale.quantile_at(0.5) - 0.99).abs() < 1e-9);
    }

    #[test]
    fn no_value_leaves_the_chart() {
        let scales = [
            Scale::from_zero(0.0, plain),
            Scale::between(0.0, 0.0, plain),
            Scale::log(0.0, 0.0, plain),
            Scale::log(1.0, 1.0, plain),
            Scale::log(6e10, 6e10, plain),
            Scale::nines(0),
        ];
        for scale in scales {
            for value in [-1.0, 0.0, 1.0, 1e300, f64::NAN, f64::INFINITY] {
                assert!(
                    (0.0..=1.0).contains(&scale.at(value)),
                    "{scale:?} at {value}"
                );
            }
            assert!(scale.ticks.len() < 20, "{scale:?}");
        }
    }
}
