//! The report of `loadgen ab`: two servers under the same load, in pairs of runs.

use serde::{Deserialize, Serialize};

use super::{Aborted, Change, Compared, Head, Summary};

/// The result of pairs of runs against two servers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PairsReport {
    /// [`Self::KIND`].
    pub kind: String,
    /// The head of every report: that of the first run.
    #[serde(flatten)]
    pub head: Head,
    /// URL of the server that is compared with.
    pub a: String,
    /// URL of the server that is judged.
    pub b: String,
    /// By how much a figure may differ and be the same: 0.1 is 10 %.
    pub tolerance: f64,
    /// In the order in which they ran.
    pub pairs: Vec<Pair>,
    /// Pairs that ran again because the generator was the bottleneck of a run.
    pub run_again: u32,
    /// Deliveries that were wrong, at A and at B, in pairs that ran again too.
    pub wrong_deliveries: [u64; 2],
    /// Of `--abort-if`, where it came to that.
    pub aborted: Option<Aborted>,
    /// The server that went away: no reader or no publisher was left there. Nothing ran after that.
    pub gone: Option<Side>,
    /// Why the pairs decide nothing.
    pub caveats: Vec<String>,
    /// B against A, figure by figure.
    pub figures: Vec<Compared>,
    /// Of all figures together: worse where one is worse, else better where one is better, the same
    /// where all are; undecided otherwise, and with any caveat.
    pub verdict: Change,
    /// Every delivery right, at A and at B.
    pub right: bool,
}

/// One run against each server, one directly after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// Which one ran first; drawn by lot.
    pub first: Side,
    /// The run against A.
    pub a: Summary,
    /// The run against B.
    pub b: Summary,
}

/// One of two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The first URL.
    A,
    /// The second URL.
    B,
}

impl PairsReport {
    /// What [`kind`](Self::kind) says.
    pub const KIND: &'static str = "ab";

    /// For programs: one object, with a line break at the end.
    ///
    /// # Errors
    /// None that is known: there is nothing in a report that JSON cannot say.
    pub fn json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

/// Counts over all runs, those that ran again included.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Pairs that ran again.
    pub(crate) run_again: u32,
    /// At A and at B.
    pub(crate) wrong_deliveries: [u64; 2],
    /// Some run was not right.
    pub(crate) is_wrong: bool,
    pub(crate) aborted: Option<Aborted>,
    /// The server that went away.
    pub(crate) gone: Option<Side>,
    /// Reasons that are known already why the pairs decide nothing.
    pub(crate) caveats: Vec<String>,
}
