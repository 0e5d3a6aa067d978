//! How connections go: closed by reason, out of their rooms, out of the slab.
//!
//! Each of these is bounded by the turn's work, however many go at once and however many rooms they
//! are in: what is left goes on in the next turn. Until a connection has left its last room it
//! stays in the slab, but it gets nothing that is published to them ([`super::delivery`]).

use std::sync::atomic::Ordering;

use super::connection::Phase;
use super::core::Core;
use super::ids::Key;
use super::shard::Shard;
use crate::limits::{PRICE_CLOSING, PRICE_ROOM_LEFT};
use crate::work::TurnPhase;

impl Core {
    /// Ends the memberships of a connection that is not open any more: as many as the turn's work
    /// allows, one at the least, and the rest in later turns.
    pub(super) fn leave_rooms(&mut self, key: Key) {
        while let Some(connection) = self.connection(key)
            && let Some(last) = connection.rooms.len().checked_sub(1)
            && let Some(membership) = connection.rooms.at(last)
        {
            self.leave(key, membership.room);
            self.work.spend(PRICE_ROOM_LEFT);
            if last > 0 && self.work.is_spent() {
                return self.leaving.push_back(key);
            }
        }
    }
}

impl Shard {
    /// Closes connections that their client, endpoint code, a policy or a timer has doomed. It is
    /// called after delivery, so that what was published before goes out before the Close.
    pub(super) fn close_doomed(&mut self) {
        while let Some((key, reason)) = self.core.doomed.pop_front() {
            self.close(key, &reason);
            if self.core.work.is_spent() {
                return;
            }
        }
    }

    /// Removes the connection at the end of a turn, when it has left its rooms.
    pub(super) fn die(&mut self, key: Key) {
        let Some(connection) = self.core.connection(key) else {
            return;
        };
        if connection.phase == Phase::Dead {
            return;
        }
        let is_member = connection.rooms.len() > 0;
        self.enter_phase(key, Phase::Dead);
        if !is_member {
            self.core.dead.push(key);
        }
    }

    /// Goes on with all that ends, and removes what has died. Only here do places in the slab
    /// become free.
    pub(super) fn reap(&mut self) {
        self.core.work.begin(TurnPhase::Close);
        self.close_doomed();
        self.go_on_leaving();
        self.core.exchange.wake_if_freed();
        while let Some(key) = self.core.dead.pop() {
            self.remove(key);
            if self.core.work.is_spent() {
                break;
            }
        }
        let core = &self.core;
        let more = !(core.doomed.is_empty() && core.leaving.is_empty() && core.dead.is_empty());
        core.note_cut(more);
    }

    /// Removes a connection that has just died, for whoever needs its file before the turn ends.
    pub(super) fn remove_at_once(&mut self, key: Key) {
        if self.core.dead.last() == Some(&key) {
            self.core.dead.pop();
            self.remove(key);
        }
    }

    fn go_on_leaving(&mut self) {
        for _ in 0..self.core.leaving.len() {
            let Some(key) = self.core.leaving.pop_front() else {
                return;
            };
            self.core.leave_rooms(key);
            let Some(connection) = self.core.connection(key) else {
                continue;
            };
            if connection.phase == Phase::Dead && connection.rooms.len() == 0 {
                self.core.dead.push(key);
            }
            if self.core.work.is_spent() {
                return;
            }
        }
    }

    fn remove(&mut self, key: Key) {
        self.core.work.spend(PRICE_CLOSING);
        let connection = self.core.connections.remove(key.index as usize);
        debug_assert!(connection.phase == Phase::Dead && connection.generation == key.generation);
        debug_assert!(connection.rooms.len() == 0, "a member that is removed");
        let held_bytes = connection.decoder.held_bytes();
        let inbound = &self.core.doors.inbound;
        inbound.fetch_sub(held_bytes, Ordering::Relaxed);
        self.give_place_back(&connection);
        self.core.close_file(connection.stream.into());
    }
}
