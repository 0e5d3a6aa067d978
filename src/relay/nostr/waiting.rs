//! Events that wait on a shard for their signatures to be verified, in turn for each client.

use std::collections::{HashMap, VecDeque};

use corecast_nostr::UnverifiedEvent;

use super::known::KnownIds;
use crate::fanout::ConnectionId;

/// Bounds on the waiting events of a client: number and bytes of JSON. Above them it is not read.
const WAITING_EVENTS_MAX: usize = 64;
const WAITING_BYTES_MAX: usize = 1 << 20;

/// Bound on the bytes of all waiting events of a shard. Above it, clients that send are not read.
const QUEUE_BYTES_MAX: usize = 16 << 20;

/// Most events of a shard that may be on their way to the store and back.
pub(super) const IN_FLIGHT_MAX: usize = 1_024;

/// The waiting events of a client.
#[derive(Default)]
struct Waiting {
    events: VecDeque<UnverifiedEvent>,
    bytes: usize,
    /// Whether it is not read.
    is_held: bool,
}

/// The waiting events of a shard.
#[derive(Default)]
pub(super) struct Ingest {
    waiting: HashMap<ConnectionId, Waiting>,
    /// The order of the clients: each has one event verified and moves to the end.
    order: VecDeque<ConnectionId>,
    bytes: usize,
    /// Events that are on their way to the store and back.
    pub(super) in_flight: usize,
    pub(super) known: KnownIds,
}

impl Ingest {
    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Whether the client is not read.
    pub(super) fn holds(&self, client: ConnectionId) -> bool {
        self.waiting
            .get(&client)
            .is_some_and(|waiting| waiting.is_held)
    }

    /// Queues an event. Returns whether its client must not be read from now on.
    pub(super) fn push(&mut self, from: ConnectionId, event: UnverifiedEvent) -> bool {
        let bytes = event.event().body().len();
        self.bytes += bytes;
        let waiting = self.waiting.entry(from).or_default();
        if waiting.events.is_empty() {
            self.order.push_back(from);
        }
        waiting.bytes += bytes;
        waiting.events.push_back(event);
        let is_full = waiting.events.len() >= WAITING_EVENTS_MAX
            || waiting.bytes >= WAITING_BYTES_MAX
            || self.bytes >= QUEUE_BYTES_MAX;
        let begins = is_full && !waiting.is_held;
        waiting.is_held |= is_full;
        begins
    }

    /// The next event, its sender, and whether that client may be read again.
    pub(super) fn pop(&mut self) -> Option<(ConnectionId, UnverifiedEvent, bool)> {
        let from = self.order.pop_front()?;
        let waiting = self.waiting.get_mut(&from)?;
        let event = waiting.events.pop_front()?;
        let bytes = event.event().body().len();
        self.bytes -= bytes;
        waiting.bytes -= bytes;
        let is_half_empty = waiting.events.len() <= WAITING_EVENTS_MAX / 2
            && waiting.bytes <= WAITING_BYTES_MAX / 2;
        let ends = waiting.is_held && is_half_empty;
        waiting.is_held &= !is_half_empty;
        match waiting.events.is_empty() {
            true => {
                self.waiting.remove(&from);
            }
            false => self.order.push_back(from),
        }
        Some((from, event, ends))
    }
}
