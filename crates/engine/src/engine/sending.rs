//! Messages to one connection alone.

use std::sync::Arc;

use super::connection::Phase;
use super::core::Core;
use super::ids::Key;
use super::settings::Deflate;
use super::slow;
use super::stats::SlowAction;
use crate::fanout::outbox::Origin;
use crate::fanout::segment::{Buffer, Segment};
use crate::limits::{PRICE_KIB_DEFLATED, PRICE_KIB_READ, PRICE_PUBLISH};
use crate::wire::deflate::window_bits_for;
use crate::wire::frame::{Opcode, append_frame, server_frame_bytes};

impl Core {
    /// Puts encoded bytes into the outbox of one connection.
    pub(super) fn enqueue(&mut self, key: Key, bytes: Vec<u8>, origin: Origin, received_ns: u64) {
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

    /// Sends a message to one connection alone.
    pub(super) fn send(&mut self, key: Key, opcode: Opcode, payload: &[u8], received_ns: u64) {
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
