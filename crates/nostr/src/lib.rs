//! The Nostr protocol for a relay, without sockets: events and their signatures (NIP-01), filters,
//! messages, authentication (NIP-42, NIP-98), management (NIP-86), visibility, the index of live
//! subscriptions, and stores in memory and on disk; only the latter has files and a thread. Time
//! is an argument everywhere.
//!
//! A message from a client is parsed by [`ClientMessage`]. An event goes through [`ParsedEvent`],
//! whose checks come cheapest first, and becomes an [`Event`] once its signature holds. [`Event`]s
//! are shared, and encoded as JSON only once.

mod auth;
mod event;
mod filter;
mod hex;
mod hll;
mod index;
mod json;
mod kind;
mod management;
mod message;
#[cfg(test)]
mod oracle;
mod query;
mod request_auth;
mod store;
mod sync;
mod visibility;

pub use self::auth::{AuthError, Challenge, RelayUrls};
pub use self::event::{
    Draft, Event, EventError, EventLimits, ParsedEvent, Signer, UnverifiedEvent,
};
pub use self::filter::{Filter, FilterError, FilterSyntax};
pub use self::hex::{Bytes32, from_hex, to_hex};
pub use self::hll::Hll;
pub use self::index::LiveIndex;
pub use self::kind::{Class, class_of};
pub use self::management::{
    Call, Change, Forbidden, Hidden, List, METHODS, Methods, Moderation, Note, NoteError,
    RelayText, Request,
};
pub use self::message::{ClientMessage, MessageError, SubscriptionId, claimed_id, reply};
pub use self::query::{Page, Position, Query, QueryLimits, Seq};
pub use self::request_auth::{RequestAuthError, RequestProof};
pub use self::store::{
    BulkLoader, BulkReport, CheckReport, DiskOptions, DiskStore, OpenError, Statistics,
};
pub use self::store::{
    DeletionRule, Item, Items, MemoryStore, Nip09, Numbered, Outcome, Store, StoreError,
};
pub use self::sync::{
    ITEM_BYTES, SYNC_ANSWER_BYTES_MAX, SyncCollector, SyncError, SyncMemory, SyncSet, sync_message,
};
pub use self::visibility::{PrivateKinds, Viewer};
