//! What all push endpoints of a process count, for the metrics.

use super::refusal::Refusal;
use crate::relay::count::Count;

/// Counters that any thread adds to, and two gauges.
#[derive(Debug, Default)]
pub struct PushStats {
    /// Pushes that were accepted: for now, and with a delay.
    pub(crate) accepted: [Count; 2],
    /// Connections that pushes were queued for, delayed ones aside.
    pub(crate) queued: Count,
    /// Requests that were refused, by [`Refusal`].
    pub(crate) refused: [Count; Refusal::LABELS.len()],
    /// Delayed pushes that are over: sent, and cancelled.
    pub(crate) ended: [Count; 2],
    /// Delayed pushes that wait, those included that are on their way to the journal.
    pub(crate) pending: Count,
    /// The memory that they are reckoned with, in bytes.
    pub(crate) pending_bytes: Count,
}

impl PushStats {
    /// The labels of [`PushStats::accepted`].
    pub(crate) const ACCEPTED: [&'static str; 2] = ["now", "delayed"];
    /// The labels of [`PushStats::ended`].
    pub(crate) const ENDED: [&'static str; 2] = ["sent", "cancelled"];

    pub(super) fn count_refused(&self, refusal: Refusal) {
        self.refused[refusal as usize].add(1);
    }
}
