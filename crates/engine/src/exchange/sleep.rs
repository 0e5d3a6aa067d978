//! "Wake only those who sleep": a flag beside something that is checked before sleeping.
//!
//! The sleeper announces itself, looks once more whether there is work, and sleeps. The other side
//! makes work, then asks whether to wake. Both fence in between, so that at least one of them sees
//! what the other did: no wake is lost, and none is sent to somebody who is awake. The crate
//! `tests/model` checks this under loom.

use crate::sync::{AtomicBool, Ordering, fence};

/// Whether somebody sleeps, or is about to. Every change is an exchange, so that it follows the
/// last answer in the flag's own order; loom can check that, and beside a sleep it costs nothing.
#[derive(Debug, Default)]
pub(crate) struct SleepFlag(AtomicBool);

impl SleepFlag {
    /// Says that the caller is about to sleep. It must look for work once more afterwards.
    pub(crate) fn announce(&self) {
        self.0.swap(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Says that the caller is awake again, or found work after all.
    pub(crate) fn withdraw(&self) {
        self.0.swap(false, Ordering::Relaxed);
    }

    /// Whether nobody has answered the announcement yet. A sleeper that waits for several things
    /// looks here before it sleeps: the one who answered may have found it awake.
    pub(crate) fn is_announced(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether the sleeper must be woken. Called after the work was made; `true` once per sleep.
    pub(crate) fn must_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}
