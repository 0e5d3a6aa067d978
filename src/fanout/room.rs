//! A room: a named, ordered stream with members. This is the part that all shards share.

use std::sync::atomic::{AtomicU32, Ordering};

use super::tickets::Tickets;

/// The endpoint that a room belongs to. Rooms of different endpoints can never meet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EndpointId(pub u16);

/// What a room is known by.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RoomKey {
    /// The endpoint that the room belongs to.
    pub endpoint: EndpointId,
    /// The room's name within that endpoint.
    pub name: Box<str>,
}

/// The part of a room that all shards share.
#[derive(Debug)]
pub struct Room {
    /// What the room is known by.
    pub key: RoomKey,
    /// Tells rooms of one name apart: a room that is made anew has a new epoch. Together with a
    /// ticket it identifies a frame for good.
    pub epoch: u64,
    /// The room's order.
    pub tickets: Tickets,
    members: AtomicU32,
}

impl Room {
    pub(super) fn new(key: RoomKey, epoch: u64) -> Room {
        Room {
            key,
            epoch,
            tickets: Tickets::default(),
            members: AtomicU32::new(0),
        }
    }

    /// Members on all shards, for people and metrics; it may lag behind a join or leave.
    pub fn members(&self) -> u32 {
        self.members.load(Ordering::Relaxed)
    }

    /// Counts a member that joined.
    pub fn member_joined(&self) {
        self.members.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a member that left.
    pub fn member_left(&self) {
        let before = self.members.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a member left a room that had none");
    }
}
