//! Calls of the hooks of a relay, each of which survives a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use corecast_nostr::{DeletionRule, Event, Filter};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{Context, HookList, NostrHooks, Operation, Prefix, Rejection, Request, Subscriber};
use crate::engine::Refused;
use crate::relay::nostr::stats::NostrStats;

/// The hooks of a relay.
pub(in crate::relay::nostr) struct Hooked {
    list: HookList,
    stats: Arc<NostrStats>,
}

/// An event on its way to a client.
pub(in crate::relay::nostr) enum Response {
    /// As it is.
    Same,
    /// This JSON object, and the bracket that ends the message around it.
    Other(Vec<u8>),
    /// Not at all.
    None,
}

impl Hooked {
    pub(in crate::relay::nostr) fn new(list: HookList, stats: Arc<NostrStats>) -> Hooked {
        Hooked { list, stats }
    }

    pub(in crate::relay::nostr) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether there are hooks to be called for each delivery.
    pub(in crate::relay::nostr) fn concern_deliveries(&self) -> bool {
        !self.list.deliveries().is_empty()
    }

    /// Calls a hook. `None`: it panicked.
    fn call<T>(&self, name: &'static str, hook: impl FnOnce() -> T) -> Option<T> {
        let result = catch_unwind(AssertUnwindSafe(hook));
        if result.is_err() {
            self.failed(name, "it panicked");
        }
        result.ok()
    }

    fn failed(&self, hook: &'static str, reason: &str) {
        self.stats.hook_failures.add(1);
        tracing::error!(hook, reason, "a hook failed");
    }

    fn hooks(&self) -> impl Iterator<Item = &dyn NostrHooks> {
        self.list.all().iter().map(|hook| &**hook)
    }

    pub(in crate::relay::nostr) fn check_connection(
        &self,
        request: &Request<'_>,
    ) -> Result<(), Refused> {
        let panicked = || Refused::new(500, "hook_failed", "A hook of this relay has failed.");
        self.hooks().try_for_each(|hook| {
            self.call("reject_connection", || hook.reject_connection(request))
                .unwrap_or_else(|| Err(panicked()))
        })
    }

    pub(in crate::relay::nostr) fn check_event(
        &self,
        context: &Context<'_>,
        event: &Event,
    ) -> Result<(), Rejection> {
        self.hooks().try_for_each(|hook| {
            self.call("reject_event", || hook.reject_event(context, event))
                .unwrap_or_else(|| Err(panicked()))
        })
    }

    /// Lets hooks change a filter, and then refuse it.
    pub(in crate::relay::nostr) fn check_filter(
        &self,
        context: &Context<'_>,
        operation: Operation,
        filter: &mut Filter,
    ) -> Result<(), Rejection> {
        for hook in self.hooks() {
            self.call("overwrite_filter", || {
                hook.overwrite_filter(context, filter);
            })
            .ok_or_else(panicked)?;
        }
        filter.sort();
        self.hooks().try_for_each(|hook| {
            let call = || hook.reject_filter(context, operation, filter);
            self.call("reject_filter", call)
                .unwrap_or_else(|| Err(panicked()))
        })
    }

    pub(in crate::relay::nostr) fn saved(&self, context: &Context<'_>, event: &Event) {
        for hook in self.hooks() {
            self.call("on_event_saved", || hook.on_event_saved(context, event));
        }
    }

    pub(in crate::relay::nostr) fn ephemeral(&self, context: &Context<'_>, event: &Event) {
        for hook in self.hooks() {
            let call = || hook.on_ephemeral_event(context, event);
            self.call("on_ephemeral_event", call);
        }
    }

    /// Whether a subscriber with these filters does not get a new event.
    pub(in crate::relay::nostr) fn prevent_broadcast(
        &self,
        subscriber: &Subscriber<'_>,
        filters: &[Arc<Filter>],
        event: &Event,
    ) -> bool {
        let is_prevented = |filter: &Filter| {
            self.list.deliveries().iter().any(|hook| {
                let call = || hook.prevent_broadcast(subscriber, filter, event);
                self.call("prevent_broadcast", call).unwrap_or(true)
            })
        };
        let mut matching = filters.iter().filter(|filter| filter.matches(event));
        matching.all(|filter| is_prevented(filter))
    }

    pub(in crate::relay::nostr) fn response(
        &self,
        context: &Context<'_>,
        event: &Event,
    ) -> Response {
        const NAME: &str = "overwrite_response_event";
        for hook in self.list.deliveries() {
            match self.call(NAME, || hook.overwrite_response_event(context, event)) {
                Some(None) => {}
                Some(Some(json)) => match body_of(&json) {
                    Some(body) => return Response::Other(body),
                    None => {
                        self.failed(NAME, "its event is not a JSON object");
                        return Response::None;
                    }
                },
                None => return Response::None,
            }
        }
        Response::Same
    }

    pub(in crate::relay::nostr) fn overwrite_information(
        &self,
        request: &Request<'_>,
        document: &mut Map<String, Value>,
    ) {
        for hook in self.hooks() {
            let mut changed = document.clone();
            let call = || hook.overwrite_relay_information(request, &mut changed);
            if self.call("overwrite_relay_information", call).is_some() {
                *document = changed;
            }
        }
    }
}

impl DeletionRule for Hooked {
    fn may_delete(&self, target: &Event, deletion: &Event, is_due: bool) -> bool {
        let mut is_due = is_due;
        for hook in self.hooks() {
            let call = || hook.overwrite_deletion_outcome(target, deletion, is_due);
            match self.call("overwrite_deletion_outcome", call) {
                Some(outcome) => is_due = outcome,
                None => return false,
            }
        }
        is_due
    }
}

fn panicked() -> Rejection {
    Rejection::new(Prefix::Error, "a hook of this relay has failed")
}

/// The end of a message with this event, if it is a JSON object.
fn body_of(json: &Bytes) -> Option<Vec<u8>> {
    let object: &RawValue = serde_json::from_slice(json).ok()?;
    object.get().starts_with('{').then(|| {
        let mut body = object.get().as_bytes().to_vec();
        body.push(b']');
        body
    })
}
