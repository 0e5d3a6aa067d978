//! The Nostr protocol, as a relay needs it, without a socket or a thread: events and their
//! signatures (NIP-01), filters, messages, what AUTH proves (NIP-42), who may see what, stores, and
//! the index of live subscriptions. Time is an argument everywhere.
//!
//! A message from a client is parsed by [`ClientMessage`]. An event goes through
//! [`ParsedEvent`], whose checks come cheapest first, and becomes an [`Event`] once its
//! signature holds. [`Event`]s are shared: what is sent is the JSON that was encoded once.

mod auth;
mod event;
mod filter;
mod hex;
mod index;
mod json;
mod kind;
mod message;
mod query;
mod store;
mod visibility;

pub use self::auth::{AuthError, Challenge, RelayUrls};
pub use self::event::{
    Draft, Event, EventError, EventLimits, ParsedEvent, Signer, UnverifiedEvent,
};
pub use self::filter::{Filter, FilterError};
pub use self::hex::{Bytes32, to_hex};
pub use self::index::LiveIndex;
pub use self::kind::{Class, class_of};
pub use self::message::{ClientMessage, MessageError, SubscriptionId, claimed_id, reply};
pub use self::query::{Page, Position, Query, QueryLimits, Seq};
pub use self::store::{MemoryStore, Numbered, Outcome, Store, StoreError};
pub use self::visibility::{PrivateKinds, Viewer};
