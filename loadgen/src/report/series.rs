//! Results of several runs: a walk over rates, repeats, a comparison.

use serde::{Deserialize, Serialize};

use super::{Deliveries, Quantiles};

/// A summary of one run, as a walk or a series of repeats lists it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Requested messages a second; absent in a closed loop.
    pub rate: Option<f64>,
    /// Counted after the warm-up.
    #[serde(flatten)]
    pub measured: Deliveries,
    /// Messages published.
    pub messages_per_second: f64,
    /// Deliveries.
    pub deliveries_per_second: f64,
    /// From due to received.
    pub latency_ns: Quantiles,
    /// From due to sent.
    pub lateness_ns: Quantiles,
    /// CPU time of the generator over wall time.
    pub cpu_share: f64,
    /// The server's CPU time per delivery, if `--metrics-url` reports it.
    pub server_cpu_ns_per_delivery: Option<f64>,
    /// Until all connections of a storm were back, for the slowest storm; absent without storms,
    /// and if they never were.
    pub recovery_ns: Option<f64>,
    /// The generator was not the bottleneck.
    pub valid: bool,
    /// Every delivery was right.
    pub right: bool,
}

/// A walk over rates, by `--rate-steps` or `--find-max`. The surrounding report is that of the last
/// run at the knee, or without a knee that of the best step so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Walk {
    /// The condition that a step must meet: `p99<5ms`. Absent if steps only had to be right and
    /// valid.
    pub target: Option<String>,
    /// In the order in which they ran.
    pub steps: Vec<Step>,
    /// The highest rate that met the target without a lower one failing, in messages a second. With
    /// `--find-max` it met the target in all runs that confirm it; otherwise in one run.
    pub knee: Option<f64>,
    /// Runs that confirmed the knee, all of which met the target; 0 without `--find-max`.
    #[serde(default)]
    pub confirmed_by: u32,
    /// Why the knee is not higher.
    #[serde(default)]
    pub bound: Bound,
}

/// Why a walk went no higher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// A higher rate missed the target.
    #[default]
    Target,
    /// At a higher rate the generator was the bottleneck, so the relay's limit is not known.
    Generator,
    /// Every rate that was tried met the target.
    HighestTried,
    /// The walk ended before a rate was confirmed.
    Unfinished,
}

/// One step of a walk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its figures.
    #[serde(flatten)]
    pub summary: Summary,
    /// It met the target.
    pub met: bool,
    /// Why not.
    pub reasons: Vec<String>,
    /// A run that was to confirm a rate.
    #[serde(default)]
    pub confirms: bool,
}

/// The runs of `--repeat`. The surrounding report is that of the median run, by its latency at p99,
/// in a closed loop by its throughput.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Repeats {
    /// In the order in which they ran.
    pub runs: Vec<Summary>,
    /// The figures over all runs.
    pub figures: Vec<Repeated>,
}

/// One figure over all repeats.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Repeated {
    /// `latency p99`, for example.
    pub name: String,
    /// `ns` or `1/s`.
    pub unit: String,
    /// The median.
    pub median: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// (max − min) / median; 0 if the median is 0.
    pub spread: f64,
}

/// This run against an earlier one, by `--compare`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The earlier run.
    pub baseline: Baseline,
    /// Why the comparison gives no verdict: another machine, another load, too few runs.
    pub caveats: Vec<String>,
    /// Figure by figure.
    pub figures: Vec<Compared>,
    /// Of all figures together: worse if one is worse, else better if one is better, the same if
    /// all are; otherwise, and with any caveat, undecided.
    pub verdict: Change,
}

/// An earlier run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Its `--label`.
    pub label: Option<String>,
    /// When it began, RFC 3339 in UTC.
    pub started_at: String,
    /// The program that made it.
    pub program: String,
}

/// One figure, before and after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// `latency p99`, for example.
    pub name: String,
    /// `ns`, `1/s` or `deliveries`.
    pub unit: String,
    /// True if less is better.
    pub lower_is_better: bool,
    /// Of the earlier run, or of A: the median of the runs.
    pub before: f64,
    /// Of the later run, or of B.
    pub after: f64,
    /// After over before: the median over all pairs of runs; absent if before was 0.
    pub ratio: Option<f64>,
    /// The interval that holds the ratio in 95 % of cases (with 5 pairs in 93.75 %); absent with
    /// too few runs.
    #[serde(default)]
    pub interval: Option<[f64; 2]>,
    /// The verdict.
    pub change: Change,
}

/// How a figure moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Better by more than the tolerance, and not by chance.
    Better,
    /// The interval lies within the tolerance.
    Same,
    /// Worse by more than the tolerance, and not by chance.
    Worse,
    /// None of these: the runs are too few or too noisy, or must not be compared.
    Undecided,
}

/// Why a run ended early, by `--abort-if`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Aborted {
    /// The condition as typed: `p99>5ms`.
    pub condition: String,
    /// The observed value, in the condition's unit; nanoseconds for times.
    pub observed: f64,
    /// Milliseconds after the start of the measurement.
    pub at_ms: u64,
}
