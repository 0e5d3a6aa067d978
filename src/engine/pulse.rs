//! The second that goes by on the admin shard: for endpoints that tell what the relay does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::clock::ticks_of;
use super::core::Core;
use super::session::is_sendable;
use super::shard::Shard;
use crate::fanout::Recipients;
use crate::fanout::room::{EndpointId, RoomKey};
use crate::wire::frame::MessageKind;

const INTERVAL: Duration = Duration::from_secs(1);

/// What an endpoint may do in [`super::Endpoint::pulse`]: publish to its own rooms.
pub struct Pulse<'a> {
    core: &'a mut Core,
    endpoint: EndpointId,
}

impl Pulse<'_> {
    /// Members of a room of this endpoint, on all shards, as far as is known at this moment.
    pub fn members(&self, room: &str) -> u32 {
        self.core.members(&self.key(room))
    }

    /// Publishes to the members of a room of this endpoint. Where it has none, nothing happens.
    pub fn publish(&mut self, room: &str, kind: MessageKind, payload: &[u8]) {
        if is_sendable(payload) {
            let (key, now_ns) = (self.key(room), self.core.clock.now_ns());
            self.core
                .publish_by_name(&key, Recipients::All, kind.into(), payload, now_ns);
        }
    }

    fn key(&self, room: &str) -> RoomKey {
        RoomKey {
            endpoint: self.endpoint,
            name: room.into(),
        }
    }
}

impl Shard {
    /// Tells the endpoints that a second is over, where this is the admin shard. Called once a
    /// tick.
    pub(super) fn pulse(&mut self) {
        let tick = self.core.clock.tick();
        let is_admin = self.core.id >= self.core.doors.relaying;
        if !is_admin || tick < self.next_pulse_tick || !self.stop.is_accepting() {
            return;
        }
        self.next_pulse_tick = tick + ticks_of(INTERVAL);
        let endpoints = Arc::clone(&self.endpoints);
        for (number, endpoint) in endpoints.iter().enumerate() {
            let mut pulse = Pulse {
                core: &mut self.core,
                endpoint: EndpointId(number as u16),
            };
            let call = AssertUnwindSafe(|| endpoint.pulse(&mut pulse));
            if catch_unwind(call).is_err() {
                self.core.stats().endpoint_panics.add(1);
                tracing::error!("endpoint code panicked");
            }
        }
    }
}
