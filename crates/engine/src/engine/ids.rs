//! How connections and rooms are named within a shard, and why a name cannot be used.

use crate::limits::MESSAGE_BYTES_MAX;

/// A connection's place in its shard, with a generation that tells it from earlier ones there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Key {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// A room that the connection's shard has members of. It is valid while the connection is a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoomId {
    pub(super) place: u32,
    pub(super) epoch: u64,
}

/// Why a connection may not join a room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// It has as many rooms as it may have.
    #[error("the connection has as many rooms as it may have")]
    TooManyRooms,
    /// The name is too long.
    #[error("the room's name is too long")]
    NameTooLong,
    /// It is not open any more.
    #[error("the connection is closed")]
    Closed,
}

/// Whether a payload is within [`MESSAGE_BYTES_MAX`]. What is not is an error of the endpoint's.
pub(super) fn is_sendable(payload: &[u8]) -> bool {
    is_sendable_size(payload.len())
}

/// The same of one that has so many bytes.
pub(super) fn is_sendable_size(bytes: usize) -> bool {
    let is_sendable = bytes <= MESSAGE_BYTES_MAX;
    if !is_sendable {
        tracing::error!(bytes, "a message that is too large was not sent");
    }
    is_sendable
}
