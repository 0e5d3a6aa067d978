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

use super::bodies::Step;
use super::close_reason::Refusal;
use super::connection::Phase;
use super::ids::Key;
use super::shard::Shard;
use crate::wire::forwarded::{self, ForwardedError};
use crate::wire::http::{Head, Response};
use crate::wire::proxy;

/// Whose request it is.
#[derive(Clone, Copy)]
pub(super) struct Client {
    /// The client's address; the peer's own if it asks for itself, or for it does not say whom.
    pub(super) address: SocketAddr,
    /// The peer does not say whom it asks for.
    pub(super) is_unknown: bool,
}

impl Shard {
    /// Whether what this peer says about clients is believed. The admin shard has no proxies.
    pub(super) fn is_trusted_proxy(&self, peer: SocketAddr) -> bool {
        self.core.id < self.core.doors.relaying
            && self.core.settings.trusted_proxies.contains(peer.ip())
    }

    /// Takes in the first bytes of a connection that must begin with a PROXY header, and what
    /// follows it.
    pub(super) fn take_proxy_header(&mut self, key: Key, bytes: &mut [u8], received_ns: u64) {
        let Some(connection) = self.core.connection(key) else {
            return;
        };
        let mut kept = match &mut connection.cold {
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
            Ok(None) => connection.cold.get_or_insert_default().received = bytes.to_vec(),
            Ok(Some(header)) => {
                connection.awaits_proxy_header = false;
                match header.client {
                    Some(client) => self.proxied_for(key, client),
                    None if header.is_local => {}
                    None => self.proxied_for_somebody(key),
                }
                if self.core.connections[key.index as usize].phase == Phase::Dead {
                    return;
                }
                let deadline = self.request_deadline();
                let connection = &mut self.core.connections[key.index as usize];
                if connection.over_limit.is_none() {
                    connection.deadline_tick = deadline;
                }
                let rest = &mut bytes[header.len..];
                if !rest.is_empty() {
                    self.take_stream(key, rest, received_ns);
                }
            }
            Err(error) => {
                let (id, peer) = (self.core.connection_id(key), connection_peer(self, key));
                let (error, now_ns) = (error.name(), self.core.clock.turn_ns());
                let told = "no PROXY header";
                match self.core.doors.notices.no_proxy_header.due(now_ns) {
                    Some(suppressed) => {
                        tracing::info!(connection = %id, %peer, error, suppressed, "{told}");
                    }
                    None => tracing::debug!(connection = %id, %peer, error, "{told}"),
                }
                self.refused(key, Refusal::BadProxyHeader);
                self.die(key);
            }
        }
    }

    /// The time for the PROXY header is over.
    pub(super) fn proxy_header_overdue(&mut self, key: Key) {
        self.refused(key, Refusal::BadProxyHeader);
        self.die(key);
    }

    /// Whether a client's network may come in. Trusted proxies always may: it is about their
    /// clients. So may all clients of the admin shard.
    pub(super) fn may_come_in(&self, client: SocketAddr) -> bool {
        self.is_admin()
            || self.core.settings.networks.admit(client.ip())
            || self.is_trusted_proxy(client)
    }

    /// Refuses a request that a proxy forwards for a client whose network may not come in, or for
    /// nobody knows whom, where not everybody may.
    pub(super) fn judge_network(
        &mut self,
        key: Key,
        head: &Head<'_>,
        client: Client,
        head_len: usize,
    ) -> Option<Step> {
        let peer = connection_peer(self, key);
        // Who is no proxy was judged when it connected. A proxy may look how the relay is.
        let is_own = client.address == peer && !client.is_unknown;
        if !self.is_trusted_proxy(peer) || is_own && !head.is_upgrade() {
            return None;
        }
        let networks = &self.core.settings.networks;
        // A proxy at a Unix socket has no address of its own to be judged by.
        let is_unknown = client.is_unknown || client.address.ip().is_unspecified();
        let (refusal, text) = if is_unknown && networks.keep_somebody_out() {
            let text = "The proxy does not say whose request this is.\n";
            (Refusal::UnknownClient, text)
        } else if !is_unknown && !networks.admit(client.address.ip()) {
            (Refusal::Network, "Your network may not come in.\n")
        } else {
            return None;
        };
        self.refused(key, refusal);
        let response = Response::text(403, text);
        let response = self.worded(head.path, response, refusal.label());
        Some(self.answer_head(key, head, &response, head_len))
    }

    /// A trusted proxy has said whose connection this is.
    fn proxied_for(&mut self, key: Key, client: SocketAddr) {
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        if !self.may_come_in(client) {
            self.refused(key, Refusal::Network);
            return self.die(key);
        }
        // Where the relay is full it stays so.
        let connection = &mut self.core.connections[key.index as usize];
        if connection.over_limit.is_some() {
            debug_assert!(!connection.is_counted, "a proxy is exempt");
            connection.set_peer(client);
            return;
        }
        match self.judge_address(client) {
            Ok(is_counted) => self.count_for(key, client, is_counted),
            Err(over_limit) => self.move_to_refuse(key, client, over_limit),
        }
    }

    /// The connection is this client's from now on, and counts no longer for whom it did before.
    fn count_for(&mut self, key: Key, client: SocketAddr, is_counted: bool) {
        let connection = &mut self.core.connections[key.index as usize];
        let before = connection.ip();
        connection.set_peer(client);
        if std::mem::replace(&mut connection.is_counted, is_counted) {
            self.core.doors.places.addresses.leave(before);
        }
    }

    /// A trusted proxy has said that it does not know whose connection this is.
    fn proxied_for_somebody(&mut self, key: Key) {
        let proxy = connection_peer(self, key);
        let connection = &mut self.core.connections[key.index as usize];
        connection.is_of_unknown_client = true;
        if connection.over_limit.is_some() {
            return;
        }
        match self.count_address(proxy.ip()) {
            Ok(is_counted) => self.count_for(key, proxy, is_counted),
            Err(over_limit) => self.move_to_refuse(key, proxy, over_limit),
        }
    }

    /// The client of a request: the connection's own, or the one that a trusted proxy names.
    ///
    /// # Errors
    ///
    /// Headers that contradict each other. What is malformed is counted, and names nobody.
    pub(super) fn client_of(&self, key: Key, head: &Head<'_>) -> Result<Client, ForwardedError> {
        let connection = &self.core.connections[key.index as usize];
        let peer = connection.peer();
        let client = |address, is_unknown| Client {
            address,
            is_unknown,
        };
        if !self.is_trusted_proxy(peer) {
            self.warn_of_untrusted(peer, head);
            return Ok(client(peer, false));
        }
        if connection.is_of_unknown_client {
            // What the proxy passes on may be what the client wrote.
            return Ok(client(peer, true));
        }
        let trusted = &self.core.settings.trusted_proxies;
        match forwarded::client(head, |ip| trusted.contains(ip)) {
            Ok(forwarded::Client::Proxy) => Ok(client(peer, false)),
            Ok(forwarded::Client::Address(ip)) => Ok(client(SocketAddr::new(ip, 0), false)),
            Ok(forwarded::Client::Unknown) => Ok(client(peer, true)),
            Err(error) => {
                let stats = self.core.stats();
                tracing::debug!(connection = %self.core.connection_id(key), %peer, %error);
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
    fn warn_of_untrusted(&self, peer: SocketAddr, head: &Head<'_>) {
        let ip = peer.ip().to_canonical();
        let mut exempt = self.core.settings.exempt_networks.iter();
        let is_relevant =
            (ip.is_loopback() || ip.is_unspecified()) || exempt.any(|network| network.contains(ip));
        let is_relaying = self.core.id < self.core.doors.relaying;
        let names = ["forwarded", "x-forwarded-for"];
        let is_forwarded = |name: &str| names.iter().any(|each| name.eq_ignore_ascii_case(each));
        if is_relevant
            && is_relaying
            && head.headers.iter().any(|header| is_forwarded(header.name))
            && !self
                .core
                .doors
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
    pub(super) fn identify(&mut self, key: Key, client: Client) -> Result<(), (Refusal, Response)> {
        let connection = &self.core.connections[key.index as usize];
        let proxy = connection.peer();
        let is_counted_by_now = client.address == proxy && !client.is_unknown;
        if is_counted_by_now || connection.is_of_unknown_client {
            return Ok(());
        }
        let judged = match client.is_unknown {
            true => self.count_address(proxy.ip()),
            false => self.judge_address(client.address),
        };
        match judged {
            Ok(is_counted) => self.count_for(key, client.address, is_counted),
            Err(over_limit) => {
                let (refusal, response) = over_limit.refusal(&self.core.settings);
                self.refused(key, refusal);
                return Err((refusal, response));
            }
        }
        let connection = &mut self.core.connections[key.index as usize];
        connection.cold.get_or_insert_default().proxy = Some(proxy);
        Ok(())
    }

    /// Takes back [`Shard::identify`]: there is no WebSocket, and the proxy's next request may be
    /// another client's.
    pub(super) fn unidentify(&mut self, key: Key, proxy: SocketAddr) {
        self.count_for(key, proxy, false);
    }
}

fn connection_peer(shard: &Shard, key: Key) -> SocketAddr {
    shard.core.connections[key.index as usize].peer()
}
