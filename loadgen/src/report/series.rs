//! What is said about several runs: a walk over rates, repeats, a comparison.

use serde::{Deserialize, Serialize};

use super::{Deliveries, Quantiles};

/// One run in short, as a walk or a series of repeats lists it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Messages a second that were asked for; absent in a closed loop.
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
    /// The server's CPU time for each delivery, where `--metrics-url` tells.
    pub server_cpu_ns_per_delivery: Option<f64>,
    /// Until all connections of a storm were back, of the storm that took longest; absent without
    /// storms, and where they never were.
    pub recovery_ns: Option<f64>,
    /// The generator was not the bottleneck.
    pub valid: bool,
    /// Every delivery right.
    pub right: bool,
}

/// A walk over rates, by `--rate-steps` or `--find-max`. The report around it is that of the last
/// run at the knee, or where there is none of the last step that was the best so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Walk {
    /// What a step has to meet: `p99<5ms`. Absent where steps were only to be right and valid.
    pub target: Option<String>,
    /// In the order in which they ran.
    pub steps: Vec<Step>,
    /// The highest rate that met the target with no lower one failing, in messages a second. With
    /// `--find-max` it met the target in all runs that confirm it; otherwise in one run.
    pub knee: Option<f64>,
    /// Runs that confirmed the knee, all of which met the target; 0 without `--find-max`.
    #[serde(default)]
    pub confirmed_by: u32,
    /// Why there is no higher knee.
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
    /// At a higher rate the generator was the bottleneck: what the relay bears is not known.
    Generator,
    /// Every rate that was tried met the target.
    HighestTried,
    /// The walk ended before a rate was confirmed.
    Unfinished,
}

/// One step of a walk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What it came to.
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

/// The runs of `--repeat`. The report around them is that of the run in the middle, by its latency
/// at p99, in a closed loop by its throughput.
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
    /// The one in the middle.
    pub median: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// (max − min) / median; 0 where the median is.
    pub spread: f64,
}

/// This run against an earlier one, by `--compare`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The earlier run.
    pub baseline: Baseline,
    /// Why the comparison decides nothing: another machine, another load, too few runs.
    pub caveats: Vec<String>,
    /// Figure by figure.
    pub figures: Vec<Compared>,
    /// Of all figures together: worse where one is worse, else better where one is better, the same
    /// where all are; undecided otherwise, and with any caveat.
    pub verdict: Change,
}

/// An earlier run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// `--label` of then.
    pub label: Option<String>,
    /// When it began, RFC 3339 in UTC.
    pub started_at: String,
    /// The program of then.
    pub program: String,
}

/// One figure, then and now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// `latency p99`, for example.
    pub name: String,
    /// `ns`, `1/s` or `deliveries`.
    pub unit: String,
    /// True where less is better.
    pub lower_is_better: bool,
    /// Then, or of A: the median of the runs.
    pub before: f64,
    /// Now, or of B.
    pub after: f64,
    /// Now over then: the median over all pairs of runs; absent where then was 0.
    pub ratio: Option<f64>,
    /// Where the ratio lies in 95 % of cases (with 5 pairs in 93.75 %); absent with too few runs.
    #[serde(default)]
    pub interval: Option<[f64; 2]>,
    /// What that is.
    pub change: Change,
}

/// How a figure moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// By more than the tolerance, to the good, and not by chance.
    Better,
    /// The interval lies within the tolerance.
    Same,
    /// By more than the tolerance, to the bad, and not by chance.
    Worse,
    /// None of these: the runs cannot tell, or must not be compared.
    Undecided,
}

/// Why a run ended early, by `--abort-if`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Aborted {
    /// The condition, as it was typed: `p99>5ms`.
    pub condition: String,
    /// What was seen, in the condition's unit, nanoseconds for times.
    pub observed: f64,
    /// Milliseconds after the begin of the measurement.
    pub at_ms: u64,
}
