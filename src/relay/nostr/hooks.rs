//! Hooks of a Nostr relay: code of its owner that decides about events and filters, observes what
//! is stored, and changes what clients get.
//!
//! The pattern is that of [khatru](https://khatru.nostr.technology), whose hooks have the same
//! names here. [`NostrHooks`] is a value with any of them, and a [`HookList`] collects such values
//! and single closures; [`policies`](super::policies) has ready-made ones. Hooks around the
//! connection itself (`RejectConnection`, `OnConnect`, `OnDisconnect`) also exist for every other
//! kind of endpoint, in [`crate::hooks`]; methods of the management API (NIP-86) are added by
//! [`Nostr::with_management`](super::Nostr::with_management).
//!
//! All hooks run on the shard of the client concerned and must not wait, except for
//! [`NostrHooks::overwrite_deletion_outcome`], which runs on the thread that writes the store. A
//! hook that panics is counted (`corecast_nostr_hook_failures_total`) and harms only the message
//! that it was called for: each method says how. A relay without hooks does nothing for them.

mod calls;
mod client;
mod list;
mod rejection;
mod router;

use bytes::Bytes;
use corecast_nostr::{Event, Filter};
use serde_json::{Map, Value};

pub(super) use self::calls::{Hooked, Response};
pub(super) use self::client::Asked;
pub use self::client::{Context, Subscriber};
pub use self::list::HookList;
pub use self::rejection::{Prefix, Rejection};
pub use self::router::Router;
use crate::engine::{Refused, Request};

/// The message that a filter belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// A REQ: a query of stored events and a subscription to later ones.
    Req,
    /// A COUNT (NIP-45).
    Count,
    /// A synchronization of sets (NIP-77).
    Sync,
}

/// Hooks of a relay. Each method does nothing by default.
///
/// The events of [`reject_event`](NostrHooks::reject_event) have a valid id but are not verified
/// yet, since a signature costs more than most hooks do; all other methods get verified events.
pub trait NostrHooks: Send + Sync + 'static {
    /// A client requests a WebSocket. An error refuses it, usually with 429
    /// ([`rejection`](crate::hooks::rejection)). A panic refuses it with 500.
    fn reject_connection(&self, request: &Request<'_>) -> Result<(), Refused> {
        let _ = request;
        Ok(())
    }

    /// A client publishes an event, ephemeral ones included. An error refuses it, and later hooks
    /// are not called. A panic refuses it with `error: `.
    fn reject_event(&self, context: &Context<'_>, event: &Event) -> Result<(), Rejection> {
        let _ = (context, event);
        Ok(())
    }

    /// A client sends a filter, as changed by
    /// [`overwrite_filter`](NostrHooks::overwrite_filter); a `limit` of 0 changes nothing
    /// about that. An error
    /// refuses the whole message. A panic refuses it with `error: `.
    fn reject_filter(
        &self,
        context: &Context<'_>,
        operation: Operation,
        filter: &Filter,
    ) -> Result<(), Rejection> {
        let _ = (context, operation, filter);
        Ok(())
    }

    /// Changes a filter before it is used. The changed one selects stored and new events alike. The
    /// lists need not be sorted. A panic refuses the message with `error: `.
    fn overwrite_filter(&self, context: &Context<'_>, filter: &mut Filter) {
        let _ = (context, filter);
    }

    /// Whether `deletion` (kind 5) deletes `target`, which it names. `is_due` says what NIP-09 and
    /// the hooks before this one have decided. Called on the thread that writes the store. After a
    /// panic, nothing is deleted.
    fn overwrite_deletion_outcome(&self, target: &Event, deletion: &Event, is_due: bool) -> bool {
        let _ = (target, deletion);
        is_due
    }

    /// An event has been stored; its author is told next. Not called for duplicates. A panic
    /// changes nothing.
    fn on_event_saved(&self, context: &Context<'_>, event: &Event) {
        let _ = (context, event);
    }

    /// An ephemeral event was accepted; subscribers get it next. A panic changes nothing.
    fn on_ephemeral_event(&self, context: &Context<'_>, event: &Event) {
        let _ = (context, event);
    }

    /// An event goes to this client. Returns the JSON object to send instead, for example without
    /// content; the first hook that returns one decides. Such a client no longer shares the
    /// encoded event with the others. After a panic, or if the bytes are not a JSON object, this
    /// client does not get the event.
    fn overwrite_response_event(&self, context: &Context<'_>, event: &Event) -> Option<Bytes> {
        let _ = (context, event);
        None
    }

    /// Whether a subscriber does not get a new event by this filter; another filter of the
    /// subscription may still match. Stored events are not concerned. After a panic, the subscriber
    /// does not get it.
    fn prevent_broadcast(
        &self,
        subscriber: &Subscriber<'_>,
        filter: &Filter,
        event: &Event,
    ) -> bool {
        let _ = (subscriber, filter, event);
        false
    }

    /// Changes the information document (NIP-11) for a request. After a panic, the document is
    /// sent as it was before.
    fn overwrite_relay_information(
        &self,
        request: &Request<'_>,
        document: &mut Map<String, Value>,
    ) {
        let _ = (request, document);
    }

    /// Whether [`overwrite_response_event`](NostrHooks::overwrite_response_event) or
    /// [`prevent_broadcast`](NostrHooks::prevent_broadcast) do anything. Hooks that return false
    /// here cost nothing for each delivery. Called once.
    fn concerns_deliveries(&self) -> bool {
        true
    }
}
