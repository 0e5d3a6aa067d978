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
    /// URL of the server to compare with.
    pub a: String,
    /// URL of the server to judge.
    pub b: String,
    /// A difference up to this share counts as no change: 0.1 is 10 %.
    pub tolerance: f64,
    /// In the order in which they ran.
    pub pairs: Vec<Pair>,
    /// Pairs that ran again because the generator was the bottleneck of a run.
    pub run_again: u32,
    /// Faulty deliveries at A and at B, including pairs that ran again.
    pub wrong_deliveries: [u64; 2],
    /// The condition of `--abort-if` that ended the runs, if one did.
    pub aborted: Option<Aborted>,
    /// The server that became unreachable: no reader or no publisher was left. Nothing ran after
    /// that.
    pub gone: Option<Side>,
    /// Why the pairs give no verdict.
    pub caveats: Vec<String>,
    /// B against A, figure by figure.
    pub figures: Vec<Compared>,
    /// Of all figures together: worse if one is worse, else better if one is better, the same if
    /// all are; otherwise, and with any caveat, undecided.
    pub verdict: Change,
    /// Every delivery right, at A and at B.
    pub right: bool,
}

/// One run against each server, one right after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// Which server ran first; drawn by lot.
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
    /// The value of [`kind`](Self::kind).
    pub const KIND: &'static str = "ab";

    /// As JSON, for programs: one object, ending with a line break.
    ///
    /// # Errors
    /// None is known: JSON can represent any report.
    pub fn json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

/// Counts over all runs, including those that ran again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Pairs that ran again.
    pub(crate) run_again: u32,
    /// At A and at B.
    pub(crate) wrong_deliveries: [u64; 2],
    /// Some run was not right.
    pub(crate) is_wrong: bool,
    pub(crate) aborted: Option<Aborted>,
    /// The server that became unreachable.
    pub(crate) gone: Option<Side>,
    /// Known reasons why the pairs give no verdict.
    pub(crate) caveats: Vec<String>,
}
