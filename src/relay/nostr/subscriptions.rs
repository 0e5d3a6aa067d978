//! Subscriptions: the REQ, the stored events, and the live events after them.
//!
//! A subscription is in the index before a thread reads the stored events, and that thread notes
//! the number of the last change that it sees. Live events with a later number are kept until the
//! stored events are sent, and then follow; those with an earlier number are among the stored ones.
//! So each event is sent exactly once. If too many live events arrive meanwhile, they are dropped
//! and later read from the store by their numbers, until none is left.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use corecast_nostr::{Event, Filter, FilterError, Query, Seq, SubscriptionId, reply};

use super::catch_up::{CatchUp, Kept};
use super::count::Counted;
use super::hooks::Operation;
use super::mail::{Answer, Job, Place, Request, Task, Told};
use super::shard::{Effects, Inner, NostrShard, next_generation};
use super::stats::QueryResult;
use super::table::Subscription;
use crate::engine::{Client, OnShard};
use crate::fanout::ConnectionId;
use crate::wire::frame::MessageKind;

/// The next page is read when the client's outbox has at most this.
const LOW_WATER_BYTES: usize = 64 << 10;

/// Estimated cost of sending a stored event, in nanoseconds of the shard.
const ROW_NS: u64 = 1_000;

/// The reason why a query is refused.
pub(super) enum Refused {
    Reason(String),
    NeedsKey(&'static str),
}

impl From<FilterError> for Refused {
    fn from(error: FilterError) -> Refused {
        Refused::Reason(error.to_string())
    }
}

impl Inner {
    /// Handles a REQ.
    pub(super) fn take_req(
        &mut self,
        client: ConnectionId,
        id: SubscriptionId,
        filters: &[&str],
        effects: &mut Effects,
    ) {
        // A REQ ends the earlier subscription of that name, even if it is refused itself.
        self.close_subscription(client, &id);
        let request = self.requested(client, filters);
        let request = request.and_then(|request| {
            let operation = (Operation::Req, &id);
            self.filter_by_hooks(client, operation, request, effects)
                .map_err(Refused::Reason)
        });
        let request = request.and_then(|request| {
            let count = self
                .clients
                .get(&client)
                .map_or(0, |each| each.subscriptions.len());
            let most = self.shared.settings.subscriptions_max;
            match count < most {
                true => Ok(request),
                false => {
                    let told = format!("blocked: a connection has at most {most} subscriptions");
                    Err(Refused::Reason(told))
                }
            }
        });
        match request {
            Ok(request) => {
                self.shared.common.stats.reqs[QueryResult::Answered as usize].add(1);
                effects.is_answered_later = true;
                self.subscribe(client, id, request);
                effects.holds |= self.holds_for_jobs(client);
            }
            Err(refused) => {
                self.shared.common.stats.reqs[QueryResult::Refused as usize].add(1);
                self.refuse(client, &id, refused, effects);
            }
        }
    }

    /// Handles a COUNT.
    pub(super) fn take_count(
        &mut self,
        client: ConnectionId,
        id: &SubscriptionId,
        filters: &[&str],
        effects: &mut Effects,
    ) {
        let request = self.requested(client, filters).and_then(|request| {
            let operation = (Operation::Count, id);
            self.filter_by_hooks(client, operation, request, effects)
                .map_err(Refused::Reason)
        });
        match request {
            Ok(mut request) => {
                // All events are counted, even those beyond the limit of a REQ.
                let unlimited = |filter: &Arc<Filter>| {
                    Arc::new(Filter {
                        limit: None,
                        ..Filter::clone(filter)
                    })
                };
                request.filters = request.filters.iter().map(unlimited).collect();
                self.shared.common.stats.counts[QueryResult::Answered as usize].add(1);
                effects.is_answered_later = true;
                self.clients.entry(client).or_default();
                let subscription = id.json().into();
                let task = Task::Count {
                    subscription,
                    request: Box::new(request),
                };
                self.start(Job { client, task });
                effects.holds |= self.holds_for_jobs(client);
            }
            Err(refused) => {
                self.shared.common.stats.counts[QueryResult::Refused as usize].add(1);
                self.refuse(client, id, refused, effects);
            }
        }
    }

    fn refuse(
        &mut self,
        client: ConnectionId,
        id: &SubscriptionId,
        refused: Refused,
        effects: &mut Effects,
    ) {
        let reason = self.reason(client, refused, effects);
        effects.reply(reply::closed(id.as_str(), &reason));
    }

    /// The reason for the client. The challenge precedes it if a key is needed.
    pub(super) fn reason(
        &mut self,
        client: ConnectionId,
        refused: Refused,
        effects: &mut Effects,
    ) -> String {
        match refused {
            Refused::Reason(reason) => reason,
            Refused::NeedsKey(reason) => {
                if let Some(challenge) = self.challenge(client) {
                    effects.reply(challenge);
                }
                reason.to_owned()
            }
        }
    }

    /// The query of a REQ, COUNT or NEG-OPEN, if the client may send it.
    pub(super) fn requested(
        &self,
        client: ConnectionId,
        filters: &[&str],
    ) -> Result<Request, Refused> {
        let settings = &self.shared.settings;
        let viewer = self
            .clients
            .get(&client)
            .map(|each| each.viewer.clone())
            .unwrap_or_default();
        if settings.auth_read && viewer.keys.is_empty() {
            return Err(Refused::NeedsKey(
                "auth-required: this relay answers only clients with a proven key",
            ));
        }
        if filters.is_empty() {
            return Err(Refused::Reason("invalid: the filter is missing".to_owned()));
        }
        if filters.len() > settings.filters_max {
            let told = format!(
                "blocked: a query has at most {} filters",
                settings.filters_max
            );
            return Err(Refused::Reason(told));
        }
        let filters: Vec<Arc<Filter>> = filters
            .iter()
            .map(|json| Filter::parse_with(json, settings.filter_syntax).map(Arc::new))
            .collect::<Result<_, _>>()?;
        let values: usize = filters.iter().map(|filter| filter.values()).sum();
        if values > settings.values_max {
            let most = settings.values_max;
            let told = format!("blocked: the lists of a query have at most {most} items");
            return Err(Refused::Reason(told));
        }
        if viewer.keys.is_empty()
            && filters
                .iter()
                .any(|filter| settings.private.are_all_of(filter))
        {
            return Err(match settings.has_auth() {
                true => {
                    Refused::NeedsKey("auth-required: these events are for their recipients only")
                }
                false => Refused::Reason(
                    "restricted: these events are for their recipients only, and this relay cannot \
                     authenticate clients"
                        .to_owned(),
                ),
            });
        }
        Ok(Request {
            filters: filters.into(),
            viewer,
        })
    }

    fn subscribe(&mut self, client: ConnectionId, id: SubscriptionId, request: Request) {
        let generation = next_generation();
        let born = self.events_found();
        let name: Box<str> = id.json().into();
        let slot = self.subscriptions.slots.insert(Subscription {
            client,
            head: reply::event_head(&name).into(),
            name,
            generation,
            born,
            snapshot: 0,
            catch_up: Some(Box::new(CatchUp::new(request.clone()))),
            begun: Instant::now(),
            filters: self.filters_for_hooks(&request),
        }) as u32;
        let filters = request.filters.iter().map(|filter| &**filter);
        self.subscriptions.index.insert(slot, filters);
        self.shared.common.stats.subscriptions.add(1);
        let counts = &self.shared.common.subscriptions;
        if let Some(count) = counts.get(usize::from(client.shard)) {
            count.fetch_add(1, Ordering::SeqCst);
        }
        self.clients
            .entry(client)
            .or_default()
            .subscriptions
            .insert(id, slot);
        let place = Place { slot, generation };
        self.start(Job {
            client,
            task: Task::Begin {
                place,
                request: Box::new(request),
            },
        });
    }

    /// Ends the client's subscription of that name, if it has one.
    pub(super) fn close_subscription(&mut self, client: ConnectionId, id: &SubscriptionId) {
        let client = self.clients.get_mut(&client);
        let slot = client.and_then(|client| client.subscriptions.remove(id));
        if let Some(slot) = slot {
            self.end_subscription(slot);
        }
    }

    pub(super) fn end_subscription(&mut self, slot: u32) {
        let Some(ended) = self.subscriptions.slots.try_remove(slot as usize) else {
            return;
        };
        self.subscriptions.index.remove(slot);
        self.shared.common.stats.subscriptions.sub(1);
        let counts = &self.shared.common.subscriptions;
        if let Some(count) = counts.get(usize::from(ended.client.shard)) {
            count.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Handles the answer of a thread.
    pub(super) fn take_answer(&mut self, shard: &mut OnShard<'_, NostrShard>, answer: Answer) {
        let Answer { client, what } = answer;
        match what {
            Told::Page {
                place,
                rows,
                query,
                is_last,
            } => {
                self.take_page(shard, place, &rows, query, is_last);
            }
            Told::Later {
                place,
                rows,
                end,
                is_level,
            } => {
                self.take_later(shard, place, &rows, (end, is_level));
            }
            Told::Counting(counting) => {
                let task = Task::CountOn(counting);
                self.start(Job { client, task });
            }
            Told::Counted {
                subscription,
                counted,
            } => {
                if let Some(mut client) = shard.client(client) {
                    let Counted {
                        count,
                        is_approximate,
                        hll,
                    } = counted;
                    let text = reply::count(&subscription, count, is_approximate, hll.as_deref());
                    client.send(MessageKind::Text, text.as_bytes());
                }
            }
            Told::Sync(told) => self.take_sync(shard, client, told),
            Told::Failed {
                place,
                subscription,
                error,
            } => {
                tracing::error!(%error, "a query was not answered");
                self.fail(shard, client, place, subscription);
            }
        }
    }

    /// Closes a subscription whose stored events cannot be read.
    fn fail(
        &mut self,
        shard: &mut OnShard<'_, NostrShard>,
        id: ConnectionId,
        place: Option<Place>,
        subscription: Box<str>,
    ) {
        let name = match place {
            None => subscription,
            Some(place) => match self.subscriptions.at(place) {
                Some(subscription) => subscription.name.clone(),
                None => return,
            },
        };
        if let Some(place) = place {
            self.end_subscription(place.slot);
            if let Some(client) = self.clients.get_mut(&id) {
                client.subscriptions.retain(|_, slot| *slot != place.slot);
            }
        }
        if let Some(mut client) = shard.client(id) {
            let text = reply::closed_json(&name, "error: the store cannot be read at the moment");
            client.send(MessageKind::Text, text.as_bytes());
        }
    }

    fn take_page(
        &mut self,
        shard: &mut OnShard<'_, NostrShard>,
        place: Place,
        rows: &[Arc<Event>],
        query: Box<Query>,
        is_last: bool,
    ) {
        let Some(subscription) = self.subscriptions.at(place) else {
            return;
        };
        let id = subscription.client;
        subscription.see(query.snapshot());
        self.send_rows(shard, place, rows, false);
        let Some(subscription) = self.subscriptions.at(place) else {
            return;
        };
        let Some(mut client) = shard.client(id) else {
            return;
        };
        if is_last {
            let text = reply::eose(&subscription.name, query.has_more());
            client.send(MessageKind::Text, text.as_bytes());
            let took_ns = subscription.begun.elapsed().as_nanos();
            self.durations
                .query
                .record(u64::try_from(took_ns).unwrap_or(u64::MAX), 1);
            self.catch_up(shard, place);
        } else {
            self.go_on(
                client,
                Job {
                    client: id,
                    task: Task::Go { place, query },
                },
            );
        }
        shard.spend(rows.len() as u64 * ROW_NS);
    }

    fn take_later(
        &mut self,
        shard: &mut OnShard<'_, NostrShard>,
        place: Place,
        rows: &[Arc<Event>],
        (end, is_level): (Seq, bool),
    ) {
        let Some(subscription) = self.subscriptions.at(place) else {
            return;
        };
        subscription.see(end);
        self.send_rows(shard, place, rows, true);
        shard.spend(rows.len() as u64 * ROW_NS);
        match is_level {
            true => self.catch_up(shard, place),
            false => self.read_later(shard, place),
        }
    }

    /// Sends the live events that arrived while the stored ones were sent.
    fn catch_up(&mut self, shard: &mut OnShard<'_, NostrShard>, place: Place) {
        let Some(subscription) = self.subscriptions.at(place) else {
            return;
        };
        let Some(catch_up) = &mut subscription.catch_up else {
            return;
        };
        if catch_up.has_overflowed() {
            return self.read_later(shard, place);
        }
        let kept = catch_up.take_kept();
        subscription.catch_up = None;
        let Some(mut client) = shard.client(subscription.client) else {
            return;
        };
        let mut delivered = 0;
        for Kept { event, body, .. } in kept {
            if !self.seen.hides(&event) {
                client.send_shared(MessageKind::Text, subscription.head.as_bytes(), &body);
                delivered += 1;
            }
        }
        self.shared.common.stats.deliveries.add(delivered);
    }

    /// Has the events after the snapshot read from the store, and keeps live events again.
    fn read_later(&mut self, shard: &mut OnShard<'_, NostrShard>, place: Place) {
        let Some(subscription) = self.subscriptions.at(place) else {
            return;
        };
        let (id, after) = (subscription.client, subscription.snapshot);
        let Some(catch_up) = &mut subscription.catch_up else {
            return;
        };
        catch_up.begin_again();
        let mut request = catch_up.request().clone();
        if let Some(client) = self.clients.get(&id) {
            request.viewer = client.viewer.clone();
        }
        let task = Task::Later {
            place,
            after,
            request: Box::new(request),
        };
        if let Some(client) = shard.client(id) {
            self.go_on(client, Job { client: id, task });
        }
    }

    /// Starts a job for a client, or postpones it until the client's outbox is nearly empty.
    pub(super) fn go_on(&mut self, mut client: Client<'_>, job: Job) {
        if client.outbox_bytes() <= LOW_WATER_BYTES {
            return self.start(job);
        }
        if let Some(state) = self.clients.get_mut(&job.client) {
            state.later.push(job);
            client.await_low_water(LOW_WATER_BYTES);
        }
    }
}
