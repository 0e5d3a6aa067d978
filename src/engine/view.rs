//! What the engine counts, for health, metrics and whoever embeds it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::control::Doors;
use super::stats::ShardStats;

/// A view of the engine's numbers. Reading it costs the shards nothing.
#[derive(Clone)]
pub struct View {
    doors: Arc<Doors>,
}

impl View {
    pub(super) fn new(doors: Arc<Doors>) -> View {
        View { doors }
    }

    /// What each relaying shard counts, in their order.
    pub fn shards(&self) -> impl Iterator<Item = &ShardStats> {
        self.doors.doors[..usize::from(self.doors.relaying)]
            .iter()
            .map(|door| &door.stats)
    }

    /// Mails that wait for a shard in all its mailboxes together.
    pub fn mailbox_depth(&self, shard: usize) -> usize {
        (0..self.doors.shards())
            .map(|from| self.doors.mailbox(from, shard as u16).depth())
            .sum()
    }

    /// Connections of the relaying shards, of all kinds.
    pub fn connections(&self) -> u64 {
        self.doors.connections()
    }

    /// Connections of one shard, those included that are on their way to it.
    pub fn shard_connections(&self, shard: usize) -> u32 {
        self.doors.doors[shard].load.load(Ordering::Relaxed)
    }

    /// Bytes of live buffers.
    pub fn live_bytes(&self) -> usize {
        self.doors.live.now()
    }

    /// Bytes of partial messages.
    pub fn inbound_bytes(&self) -> usize {
        self.doors.inbound.load(Ordering::Relaxed)
    }

    /// Rooms that have members.
    pub fn rooms(&self) -> usize {
        self.doors.directory.rooms()
    }

    /// Whether the relay wants new connections: `false` once a shutdown has begun.
    pub fn is_ready(&self) -> bool {
        self.doors.is_ready.load(Ordering::Acquire)
    }

    /// How long ago each relaying shard's loop last began a turn, in nanoseconds. A healthy one is
    /// below a second even where nothing happens.
    pub fn turn_ages_ns(&self) -> impl Iterator<Item = u64> {
        let now = self.doors.origin.elapsed().as_nanos() as u64;
        self.shards()
            .map(move |stats| now.saturating_sub(stats.last_turn_ns.get()))
    }

    /// When the engine was started.
    pub fn started(&self) -> Instant {
        self.doors.origin
    }
}
