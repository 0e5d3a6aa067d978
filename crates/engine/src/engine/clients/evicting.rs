//! The admin shard's connections. A new one is always accepted, since it may be a probe. If there
//! are too many, the least important one is closed.

use std::net::IpAddr;

use super::connection::{Connection, Phase};
use crate::engine::addresses::counted_as;
use crate::engine::clients::Clients;
use crate::engine::ids::Key;
use crate::limits::REFUSING_PER_ADDRESS_MAX;

/// The importance of a connection, least important first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Missed {
    /// It is finished: only the client's end is awaited.
    Over,
    /// It has sent nothing yet, or has its answer and may ask again.
    Idle,
    /// It is in the middle of a request or an answer.
    Busy,
    /// A WebSocket, for example of the dashboard.
    Open,
}

impl Missed {
    pub(super) fn of(connection: &Connection) -> Missed {
        let received = connection.cold.as_ref().map(|cold| &cold.received);
        let has_asked = received.is_some_and(|received| !received.is_empty());
        match connection.phase {
            Phase::Open => Missed::Open,
            Phase::Closing | Phase::Lingering | Phase::Dead => Missed::Over,
            _ if has_asked || !connection.outbox.is_empty() => Missed::Busy,
            Phase::Deferred => Missed::Busy,
            Phase::Handshake | Phase::Request | Phase::Draining => Missed::Idle,
        }
    }
}

impl Clients {
    /// Whether this is the admin shard.
    pub(in crate::engine) fn is_admin(&self) -> bool {
        self.core.id >= self.core.shared.relaying
    }

    /// Connections that are accepted from a listener in one turn, whatever the work allows. If they
    /// may have to be closed for one another, each of them must be read before the next is
    /// accepted.
    pub(in crate::engine) fn accepts_per_turn(&self) -> usize {
        let settings = &self.core.settings;
        let max = if self.is_admin() {
            self.of_admin_address_max()
        } else if self.core.shared.places.are_taken(settings.connections_max) {
            REFUSING_PER_ADDRESS_MAX.min(settings.refusing_max / 2)
        } else {
            usize::MAX
        };
        max.max(1)
    }

    /// The most that one address may have, so that it cannot take all of them.
    pub(in crate::engine) fn of_admin_address_max(&self) -> usize {
        (self.core.settings.admin_connections_max / 2).max(1)
    }

    /// Closes the least important connection of the admin shard, of this address if one is given;
    /// among equals the oldest. Its file is closed at once. Returns whether there was one.
    pub(in crate::engine) fn evict(&mut self, of: Option<IpAddr>) -> bool {
        debug_assert!(self.is_admin());
        let candidates = self.core.connections.iter().filter(|(_, each)| {
            let is_of = of.is_none_or(|address| counted_as(each.ip()) == address);
            is_of && each.phase != Phase::Dead
        });
        let least_missed = candidates
            .min_by_key(|(_, each)| (Missed::of(each), each.deadline_tick, each.generation));
        let Some((index, connection)) = least_missed else {
            return false;
        };
        let key = Key {
            index: index as u32,
            generation: connection.generation,
        };
        let (now_ns, client) = (self.core.clock.turn_ns(), connection.peer());
        self.core.stats().evicted.add(1);
        if let Some(left_out) = self.core.shared.notices.evicted.due(now_ns) {
            tracing::warn!(
                %client,
                left_out,
                "the admin listener has too many connections: closed an idle one"
            );
        }
        self.client_gone(key);
        self.remove_at_once(key);
        true
    }
}
