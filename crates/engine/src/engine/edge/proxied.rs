//! Who the client is, where proxies are in front: the PROXY protocol, and the headers that name
//! whom a request was forwarded for.
//!
//! Both are believed from `Settings::trusted_proxies` alone. A connection of a trusted proxy does
//! not count towards the proxy's own address: it counts towards its client's as soon as that is
//! known, which is at the PROXY header, else when it becomes a WebSocket. Until then one connection
//! may carry plain requests of many clients.
//!
//! If a proxy says that it does not know, or what nobody can read, its client is unknown, and what
//! is unknown is not trusted: where `Settings::networks` keeps anybody out they do not come in,
//! and elsewhere those of a proxy count together, towards its own address, which nothing exempts. A
//! proxy that says nothing at all asks for itself: its address is judged as everybody's then.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use super::bodies::{Step, end_without_body};
use crate::engine::clients::Clients;
use crate::engine::clients::connection::Phase;
use crate::engine::edge::Edge;
use crate::engine::ids::Key;
use crate::engine::refusal::{Refusal, Refused};
use crate::wire::forwarded::{self, ForwardedError};
use crate::wire::http::Head;
use crate::wire::proxy;

/// Whose request it is.
#[derive(Clone, Copy)]
pub(in crate::engine) struct ClientAddress {
    /// The client's address; the peer's own if it asks for itself, or for it does not say whom.
    pub(in crate::engine) address: SocketAddr,
    /// The peer does not say whom it asks for.
    pub(in crate::engine) is_unknown: bool,
}

impl Edge {
    /// Takes in the first bytes of a connection that must begin with a PROXY header, and what
    /// follows it.
    pub(in crate::engine) fn handle_proxy_header(
        &self,
        clients: &mut Clients,
        key: Key,
        bytes: &mut [u8],
        received_ns: u64,
    ) {
        let Some(connection) = clients.core.connection(key) else {
            return;
        };
        let mut kept = match connection.cold_if_any() {
            Some(cold) => std::mem::take(&mut cold.received),
            None => Vec::new(),
        };
        let bytes = if kept.is_empty() {
            bytes
        } else {
            kept.extend_from_slice(bytes);
            &mut kept[..]
        };
        match proxy::parse(bytes) {
            Ok(None) => connection.cold_mut().received = bytes.to_vec(),
            Ok(Some(header)) => {
                connection.note_proxy_header();
                match header.client {
                    Some(client) => self.proxied_for(clients, key, client),
                    None if header.is_local => {}
                    None => self.proxied_for_somebody(clients, key),
                }
                if clients.core.known(key).phase() == Phase::Dead {
                    return;
                }
                let deadline = clients.request_deadline();
                let connection = clients.core.known_mut(key);
                if connection.over_limit().is_none() {
                    connection.set_deadline(deadline);
                }
                let rest = &mut bytes[header.len..];
                if !rest.is_empty() {
                    self.handle_stream(clients, key, rest, received_ns);
                }
            }
            Err(error) => {
                let (id, peer) = (
                    clients.core.connection_id(key),
                    connection_peer(clients, key),
                );
                let (error, now_ns) = (error.name(), clients.core.clock().turn_ns());
                let told = "no PROXY header";
                match clients.core.shared().notices.no_proxy_header.due(now_ns) {
                    Some(suppressed) => {
                        tracing::info!(connection = %id, %peer, error, suppressed, "{told}");
                    }
                    None => tracing::debug!(connection = %id, %peer, error, "{told}"),
                }
                clients.refused(key, Refusal::BadProxyHeader);
                clients.die(key);
            }
        }
    }

    /// The time for the PROXY header is over.
    pub(in crate::engine) fn proxy_header_overdue(&self, clients: &mut Clients, key: Key) {
        clients.refused(key, Refusal::BadProxyHeader);
        clients.die(key);
    }

    /// Refuses a request that a proxy forwards for a client whose network may not come in, or for
    /// nobody knows whom, where not everybody may.
    pub(in crate::engine) fn check_network(
        &self,
        clients: &mut Clients,
        key: Key,
        head: &Head<'_>,
        client: ClientAddress,
        head_len: usize,
    ) -> Option<Step> {
        let peer = connection_peer(clients, key);
        // Who is no proxy was judged when it connected. A proxy may look how the relay is.
        let is_own = client.address == peer && !client.is_unknown;
        if !clients.is_trusted_proxy(peer) || is_own && !head.is_upgrade() {
            return None;
        }
        let networks = &clients.core.settings().networks;
        // A proxy at a Unix socket has no address of its own to be judged by.
        let is_unknown = client.is_unknown || client.address.ip().is_unspecified();
        let (refusal, text) = if is_unknown && networks.keep_somebody_out() {
            let text = "The proxy does not say whose request this is.";
            (Refusal::UnknownClient, text)
        } else if !is_unknown && !networks.admit(client.address.ip()) {
            (Refusal::Network, "Your network may not come in.")
        } else {
            return None;
        };
        let refused = Refused::of(refusal, 403, text);
        Some(self.refuse(
            clients,
            key,
            head,
            &refused,
            end_without_body(head, head_len),
        ))
    }

    /// A trusted proxy has said whose connection this is.
    fn proxied_for(&self, clients: &mut Clients, key: Key, client: SocketAddr) {
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        if !clients.is_network_allowed(client) {
            clients.refused(key, Refusal::Network);
            return clients.die(key);
        }
        // Where the relay is full it stays so.
        let connection = clients.core.known_mut(key);
        if connection.over_limit().is_some() {
            connection.set_peer(client);
            return;
        }
        match clients.check_address(client) {
            Ok(is_counted) => clients.count_for(key, client, is_counted),
            Err(over_limit) => clients.move_to_refuse(key, client, over_limit),
        }
    }

    /// A trusted proxy has said that it does not know whose connection this is.
    fn proxied_for_somebody(&self, clients: &mut Clients, key: Key) {
        let proxy = connection_peer(clients, key);
        let connection = clients.core.known_mut(key);
        connection.note_unknown_client();
        if connection.over_limit().is_some() {
            return;
        }
        match clients.count_address(proxy.ip()) {
            Ok(is_counted) => clients.count_for(key, proxy, is_counted),
            Err(over_limit) => clients.move_to_refuse(key, proxy, over_limit),
        }
    }

    /// The client of a request: the connection's own, or the one that a trusted proxy names.
    ///
    /// # Errors
    ///
    /// Headers that contradict each other. What is malformed is counted, and names nobody.
    pub(in crate::engine) fn client_of(
        &self,
        clients: &Clients,
        key: Key,
        head: &Head<'_>,
    ) -> Result<ClientAddress, ForwardedError> {
        let connection = clients.core.known(key);
        let peer = connection.peer();
        let client = |address, is_unknown| ClientAddress {
            address,
            is_unknown,
        };
        if !clients.is_trusted_proxy(peer) {
            self.warn_of_untrusted(clients, peer, head);
            return Ok(client(peer, false));
        }
        if connection.is_of_unknown_client() {
            // What the proxy passes on may be what the client wrote.
            return Ok(client(peer, true));
        }
        let trusted = &clients.core.settings().trusted_proxies;
        match forwarded::client(head, |ip| trusted.contains(ip)) {
            Ok(forwarded::Client::Proxy) => Ok(client(peer, false)),
            Ok(forwarded::Client::Address(ip)) => Ok(client(SocketAddr::new(ip, 0), false)),
            Ok(forwarded::Client::Unknown) => Ok(client(peer, true)),
            Err(error) => {
                let stats = clients.core.stats();
                tracing::debug!(connection = %clients.core.connection_id(key), %peer, %error);
                match error {
                    ForwardedError::Malformed => {
                        stats.forwarded_malformed.add(1);
                        Ok(client(peer, true))
                    }
                    ForwardedError::Conflict => {
                        stats.forwarded_conflicts.add(1);
                        Err(error)
                    }
                }
            }
        }
    }

    /// Says once that a peer which no limit applies to forwards for others, and that nobody
    /// believes it: then no limit applies to them either.
    fn warn_of_untrusted(&self, clients: &Clients, peer: SocketAddr, head: &Head<'_>) {
        let ip = peer.ip().to_canonical();
        let mut exempt = clients.core.settings().exempt_networks.iter();
        let is_relevant =
            (ip.is_loopback() || ip.is_unspecified()) || exempt.any(|network| network.contains(ip));
        let is_relaying = clients.core.id() < clients.core.shared().relaying;
        let names = ["forwarded", "x-forwarded-for"];
        let is_forwarded = |name: &str| names.iter().any(|each| name.eq_ignore_ascii_case(each));
        if is_relevant
            && is_relaying
            && head.headers.iter().any(|header| is_forwarded(header.name))
            && !clients
                .core
                .shared()
                .notices
                .untrusted_proxy
                .swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                %peer,
                "a proxy that is not in server.trusted_proxies says whom it forwards for, and is \
                 not believed: all of its clients count as this peer, which limits.exempt_networks \
                 or its Unix socket exempts from limits; add it to server.trusted_proxies"
            );
        }
    }

    /// Makes a connection that is about to become a WebSocket its client's own. An error is the
    /// refusal: the client has too many, or connects too often.
    pub(in crate::engine) fn identify(
        &self,
        clients: &mut Clients,
        key: Key,
        client: ClientAddress,
    ) -> Result<(), Refused> {
        let connection = clients.core.known(key);
        let proxy = connection.peer();
        let is_counted_by_now = client.address == proxy && !client.is_unknown;
        if is_counted_by_now || connection.is_of_unknown_client() {
            return Ok(());
        }
        let judged = match client.is_unknown {
            true => clients.count_address(proxy.ip()),
            false => clients.check_address(client.address),
        };
        match judged {
            Ok(is_counted) => clients.count_for(key, client.address, is_counted),
            Err(over_limit) => return Err(over_limit.refused(clients.core.settings())),
        }
        let connection = clients.core.known_mut(key);
        connection.cold_mut().proxy = Some(proxy);
        Ok(())
    }

    /// Takes back [`Edge::identify`]: there is no WebSocket, and the proxy's next request may be
    /// another client's.
    pub(in crate::engine) fn unidentify(&self, clients: &mut Clients, key: Key, proxy: SocketAddr) {
        clients.count_for(key, proxy, false);
    }
}

fn connection_peer(clients: &Clients, key: Key) -> SocketAddr {
    clients.core.known(key).peer()
}
