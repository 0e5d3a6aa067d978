//! Log lines that clients can cause, which stay rare whatever the clients do.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::limits::NOTICE_PAUSE;

/// A line that is logged at once, and then at most once in [`NOTICE_PAUSE`], for all shards
/// together.
#[derive(Debug, Default)]
pub(super) struct Notice {
    next_ns: AtomicU64,
    left_out: AtomicU64,
}

impl Notice {
    /// Counts one occurrence. If the next line is due, returns how many were left out since the
    /// last one.
    pub(super) fn due(&self, now_ns: u64) -> Option<u64> {
        let next_ns = self.next_ns.load(Ordering::Relaxed);
        let after_ns = now_ns.saturating_add(NOTICE_PAUSE.as_nanos() as u64);
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        let is_due = now_ns >= next_ns
            && self
                .next_ns
                .compare_exchange(next_ns, after_ns, set, fetch)
                .is_ok();
        if is_due {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

/// The lines about clients.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// A proxy sent no PROXY header.
    pub(super) no_proxy_header: Notice,
    /// A client that read too slowly was closed.
    pub(super) slow_client: Notice,
    /// A peer that is not a trusted proxy says whom it forwards for. Logged once.
    pub(super) untrusted_proxy: AtomicBool,
    /// An address of a private network is over a limit for one address: said once.
    pub(super) private_over_limit: AtomicBool,
    /// The relay is full.
    pub(super) full: Notice,
    /// An address has too many connections, or connects too often.
    pub(super) address: Notice,
    /// A connection could not be accepted.
    pub(super) accept_error: Notice,
    /// A connection of the admin listener was closed to make room.
    pub(super) evicted: Notice,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_due_and_later_ones_are_counted() {
        let (notice, pause_ns) = (Notice::default(), NOTICE_PAUSE.as_nanos() as u64);
        assert_eq!(notice.due(5), Some(0));
        for now_ns in [5, 6, pause_ns, 4 + pause_ns] {
            assert_eq!(notice.due(now_ns), None);
        }
        assert_eq!(notice.due(5 + pause_ns), Some(4));
        assert_eq!(notice.due(6 + pause_ns), None);
        assert_eq!(notice.due(50 * pause_ns), Some(1));
    }
}
