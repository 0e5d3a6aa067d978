//! The atomics of the lock-free protocols.
//!
//! The files that use them (`fanout/tickets.rs`, `exchange/sleep.rs`) are compiled a second time by
//! the crate `tests/model`, whose `sync` module hands out loom's atomics instead.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
