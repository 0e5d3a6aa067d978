//! Ids of connections and rooms within a shard, and the errors of joining.

use crate::limits::MESSAGE_BYTES_MAX;

/// A connection's slot in its shard, with a generation that distinguishes it from earlier ones
/// there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Key {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// A room that the connection's shard has members of. Valid while the connection is a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoomId {
    pub(super) place: u32,
    pub(super) epoch: u64,
}

/// The reason why a connection may not join a room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// It is in as many rooms as it may be.
    #[error("the connection is in as many rooms as it may be")]
    TooManyRooms,
    /// The name is too long.
    #[error("the room's name is too long")]
    NameTooLong,
    /// It is not open any more.
    #[error("the connection is closed")]
    Closed,
}

/// Whether a payload is within [`MESSAGE_BYTES_MAX`]. If not, the endpoint made a mistake.
pub(super) fn is_sendable(payload: &[u8]) -> bool {
    is_sendable_size(payload.len())
}

/// The same for a payload of `bytes` bytes.
pub(super) fn is_sendable_size(bytes: usize) -> bool {
    let is_sendable = bytes <= MESSAGE_BYTES_MAX;
    if !is_sendable {
        tracing::error!(bytes, "dropped a message that is too large");
    }
    is_sendable
}
