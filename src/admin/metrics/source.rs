//! What the rows read.

use std::sync::Arc;

use crate::admin::page::Running;
use crate::engine::{Counter, ShardStats};
use crate::fanout::room::EndpointId;
use crate::relay::nostr::NostrStats;
use crate::relay::push::PushStats;

/// What the rows read: the engine's numbers, and what the relay counts beside it.
pub(super) struct Source<'a> {
    pub(super) running: &'a Running,
    pub(super) relay: &'a Relay,
}

/// What the relay counts beside the engine.
pub(super) struct Relay {
    pub(super) endpoints: Vec<(String, EndpointId)>,
    pub(super) push: Arc<PushStats>,
    pub(super) nostr: Vec<Arc<NostrStats>>,
    /// Seconds since 1970. It never changes, so it is read once.
    #[cfg(target_os = "linux")]
    pub(super) process_started: Option<f64>,
}

impl Source<'_> {
    pub(super) fn shards(&self) -> impl Iterator<Item = &ShardStats> {
        self.running.view.shards()
    }

    /// A counter of all shards together. Numbers above 2^53 lose their last digits, as everywhere
    /// in Prometheus.
    pub(super) fn sum(&self, of: impl Fn(&ShardStats) -> &Counter) -> f64 {
        let total: u64 = self.shards().map(|stats| of(stats).get()).sum();
        total as f64
    }

    /// Counters of all shards together, in the order of their labels.
    pub(super) fn each(&self, of: impl Fn(&ShardStats) -> &[Counter]) -> Vec<f64> {
        let len = self.shards().map(|stats| of(stats).len()).max();
        let indexes = 0..len.unwrap_or_default();
        indexes
            .map(|index| self.sum(|stats| &of(stats)[index]))
            .collect()
    }

    /// The largest of the shards' gauges in milliseconds, in seconds.
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
