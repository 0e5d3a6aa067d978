//! Messages to a single connection.

use std::sync::Arc;

use super::behind::{Behind, Payload};
use super::connection::Phase;
use super::core::Core;
use super::slow;
use crate::engine::ids::{Key, RoomId};
use crate::engine::settings::Deflate;
use crate::engine::stats::SlowAction;
use crate::exchange::Until;
use crate::fanout::outbox::Origin;
use crate::fanout::room::EndpointId;
use crate::fanout::segment::{Buffer, Segment};
use crate::fanout::shared_body::SharedBody;
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
        self.settle();
        self.work.spend(PRICE_PUBLISH);
        self.work.spend_bytes(bytes.len(), PRICE_KIB_READ);
        let end = bytes.len() as u32;
        let buffer = Buffer::new(bytes, Box::default(), &self.shared.interconnect.live);
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

    /// Queues a control frame behind the connection's other control frames, before data.
    pub(super) fn enqueue_control(
        &mut self,
        key: Key,
        opcode: Opcode,
        payload: &[u8],
        received_ns: u64,
    ) {
        let own_bytes = server_frame_bytes(payload.len());
        self.begin_gathered(own_bytes);
        append_frame(self.gathered.bundle.frame(), opcode, payload);
        self.gathered.bundle.end_frame(None);
        let origin = match opcode {
            Opcode::Ping => Origin::Ping,
            _ => Origin::Pong,
        };
        self.end_gathered(key, origin, own_bytes, received_ns);
    }

    /// Sends a message to a single connection, after everything that was sent to it before.
    pub(in crate::engine) fn send(
        &mut self,
        key: Key,
        opcode: Opcode,
        payload: &[u8],
        received_ns: u64,
    ) {
        match self.behind.has_any_for(key) {
            true => {
                let payload = Payload::Whole(payload.into());
                self.send_behind(key, Vec::new(), opcode, payload, received_ns);
            }
            false => self.send_now(key, opcode, payload, received_ns),
        }
    }

    pub(super) fn send_now(&mut self, key: Key, opcode: Opcode, payload: &[u8], received_ns: u64) {
        let Some((window_bits, deflate)) = self.encoding_for(key) else {
            return;
        };
        self.begin_gathered(server_frame_bytes(payload.len()));
        let before = self.gathered.bundle.own_bytes();
        let mut frames = std::mem::take(self.gathered.bundle.frame());
        self.encode_for(window_bits, deflate, opcode, payload, &mut frames);
        let own_bytes = frames.len() - before;
        *self.gathered.bundle.frame() = frames;
        self.gathered.bundle.end_frame(None);
        self.end_gathered(key, Origin::Direct, own_bytes, received_ns);
    }

    /// The window with which the connection inflates, and the compression settings for it; `None`
    /// if messages to it are no longer sent.
    #[inline]
    fn encoding_for(&mut self, key: Key) -> Option<(u8, Deflate)> {
        let connection = self.connection(key)?;
        let (phase, endpoint) = (connection.phase, connection.endpoint);
        let window_bits = connection.window_bits;
        (phase == Phase::Open).then(|| (window_bits, self.settings_of(endpoint).deflate))
    }

    /// Appends the frame of a message for a connection that inflates with this window.
    fn encode_for(
        &mut self,
        window_bits: u8,
        deflate: Deflate,
        opcode: Opcode,
        payload: &[u8],
        frames: &mut Vec<u8>,
    ) {
        if payload.len() >= deflate.min_bytes && window_bits_for(payload.len()) <= window_bits {
            self.work.spend_bytes(payload.len(), PRICE_KIB_DEFLATED);
            let before = frames.len();
            let deflater = &mut self.deflater;
            let is_smaller = deflater.append(frames, opcode, payload, deflate.level);
            self.count_deflated(is_smaller);
            if is_smaller {
                let bytes = frames.len() - before;
                let saved = server_frame_bytes(payload.len()) - bytes;
                self.stats().deflate_saved_bytes.add(saved as u64);
                return;
            }
        }
        append_frame(frames, opcode, payload);
    }

    /// Sends a message of `head` and a shared body to a single connection, after everything that
    /// was sent to it before.
    pub(super) fn send_shared(
        &mut self,
        key: Key,
        opcode: Opcode,
        head: &[u8],
        body: &SharedBody,
        received_ns: u64,
    ) {
        match self.behind.has_any_for(key) {
            true => {
                let payload = Payload::Shared(head.into(), body.clone());
                self.send_behind(key, Vec::new(), opcode, payload, received_ns);
            }
            false => self.send_shared_now(key, opcode, head, body, received_ns),
        }
    }

    fn send_shared_now(
        &mut self,
        key: Key,
        opcode: Opcode,
        head: &[u8],
        body: &SharedBody,
        received_ns: u64,
    ) {
        let Some((window_bits, _)) = self.encoding_for(key) else {
            return;
        };
        self.begin_gathered(head.len());
        let before = self.gathered.bundle.own_bytes();
        let saved = body.gather(&mut self.gathered.bundle, opcode, head, window_bits);
        let own_bytes = self.gathered.bundle.own_bytes() - before;
        if saved > 0 {
            self.stats().deflate_saved_bytes.add(saved as u64);
        }
        self.end_gathered(key, Origin::Direct, own_bytes, received_ns);
    }

    /// Copies the end of messages for many clients, and deflates it if `deflate` and the endpoint's
    /// settings allow it.
    pub(super) fn shared_body(
        &mut self,
        endpoint: EndpointId,
        payload: &[u8],
        deflate: bool,
    ) -> SharedBody {
        let settings = self.settings_of(endpoint).deflate;
        let is_deflated = deflate && settings.enabled && payload.len() >= settings.min_bytes;
        self.work.spend_bytes(payload.len(), PRICE_KIB_READ);
        let live = &self.shared.interconnect.live;
        if !is_deflated {
            return SharedBody::new(payload, None, live);
        }
        self.work.spend_bytes(payload.len(), PRICE_KIB_DEFLATED);
        let deflater = (&mut self.deflater, settings.level);
        let body = SharedBody::new(payload, Some(deflater), live);
        self.count_deflated(body.is_deflated());
        body
    }

    pub(super) fn count_refused(&self, frames: u64) {
        let stats = self.stats();
        stats.slow_actions[SlowAction::DropNewest as usize].add(1);
        stats.dropped_frames.add(frames);
    }
}

/// Messages that follow published frames: see [`super::behind`].
impl Core {
    /// Sends a message to one client after the frames that were published to these rooms of it in
    /// this turn.
    pub(super) fn send_behind(
        &mut self,
        key: Key,
        rooms: Vec<RoomId>,
        opcode: Opcode,
        payload: Payload,
        received_ns: u64,
    ) {
        let rooms = rooms.into_iter().map(|room| (room, Until::Sealed));
        self.behind.push(Behind {
            key,
            rooms: rooms.collect(),
            opcode,
            payload,
            received_ns,
        });
    }

    /// Records the tickets that messages of this turn wait for. Called after the seal.
    pub(super) fn note_sealed(&mut self) {
        for behind in self.behind.iter_mut() {
            for (room, until) in &mut behind.rooms {
                self.exchange.note_sealed(room.place, until);
            }
        }
    }

    /// Sends the messages that no longer wait for anything. Called after the delivery.
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
                self.send_one_behind(&first);
                // A policy may have kept it out of the outbox, in which case nothing is written.
                self.note_low_water(first.key);
            }
            waiting.into_iter().for_each(|each| self.behind.push(each));
        }
    }

    /// Sends everything that waits for a client that is about to be closed.
    pub(super) fn send_all_behind(&mut self, key: Key) {
        if !self.behind.has_any_for(key) {
            return;
        }
        for each in self.behind.take(key.index).into_iter().flatten() {
            self.send_one_behind(&each);
        }
    }

    fn send_one_behind(&mut self, behind: &Behind) {
        let (key, opcode, received_ns) = (behind.key, behind.opcode, behind.received_ns);
        match &behind.payload {
            Payload::Whole(payload) => self.send_now(key, opcode, payload, received_ns),
            Payload::Shared(head, body) => {
                self.send_shared_now(key, opcode, head, body, received_ns);
            }
        }
    }

    /// Whether the client has yet to get frames that the message follows.
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
