//! Events to those whose subscriptions they are for, a bounded number of deliveries at a time.

use std::sync::Arc;

use super::clock::unix_now;
use super::mail::{Live, Mail};
use super::shard::{Inner, NostrShard};
use crate::engine::OnShard;
use crate::wire::frame::MessageKind;

/// Price of looking whether a subscription gets an event, and of queuing it, in nanoseconds.
const QUEUED_NS: u64 = 300;

/// Price of the send that follows, in nanoseconds. A client that is behind is sent nothing now.
const SENT_NS: u64 = 3_500;

/// Price of comparing an event with a filter, in nanoseconds.
const COMPARED_NS: u64 = 20;

/// Price of looking up the filters that an event may match, in nanoseconds.
const FOUND_NS: u64 = 1_000;

/// Batches of events that may wait on a shard: it takes no more mail before they are fewer.
const BATCHES_MAX: usize = 64;

/// The result of offering an event to a subscription.
enum Delivery {
    Sent,
    /// Its client is behind, and comes later.
    Behind,
    /// It is not for it.
    None,
}

impl Inner {
    /// The number of the event that was looked up last: subscriptions from now on are younger.
    pub(super) fn events_found(&self) -> u64 {
        self.deliveries.number
    }

    /// Events have come. They are delivered in turns of the shard, unless too many wait.
    pub(super) fn deliver_later(&mut self, shard: &mut OnShard<'_, NostrShard>, mail: &Arc<Mail>) {
        if !mail.live().is_empty() {
            self.deliveries.batches.push_back(Arc::clone(mail));
        }
        // An event takes two goes if some are behind.
        while self.deliveries.batches.len() > BATCHES_MAX {
            self.deliver_first(shard, false);
        }
    }

    /// Delivers until the turn's work is done. Returns whether more waits.
    pub(super) fn deliver(&mut self, shard: &mut OnShard<'_, NostrShard>) -> bool {
        while !self.deliveries.batches.is_empty() {
            if shard.is_spent() || !self.deliver_first(shard, true) {
                return true;
            }
        }
        false
    }

    /// Goes on with the first batch. Returns whether it is done.
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

    /// Goes on with an event. Returns whether it is done.
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
        // Nobody waits for those who are behind: what the others got is sent first.
        let behind = std::mem::take(&mut self.deliveries.behind);
        self.deliveries.found = Some(behind);
        self.deliveries.serves_behind = true;
        false
    }

    /// The subscriptions that an event is for.
    fn find(&mut self, shard: &mut OnShard<'_, NostrShard>, live: &Live) -> Vec<u32> {
        let mut found = std::mem::take(&mut self.deliveries.spare);
        found.clear();
        self.deliveries.number += 1;
        if live.event.is_expired(unix_now()) {
            return found;
        }
        let compared = self.subscriptions.find(&live.event, &mut found);
        shard.spend(FOUND_NS + compared as u64 * COMPARED_NS);
        found
    }

    /// Gives an event to a subscription, if its turn has come.
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
        if let Some(catch_up) = &mut subscription.catch_up {
            if catch_up.keep(live) {
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
}
