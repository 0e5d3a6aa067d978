//! A number that one thread counts and any thread reads.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one thread writes and any thread reads. An addition is a load and a store.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `more`. Only the shard that owns the counter may call this. It wraps, as sums of
    /// nanoseconds may after months of overload.
    pub(crate) fn add(&self, more: u64) {
        let before = self.0.load(Ordering::Relaxed);
        self.0.store(before.wrapping_add(more), Ordering::Relaxed);
    }

    /// Sets the value, for gauges.
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
