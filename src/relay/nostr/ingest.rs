//! Events from clients: checked, verified a few at a time, and passed to the store.
//!
//! Verifying a signature takes as long as ten deliveries, so events are queued for it. Each turn of
//! the shard verifies a few, taking one client after the other, which bounds the delay that a flood
//! of events causes to others. A client with many queued events is not read until half of them are
//! verified.

use std::sync::Arc;
use std::time::Instant;

use corecast_nostr::{
    Bytes32, Class, Event, EventError, Forbidden, ParsedEvent, UnverifiedEvent, claimed_id, reply,
    to_hex,
};

use super::clock::unix_now;
use super::mail::{Batch, Fate, Live, Mail, Origin, Owed, Submission};
use super::shard::{Effects, Inner, NostrShard};
use super::stats::EventResult;
use super::waiting::IN_FLIGHT_MAX;
use crate::engine::OnShard;
use crate::fanout::ConnectionId;
use crate::wire::frame::MessageKind;

/// Most signatures that are verified in one turn.
const VERIFIED_PER_TURN: usize = 4;

/// Estimated cost of an answer to an event, in nanoseconds of the shard.
const ANSWER_NS: u64 = 3_000;

const DUPLICATE: &str = "duplicate: already have this event";

/// The reason why an event is refused before its signature is verified.
enum Refused {
    Reason(String),
    /// The client must prove a key first.
    NeedsKey(&'static str),
    Known,
}

impl From<Forbidden> for Refused {
    fn from(forbidden: Forbidden) -> Refused {
        Refused::Reason(forbidden.to_string())
    }
}

impl From<EventError> for Refused {
    fn from(error: EventError) -> Refused {
        Refused::Reason(error.to_string())
    }
}

impl Inner {
    /// Handles an EVENT.
    pub(super) fn take_event(&mut self, from: ConnectionId, json: &str, effects: &mut Effects) {
        let refused = match self.checked(from, json, effects) {
            Ok(event) => return self.queue_event(from, event, effects),
            Err(refused) => refused,
        };
        let stats = &self.shared.common.stats;
        let (is_accepted, reason) = match refused {
            Refused::Known => {
                stats.count_event(EventResult::Duplicate);
                (true, DUPLICATE.to_owned())
            }
            Refused::Reason(reason) => {
                stats.count_event(EventResult::of_reason(&reason));
                (false, reason)
            }
            Refused::NeedsKey(reason) => {
                stats.count_event(EventResult::AuthRequired);
                if let Some(challenge) = self.challenge(from) {
                    effects.reply(challenge);
                }
                (false, reason.to_owned())
            }
        };
        match claimed_id(json) {
            Some(id) => effects.reply(reply::ok(&id, is_accepted, &reason)),
            None => {
                self.shared.common.stats.notices.add(1);
                effects.reply(reply::notice(&reason));
            }
        }
    }

    /// All checks but the signature, the cheapest first.
    fn checked(
        &mut self,
        from: ConnectionId,
        json: &str,
        effects: &mut Effects,
    ) -> Result<UnverifiedEvent, Refused> {
        let settings = &self.shared.settings;
        if json.len() > settings.events.bytes {
            return Err(EventError::TooLarge(settings.events.bytes).into());
        }
        let now = unix_now();
        let event = ParsedEvent::parse(json)?;
        let client = self.clients.get(&from);
        let has_key = client.is_some_and(|client| !client.viewer.keys.is_empty());
        if settings.auth_write && !has_key {
            return Err(Refused::NeedsKey(
                "auth-required: this relay accepts events only from clients with a proven key",
            ));
        }
        event.check(&settings.events, now)?;
        settings.urls.check_vanish(&event)?;
        // Before the known ids: an event may have been banned since.
        self.seen.check(&event)?;
        let removals = self.shared.common.removals();
        if self.ingest.known.has(&event.id, removals) {
            return Err(Refused::Known);
        }
        event.check_further(&settings.events, now)?;
        let event = event.into_unverified();
        if !settings.has_auth() && settings.private.contains(event.event().kind()) {
            let told = "blocked: events of this kind are for their recipients only, and this relay \
                        cannot authenticate clients";
            return Err(Refused::Reason(told.to_owned()));
        }
        self.check_by_hooks(from, event.event(), effects)
            .map_err(Refused::Reason)?;
        if event.event().is_protected() {
            let client = self.clients.get(&from);
            let is_author = client.is_some_and(|client| client.has_key(event.event().pubkey()));
            self.check_protected(is_author, has_key)?;
        }
        Ok(event)
    }

    /// NIP-70: a protected event is accepted from its author only.
    fn check_protected(&self, is_author: bool, has_key: bool) -> Result<(), Refused> {
        if is_author {
            return Ok(());
        }
        if !self.shared.settings.has_auth() {
            let told = "blocked: protected events are accepted from their authors only, and this \
                        relay cannot authenticate clients";
            return Err(Refused::Reason(told.to_owned()));
        }
        if !has_key {
            let told = "auth-required: a protected event is accepted from its author only";
            return Err(Refused::NeedsKey(told));
        }
        let told = "restricted: a protected event is accepted from its author only";
        Err(Refused::Reason(told.to_owned()))
    }

    fn queue_event(&mut self, from: ConnectionId, event: UnverifiedEvent, effects: &mut Effects) {
        self.shared.common.stats.waiting.add(1);
        effects.wants_turn = true;
        effects.is_answered_later = true;
        effects.holds |= self.ingest.push(from, event);
    }

    /// Verifies a few of the queued events. Returns whether more could be verified.
    pub(super) fn verify(&mut self, shard: &mut OnShard<'_, NostrShard>) -> bool {
        for _ in 0..VERIFIED_PER_TURN {
            if self.ingest.in_flight >= IN_FLIGHT_MAX || shard.is_spent() {
                break;
            }
            let Some((from, event, may_be_read)) = self.ingest.pop() else {
                break;
            };
            self.shared.common.stats.waiting.sub(1);
            let id = *event.event().id();
            let begin = Instant::now();
            let verified = event.verify();
            let took_ns = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.durations.verify.record(took_ns, 1);
            shard.spend(took_ns);
            if may_be_read {
                self.release(shard, from);
            }
            match verified {
                Ok(event) => self.take_verified(shard, from, Arc::new(event)),
                Err(error) => {
                    self.shared.common.stats.count_event(EventResult::Invalid);
                    answer(shard, from, &id, false, &error.to_string());
                }
            }
        }
        !self.ingest.is_empty() && self.ingest.in_flight < IN_FLIGHT_MAX
    }

    fn take_verified(
        &mut self,
        shard: &mut OnShard<'_, NostrShard>,
        from: ConnectionId,
        event: Arc<Event>,
    ) {
        if event.class() == Class::Ephemeral {
            self.shared.common.stats.count_event(EventResult::Ephemeral);
            let removals = self.shared.common.removals();
            self.ingest.known.remember(&event, removals);
            self.tell_ephemeral(shard, from, &event);
            answer(shard, from, event.id(), true, "");
            return self.publish_ephemeral(shard, event);
        }
        self.ingest.in_flight += 1;
        self.shared.common.stats.writing.add(1);
        // The queue has capacity for all events in flight, and its thread ends with the engine.
        let from = Origin::Client(from);
        let _ = self.shared.submissions.try_send(Submission { event, from });
    }

    fn publish_ephemeral(&mut self, shard: &mut OnShard<'_, NostrShard>, event: Arc<Event>) {
        let common = Arc::clone(&self.shared.common);
        let shards: Vec<u16> = (0..shard.shards())
            .filter(|each| common.is_subscribed(*each))
            .collect();
        if shards.is_empty() {
            return;
        }
        let body = shard.shared_body(event.body(), common.deflates());
        let live = vec![Live {
            event,
            seq: None,
            body,
        }];
        let mail = Mail::batch(Batch {
            live,
            ..Batch::default()
        });
        for each in shards {
            shard.mail(each, Arc::clone(&mail));
        }
    }

    /// Answers the events of a commit that came from this shard.
    pub(super) fn settle(&mut self, shard: &mut OnShard<'_, NostrShard>, batch: &Batch) {
        let own = shard.shard();
        for Owed { event, from, fate } in batch.owed.iter().filter(|owed| owed.from.shard == own) {
            self.ingest.in_flight = self.ingest.in_flight.saturating_sub(1);
            self.shared.common.stats.writing.sub(1);
            let (result, is_accepted, reason) = verdict(fate);
            self.shared.common.stats.count_event(result);
            if is_accepted {
                self.ingest.known.remember(event, batch.removals);
            }
            if *fate == Fate::Stored {
                self.tell_saved(shard, *from, event);
            }
            answer(shard, *from, event.id(), is_accepted, reason);
            shard.spend(ANSWER_NS);
        }
    }

    /// Resumes reading a client that has few queued events left, unless it is held for its queries.
    fn release(&self, shard: &mut OnShard<'_, NostrShard>, id: ConnectionId) {
        let is_held = self.clients.get(&id).is_some_and(|client| client.is_held);
        if !is_held && let Some(mut client) = shard.client(id) {
            client.release();
        }
    }
}

/// The result of a submission, whether it was accepted, and the reason that its sender is told.
pub(super) fn verdict(fate: &Fate) -> (EventResult, bool, &'static str) {
    match fate {
        Fate::Stored => (EventResult::Stored, true, ""),
        Fate::Duplicate => (EventResult::Duplicate, true, DUPLICATE),
        Fate::Superseded => {
            let told = "duplicate: the relay knows a newer version of this event";
            (EventResult::Superseded, false, told)
        }
        Fate::Deleted => {
            let told = "blocked: this event was deleted";
            (EventResult::Blocked, false, told)
        }
        Fate::Vanished => {
            let told = "blocked: the author of this event has asked to vanish";
            (EventResult::Blocked, false, told)
        }
        Fate::Failed => {
            let told = "error: the store cannot write events at the moment";
            (EventResult::Error, false, told)
        }
    }
}

fn answer(
    shard: &mut OnShard<'_, NostrShard>,
    to: ConnectionId,
    id: &Bytes32,
    is_accepted: bool,
    reason: &str,
) {
    if let Some(mut client) = shard.client(to) {
        let text = reply::ok(&to_hex(id), is_accepted, reason);
        client.send(MessageKind::Text, text.as_bytes());
    }
}
