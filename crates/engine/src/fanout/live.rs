//! How much memory the buffers take that shards share.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What a reference count adds to what it counts references of: two words.
pub(super) const COUNTS_BYTES: usize = 2 * size_of::<usize>();

/// Bytes of live buffers and batches, of all shards, as they are allocated. Counted where one is
/// made and dropped.
#[derive(Debug, Default)]
pub struct LiveBytes(AtomicUsize);

impl LiveBytes {
    /// The bytes that are held now.
    pub fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn subtract(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}
