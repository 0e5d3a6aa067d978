//! Deliveries by outcome.

use serde::{Deserialize, Serialize};

/// Deliveries of one phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliveries {
    /// Messages published.
    pub sent: u64,
    /// Deliveries that should result at the clients that read all the time.
    pub expected: u64,
    /// Arrived intact, counted once per receiver.
    pub delivered: u64,
    /// Never arrived.
    pub lost: u64,
    /// Arrived again.
    pub repeated: u64,
    /// Arrived after a later message of the same publisher.
    pub reordered: u64,
    /// Arrived changed.
    pub damaged: u64,
    /// Arrived in a room that it was not sent to.
    pub misrouted: u64,
    /// Arrived before it was due, so it cannot have been sent yet.
    #[serde(default)]
    pub early: u64,
}

impl Deliveries {
    /// Nothing lost, repeated, reordered, damaged, misrouted or early.
    pub fn is_right(&self) -> bool {
        self.errors() == 0
    }

    /// How many were lost, repeated, reordered, damaged, misrouted or early.
    pub fn errors(&self) -> u64 {
        self.lost + self.repeated + self.reordered + self.damaged + self.misrouted + self.early
    }

    /// Adds those of another run.
    pub(crate) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.expected += other.expected;
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.reordered += other.reordered;
        self.damaged += other.damaged;
        self.misrouted += other.misrouted;
        self.early += other.early;
    }
}
