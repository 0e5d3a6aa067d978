//! What holds of the clients of a shard between two turns.

use super::connection::{Connection, Membership, Phase};
use crate::counter::Counter;
use crate::engine::clients::Clients;
use crate::engine::ids::Key;

/// With more connections than this a look at all of them would take longer than what is tested.
const CONNECTIONS_LOOKED_AT_MAX: usize = 32;

impl Clients {
    /// Panics if something does not hold. It does nothing in a release build.
    #[inline(always)]
    pub(in crate::engine) fn check_invariants(&self) {
        if cfg!(debug_assertions) && self.core.connections.len() <= CONNECTIONS_LOOKED_AT_MAX {
            self.assert_invariants();
        }
    }

    fn assert_invariants(&self) {
        let connections = &self.core.connections;
        for (index, connection) in connections.iter() {
            let key = Key {
                index: index as u32,
                generation: connection.generation,
            };
            self.check_queues(key, connection);
            self.check_rooms(key, connection);
        }
        for phase in [Phase::Handshake, Phase::Open, Phase::Closing] {
            let gauge_of = |phase: Phase| phase.gauge(self.core.stats()).map(std::ptr::from_ref);
            let counted = phase.gauge(self.core.stats()).map_or(0, Counter::get);
            let there = connections.iter().map(|(_, connection)| connection.phase);
            let there = there.filter(|each| gauge_of(*each) == gauge_of(phase));
            assert_eq!(
                counted,
                there.count() as u64,
                "connections like in {phase:?}"
            );
        }
    }

    /// Who has something to come is in the list of those for whom it does.
    fn check_queues(&self, key: Key, connection: &Connection) {
        let core = &self.core;
        let is_to_be_read = core.to_read.contains(key) || core.to_handshake.contains(&key);
        assert!(
            !connection.is_queued_to_read || is_to_be_read,
            "nobody reads it"
        );
        assert!(
            !connection.is_dirty || core.dirty.contains(key),
            "nobody flushes it"
        );
        assert!(
            !connection.is_lagging || core.lagging.contains(&key),
            "nobody minds its lag"
        );
        assert!(
            connection.outbox.announced() == 0 || !core.gathered.is_empty(),
            "nothing comes of what was announced"
        );
        let is_to_be_closed = core.to_close.iter().any(|(to_close, _)| *to_close == key);
        assert_eq!(
            connection.is_close_scheduled, is_to_be_closed,
            "closed by half"
        );
        let is_leaving = core.leaving.contains(&key) || core.dead.contains(&key);
        assert!(
            connection.phase != Phase::Dead || is_leaving,
            "nobody removes it"
        );
        let is_waiting = core.paused.iter().any(|each| each.0.1 == key.index);
        assert!(
            !connection.is_paused() || is_waiting,
            "nobody lets it go on"
        );
    }

    /// Whoever is in a room has the seat there that it remembers, and leaves it in the end.
    fn check_rooms(&self, key: Key, connection: &Connection) {
        let (exchange, rooms) = (&self.core.exchange, &connection.rooms);
        for Membership { room, place } in rooms.iter() {
            let seat = exchange.connections(room).nth(place as usize);
            assert_eq!(seat, Some(key.index), "somebody else's seat");
        }
        let may_have_rooms = connection.phase == Phase::Open || self.core.leaving.contains(&key);
        assert!(
            rooms.len() == 0 || may_have_rooms,
            "a member that is closed"
        );
    }
}
