//! Tests and intervals that decide whether two sides differ, over repeated runs. Pure arithmetic.
//!
//! A test computes how often a difference as large as the observed one occurs if the values are
//! assigned to the two sides in another way: each pair swapped or not ([`of_pairs`]), or all runs
//! redistributed ([`of_samples`]). If the order within pairs was drawn by lot ([`orders`]) this is
//! exact for any noise: heavy tails, or a machine that is slow for minutes.
//!
//! Several metrics are judged together: each is compared with the largest difference among all
//! (Westfall and Young's step-down method), so that if a server is compared with itself, at most 5
//! % of the comparisons find any metric worse.

mod relabel;
mod shift;

#[cfg(test)]
mod simulation;

pub(crate) use relabel::orders;
pub(crate) use shift::{Shift, median};

/// The fewest pairs, or runs on each side, for which a verdict is given.
pub(crate) const RUNS_MIN: usize = 5;
/// The most often that two equal sides are called worse, and likewise better.
const LEVEL: f64 = 0.05;

/// The values of one metric, all above 0.
#[derive(Clone, Debug)]
pub(crate) struct Metric {
    pub(crate) a: Vec<f64>,
    pub(crate) b: Vec<f64>,
    pub(crate) lower_is_better: bool,
}

/// The verdict on B compared with A.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Beyond the tolerance, and not by chance.
    Better,
    /// The whole interval lies within the tolerance.
    Same,
    /// Beyond the tolerance, and not by chance.
    Worse,
    /// None of these.
    Undecided,
}

/// The result for one metric.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judged {
    pub(crate) shift: Shift,
    pub(crate) verdict: Verdict,
}

/// Judges runs that were made in pairs: `a[n]` and `b[n]` of each metric belong to pair `n`, and
/// `is_b_first[n]` is their order, as [`orders`] drew it. A difference up to `tolerance` does not
/// matter: 0.1 is 10 %.
pub(crate) fn of_pairs(metrics: &[Metric], is_b_first: &[bool], tolerance: f64) -> Vec<Judged> {
    let scored = metrics.iter().map(|metric| {
        let pairs = metric.a.iter().zip(&metric.b);
        let logs: Vec<f64> = pairs.map(|(a, b)| (b / a).ln()).collect();
        (Shift::of_pairs(&logs), scores(&logs))
    });
    judge(metrics, scored, &relabel::flips(is_b_first), tolerance)
}

/// Judges runs that were not made in pairs. Exact only if all runs were made under the same
/// conditions: a machine that was slower later cannot be distinguished from a slower server.
pub(crate) fn of_samples(metrics: &[Metric], tolerance: f64) -> Vec<Judged> {
    let Some(first) = metrics.first() else {
        return Vec::new();
    };
    let labels = relabel::exchanges(first.a.len(), first.b.len());
    let scored = metrics.iter().map(|metric| {
        let logs = |values: &[f64]| values.iter().map(|value| value.ln()).collect::<Vec<_>>();
        let (a, b) = (logs(&metric.a), logs(&metric.b));
        let all = [&a[..], &b].concat();
        let middle = median(&all);
        let apart: Vec<f64> = all.iter().map(|log| log - middle).collect();
        (Shift::of_samples(&a, &b), scores(&apart))
    });
    judge(metrics, scored, &labels, tolerance)
}

/// `scored` has the shift of each metric, and the scores that are added up with the signs of
/// `labels`.
fn judge(
    metrics: &[Metric],
    scored: impl Iterator<Item = (Shift, Vec<f64>)>,
    labels: &[Vec<i8>],
    tolerance: f64,
) -> Vec<Judged> {
    let (shifts, scores): (Vec<_>, Vec<_>) = scored.unzip();
    let margin = tolerance.ln_1p();
    // A metric that moves by no more than the tolerance under any label cannot become better or
    // worse, so it does not weaken the others.
    let is_moving = |metric: &Metric| {
        let all = || metric.a.iter().chain(&metric.b);
        let max = all().copied().fold(0.0, f64::max);
        let min = all().copied().fold(f64::INFINITY, f64::min);
        (max / min).ln() > margin
    };
    let moving: Vec<usize> = (0..metrics.len())
        .filter(|at| is_moving(&metrics[*at]))
        .collect();
    let chances = |sign: f64| {
        let signed = moving.iter().map(|at| {
            let to_the_bad = if metrics[*at].lower_is_better {
                sign
            } else {
                -sign
            };
            scores[*at].iter().map(|score| score * to_the_bad).collect()
        });
        relabel::chances(&signed.collect::<Vec<Vec<f64>>>(), labels)
    };
    let (worse, better) = (chances(1.0), chances(-1.0));
    let mut judged: Vec<_> = shifts
        .into_iter()
        .map(|shift| Judged {
            shift,
            verdict: match shift.is_within(margin) {
                true => Verdict::Same,
                false => Verdict::Undecided,
            },
        })
        .collect();
    for (nth, at) in moving.into_iter().enumerate() {
        let log = judged[at].shift.ratio.ln();
        let to_the_bad = if metrics[at].lower_is_better {
            log
        } else {
            -log
        };
        if worse[nth] <= LEVEL && to_the_bad > margin {
            judged[at].verdict = Verdict::Worse;
        } else if better[nth] <= LEVEL && -to_the_bad > margin {
            judged[at].verdict = Verdict::Better;
        }
    }
    judged
}

/// Differences on one scale for all metrics: clipped at their median size, so that one outlier
/// decides nothing, and with a sum of squares of 1. Their sizes do not depend on their signs, so a
/// flipped sign flips a score.
fn scores(differences: &[f64]) -> Vec<f64> {
    let sizes: Vec<f64> = differences.iter().map(|one| one.abs()).collect();
    let cut = match median(&sizes) {
        0.0 => f64::INFINITY,
        cut => cut,
    };
    let cut: Vec<f64> = differences.iter().map(|one| one.clamp(-cut, cut)).collect();
    let norm = cut.iter().map(|one| one * one).sum::<f64>().sqrt();
    let scale = if norm > 0.0 { 1.0 / norm } else { 0.0 };
    cut.iter().map(|one| one * scale).collect()
}
