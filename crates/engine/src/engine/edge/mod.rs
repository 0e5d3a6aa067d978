//! The edge: bytes before a connection is a WebSocket, and plain HTTP.
//!
//! `proxied.rs` handles PROXY headers and clients behind a proxy, `encrypted.rs` TLS records, and
//! `pipeline.rs`, `requests.rs` and `bodies.rs` requests. They act on the [`Clients`] that they are
//! passed.

pub(super) mod bodies;
pub(super) mod encrypted;
pub(super) mod pipeline;
pub(super) mod proxied;
pub(super) mod requests;
pub(super) mod router;

use std::sync::Arc;

use self::router::Router;
use crate::engine::answer::Interceptor;
use crate::engine::clients::Clients;
use crate::engine::clients::connection::{Connection, Phase};
use crate::engine::clients::erased::ErasedService;
use crate::engine::ids::Key;
use crate::engine::refusal::Renderer;
use crate::engine::shard::stop::Stop;
use crate::engine::tls::TlsSession;

/// The edge of a shard: paths, the services behind them, and the progress of a stop.
pub(in crate::engine) struct Edge {
    pub(in crate::engine) router: Arc<Router>,
    /// By the endpoint's number.
    pub(in crate::engine) plain: Arc<[Plain]>,
    pub(in crate::engine) common: Common,
    pub(in crate::engine) stop: Stop,
}

/// Applies to all paths, even those without an endpoint.
#[derive(Clone, Default)]
pub(in crate::engine) struct Common {
    /// The form of refusals whose endpoint has none; `None`: a line of text.
    pub(in crate::engine) renderer: Option<Arc<Renderer>>,
    /// Called before the service of a path.
    pub(in crate::engine) interceptor: Option<Arc<Interceptor>>,
}

/// How an endpoint's paths answer plain requests, and the form of their refusals.
pub(in crate::engine) struct Plain {
    pub(in crate::engine) service: Arc<dyn ErasedService>,
    /// `None`: the common one.
    pub(in crate::engine) renderer: Option<Box<Renderer>>,
}

impl Edge {
    /// Closes the connections whose close was scheduled by a client, endpoint code, a policy or a
    /// timer. Called after delivery, so that frames that were published before are sent first.
    #[inline]
    pub(in crate::engine) fn close_scheduled(&self, clients: &mut Clients) {
        if clients.core.has_scheduled_closes() {
            self.close_all_scheduled(clients);
        }
    }

    fn close_all_scheduled(&self, clients: &mut Clients) {
        while let Some((key, reason)) = clients.core.next_to_close() {
            if let Some(refused) = clients.close(key, &reason) {
                self.refuse_unfinished(clients, key, &refused);
            }
            if clients.core.work().is_spent() {
                return;
            }
        }
    }

    /// Handles decrypted bytes of a connection.
    pub(in crate::engine) fn handle_bytes(
        &self,
        clients: &mut Clients,
        key: Key,
        bytes: &mut [u8],
        received_ns: u64,
    ) {
        let Some(connection) = clients.core.connection(key) else {
            return;
        };
        match connection.phase() {
            Phase::Request => self.handle_request(clients, key, bytes, received_ns),
            Phase::Open | Phase::Closing => clients.handle_frames(key, bytes, received_ns),
            Phase::Handshake
            | Phase::Deferred
            | Phase::Draining
            | Phase::Lingering
            | Phase::Dead => {}
        }
    }

    /// Handles bytes that were received before and left. Returns whether there were any.
    pub(in crate::engine) fn handle_kept(&self, clients: &mut Clients, key: Key) -> bool {
        let connection = clients.core.connection(key);
        if let Some(mut rest) = connection.and_then(Connection::take_rest) {
            self.handle_rest(clients, key, &mut rest);
            return true;
        }
        self.handle_cut_requests(clients, key)
    }

    fn handle_rest(&self, clients: &mut Clients, key: Key, rest: &mut [u8]) {
        let now_ns = clients.core.clock().now_ns();
        self.handle_bytes(clients, key, rest, now_ns);
        let Some(connection) = clients.core.connection(key) else {
            return;
        };
        let tls = connection.tls();
        if tls.is_some_and(TlsSession::has_received_end) && !connection.has_rest() {
            clients.client_ended(key);
        }
    }

    /// Handles bytes from the socket: the PROXY header if one comes first, then TLS, then HTTP or
    /// frames.
    pub(in crate::engine) fn handle_stream(
        &self,
        clients: &mut Clients,
        key: Key,
        bytes: &mut [u8],
        received_ns: u64,
    ) {
        match clients.core.connection(key) {
            Some(connection) if connection.awaits_proxy_header() => {
                self.handle_proxy_header(clients, key, bytes, received_ns);
            }
            Some(connection) if connection.tls().is_some() => {
                self.handle_encrypted(clients, key, bytes, received_ns);
            }
            _ => self.handle_bytes(clients, key, bytes, received_ns),
        }
    }
}
