//! "Wake only the sleeping": a flag beside a condition that is checked before sleeping.
//!
//! The sleeper announces itself, checks once more for work, and then sleeps. The other side makes
//! work, and then checks whether to wake the sleeper. Without the second check the sleeper could
//! look, find no work, and fall asleep just after the other side had looked at the flag and found
//! it awake: work would wait for an unrelated event. Each side writes one variable and reads the
//! other's, which processors and compilers may reorder, so both fence in between. Then at least one
//! of them sees what the other wrote: no wake is lost, and a thread that is awake is not woken. The
//! crate `tests/model` checks this under loom.

use crate::sync::{AtomicBool, Ordering, fence};

/// Whether a thread sleeps or is about to. Every write is a swap, so that it is ordered after the
/// last answer in the flag's own order; loom can check that, and next to a sleep it costs nothing.
#[derive(Debug, Default)]
pub(crate) struct SleepFlag(AtomicBool);

impl SleepFlag {
    /// Announces that the caller is about to sleep. The caller must check for work once more.
    pub(crate) fn announce(&self) {
        self.0.swap(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Withdraws the announcement: the caller is awake again, or found work after all.
    pub(crate) fn withdraw(&self) {
        self.0.swap(false, Ordering::Relaxed);
    }

    /// Whether the announcement has not been answered yet. A sleeper that waits for several things
    /// checks this before it sleeps, since the thread that answered may have found it awake.
    pub(crate) fn is_announced(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether the sleeper must be woken. Called after work was made. Returns `true` once per
    /// sleep.
    pub(crate) fn must_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}
