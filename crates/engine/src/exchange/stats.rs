//! What an exchange counts.

use crate::counter::Counter;

/// Numbers of one shard's exchange with the others.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ExchangeStats {
    /// Rooms now that the shard has members of.
    pub rooms: Counter,
    /// Wakes sent to other shards.
    pub wakes_sent: Counter,
    /// Wakes that were not needed, since the other shard was awake.
    pub wakes_elided: Counter,
    /// Runs that now wait for an earlier ticket.
    pub held_runs: Counter,
    /// How long the oldest of them has waited, in milliseconds.
    pub held_age_ms: Counter,
    /// Times that a full mailbox made this shard stop reading.
    pub blocked: Counter,
}
