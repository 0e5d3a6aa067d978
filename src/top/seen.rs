//! The snapshots that have arrived so far.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::admin::dashboard::Snapshot;

/// Number of snapshots that are kept: more than the columns of any terminal.
const KEPT_MAX: usize = 600;

/// A snapshot arrives each second; figures older than this are out of date.
const QUIET: Duration = Duration::from_secs(3);

/// The data to draw.
#[derive(Default)]
pub(super) struct Seen {
    /// The oldest first.
    pub(super) snapshots: VecDeque<Snapshot>,
    /// Why the connection is lost, if it is.
    pub(super) lost: Option<String>,
    /// When the last snapshot arrived.
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
