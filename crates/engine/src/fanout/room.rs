//! A room: a named, ordered stream of messages with members. This is the part that shards share.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use super::tickets::Tickets;

/// The endpoint that a room belongs to. Rooms of different endpoints are always different rooms.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EndpointId(pub u16);

/// The key of a room. Keys are ordered by endpoint, then by the bytes of the name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RoomKey {
    /// The endpoint that the room belongs to.
    pub endpoint: EndpointId,
    /// The room's name within that endpoint.
    pub name: Box<str>,
}

/// The part of a room that shards share.
#[derive(Debug)]
pub struct Room {
    /// The room's key.
    pub key: RoomKey,
    /// Distinguishes rooms of the same name: each room that is created gets a new epoch. Together
    /// with a ticket it identifies a frame for good.
    pub epoch: u64,
    /// The room's order.
    pub tickets: Tickets,
    /// Whether its text messages are worth deflating.
    pub text_backoff: Backoff,
    /// Whether its binary messages are worth deflating.
    pub binary_backoff: Backoff,
    members: AtomicU32,
    deflate_members: AtomicU32,
}

/// The largest number of messages that are sent plain before the next one is tried.
const SKIPPED_MAX: u8 = 64;

/// Remembers that deflating does not pay, as with audio: each message that did not become smaller
/// doubles the number of messages that are then sent plain. Shards that update it at the same time
/// may lose a step of each other, which only costs an attempt.
#[derive(Debug, Default)]
pub struct Backoff {
    /// Messages that are still to be skipped.
    left: AtomicU8,
    /// How many the last failure made us skip; 0 after a success.
    skipped: AtomicU8,
}

impl Backoff {
    /// Whether to try to deflate the next message.
    pub fn must_try(&self) -> bool {
        let left = self.left.load(Ordering::Relaxed);
        if left > 0 {
            self.left.store(left - 1, Ordering::Relaxed);
        }
        left == 0
    }

    /// Records whether a message that was tried became smaller.
    pub fn note(&self, is_smaller: bool) {
        let skipped = self.skipped.load(Ordering::Relaxed);
        let skip = match is_smaller {
            true if skipped == 0 => return,
            true => 0,
            false => (skipped * 2).clamp(1, SKIPPED_MAX),
        };
        self.left.store(skip, Ordering::Relaxed);
        self.skipped.store(skip, Ordering::Relaxed);
    }
}

impl Room {
    pub(super) fn new(key: RoomKey, epoch: u64) -> Room {
        Room {
            key,
            epoch,
            tickets: Tickets::default(),
            text_backoff: Backoff::default(),
            binary_backoff: Backoff::default(),
            members: AtomicU32::new(0),
            deflate_members: AtomicU32::new(0),
        }
    }

    /// Members on all shards, for display and metrics; it may lag behind a join or leave.
    pub fn members(&self) -> u32 {
        self.members.load(Ordering::Relaxed)
    }

    /// Members that can inflate messages. A publisher that does not see one yet sends it plain
    /// messages, which every member can read.
    pub fn deflate_members(&self) -> u32 {
        self.deflate_members.load(Ordering::Relaxed)
    }

    /// Counts a member that joined, and whether it can inflate messages.
    pub fn member_joined(&self, can_inflate: bool) {
        self.members.fetch_add(1, Ordering::Relaxed);
        if can_inflate {
            self.deflate_members.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a member that left; `can_inflate` as it was when it joined.
    pub fn member_left(&self, can_inflate: bool) {
        let before = self.members.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a member left a room that had none");
        if can_inflate {
            let before = self.deflate_members.fetch_sub(1, Ordering::Relaxed);
            debug_assert!(before > 0, "a member left that did not join");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `messages` are tried if none of them becomes smaller.
    fn tried_in_vain(backoff: &Backoff, messages: usize) -> usize {
        let is_tried = |_: &usize| {
            let must_try = backoff.must_try();
            if must_try {
                backoff.note(false);
            }
            must_try
        };
        (0..messages).filter(is_tried).count()
    }

    #[test]
    fn incompressible_messages_are_tried_ever_more_rarely() {
        let backoff = Backoff::default();
        // Skips of 1, 2, 4, … 64, each after a message that was tried.
        assert_eq!(tried_in_vain(&backoff, 7 + 127), 7);
        assert_eq!(tried_in_vain(&backoff, 650), 10, "one of 65 from then on");
    }

    #[test]
    fn one_success_ends_the_backing_off() {
        let backoff = Backoff::default();
        tried_in_vain(&backoff, 7 + 127);
        assert!(backoff.must_try());
        backoff.note(true);
        assert!((0..100).all(|_| backoff.must_try()));
        assert_eq!(tried_in_vain(&backoff, 2), 1, "and it begins anew");
    }
}
