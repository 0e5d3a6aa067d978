//! Memory of partly received data, counted while it is held.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The bytes of an unfinished request. They count towards `limits.inbound_bytes` while this lives.
#[derive(Default)]
pub(in crate::engine) struct Held {
    total: Option<Arc<AtomicUsize>>,
    bytes: usize,
}

impl Held {
    pub(in crate::engine) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes the number of bytes that are held. `total` is the sum of the process, which must be
    /// the same in each call.
    ///
    /// One atomic addition serves both directions. If the bytes shrink, the unsigned difference
    /// wraps to 2^64 minus the decrease, and adding it makes the sum wrap to the right, smaller
    /// value. Subtracting the old bytes and adding the new ones in two steps would let other shards
    /// see a sum that is too small, or one that is too large and makes them close a connection.
    pub(in crate::engine) fn set(&mut self, total: &Arc<AtomicUsize>, bytes: usize) {
        if bytes != self.bytes {
            let more = bytes.wrapping_sub(self.bytes);
            total.fetch_add(more, Ordering::Relaxed);
            self.bytes = bytes;
            self.total.get_or_insert_with(|| Arc::clone(total));
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(total) = &self.total {
            total.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}
