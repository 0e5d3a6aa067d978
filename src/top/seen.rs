//! What has come from the relay so far.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::admin::dashboard::Snapshot;

/// Snapshots that are kept to be drawn: more than any terminal has columns.
const KEPT_MAX: usize = 600;

/// One comes each second: figures that are older than this are no longer those of now.
const QUIET: Duration = Duration::from_secs(3);

/// What is drawn.
#[derive(Default)]
pub(super) struct Seen {
    /// The oldest first.
    pub(super) snapshots: VecDeque<Snapshot>,
    /// Why there is no connection.
    pub(super) lost: Option<String>,
    /// When the last snapshot came.
    last: Option<Instant>,
}

impl Seen {
    pub(super) fn take(&mut self, snapshot: Snapshot, now: Instant) {
        self.lost = None;
        self.last = Some(now);
        self.snapshots.push_back(snapshot);
        if self.snapshots.len() > KEPT_MAX {
            self.snapshots.pop_front();
        }
    }

    /// For how many seconds the figures have been out of date; `None` while they are current.
    pub(super) fn stale_s(&self, now: Instant) -> Option<u64> {
        let age = now.saturating_duration_since(self.last?);
        (self.lost.is_some() || age >= QUIET).then_some(age.as_secs())
    }
}
