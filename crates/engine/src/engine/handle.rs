//! The engine from outside: what any thread may ask of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use bytes::Bytes;

use crate::engine::control::{Control, HandleError, Shared};
use crate::engine::view::View;
use crate::fanout::room::{EndpointId, RoomKey};
use crate::fanout::{ConnectionId, Recipients};
use crate::limits::MESSAGE_BYTES_MAX;
use crate::wire::frame::MessageKind;

static NEXT_HANDLE: AtomicU16 = AtomicU16::new(0);

/// Publishes, sends, joins and closes from any thread, through the shards' control mailboxes.
/// Requests take effect a little later; no method waits. [`HandleError::Busy`] means that a shard
/// has too much to do already: nothing has happened, and the caller may try again.
///
/// Everything that one handle publishes goes through one shard, so it keeps its order.
pub struct Handle {
    pub(super) shared: Arc<Shared>,
    shard: u16,
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        Handle {
            shared: Arc::clone(&self.shared),
            shard: self.shard,
        }
    }
}

impl Handle {
    pub(super) fn new(shared: Arc<Shared>) -> Handle {
        let shard = NEXT_HANDLE.fetch_add(1, Ordering::Relaxed) % shared.relaying.max(1);
        Handle { shared, shard }
    }

    /// Publishes to the members of a room. If the room has no members, nothing happens.
    pub fn publish(
        &self,
        endpoint: EndpointId,
        room: &str,
        recipients: Recipients,
        kind: MessageKind,
        payload: impl Into<Bytes>,
    ) -> Result<(), HandleError> {
        let room = RoomKey {
            endpoint,
            name: room.into(),
        };
        let payload = sendable(payload)?;
        self.shared.control(
            self.shard,
            Control::Publish {
                room,
                recipients,
                kind,
                payload,
            },
        )
    }

    /// Sends to one connection. If it has ended, nothing happens.
    pub fn send(
        &self,
        to: ConnectionId,
        kind: MessageKind,
        payload: impl Into<Bytes>,
    ) -> Result<(), HandleError> {
        self.shared.control(
            to.shard,
            Control::Send {
                to,
                kind,
                payload: sendable(payload)?,
            },
        )
    }

    /// Closes a connection with `code` (RFC 6455 §7.4) and a reason, which is cut to 123 bytes. A
    /// code that must not be sent (1005, 1006, below 1000 and others) makes an empty Close frame.
    pub fn close(
        &self,
        connection: ConnectionId,
        code: u16,
        reason: impl Into<String>,
    ) -> Result<(), HandleError> {
        let reason = reason.into();
        self.shared.control(
            connection.shard,
            Control::Close {
                connection,
                code,
                reason,
            },
        )
    }

    /// Makes a connection join a room of its endpoint.
    pub fn join(
        &self,
        connection: ConnectionId,
        endpoint: EndpointId,
        room: &str,
    ) -> Result<(), HandleError> {
        let room = RoomKey {
            endpoint,
            name: room.into(),
        };
        self.shared
            .control(connection.shard, Control::Join { connection, room })
    }

    /// Makes a connection leave a room.
    pub fn leave(
        &self,
        connection: ConnectionId,
        endpoint: EndpointId,
        room: &str,
    ) -> Result<(), HandleError> {
        let room = RoomKey {
            endpoint,
            name: room.into(),
        };
        self.shared
            .control(connection.shard, Control::Leave { connection, room })
    }

    /// Counts a file of keys that cannot be used ([`View::unusable_key_files`]).
    pub fn count_unusable_key_file(&self) {
        let count = &self.shared.reloads.unusable_key_files;
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// The engine's counters.
    pub fn view(&self) -> View {
        View::new(Arc::clone(&self.shared))
    }
}

pub(super) fn sendable(payload: impl Into<Bytes>) -> Result<Bytes, HandleError> {
    let payload = payload.into();
    if payload.len() > MESSAGE_BYTES_MAX {
        return Err(HandleError::TooLarge);
    }
    Ok(payload)
}
