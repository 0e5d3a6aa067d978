//! How far a shard is on its way to its end.

use crate::clock::Tick;

/// How far a shard is on its way to its end.
#[derive(Debug)]
pub(in crate::engine) enum Stop {
    /// Not at all.
    Running,
    /// It reads no more, and awaits the last batches of the others.
    Gathering { since: Tick },
    /// It has told everybody, and awaits their Close frames.
    Closing,
}

impl Stop {
    /// Whether new connections are let in.
    pub(in crate::engine) fn is_accepting(&self) -> bool {
        matches!(self, Stop::Running)
    }

    /// Whether connections are read. While the last batches are gathered, nobody is.
    pub(in crate::engine) fn is_reading(&self) -> bool {
        !matches!(self, Stop::Gathering { .. })
    }
}
