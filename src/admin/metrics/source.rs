//! The source of the rows' values.

use std::sync::Arc;

use crate::admin::page::Running;
use crate::engine::{Counter, ShardStats};
use crate::fanout::room::EndpointId;
use crate::relay::nostr::NostrStats;
use crate::relay::push::PushStats;

/// The data for the rows: the engine's counters and the relay's own.
pub(super) struct Source<'a> {
    pub(super) running: &'a Running,
    pub(super) relay: &'a Relay,
}

/// The relay's own counters, beside the engine's.
pub(super) struct Relay {
    pub(super) endpoints: Vec<(String, EndpointId)>,
    pub(super) push: Arc<PushStats>,
    pub(super) nostr: Vec<Arc<NostrStats>>,
    /// Start of the process, in seconds since 1970. It never changes, so it is read once.
    #[cfg(target_os = "linux")]
    pub(super) process_started: Option<f64>,
}

impl Source<'_> {
    pub(super) fn shards(&self) -> impl Iterator<Item = &ShardStats> {
        self.running.view.shards()
    }

    /// A counter summed over all shards. Numbers above 2^53 lose precision, as always in
    /// Prometheus.
    pub(super) fn sum(&self, of: impl Fn(&ShardStats) -> &Counter) -> f64 {
        let total: u64 = self.shards().map(|stats| of(stats).get()).sum();
        total as f64
    }

    /// Counters summed over all shards, in the order of their labels.
    pub(super) fn each(&self, of: impl Fn(&ShardStats) -> &[Counter]) -> Vec<f64> {
        let len = self.shards().map(|stats| of(stats).len()).max();
        let indexes = 0..len.unwrap_or_default();
        indexes
            .map(|index| self.sum(|stats| &of(stats)[index]))
            .collect()
    }

    /// The largest of the shards' gauges, converted from milliseconds to seconds.
    pub(super) fn max_seconds(&self, of: impl Fn(&ShardStats) -> &Counter) -> f64 {
        let max_ms = self.shards().map(|stats| of(stats).get()).max();
        max_ms.unwrap_or_default() as f64 / 1e3
    }

    /// A value for each shard, by its number.
    pub(super) fn by_shard(&self, of: impl Fn(usize, &ShardStats) -> f64) -> Vec<(String, f64)> {
        let shards = self.shards().enumerate();
        shards
            .map(|(shard, stats)| (shard.to_string(), of(shard, stats)))
            .collect()
    }
}
