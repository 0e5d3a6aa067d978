//! The client that a hook is called for.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;

use corecast_nostr::Bytes32;

use crate::fanout::ConnectionId;

/// A client, as hooks see it.
#[derive(Clone, Copy, Debug)]
pub struct Subscriber<'c> {
    pub(in crate::relay::nostr) connection: ConnectionId,
    pub(in crate::relay::nostr) ip: Option<IpAddr>,
    pub(in crate::relay::nostr) keys: &'c [Bytes32],
}

impl<'c> Subscriber<'c> {
    /// The connection, for [`NostrHandle`](crate::relay::nostr::NostrHandle) and
    /// [`Handle`](crate::engine::Handle).
    pub fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// Its address, or the one that a trusted proxy names. `None` if it uses a Unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    /// The keys that it has proven (NIP-42), in order.
    pub fn keys(&self) -> &'c [Bytes32] {
        self.keys
    }
}

/// The client for whose message a hook is called. Events that a
/// [`NostrHandle`](crate::relay::nostr::NostrHandle) adds have none.
#[derive(Debug)]
pub struct Context<'c> {
    client: Option<Subscriber<'c>>,
    subscription: Option<&'c str>,
    asks_for_key: Cell<bool>,
    notices: RefCell<Vec<String>>,
}

/// The requests of hooks. They are sent before the answer to the message.
#[derive(Default)]
pub(in crate::relay::nostr) struct Asked {
    pub(in crate::relay::nostr) asks_for_key: bool,
    pub(in crate::relay::nostr) notices: Vec<String>,
}

impl<'c> Context<'c> {
    pub(in crate::relay::nostr) fn new(
        client: Option<Subscriber<'c>>,
        subscription: Option<&'c str>,
    ) -> Context<'c> {
        Context {
            client,
            subscription,
            asks_for_key: Cell::new(false),
            notices: RefCell::default(),
        }
    }

    /// The client, unless the event came from a handle.
    pub fn client(&self) -> Option<&Subscriber<'c>> {
        self.client.as_ref()
    }

    /// The client's address, or the one that a trusted proxy names; `None` if it has none.
    pub fn ip(&self) -> Option<IpAddr> {
        self.client.and_then(|client| client.ip)
    }

    /// The keys that the client has proven (NIP-42), in order.
    pub fn keys(&self) -> &'c [Bytes32] {
        self.client.map_or(&[], |client| client.keys)
    }

    /// Whether the client has proven this key.
    pub fn has_key(&self, key: &Bytes32) -> bool {
        self.keys().contains(key)
    }

    /// The name of the subscription, for hooks on filters.
    pub fn subscription(&self) -> Option<&'c str> {
        self.subscription
    }

    /// Sends the client the challenge of NIP-42. If `nostr.urls` is empty, it cannot be answered.
    pub fn request_auth(&self) {
        self.asks_for_key.set(true);
    }

    /// Sends the client a NOTICE.
    pub fn send_notice(&self, text: impl Into<String>) {
        self.notices.borrow_mut().push(text.into());
    }

    pub(in crate::relay::nostr) fn asked(self) -> Asked {
        Asked {
            asks_for_key: self.asks_for_key.get(),
            notices: self.notices.into_inner(),
        }
    }
}
