//! Whether a client has room: limits of the process and of its address, and what it counts as.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use crate::engine::clients::Clients;
use crate::engine::ids::Key;
use crate::engine::over_limit::OverLimit;
use crate::peer::Peer;

impl Clients {
    pub(in crate::engine) fn count_in(&self, shard: u16) {
        self.core.doors.doors[usize::from(shard)]
            .load
            .fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_out(&self, shard: u16) {
        self.core.doors.doors[usize::from(shard)]
            .load
            .fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether the connection may stay, and counts towards its address's limit: then it has its
    /// place. That of the process is taken last, so that nobody takes it only to give it back.
    pub(in crate::engine) fn judge(&self, peer: Peer) -> Result<bool, OverLimit> {
        let (max, places) = (self.core.settings.connections_max, &self.core.doors.places);
        if places.are_taken(max) {
            return Err(OverLimit::Connections);
        }
        let is_counted = self.judge_address(peer)?;
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
    pub(in crate::engine) fn judge_address(&self, client: Peer) -> Result<bool, OverLimit> {
        match self.core.is_exempt(client) {
            true => Ok(false),
            false => self.count_address(client.counting_ip()),
        }
    }

    /// The same for an address that counts whoever has it.
    pub(in crate::engine) fn count_address(&self, address: IpAddr) -> Result<bool, OverLimit> {
        let (settings, doors) = (&self.core.settings, &self.core.doors);
        if let Some(rate) = &settings.connects_per_ip {
            let now_ns = self.core.clock.turn_ns();
            if !doors.connects.take(address, rate, now_ns) {
                return Err(OverLimit::Rate);
            }
        }
        match settings.connections_per_ip_max {
            Some(max) if doors.places.addresses.enter(address, max) => Ok(true),
            Some(_) => Err(OverLimit::Address),
            None => Ok(false),
        }
    }

    /// Whether what this peer says about clients is believed. The admin shard has no proxies.
    pub(in crate::engine) fn is_trusted_proxy(&self, peer: Peer) -> bool {
        self.core.id < self.core.doors.relaying && self.core.settings.trusted_proxies.contains(peer)
    }

    /// Whether a client's network may come in. Trusted proxies always may: it is about their
    /// clients. So may all clients of the admin shard.
    pub(in crate::engine) fn may_come_in(&self, client: Peer) -> bool {
        self.is_admin()
            || self.core.settings.networks.admit(client)
            || self.is_trusted_proxy(client)
    }

    /// The connection is this client's from now on, and counts no longer for whom it did before.
    pub(in crate::engine) fn count_for(&mut self, key: Key, client: Peer, is_counted: bool) {
        let connection = &mut self.core.connections[key.index as usize];
        let before = connection.ip();
        connection.set_peer(client);
        if std::mem::replace(&mut connection.is_counted, is_counted) {
            self.core.doors.places.addresses.leave(before);
        }
    }
}
