//! Events from clients: checked, verified a few at a time, and handed to the store.
//!
//! A signature takes as long as ten deliveries, so events wait for theirs, and each turn of the
//! shard takes a few, of one client after the other: whoever floods the relay with events delays
//! others by no more. A client of which many wait is not read until half of them are done.

use std::sync::Arc;
use std::time::Instant;

use corecast_nostr::{
    Bytes32, Class, Event, EventError, ParsedEvent, UnverifiedEvent, claimed_id, reply, to_hex,
};

use super::clock::unix_now;
use super::mail::{Batch, Fate, Live, Mail, Owed, Submission};
use super::shard::{Effects, Inner, NostrShard};
use super::stats::EventResult;
use super::waiting::IN_FLIGHT_MAX;
use crate::engine::OnShard;
use crate::fanout::ConnectionId;
use crate::wire::frame::MessageKind;

/// Signatures that are verified in one turn.
const VERIFIED_PER_TURN: usize = 4;

/// Price of an answer to an event, in nanoseconds of the shard.
const ANSWER_NS: u64 = 3_000;

const DUPLICATE: &str = "duplicate: already have this event";

/// Why an event is refused, before anything is known of its signature.
enum Refused {
    Reason(String),
    /// The client has to prove a key first.
    NeedsKey(&'static str),
    Known,
}

impl From<EventError> for Refused {
    fn from(error: EventError) -> Refused {
        Refused::Reason(error.to_string())
    }
}

impl Inner {
    /// An EVENT has come.
    pub(super) fn take_event(&mut self, from: ConnectionId, json: &str, effects: &mut Effects) {
        let refused = match self.checked(from, json) {
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
    fn checked(&self, from: ConnectionId, json: &str) -> Result<UnverifiedEvent, Refused> {
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
                "auth-required: this relay takes events of known keys",
            ));
        }
        event.check(&settings.events, now)?;
        if self.ingest.knows(&event.id) {
            return Err(Refused::Known);
        }
        event.check_further(&settings.events, now)?;
        let event = event.into_unverified();
        if !settings.has_auth() && settings.private.contains(event.event().kind()) {
            let told = "blocked: events of this kind are for their recipients alone, and nobody \
                        can prove to be one here";
            return Err(Refused::Reason(told.to_owned()));
        }
        if event.event().is_protected() {
            let is_author = client.is_some_and(|client| client.has_key(event.event().pubkey()));
            self.check_protected(is_author, has_key)?;
        }
        Ok(event)
    }

    /// NIP-70: a protected event is taken from its author alone.
    fn check_protected(&self, is_author: bool, has_key: bool) -> Result<(), Refused> {
        if is_author {
            return Ok(());
        }
        if !self.shared.settings.has_auth() {
            let told = "blocked: protected events are taken from their authors alone, and nobody \
                        can prove to be one here";
            return Err(Refused::Reason(told.to_owned()));
        }
        if !has_key {
            let told = "auth-required: a protected event is taken from its author alone";
            return Err(Refused::NeedsKey(told));
        }
        let told = "restricted: a protected event is taken from its author alone";
        Err(Refused::Reason(told.to_owned()))
    }

    fn queue_event(&mut self, from: ConnectionId, event: UnverifiedEvent, effects: &mut Effects) {
        self.shared.common.stats.waiting.add(1);
        effects.wants_turn = true;
        effects.is_answered_later = true;
        effects.holds |= self.ingest.push(from, event);
    }

    /// Verifies a few of the events that wait. Returns whether it could go on.
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
            self.ingest.remember(&event);
            answer(shard, from, event.id(), true, "");
            return self.publish_ephemeral(shard, event);
        }
        self.ingest.in_flight += 1;
        self.shared.common.stats.writing.add(1);
        // There is room for all that may be in flight, and the thread ends only with the engine.
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
            owed: Vec::new(),
        });
        for each in shards {
            shard.mail(each, Arc::clone(&mail));
        }
    }

    /// Answers those events of a commit that came from this shard.
    pub(super) fn settle(&mut self, shard: &mut OnShard<'_, NostrShard>, owed: &[Owed]) {
        let own = shard.shard();
        for Owed { event, from, fate } in owed.iter().filter(|owed| owed.from.shard == own) {
            self.ingest.in_flight = self.ingest.in_flight.saturating_sub(1);
            self.shared.common.stats.writing.sub(1);
            let (result, is_accepted, reason) = match fate {
                Fate::Stored => (EventResult::Stored, true, ""),
                Fate::Duplicate => (EventResult::Duplicate, true, DUPLICATE),
                Fate::Superseded => {
                    let told = "duplicate: a newer version of this event is here";
                    (EventResult::Superseded, false, told)
                }
                Fate::Failed(error) => {
                    tracing::error!(%error, "the store took no events");
                    (
                        EventResult::Error,
                        false,
                        "error: the store takes no events at the moment",
                    )
                }
            };
            self.shared.common.stats.count_event(result);
            if is_accepted {
                self.ingest.remember(event);
            }
            answer(shard, *from, event.id(), is_accepted, reason);
            shard.spend(ANSWER_NS);
        }
    }

    /// Has a client read again whose events have become few, unless its queries are many.
    fn release(&self, shard: &mut OnShard<'_, NostrShard>, id: ConnectionId) {
        let is_held = self.clients.get(&id).is_some_and(|client| client.is_held);
        if !is_held && let Some(mut client) = shard.client(id) {
            client.release();
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
