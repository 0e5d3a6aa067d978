//! The counters of an exchange.

use crate::counter::Counter;

/// The numbers of one shard's exchange with the others.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ExchangeStats {
    /// Rooms that the shard has members of now.
    pub rooms: Counter,
    /// Wakes sent to other shards.
    pub wakes_sent: Counter,
    /// Wakes that were not needed because the other shard was awake.
    pub wakes_elided: Counter,
    /// Runs that wait for an earlier ticket now.
    pub held_runs: Counter,
    /// For how long the oldest of them has waited, in milliseconds.
    pub held_age_ms: Counter,
    /// Times at which a full mailbox made this shard stop reading.
    pub blocked: Counter,
}
