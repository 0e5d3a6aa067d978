//! Messages to one connection alone.

use std::sync::Arc;

use super::behind::Behind;
use super::connection::Phase;
use super::core::Core;
use super::slow;
use crate::engine::ids::{Key, RoomId};
use crate::engine::settings::Deflate;
use crate::engine::stats::SlowAction;
use crate::exchange::Until;
use crate::fanout::outbox::Origin;
use crate::fanout::segment::{Buffer, Segment};
use crate::limits::{PRICE_KIB_DEFLATED, PRICE_KIB_READ, PRICE_PUBLISH};
use crate::wire::deflate::window_bits_for;
use crate::wire::frame::{Opcode, append_frame, server_frame_bytes};

impl Core {
    /// Puts encoded bytes into the outbox of one connection.
    pub(in crate::engine) fn enqueue(
        &mut self,
        key: Key,
        bytes: Vec<u8>,
        origin: Origin,
        received_ns: u64,
    ) {
        debug_assert!(!bytes.is_empty());
        self.work.spend(PRICE_PUBLISH);
        self.work.spend_bytes(bytes.len(), PRICE_KIB_READ);
        let end = bytes.len() as u32;
        let buffer = Buffer::new(bytes, Box::default(), &self.doors.interconnect.live);
        let tick = self.clock.tick();
        let segment = Segment::new(Arc::new(buffer), received_ns, tick, &self.meter);
        let Some(connection) = self.connection(key) else {
            return;
        };
        let is_lagging = connection.is_lagging;
        match origin {
            Origin::Control | Origin::Pong | Origin::Ping => {
                connection.outbox.push_control(&segment, origin);
            }
            Origin::Room(_) | Origin::Direct | Origin::Close => {
                connection.outbox.push(&segment, 0..end, 1, origin);
            }
        }
        if is_lagging {
            slow::note_growth(self, key);
        }
        self.mark_dirty(key);
    }

    /// Sends a message to one connection alone, behind what was sent to it before.
    pub(in crate::engine) fn send(
        &mut self,
        key: Key,
        opcode: Opcode,
        payload: &[u8],
        received_ns: u64,
    ) {
        match self.behind.has_any_for(key) {
            true => self.send_behind(key, Vec::new(), opcode, payload, received_ns),
            false => self.send_now(key, opcode, payload, received_ns),
        }
    }

    pub(super) fn send_now(&mut self, key: Key, opcode: Opcode, payload: &[u8], received_ns: u64) {
        let settings = Arc::clone(&self.endpoint_settings);
        let Some(connection) = self
            .connection(key)
            .filter(|each| each.phase == Phase::Open)
        else {
            return;
        };
        let window_bits = connection.window_bits;
        let settings = &settings[usize::from(connection.endpoint.0)];
        let frame = self.encode_for(window_bits, settings.deflate, opcode, payload);
        let Some(connection) = self.connection(key) else {
            return;
        };
        let slow = &settings.slow_client;
        if !connection.is_writable && slow::refuses(connection, slow, frame.len()) {
            self.count_refused(1);
            return;
        }
        self.enqueue(key, frame, Origin::Direct, received_ns);
        slow::enforce(self, key);
    }

    /// The frame of a message for one connection that inflates with this window.
    fn encode_for(
        &mut self,
        window_bits: u8,
        deflate: Deflate,
        opcode: Opcode,
        payload: &[u8],
    ) -> Vec<u8> {
        let plain_bytes = server_frame_bytes(payload.len());
        let mut frame = Vec::with_capacity(plain_bytes);
        if payload.len() >= deflate.min_bytes && window_bits_for(payload.len()) <= window_bits {
            self.work.spend_bytes(payload.len(), PRICE_KIB_DEFLATED);
            let is_smaller = self
                .deflater
                .append(&mut frame, opcode, payload, deflate.level);
            self.count_deflated(is_smaller);
            if is_smaller {
                let saved = plain_bytes - frame.len();
                self.stats().deflate_saved_bytes.add(saved as u64);
                return frame;
            }
        }
        append_frame(&mut frame, opcode, payload);
        frame
    }

    fn count_refused(&self, frames: u64) {
        let stats = self.stats();
        stats.slow_actions[SlowAction::DropNewest as usize].add(1);
        stats.dropped_frames.add(frames);
    }
}

/// What follows what was published: see [`super::behind`].
impl Core {
    /// Sends a message to one client behind what was published to these rooms of it in this turn.
    pub(super) fn send_behind(
        &mut self,
        key: Key,
        rooms: Vec<RoomId>,
        opcode: Opcode,
        payload: &[u8],
        received_ns: u64,
    ) {
        let rooms = rooms.into_iter().map(|room| (room, Until::Sealed));
        self.behind.push(Behind {
            key,
            rooms: rooms.collect(),
            opcode,
            payload: payload.into(),
            received_ns,
        });
    }

    /// Notes the tickets that those wait for that were sent in this turn. Called once it is sealed.
    pub(super) fn note_sealed(&mut self) {
        for behind in self.behind.iter_mut() {
            for (room, until) in &mut behind.rooms {
                self.exchange.note_sealed(room.place, until);
            }
        }
    }

    /// Sends what waits for nothing any more. Called after the delivery.
    pub(super) fn send_those_behind(&mut self) {
        for index in self.behind.clients() {
            let Some(mut waiting) = self.behind.take(index) else {
                continue;
            };
            while let Some(mut first) = waiting.pop_front() {
                if self.is_behind(&mut first) {
                    waiting.push_front(first);
                    break;
                }
                self.send_now(first.key, first.opcode, &first.payload, first.received_ns);
                // A policy may have kept it out of the outbox, so that nothing is written.
                self.note_low_water(first.key);
            }
            waiting.into_iter().for_each(|each| self.behind.push(each));
        }
    }

    /// Sends all that waits for a client that is about to be closed.
    pub(super) fn send_all_behind(&mut self, key: Key) {
        if !self.behind.has_any_for(key) {
            return;
        }
        for each in self.behind.take(key.index).into_iter().flatten() {
            self.send_now(each.key, each.opcode, &each.payload, each.received_ns);
        }
    }

    /// Whether something of its rooms is yet to come to the client.
    fn is_behind(&self, behind: &mut Behind) -> bool {
        let connection = self.connections.get(behind.key.index as usize);
        let Some(connection) = connection.filter(|each| each.generation == behind.key.generation)
        else {
            return false;
        };
        behind.rooms.iter_mut().any(|(room, until)| {
            let seat = connection.rooms.seat_in(room.place);
            let is_there = self.room_place(*room).is_some();
            seat.is_some_and(|seat| is_there && !self.exchange.has_got(room.place, seat, until))
        })
    }
}
