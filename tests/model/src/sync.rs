//! The types that `src/sync.rs` exports in the relay, from loom.

use std::cell::Cell;

pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};

thread_local! {
    // Loom runs all threads of a model on the thread that checks it.
    static IS_FENCED: Cell<bool> = const { Cell::new(true) };
}

/// Loom's fence, unless it was left out.
pub(crate) fn fence(order: Ordering) {
    if IS_FENCED.get() {
        loom::sync::atomic::fence(order);
    }
}

/// Runs `checks` with fences that do nothing.
pub(crate) fn leave_out_fences(checks: impl FnOnce()) {
    /// Restores the fences, also after a panic.
    struct PutBack;
    impl Drop for PutBack {
        fn drop(&mut self) {
            IS_FENCED.set(true);
        }
    }
    let _put_back = PutBack;
    IS_FENCED.set(false);
    checks();
}
