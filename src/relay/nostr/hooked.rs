//! Calls of hooks for a shard's clients.

use std::sync::Arc;

use corecast_nostr::{Event, Filter, SubscriptionId, reply};

use super::hooks::{Asked, Context, Operation, Prefix, Rejection, Response, Subscriber};
use super::mail::{Live, Place, Request};
use super::shard::{Effects, Inner, NostrShard, send_stored};
use crate::engine::{Client, OnShard};
use crate::fanout::ConnectionId;
use crate::fanout::shared_body::SharedBody;
use crate::wire::frame::MessageKind;

impl Inner {
    fn subscriber(&self, connection: ConnectionId) -> Subscriber<'_> {
        let client = self.clients.get(&connection);
        Subscriber {
            connection,
            ip: client.and_then(|client| client.ip),
            keys: client.map_or(&[], |client| &client.viewer.keys),
        }
    }

    fn context(&self, connection: ConnectionId) -> Context<'_> {
        Context::new(Some(self.subscriber(connection)), None)
    }

    /// Whether hooks let an event in. An error is the reason for the client.
    pub(super) fn check_by_hooks(
        &mut self,
        from: ConnectionId,
        event: &Event,
        effects: &mut Effects,
    ) -> Result<(), String> {
        if self.shared.common.hooks.is_empty() {
            return Ok(());
        }
        let context = self.context(from);
        let verdict = self.shared.common.hooks.check_event(&context, event);
        let mut asked = context.asked();
        let refused = verdict.map_err(|rejection| asked.refusal(&rejection));
        self.settle_asked(from, asked, effects);
        refused
    }

    /// Lets hooks change and refuse the filters of a query. An error is the reason for the client.
    pub(super) fn filter_by_hooks(
        &mut self,
        client: ConnectionId,
        (operation, id): (Operation, &SubscriptionId),
        mut request: Request,
        effects: &mut Effects,
    ) -> Result<Request, String> {
        let hooks = &self.shared.common.hooks;
        if hooks.is_empty() {
            return Ok(request);
        }
        let context = Context::new(Some(self.subscriber(client)), Some(id.as_str()));
        let checked = |filter: &Arc<Filter>| {
            let mut filter = Filter::clone(filter);
            hooks.check_filter(&context, operation, &mut filter)?;
            Ok(Arc::new(filter))
        };
        let filters: Result<Arc<[_]>, _> = request.filters.iter().map(checked).collect();
        let mut asked = context.asked();
        let refused = filters.map_err(|rejection| asked.refusal(&rejection));
        self.settle_asked(client, asked, effects);
        request.filters = refused?;
        Ok(request)
    }

    /// Answers what hooks have asked for.
    fn settle_asked(&mut self, id: ConnectionId, asked: Asked, effects: &mut Effects) {
        for notice in asked.notices {
            effects.reply(reply::notice(&notice));
        }
        if asked.asks_for_key
            && let Some(challenge) = self.challenge(id)
        {
            effects.reply(challenge);
        }
    }

    /// The same outside of the client's own message.
    fn send_asked(&mut self, shard: &mut OnShard<'_, NostrShard>, id: ConnectionId, asked: Asked) {
        if asked.is_empty() {
            return;
        }
        let mut effects = Effects::default();
        self.settle_asked(id, asked, &mut effects);
        if let Some(mut client) = shard.client(id) {
            effects.apply(&mut client);
        }
    }

    /// Tells hooks that an event was stored.
    pub(super) fn tell_saved(
        &mut self,
        shard: &mut OnShard<'_, NostrShard>,
        from: ConnectionId,
        event: &Event,
    ) {
        if !self.shared.common.hooks.is_empty() {
            let context = self.context(from);
            self.shared.common.hooks.saved(&context, event);
            let asked = context.asked();
            self.send_asked(shard, from, asked);
        }
    }

    /// Tells hooks that an ephemeral event was accepted.
    pub(super) fn tell_ephemeral(
        &mut self,
        shard: &mut OnShard<'_, NostrShard>,
        from: ConnectionId,
        event: &Event,
    ) {
        if !self.shared.common.hooks.is_empty() {
            let context = self.context(from);
            self.shared.common.hooks.ephemeral(&context, event);
            let asked = context.asked();
            self.send_asked(shard, from, asked);
        }
    }

    /// The filters of a subscription, if hooks need them later.
    pub(super) fn filters_for_hooks(&self, request: &Request) -> Option<Arc<[Arc<Filter>]>> {
        let is_needed = self.shared.common.hooks.concern_deliveries();
        is_needed.then(|| Arc::clone(&request.filters))
    }

    /// Sends a subscription events from the store. `are_new`: they have arrived after its REQ.
    pub(super) fn send_rows(
        &mut self,
        shard: &mut OnShard<'_, NostrShard>,
        place: Place,
        rows: &[Arc<Event>],
        are_new: bool,
    ) {
        if self.shared.common.hooks.concern_deliveries() {
            return self.send_hooked_rows(shard, place, rows, are_new);
        }
        let Some(subscription) = self.subscriptions.at(place) else {
            return;
        };
        let Some(mut client) = shard.client(subscription.client) else {
            return;
        };
        let mut text = Vec::new();
        for row in rows {
            send_stored(&mut client, &subscription.head, row, &mut text);
        }
    }

    fn send_hooked_rows(
        &mut self,
        shard: &mut OnShard<'_, NostrShard>,
        place: Place,
        rows: &[Arc<Event>],
        are_new: bool,
    ) {
        let mut text = Vec::new();
        for row in rows {
            let Some(subscription) = self.subscriptions.at(place) else {
                return;
            };
            let (id, head) = (subscription.client, subscription.head.clone());
            let filters = subscription.filters.clone().unwrap_or_default();
            if are_new && self.is_prevented(id, &filters, row) {
                continue;
            }
            let response = self.response(shard, id, row);
            let Some(mut client) = shard.client(id) else {
                return;
            };
            match response {
                Response::Same => send_stored(&mut client, &head, row, &mut text),
                Response::Other(body) => send_body(&mut client, &head, &body),
                Response::None => {}
            }
        }
    }

    fn is_prevented(&self, id: ConnectionId, filters: &[Arc<Filter>], event: &Event) -> bool {
        let hooks = &self.shared.common.hooks;
        hooks.prevent_broadcast(&self.subscriber(id), filters, event)
    }

    fn response(
        &mut self,
        shard: &mut OnShard<'_, NostrShard>,
        to: ConnectionId,
        event: &Event,
    ) -> Response {
        let context = self.context(to);
        let response = self.shared.common.hooks.response(&context, event);
        let asked = context.asked();
        self.send_asked(shard, to, asked);
        response
    }

    /// The body of a new event for a subscription that matches it. `None`: it does not get it.
    pub(super) fn live_body(
        &mut self,
        shard: &mut OnShard<'_, NostrShard>,
        slot: u32,
        live: &Live,
    ) -> Option<SharedBody> {
        let subscription = self.subscriptions.get_mut(slot)?;
        let id = subscription.client;
        let filters = subscription.filters.clone().unwrap_or_default();
        if self.is_prevented(id, &filters, &live.event) {
            return None;
        }
        match self.response(shard, id, &live.event) {
            Response::Same => Some(live.body.clone()),
            Response::Other(body) => Some(shard.shared_body(&body, false)),
            Response::None => None,
        }
    }
}

impl Asked {
    fn is_empty(&self) -> bool {
        !self.asks_for_key && self.notices.is_empty()
    }

    /// The reason for the client. If it has to prove a key, it needs the challenge first.
    fn refusal(&mut self, rejection: &Rejection) -> String {
        self.asks_for_key |= rejection.prefix() == Prefix::AuthRequired;
        rejection.to_string()
    }
}

fn send_body(client: &mut Client<'_>, head: &str, body: &[u8]) {
    client.send(MessageKind::Text, &[head.as_bytes(), body].concat());
}
