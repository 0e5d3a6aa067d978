//! The engine's counters, for health, metrics and embedders.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use crate::engine::control::Shared;
use crate::engine::lagging::LaggingClient;
use crate::engine::stats::ShardStats;
use crate::limits::LAGGING_SHOWN_MAX;

/// A view of the engine's counters. Reading it costs the shards nothing.
#[derive(Clone)]
pub struct View {
    shared: Arc<Shared>,
}

impl View {
    pub(super) fn new(shared: Arc<Shared>) -> View {
        View { shared }
    }

    /// The counters of each relaying shard, in order.
    pub fn shards(&self) -> impl Iterator<Item = &ShardStats> {
        self.shared.handles[..usize::from(self.shared.relaying)]
            .iter()
            .map(|handle| &handle.stats)
    }

    /// The number of connections that the relaying shards refused, with the label of each reason.
    pub fn refusals(&self) -> Vec<(&'static str, u64)> {
        let mut sums: Vec<(&'static str, u64)> = Vec::new();
        for stats in self.shards() {
            let counts = stats.refused.iter().enumerate();
            for (place, (label, count)) in counts {
                match sums.get_mut(place) {
                    Some((_, sum)) => *sum += count,
                    None => sums.push((label, count)),
                }
            }
        }
        sums
    }

    /// The number of mails that wait for a shard, in all its mailboxes together.
    pub fn mailbox_depth(&self, shard: usize) -> usize {
        self.shared.interconnect.mailbox_depth(shard as u16)
    }

    /// Connections of the relaying shards, of all kinds, without those that are only refused.
    pub fn connections(&self) -> u64 {
        self.shared.connections()
    }

    /// Connections of one shard, including those that are on their way to it.
    pub fn shard_connections(&self, shard: usize) -> u32 {
        self.shared.handles[shard].load.load(Ordering::Relaxed)
    }

    /// Connections of the admin listener that were closed to make room for others.
    pub fn evicted(&self) -> u64 {
        let admins = &self.shared.handles[usize::from(self.shared.relaying)..];
        admins.iter().map(|handle| handle.stats.evicted.get()).sum()
    }

    /// The part of [`View::process_bytes`] that live buffers and batches take.
    pub fn live_bytes(&self) -> usize {
        self.shared.interconnect.live.now()
    }

    /// The bytes that wait to be sent, and the memory needed to send them: buffers, queues, TLS,
    /// compression. [`super::Settings::process_bytes_max`] bounds it.
    pub fn process_bytes(&self) -> usize {
        self.shared.process_bytes()
    }

    /// Bytes of partial messages.
    pub fn inbound_bytes(&self) -> usize {
        self.shared.inbound.load(Ordering::Relaxed)
    }

    /// Addresses whose connects are being counted.
    pub fn rated_addresses(&self) -> usize {
        self.shared.connects.len()
    }

    /// Rooms that have members or ports, without those of the admin shard's own endpoints.
    pub fn rooms(&self) -> usize {
        let admins = &self.shared.handles[usize::from(self.shared.relaying)..];
        let own: u64 = admins
            .iter()
            .map(|handle| handle.stats.exchange.rooms.get())
            .sum();
        self.shared
            .interconnect
            .directory
            .rooms()
            .saturating_sub(own as usize)
    }

    /// The number of clients of the relaying shards whose last send would have blocked, and those
    /// of them that have waited longest, in order, at most [`LAGGING_SHOWN_MAX`]. As of each
    /// shard's last sweep, so up to a second old.
    pub fn lagging(&self) -> (usize, Vec<LaggingClient>) {
        let (mut count, mut oldest) = (0, Vec::new());
        for handle in &self.shared.handles[..usize::from(self.shared.relaying)] {
            let lagging = handle
                .lagging
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            count += lagging.count;
            oldest.extend_from_slice(&lagging.oldest);
        }
        oldest.sort_by_key(|client| Reverse(client.age));
        oldest.truncate(LAGGING_SHOWN_MAX);
        (count, oldest)
    }

    /// Whether the relay wants new connections; `false` once a shutdown has begun.
    pub fn is_ready(&self) -> bool {
        self.shared.is_ready.load(Ordering::Acquire)
    }

    /// How long ago each relaying shard last began a turn, in nanoseconds. A healthy shard stays
    /// below a second even if nothing happens.
    pub fn turn_ages_ns(&self) -> impl Iterator<Item = u64> {
        let now = self.shared.origin.elapsed().as_nanos() as u64;
        self.shards()
            .map(move |stats| now.saturating_sub(stats.last_turn_ns.get()))
    }

    /// The number of reloads that were applied, and of those that failed.
    pub fn reloads(&self) -> (u64, u64) {
        let reloads = &self.shared.reloads;
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        (count(&reloads.applied), count(&reloads.failed))
    }

    /// How often a changed file of keys was found that cannot be used. A file that stays so is
    /// found once a minute.
    pub fn unusable_key_files(&self) -> u64 {
        let count = &self.shared.reloads.unusable_key_files;
        count.load(Ordering::Relaxed)
    }

    /// When the current settings were applied, in seconds since 1970 (UTC).
    pub fn last_reload_unix_s(&self) -> u64 {
        self.shared.reloads.last_unix_s.load(Ordering::Relaxed)
    }

    /// The listeners that speak TLS, each with the expiry of its certificate in seconds since 1970
    /// (UTC); empty without the feature `certificate-dates`.
    pub fn certificate_expiries(&self) -> impl Iterator<Item = (&str, i64)> {
        let not_after = &self.shared.reloads.certificate_not_after_unix_s;
        let not_after_unix_s = not_after.load(Ordering::Relaxed);
        let listeners = self.shared.tls_listeners.iter();
        let listeners = listeners.filter(move |_| cfg!(feature = "certificate-dates"));
        listeners.map(move |listener| (listener.as_str(), not_after_unix_s))
    }

    /// When the engine was started.
    pub fn started(&self) -> Instant {
        self.shared.origin
    }
}
