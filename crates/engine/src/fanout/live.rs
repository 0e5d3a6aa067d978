//! The memory of the buffers that shards share.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The size of the two reference counts beside a value in an `Arc` or `Rc`.
pub(super) const COUNTS_BYTES: usize = 2 * size_of::<usize>();

/// Bytes of the live buffers and batches of all shards, by allocation. They are counted when they
/// are made and when they are dropped.
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
