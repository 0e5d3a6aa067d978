//! The invariants of an exchange, which hold whenever none of its methods runs.

use std::rc::Rc;

use super::Exchange;
use super::mailbox::Credit;

/// With more rooms than this, checking all of them would take longer than the tests themselves.
const ROOMS_LOOKED_AT_MAX: usize = 32;

impl Exchange {
    /// Panics if an invariant does not hold. Does nothing in a release build.
    #[inline(always)]
    pub(super) fn check_invariants(&self) {
        if cfg!(debug_assertions) && self.rooms.len() <= ROOMS_LOOKED_AT_MAX {
            self.assert_invariants();
        }
    }

    /// The same for the invariants that a pass over the rooms suspends.
    #[inline(always)]
    pub(super) fn check_pending(&self) {
        if cfg!(debug_assertions) && self.rooms.len() <= ROOMS_LOOKED_AT_MAX {
            self.assert_pending();
        }
    }

    fn assert_invariants(&self) {
        let mut pending_bytes = 0;
        for (place, local) in self.rooms.iter() {
            let room = &local.room;
            assert!(local.members() > 0, "a room without a member");
            assert!(
                room.tickets.shards().contains(self.id),
                "a room that was not entered"
            );
            assert_eq!(
                self.rooms.find(&room.key),
                Some(place),
                "a room without its name"
            );
            assert_eq!(
                self.rooms.of_epoch(room.epoch),
                Some(place),
                "a room without its epoch"
            );
            pending_bytes += local.pending_bytes();
        }
        assert_eq!(
            self.pending_bytes, pending_bytes,
            "pending bytes of no room"
        );
        assert!(
            self.unsent[usize::from(self.id)].is_empty(),
            "mail to ourselves"
        );
        let of_own = |credit: &&Rc<Credit>| credit.is_of(&self.own_mailbox);
        let own_held = self.held_credits().iter().filter(of_own).count();
        assert_eq!(
            self.own_mailbox.depth(),
            own_held,
            "own frames that wait for no ticket"
        );
    }

    fn assert_pending(&self) {
        for (place, local) in self.rooms.iter() {
            let is_queued = self.pending.contains(&place);
            assert!(
                !local.is_pending() || is_queued,
                "a pending room that nobody serves"
            );
        }
    }

    /// The credits of runs that wait for a ticket and of mail that was not handled, each once.
    pub(super) fn held_credits(&self) -> Vec<Rc<Credit>> {
        let of_runs = self.rooms.iter().flat_map(|(_, local)| local.holds());
        let of_mail = self.arrived.iter().map(|(_, credit)| credit);
        let mut credits: Vec<Rc<Credit>> = of_runs.chain(of_mail).map(Rc::clone).collect();
        credits.sort_by_key(Rc::as_ptr);
        credits.dedup_by(|one, other| Rc::ptr_eq(one, other));
        credits
    }
}
