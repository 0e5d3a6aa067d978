//! What all push endpoints of a process count, for the metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use super::refusal::Refusal;

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

/// A number that many threads change and any thread reads.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns what it is now.
    pub(super) fn add(&self, more: u64) -> u64 {
        self.0.fetch_add(more, Ordering::Relaxed) + more
    }

    pub(super) fn sub(&self, less: u64) {
        self.0.fetch_sub(less, Ordering::Relaxed);
    }
}
