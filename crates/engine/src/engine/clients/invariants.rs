//! The invariants of a shard's clients between two turns.

use super::connection::{Connection, Membership, Phase};
use crate::counter::Counter;
use crate::engine::clients::Clients;
use crate::engine::ids::Key;

/// With more connections than this, checking all of them would take longer than the tests
/// themselves.
const CONNECTIONS_LOOKED_AT_MAX: usize = 32;

impl Clients {
    /// Panics if an invariant does not hold. Does nothing in a release build.
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
                "connections counted as {phase:?}"
            );
        }
    }

    /// A connection with pending work is in the list for that work.
    fn check_queues(&self, key: Key, connection: &Connection) {
        let core = &self.core;
        let is_to_be_read = core.to_read.contains(key) || core.to_handshake.contains(&key);
        assert!(
            !connection.is_queued_to_read || is_to_be_read,
            "not in the list to be read"
        );
        assert!(
            !connection.is_dirty || core.dirty.contains(key),
            "not in the list to be flushed"
        );
        assert!(
            !connection.is_lagging || core.lagging.contains(&key),
            "not in the list of those that lag"
        );
        assert!(
            connection.outbox.announced() == 0 || !core.gathered.is_empty(),
            "announced bytes without a frame"
        );
        let is_to_be_closed = core.to_close.iter().any(|(to_close, _)| *to_close == key);
        assert_eq!(
            connection.is_close_scheduled, is_to_be_closed,
            "the mark of a scheduled close without its entry, or the reverse"
        );
        let is_leaving = core.leaving.contains(&key) || core.dead.contains(&key);
        assert!(
            connection.phase != Phase::Dead || is_leaving,
            "dead, but in no list to be removed"
        );
        let is_waiting = core.paused.iter().any(|each| each.0.1 == key.index);
        assert!(
            !connection.is_paused() || is_waiting,
            "paused, but never resumed"
        );
    }

    /// A member of a room has the seat there that it remembers, and will leave it.
    fn check_rooms(&self, key: Key, connection: &Connection) {
        let (exchange, rooms) = (&self.core.exchange, &connection.rooms);
        for Membership { room, seat } in rooms.iter() {
            let member = exchange.connections(room).nth(seat.index());
            assert_eq!(member, Some(key.index), "somebody else's seat");
        }
        let may_have_rooms = connection.phase == Phase::Open || self.core.leaving.contains(&key);
        assert!(
            rooms.len() == 0 || may_have_rooms,
            "a closed connection that stays a member"
        );
    }
}
