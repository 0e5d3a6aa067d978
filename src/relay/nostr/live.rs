//! Live events to the subscriptions that they match, a bounded number of deliveries at a time.

use std::sync::Arc;

use super::clock::unix_now;
use super::mail::{Live, Mail};
use super::shard::{Inner, NostrShard};
use crate::engine::OnShard;
use crate::wire::frame::MessageKind;

/// Estimated cost of checking whether a subscription gets an event and of queuing it, in
/// nanoseconds.
const QUEUED_NS: u64 = 300;

/// Estimated cost of the send that follows, in nanoseconds. A client that is behind gets none now.
const SENT_NS: u64 = 3_500;

/// Estimated cost of comparing an event with a filter, in nanoseconds.
const COMPARED_NS: u64 = 20;

/// Estimated cost of looking up the filters that an event may match, in nanoseconds.
const FOUND_NS: u64 = 1_000;

/// Most batches of events that may wait on a shard. It delivers the excess at once.
const BATCHES_MAX: usize = 64;

/// The result of offering an event to a subscription.
pub(super) enum Delivery {
    Sent,
    /// Its client is behind, and is served later.
    Behind,
    /// The subscription does not get the event now.
    None,
}

impl Inner {
    /// The number of the event that was looked up last. New subscriptions get only later ones.
    pub(super) fn events_found(&self) -> u64 {
        self.deliveries.number
    }

    /// Queues events. They are delivered in turns of the shard, unless too many wait.
    pub(super) fn deliver_later(&mut self, shard: &mut OnShard<'_, NostrShard>, mail: &Arc<Mail>) {
        if !mail.live().is_empty() {
            self.deliveries.batches.push_back(Arc::clone(mail));
        }
        // A loop, since an event takes two passes if some clients are behind.
        while self.deliveries.batches.len() > BATCHES_MAX {
            self.deliver_first(shard, false);
        }
    }

    /// Delivers until the turn's budget is spent. Returns whether more events wait.
    pub(super) fn deliver(&mut self, shard: &mut OnShard<'_, NostrShard>) -> bool {
        while !self.deliveries.batches.is_empty() {
            if shard.is_spent() || !self.deliver_first(shard, true) {
                return true;
            }
        }
        false
    }

    /// Continues with the first batch. Returns whether it is done.
    fn deliver_first(&mut self, shard: &mut OnShard<'_, NostrShard>, is_bounded: bool) -> bool {
        let Some(mail) = self.deliveries.batches.front().map(Arc::clone) else {
            return true;
        };
        while let Some(live) = mail.live().get(self.deliveries.event) {
            if !self.deliver_event(shard, live, is_bounded) {
                return false;
            }
            self.deliveries.event += 1;
        }
        self.deliveries.event = 0;
        self.deliveries.batches.pop_front();
        true
    }

    /// Continues with an event. Returns whether it is done.
    fn deliver_event(
        &mut self,
        shard: &mut OnShard<'_, NostrShard>,
        live: &Live,
        is_bounded: bool,
    ) -> bool {
        let found = match self.deliveries.found.take() {
            Some(found) => found,
            None => self.find(shard, live),
        };
        let mut delivered = 0;
        while let Some(slot) = found.get(self.deliveries.next) {
            if is_bounded && shard.is_spent() {
                break;
            }
            self.deliveries.next += 1;
            match self.deliver_to(shard, *slot, live) {
                Delivery::Sent => delivered += 1,
                Delivery::Behind => self.deliveries.behind.push(*slot),
                Delivery::None => {}
            }
        }
        self.shared.common.stats.deliveries.add(delivered);
        if self.deliveries.next < found.len() {
            self.deliveries.found = Some(found);
            return false;
        }
        self.deliveries.next = 0;
        self.deliveries.spare = found;
        if self.deliveries.behind.is_empty() {
            self.deliveries.serves_behind = false;
            return true;
        }
        // Clients that are behind must not delay the others, whose sends come first.
        let behind = std::mem::take(&mut self.deliveries.behind);
        self.deliveries.found = Some(behind);
        self.deliveries.serves_behind = true;
        false
    }

    /// The subscriptions that match an event.
    fn find(&mut self, shard: &mut OnShard<'_, NostrShard>, live: &Live) -> Vec<u32> {
        let mut found = std::mem::take(&mut self.deliveries.spare);
        found.clear();
        self.deliveries.number += 1;
        if live.event.is_expired(unix_now()) || self.seen.hides(&live.event) {
            return found;
        }
        let compared = self.subscriptions.find(&live.event, &mut found);
        shard.spend(FOUND_NS + compared as u64 * COMPARED_NS);
        found
    }

    /// Delivers an event to a subscription, unless its client is behind and must be served later.
    fn deliver_to(
        &mut self,
        shard: &mut OnShard<'_, NostrShard>,
        slot: u32,
        live: &Live,
    ) -> Delivery {
        let number = self.deliveries.number;
        let Some(subscription) = self.subscriptions.get_mut(slot) else {
            return Delivery::None;
        };
        if subscription.born >= number || live.seq.is_some_and(|seq| seq <= subscription.snapshot) {
            return Delivery::None;
        }
        let id = subscription.client;
        let private = &self.shared.settings.private;
        if private.contains(live.event.kind())
            && !self
                .clients
                .get(&id)
                .is_some_and(|each| each.viewer.may_see(&live.event, private))
        {
            return Delivery::None;
        }
        if self.shared.common.hooks.concern_deliveries() {
            return self.deliver_by_hooks(shard, slot, live);
        }
        if let Some(catch_up) = &mut subscription.catch_up {
            if catch_up.keep(live, &live.body) {
                self.shared.common.stats.catch_up_overflows.add(1);
            }
            return Delivery::None;
        }
        let Some(mut client) = shard.client(id) else {
            return Delivery::None;
        };
        let is_behind = client.is_behind();
        if is_behind && !self.deliveries.serves_behind {
            return Delivery::Behind;
        }
        client.send_shared(MessageKind::Text, subscription.head.as_bytes(), &live.body);
        shard.spend(QUEUED_NS + if is_behind { 0 } else { SENT_NS });
        Delivery::Sent
    }

    /// The same with hooks, which may prevent the delivery or replace the event.
    fn deliver_by_hooks(
        &mut self,
        shard: &mut OnShard<'_, NostrShard>,
        slot: u32,
        live: &Live,
    ) -> Delivery {
        let Some(subscription) = self.subscriptions.get_mut(slot) else {
            return Delivery::None;
        };
        let (id, catches_up) = (subscription.client, subscription.catch_up.is_some());
        let is_behind = shard.client(id).is_some_and(|client| client.is_behind());
        // Each hook is called once: when the event is sent or kept.
        if is_behind && !catches_up && !self.deliveries.serves_behind {
            return Delivery::Behind;
        }
        let Some(body) = self.live_body(shard, slot, live) else {
            return Delivery::None;
        };
        let Some(subscription) = self.subscriptions.get_mut(slot) else {
            return Delivery::None;
        };
        if let Some(catch_up) = &mut subscription.catch_up {
            if catch_up.keep(live, &body) {
                self.shared.common.stats.catch_up_overflows.add(1);
            }
            return Delivery::None;
        }
        let Some(mut client) = shard.client(id) else {
            return Delivery::None;
        };
        client.send_shared(MessageKind::Text, subscription.head.as_bytes(), &body);
        shard.spend(QUEUED_NS + if is_behind { 0 } else { SENT_NS });
        Delivery::Sent
    }
}
