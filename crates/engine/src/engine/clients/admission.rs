//! Admission of clients by the limits of the process and of their address.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use crate::engine::clients::Clients;
use crate::engine::ids::Key;
use crate::engine::over_limit::OverLimit;
use crate::peer::Peer;

impl Clients {
    pub(in crate::engine) fn count_in(&self, shard: u16) {
        self.core.shared.handles[usize::from(shard)]
            .load
            .fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_out(&self, shard: u16) {
        self.core.shared.handles[usize::from(shard)]
            .load
            .fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether the connection may stay, and whether it counts towards its address's limit; if so it
    /// has taken its place there. The place in the process is taken last, so that it is never taken
    /// only to be given back.
    pub(in crate::engine) fn check_limits(&self, peer: Peer) -> Result<bool, OverLimit> {
        let (max, places) = (self.core.settings.connections_max, &self.core.shared.places);
        if places.are_taken(max) {
            return Err(OverLimit::Connections);
        }
        let is_counted = self.check_address(peer)?;
        if places.enter(max) {
            return Ok(is_counted);
        }
        if is_counted {
            places.addresses.leave(peer.counting_ip());
        }
        Err(OverLimit::Connections)
    }

    /// Whether the client's address may connect now and has room for one more connection, which
    /// then counts (`true`). Proxies and clients without an address do not count.
    pub(in crate::engine) fn check_address(&self, client: Peer) -> Result<bool, OverLimit> {
        match self.core.is_exempt(client) {
            true => Ok(false),
            false => self.count_address(client.counting_ip()),
        }
    }

    /// The same for an address that counts even if it is a proxy's.
    pub(in crate::engine) fn count_address(&self, address: IpAddr) -> Result<bool, OverLimit> {
        let (settings, shared) = (&self.core.settings, &self.core.shared);
        if let Some(rate) = &settings.connects_per_ip {
            let now_ns = self.core.clock.turn_ns();
            if !shared.connects.take(address, rate, now_ns) {
                return Err(OverLimit::Rate);
            }
        }
        match settings.connections_per_ip_max {
            Some(max) if shared.places.addresses.enter(address, max) => Ok(true),
            Some(_) => Err(OverLimit::Address),
            None => Ok(false),
        }
    }

    /// Whether this peer's statements about clients are trusted. The admin shard has no proxies.
    pub(in crate::engine) fn is_trusted_proxy(&self, peer: Peer) -> bool {
        self.core.id < self.core.shared.relaying
            && self.core.settings.trusted_proxies.contains(peer)
    }

    /// Whether a client's network may connect. Trusted proxies always may, since the setting
    /// applies to their clients. So may all clients of the admin shard.
    pub(in crate::engine) fn is_network_allowed(&self, client: Peer) -> bool {
        self.is_admin()
            || self.core.settings.networks.admit(client)
            || self.is_trusted_proxy(client)
    }

    /// From now on the connection belongs to this client, and counts for it instead of the address
    /// that it counted for before.
    pub(in crate::engine) fn count_for(&mut self, key: Key, client: Peer, is_counted: bool) {
        let connection = &mut self.core.connections[key.index as usize];
        let before = connection.ip();
        connection.set_peer(client);
        if std::mem::replace(&mut connection.is_counted, is_counted) {
            self.core.shared.places.addresses.leave(before);
        }
    }
}
