//! The counters of all push endpoints of a process, for the metrics.

use super::refusal::Refusal;
use crate::relay::count::Count;

/// Counters that any thread adds to, and two gauges.
#[derive(Debug, Default)]
pub struct PushStats {
    /// Accepted pushes: immediate and delayed.
    pub(crate) accepted: [Count; 2],
    /// Connections that immediate pushes were queued for.
    pub(crate) queued: Count,
    /// Refused requests, by [`Refusal`].
    pub(crate) refused: [Count; Refusal::LABELS.len()],
    /// Delayed pushes that have ended: sent and cancelled.
    pub(crate) ended: [Count; 2],
    /// Pending pushes, including those that are being written to the journal.
    pub(crate) pending: Count,
    /// The memory that is accounted for the pending pushes, in bytes.
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
