//! Corecast's engine, for embedders: a thread-per-core WebSocket server that hands each message to
//! all members of a room, in one order.
//!
//! | module | what it is |
//! |---|---|
//! | [`wire`] | bytes in, bytes out: HTTP heads, the handshake, frames. No sockets, no clock |
//! | [`fanout`] | rooms, tickets, batches, outboxes. No sockets, no clock |
//! | [`engine`] | shards: the loop, connections, mailboxes, timers. Knows endpoints as a trait |
//! | [`hooks`] | code around an endpoint: who may come in, which messages go on; policies |
//! | [`limits`] | every bound that is not configured, with its reason |
//!
//! Implement [`engine::Endpoint`], give it a path, and start an [`engine::Engine`]. What belongs to
//! the relay alone (its endpoints, keys and tokens, the configuration, metrics) is not in here.

pub mod engine;
pub mod fanout;
pub mod hooks;
pub mod limits;
#[doc(hidden)]
pub mod sparse;
mod sync;

pub use corecast_wire as wire;
