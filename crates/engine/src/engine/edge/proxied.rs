//! The client of a connection or request behind proxies: the PROXY protocol, and the headers that
//! name the client of a forwarded request.
//!
//! Both are trusted only from `Settings::trusted_proxies`. A connection from a trusted proxy does
//! not count for the proxy's own address. It counts for its client's address as soon as that is
//! known: after the PROXY header, otherwise when it becomes a WebSocket. Before that one connection
//! may carry plain requests of many clients.
//!
//! If a proxy says that it does not know its client, or sends something unreadable, the client is
//! unknown, and unknown clients are not trusted. If `Settings::networks` excludes any network, they
//! are refused. Otherwise those of a proxy count together, for its own address, without any
//! exemption. A proxy that sends no such header makes a request of its own, and its address is
//! treated like any client's.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use super::bodies::{Step, end_without_body};
use crate::engine::clients::Clients;
use crate::engine::clients::connection::Phase;
use crate::engine::edge::Edge;
use crate::engine::ids::Key;
use crate::engine::refusal::{Refusal, Refused};
use crate::peer::Peer;
use crate::wire::forwarded::{self, ForwardedError};
use crate::wire::http::Head;
use crate::wire::proxy;

/// The client of a request.
#[derive(Clone, Copy)]
pub(in crate::engine) struct ClientAddress {
    /// The client's address, or the peer's own if it makes the request itself or does not name its
    /// client.
    pub(in crate::engine) address: Peer,
    /// The peer does not name its client.
    pub(in crate::engine) is_unknown: bool,
}

impl Edge {
    /// Handles the first bytes of a connection that must begin with a PROXY header, and the bytes
    /// that follow it.
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

    /// Refuses a request that a proxy forwards for a client whose network may not connect, or for
    /// an unknown client if any network is excluded.
    pub(in crate::engine) fn check_network(
        &self,
        clients: &mut Clients,
        key: Key,
        head: &Head<'_>,
        client: ClientAddress,
        head_len: usize,
    ) -> Option<Step> {
        let peer = connection_peer(clients, key);
        // A peer that is not a proxy was checked when it connected. A proxy may check the relay's
        // health.
        let is_own = client.address == peer && !client.is_unknown;
        if !clients.is_trusted_proxy(peer) || is_own && !head.is_upgrade() {
            return None;
        }
        let networks = &clients.core.settings().networks;
        // A proxy at a Unix socket has no address of its own that could be checked.
        let is_unknown = client.is_unknown || client.address == Peer::Unix;
        let (refusal, text) = if is_unknown && networks.keep_somebody_out() {
            let text = "The proxy does not say whose request this is.";
            (Refusal::UnknownClient, text)
        } else if !is_unknown && !networks.admit(client.address) {
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

    /// A trusted proxy has named the client of this connection.
    fn proxied_for(&self, clients: &mut Clients, key: Key, client: SocketAddr) {
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        let client = Peer::Ip(client);
        if !clients.is_network_allowed(client) {
            clients.refused(key, Refusal::Network);
            return clients.die(key);
        }
        // A connection that was refused because the relay is full stays refused.
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

    /// A trusted proxy does not know the client of this connection.
    fn proxied_for_somebody(&self, clients: &mut Clients, key: Key) {
        let proxy = connection_peer(clients, key);
        let connection = clients.core.known_mut(key);
        connection.note_unknown_client();
        if connection.over_limit().is_some() {
            return;
        }
        match clients.count_address(proxy.counting_ip()) {
            Ok(is_counted) => clients.count_for(key, proxy, is_counted),
            Err(over_limit) => clients.move_to_refuse(key, proxy, over_limit),
        }
    }

    /// The client of a request: the connection's own, or the one that a trusted proxy names.
    ///
    /// # Errors
    ///
    /// The headers contradict each other. A malformed header is counted, and its client is unknown.
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
            // The proxy may pass on a header that the client wrote.
            return Ok(client(peer, true));
        }
        let trusted = &clients.core.settings().trusted_proxies;
        match forwarded::client(head, |ip| trusted.contains(ip.into())) {
            Ok(forwarded::Client::Proxy) => Ok(client(peer, false)),
            Ok(forwarded::Client::Address(ip)) => Ok(client(ip.into(), false)),
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

    /// Logs once that a peer without limits forwards requests for others and is not trusted,
    /// because then its clients have no limits either.
    fn warn_of_untrusted(&self, clients: &Clients, peer: Peer, head: &Head<'_>) {
        let mut exempt = clients.core.settings().exempt_networks.iter();
        let is_relevant = peer.ip().is_none_or(|ip| {
            let ip = ip.to_canonical();
            ip.is_loopback() || exempt.any(|network| network.contains(ip))
        });
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
                "ignored the Forwarded or X-Forwarded-For header of a proxy that is not in \
                 server.trusted_proxies: all of its clients count as this peer, which \
                 limits.exempt_networks or its Unix socket exempts from limits; add it to \
                 server.trusted_proxies"
            );
        }
    }

    /// Assigns a connection that is about to become a WebSocket to its client. An error is the
    /// refusal: the client has too many connections, or connects too often.
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
            true => clients.count_address(proxy.counting_ip()),
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

    /// Undoes [`Edge::identify`]: the connection does not become a WebSocket, and the proxy's next
    /// request may be another client's.
    pub(in crate::engine) fn unidentify(&self, clients: &mut Clients, key: Key, proxy: Peer) {
        clients.count_for(key, proxy, false);
    }
}

fn connection_peer(clients: &Clients, key: Key) -> Peer {
    clients.core.known(key).peer()
}
