//! The pulse of the admin shard, once a second, for endpoints that report on the relay.

use super::core::Core;
use crate::engine::ids::is_sendable;
use crate::fanout::Recipients;
use crate::fanout::room::{EndpointId, RoomKey};
use crate::wire::frame::MessageKind;

/// The operations that an endpoint may use in [`crate::Endpoint::pulse`]: publish to its own rooms.
pub struct Pulse<'a> {
    core: &'a mut Core,
    endpoint: EndpointId,
}

impl<'a> Pulse<'a> {
    pub(super) fn new(core: &'a mut Core, endpoint: EndpointId) -> Pulse<'a> {
        Pulse { core, endpoint }
    }

    /// Members of a room of this endpoint, on all shards, as far as known at this moment.
    pub fn members(&self, room: &str) -> u32 {
        self.core.exchange.members(&self.key(room))
    }

    /// Publishes to the members of a room of this endpoint. If it has none, nothing happens.
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
