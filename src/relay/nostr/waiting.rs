//! Events that wait on a shard for their signatures to be verified, of one client after the other.

use std::collections::{HashMap, HashSet, VecDeque};

use corecast_nostr::{Bytes32, Class, Event, UnverifiedEvent};

use crate::fanout::ConnectionId;

/// Events of a client that wait, and bytes of their JSON: past these it is not read.
const WAITING_EVENTS_MAX: usize = 64;
const WAITING_BYTES_MAX: usize = 1 << 20;

/// The bytes of all events that wait on a shard: past these nobody who sends more is read.
const QUEUE_BYTES_MAX: usize = 16 << 20;

/// Events of a shard that are on their way to the store and back.
pub(super) const IN_FLIGHT_MAX: usize = 1_024;

/// Ids of events that a shard has seen accepted, so that they are not verified again.
const KNOWN_IDS_MAX: usize = 8_192;

/// The events of a client that wait.
#[derive(Default)]
struct Waiting {
    events: VecDeque<UnverifiedEvent>,
    bytes: usize,
    /// Whether it is not read.
    is_held: bool,
}

/// The events that wait on a shard.
#[derive(Default)]
pub(super) struct Ingest {
    waiting: HashMap<ConnectionId, Waiting>,
    /// Whose turn it is: each client has one event verified and goes to the back.
    order: VecDeque<ConnectionId>,
    bytes: usize,
    /// Events that are on their way to the store and back.
    pub(super) in_flight: usize,
    known: HashSet<Bytes32>,
    /// The same, the oldest first.
    known_order: VecDeque<Bytes32>,
}

impl Ingest {
    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Whether an event of that id was accepted lately.
    pub(super) fn knows(&self, id: &Bytes32) -> bool {
        self.known.contains(id)
    }

    /// Whether the client is not read.
    pub(super) fn holds(&self, client: ConnectionId) -> bool {
        self.waiting
            .get(&client)
            .is_some_and(|waiting| waiting.is_held)
    }

    /// Queues an event. Returns whether its client is not to be read from now on.
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

    /// The next event, who has sent it, and whether that client may be read again.
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

    /// Notes an event that will be known for as long as it is remembered: not one that a newer
    /// version may replace.
    pub(super) fn remember(&mut self, event: &Event) {
        let is_replaced = matches!(event.class(), Class::Replaceable | Class::Addressable);
        if !is_replaced && self.known.insert(*event.id()) {
            self.known_order.push_back(*event.id());
        }
        if self.known_order.len() > KNOWN_IDS_MAX
            && let Some(oldest) = self.known_order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}
