//! What the engine counts, for health, metrics and whoever embeds it.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use crate::engine::control::Shared;
use crate::engine::lagging::LaggingClient;
use crate::engine::stats::ShardStats;
use crate::limits::LAGGING_SHOWN_MAX;

/// A view of the engine's numbers. Reading it costs the shards nothing.
#[derive(Clone)]
pub struct View {
    shared: Arc<Shared>,
}

impl View {
    pub(super) fn new(shared: Arc<Shared>) -> View {
        View { shared }
    }

    /// What each relaying shard counts, in their order.
    pub fn shards(&self) -> impl Iterator<Item = &ShardStats> {
        self.shared.handles[..usize::from(self.shared.relaying)]
            .iter()
            .map(|handle| &handle.stats)
    }

    /// Why connections were refused on the relaying shards: each reason's label, and how many there
    /// were.
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

    /// Mails that wait for a shard in all its mailboxes together.
    pub fn mailbox_depth(&self, shard: usize) -> usize {
        self.shared.interconnect.mailbox_depth(shard as u16)
    }

    /// Connections of the relaying shards, of all kinds, those aside that are only refused.
    pub fn connections(&self) -> u64 {
        self.shared.connections()
    }

    /// Connections of one shard, those included that are on their way to it.
    pub fn shard_connections(&self, shard: usize) -> u32 {
        self.shared.handles[shard].load.load(Ordering::Relaxed)
    }

    /// Connections to the admin listener that had to make room for another one.
    pub fn evicted(&self) -> u64 {
        let admins = &self.shared.handles[usize::from(self.shared.relaying)..];
        admins.iter().map(|handle| handle.stats.evicted.get()).sum()
    }

    /// Of [`View::process_bytes`], those of live buffers and batches.
    pub fn live_bytes(&self) -> usize {
        self.shared.interconnect.live.now()
    }

    /// Bytes of all that waits to be sent, and of what it takes to send it: buffers, queues, TLS,
    /// compression. It is what [`super::Settings::process_bytes_max`] bounds.
    pub fn process_bytes(&self) -> usize {
        self.shared.process_bytes()
    }

    /// Bytes of partial messages.
    pub fn inbound_bytes(&self) -> usize {
        self.shared.inbound.load(Ordering::Relaxed)
    }

    /// Addresses whose connects are counted at the moment.
    pub fn rated_addresses(&self) -> usize {
        self.shared.connects.len()
    }

    /// Rooms that have members or ports, those of the admin shard's own endpoints aside.
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

    /// Clients of the relaying shards whose last send would have blocked, and those of them that
    /// have waited longest, the first of all first, at most [`LAGGING_SHOWN_MAX`]. It is as of each
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

    /// Whether the relay wants new connections: `false` once a shutdown has begun.
    pub fn is_ready(&self) -> bool {
        self.shared.is_ready.load(Ordering::Acquire)
    }

    /// How long ago each relaying shard's loop last began a turn, in nanoseconds. A healthy one is
    /// below a second even where nothing happens.
    pub fn turn_ages_ns(&self) -> impl Iterator<Item = u64> {
        let now = self.shared.origin.elapsed().as_nanos() as u64;
        self.shards()
            .map(move |stats| now.saturating_sub(stats.last_turn_ns.get()))
    }

    /// Reloads that were applied, and those that failed.
    pub fn reloads(&self) -> (u64, u64) {
        let reloads = &self.shared.reloads;
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        (count(&reloads.applied), count(&reloads.failed))
    }

    /// How often a file with keys that had changed was found which cannot be used. One that stays
    /// so is found once a minute.
    pub fn unusable_key_files(&self) -> u64 {
        let count = &self.shared.reloads.unusable_key_files;
        count.load(Ordering::Relaxed)
    }

    /// When the settings that hold were taken, in seconds since 1970 (UTC).
    pub fn last_reload_unix_s(&self) -> u64 {
        self.shared.reloads.last_unix_s.load(Ordering::Relaxed)
    }

    /// The listeners that speak TLS, each with when its certificate expires, in seconds since 1970
    /// (UTC); none without the feature `certificate-dates`.
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
