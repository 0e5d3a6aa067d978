//! Memory for what was received in part, counted while it is held.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of an unfinished request: they count towards `limits.inbound_bytes` while this lives.
#[derive(Default)]
pub(in crate::engine) struct Held {
    total: Option<Arc<AtomicUsize>>,
    bytes: usize,
}

impl Held {
    pub(in crate::engine) fn bytes(&self) -> usize {
        self.bytes
    }

    /// It holds so many from now on. `total` is the sum of the process, the same in each call.
    pub(in crate::engine) fn set(&mut self, total: &Arc<AtomicUsize>, bytes: usize) {
        if bytes != self.bytes {
            // Wraps where it shrinks, and so does the sum.
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
