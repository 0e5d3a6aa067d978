//! Who the client is, where proxies are in front: the PROXY protocol, and the headers that name
//! whom a request was forwarded for.
//!
//! Both are believed from `Settings::trusted_proxies` alone. A connection of a trusted proxy does
//! not count towards the proxy's own address: it counts towards its client's as soon as that is
//! known, which is at the PROXY header, else when it becomes a WebSocket. Until then one connection
//! may carry plain requests of many clients.

use std::net::SocketAddr;

use super::close_reason::Refusal;
use super::connection::{Key, Phase};
use super::requests::Step;
use super::shard::Shard;
use crate::wire::forwarded::{self, ForwardedError};
use crate::wire::http::{Head, Response};
use crate::wire::proxy;

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
                if let Some(client) = header.client {
                    self.proxied_for(key, client);
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
                tracing::info!(connection = %id, %peer, error = error.name(), "no PROXY header");
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

    /// Refuses a request that a proxy forwards for a client whose network may not come in.
    pub(super) fn judge_network(
        &mut self,
        key: Key,
        head: &Head<'_>,
        client: SocketAddr,
        head_len: usize,
    ) -> Option<Step> {
        if client == connection_peer(self, key) || self.may_come_in(client) {
            return None;
        }
        self.refused(key, Refusal::Network);
        let response = Response::text(403, "Your network may not come in.\n");
        let response = self.worded(head.path, response, Refusal::Network.label());
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
            connection.peer = client;
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
        let before = std::mem::replace(&mut connection.peer, client);
        if std::mem::replace(&mut connection.is_counted, is_counted) {
            self.core.doors.places.addresses.leave(before.ip());
        }
    }

    /// The client of a request: the connection's own, or the one that a trusted proxy names.
    ///
    /// # Errors
    ///
    /// Headers that contradict each other. What is malformed is counted, and the proxy's own
    /// address stands.
    pub(super) fn client_of(
        &self,
        key: Key,
        head: &Head<'_>,
    ) -> Result<SocketAddr, ForwardedError> {
        let peer = connection_peer(self, key);
        if !self.is_trusted_proxy(peer) {
            return Ok(peer);
        }
        let trusted = &self.core.settings.trusted_proxies;
        match forwarded::client(head, |ip| trusted.contains(ip)) {
            Ok(client) => Ok(client.map_or(peer, |ip| SocketAddr::new(ip, 0))),
            Err(error @ ForwardedError::Malformed) => {
                self.core.stats().forwarded_malformed.add(1);
                tracing::debug!(connection = %self.core.connection_id(key), %peer, %error);
                Ok(peer)
            }
            Err(error @ ForwardedError::Conflict) => {
                tracing::info!(connection = %self.core.connection_id(key), %peer, %error);
                Err(error)
            }
        }
    }

    /// Makes a connection that is about to become a WebSocket its client's own. An error is the
    /// refusal: the client has too many, or connects too often.
    pub(super) fn identify(
        &mut self,
        key: Key,
        client: SocketAddr,
    ) -> Result<(), (Refusal, Response)> {
        let proxy = connection_peer(self, key);
        if client == proxy {
            return Ok(());
        }
        match self.judge_address(client) {
            Ok(is_counted) => self.count_for(key, client, is_counted),
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
    shard.core.connections[key.index as usize].peer
}
