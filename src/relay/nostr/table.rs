//! The subscriptions of a shard.

use std::sync::Arc;
use std::time::Instant;

use corecast_nostr::{Event, Filter, LiveIndex, Seq};
use slab::Slab;

use super::catch_up::CatchUp;
use super::mail::Place;
use crate::fanout::ConnectionId;

/// A subscription of a client.
pub(super) struct Subscription {
    pub(super) client: ConnectionId,
    /// Its name, as JSON.
    pub(super) name: Box<str>,
    /// The beginning of each message with an event.
    pub(super) head: Box<str>,
    /// The generation of its REQ.
    pub(super) generation: u64,
    /// The number of the shard's last event before it. It gets later ones only.
    pub(super) born: u64,
    /// It gets events up to this number from the store.
    pub(super) snapshot: Seq,
    /// Its progress through the stored events, until all are sent.
    pub(super) catch_up: Option<Box<CatchUp>>,
    pub(super) begun: Instant,
    /// Its filters, if hooks are called for each delivery.
    pub(super) filters: Option<Arc<[Arc<Filter>]>>,
}

/// The subscriptions of a shard.
#[derive(Default)]
pub(super) struct Subscriptions {
    pub(super) slots: Slab<Subscription>,
    pub(super) index: LiveIndex,
}

impl Subscriptions {
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Subscription> {
        self.slots.get_mut(slot as usize)
    }

    /// The subscription of that REQ, unless another one has replaced it.
    pub(super) fn at(&mut self, place: Place) -> Option<&mut Subscription> {
        let subscription = self.get_mut(place.slot)?;
        (subscription.generation == place.generation).then_some(subscription)
    }

    /// Adds the subscriptions that match an event. Returns the number of filters compared with it.
    pub(super) fn find(&mut self, event: &Event, found: &mut Vec<u32>) -> usize {
        self.index.find(event, |slot| found.push(slot))
    }
}

impl Subscription {
    /// Notes that it has got the events up to this number from the store.
    pub(super) fn see(&mut self, snapshot: Seq) {
        self.snapshot = self.snapshot.max(snapshot);
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.drop_until(snapshot);
        }
    }
}
