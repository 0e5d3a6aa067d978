//! Frames that a shard sends to single connections in a turn, gathered in one buffer: see
//! [`super::settling`].

use crate::engine::ids::Key;
use crate::fanout::bundle::Bundle;
use crate::fanout::outbox::Origin;
use crate::limits::{GATHERED_BYTES_MAX, GATHERED_WHOLE_BYTES_MAX};
use crate::sparse::Sparse as _;

/// Frames for single connections that are not in an outbox yet.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) bundle: Bundle,
    /// The recipients of the frames, in order.
    pub(super) entries: Vec<Entry>,
    /// When the oldest was received.
    pub(super) received_ns: u64,
    /// The memory that it keeps between turns, in bytes, as counted when it was last settled.
    held_bytes: usize,
}

/// One frame, which begins at the end of the one before it.
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) end: u32,
    pub(super) origin: Origin,
}

impl Gathered {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a frame with `own_bytes` bytes of its own belongs in the next buffer.
    #[inline]
    pub(super) fn is_full_for(&self, own_bytes: usize) -> bool {
        !self.is_empty()
            && (self.bundle.own_bytes() + own_bytes > GATHERED_BYTES_MAX
                || self.bundle.len() > GATHERED_WHOLE_BYTES_MAX)
    }

    /// Records the recipient of the frame that was added last. Returns its length, body included.
    #[inline]
    pub(super) fn end_frame(&mut self, key: Key, origin: Origin, received_ns: u64) -> u32 {
        let (start, oldest_ns) = match self.entries.last() {
            Some(last) => (last.end, self.received_ns),
            None => (0, received_ns),
        };
        self.received_ns = oldest_ns.min(received_ns);
        let end = self.bundle.len() as u32;
        self.entries.push(Entry { key, end, origin });
        end - start
    }

    /// The memory that it keeps between turns, in bytes.
    #[inline]
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Updates the count of that memory.
    pub(super) fn note_held(&mut self) {
        let entries = self.entries.capacity() * size_of::<Entry>();
        self.held_bytes = self.bundle.held_bytes() + entries;
    }

    /// Gives back memory that grew under load. Called between turns.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() {
            self.bundle.shrink();
            self.entries.shrink_sparse();
            self.note_held();
        }
    }
}
