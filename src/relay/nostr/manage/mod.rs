//! Management of the relay over HTTP (NIP-86).
//!
//! A call is proven and parsed on its connection's shard (`door.rs`), and carried out by a thread
//! of its own (`work.rs`). A change is written by the store's writer, as a note; then a new state
//! takes the place of the old one (`desk.rs`), which shards and readers look up for each event,
//! message and page.

mod addresses;
mod answers;
mod desk;
mod door;
mod reports;
mod used;
mod work;
mod write;

use std::net::IpAddr;

use corecast_nostr::Bytes32;
use serde_json::Value;

pub(super) use self::desk::{Desk, Seen};
pub(super) use self::work::{Job, Worker};
pub(super) use self::write::Write;
use crate::fanout::ConnectionId;

/// The admin who has signed a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    /// Its key.
    pub key: Bytes32,
    /// The connection that the call came by.
    pub connection: ConnectionId,
    /// Its address, or the one that a trusted proxy names; `None` for a Unix socket.
    pub ip: Option<IpAddr>,
}

/// Methods of management besides those of the relay: see
/// [`Nostr::with_management`](super::Nostr::with_management).
pub trait Management: Send + Sync + 'static {
    /// Their names, for `supportedmethods`.
    fn methods(&self) -> Vec<String>;

    /// Carries out a call of an admin; `None` if it is not for one of its methods. It runs on a
    /// thread for management alone, one call at a time, and may wait; after ten seconds the client
    /// gets 503. A panic is an error for this client only.
    fn manage(
        &self,
        caller: &Caller,
        method: &str,
        params: &[Value],
    ) -> Option<Result<Value, String>>;
}
