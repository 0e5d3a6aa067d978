//! The progress of a shard's stop.

use crate::clock::Tick;

/// The progress of a shard's stop.
#[derive(Debug)]
pub(in crate::engine) enum Stop {
    /// No stop was requested.
    Running,
    /// It no longer reads, and awaits the last batches of the other shards.
    Gathering { since: Tick },
    /// It has scheduled the close of all connections, and awaits their Close frames.
    Closing,
}

impl Stop {
    /// Whether new connections are accepted.
    pub(in crate::engine) fn is_accepting(&self) -> bool {
        matches!(self, Stop::Running)
    }

    /// Whether connections are read. None is while the last batches are gathered.
    pub(in crate::engine) fn is_reading(&self) -> bool {
        !matches!(self, Stop::Gathering { .. })
    }
}
