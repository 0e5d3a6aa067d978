//! What has come from the relay so far.

use std::collections::VecDeque;

use crate::admin::dashboard::Snapshot;

/// Snapshots that are kept to be drawn: more than any terminal has columns.
const KEPT_MAX: usize = 600;

/// What is drawn.
#[derive(Default)]
pub(super) struct Seen {
    /// The oldest first.
    pub(super) snapshots: VecDeque<Snapshot>,
    /// Why there is no connection.
    pub(super) lost: Option<String>,
}

impl Seen {
    pub(super) fn take(&mut self, snapshot: Snapshot) {
        self.lost = None;
        self.snapshots.push_back(snapshot);
        if self.snapshots.len() > KEPT_MAX {
            self.snapshots.pop_front();
        }
    }
}
