//! Lines of the log that clients can cause: each kind of them is written now and then, for the
//! whole process, however often there is a reason. The metrics count every time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Between two lines of a kind.
const PERIOD: Duration = Duration::from_secs(10);

/// What there is to say of clients, seldom.
#[derive(Default)]
pub(super) struct Notices {
    /// A proxy sent no PROXY header.
    pub(super) no_proxy_header: Seldom,
    /// A client was closed that read too slowly.
    pub(super) slow_client: Seldom,
    /// A peer that is no trusted proxy says whom it forwards for: said once.
    pub(super) untrusted_proxy: AtomicBool,
}

/// When a kind of line may be written again.
#[derive(Default)]
pub(super) struct Seldom {
    next_ns: AtomicU64,
    suppressed: AtomicU64,
}

impl Seldom {
    /// Whether the line may be written: then with how many were not since the last one.
    pub(super) fn admit(&self, now_ns: u64) -> Option<u64> {
        let next_ns = self.next_ns.load(Ordering::Relaxed);
        let later_ns = now_ns + PERIOD.as_nanos() as u64;
        let exchange = |from| {
            let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
            self.next_ns
                .compare_exchange(from, later_ns, success, failure)
        };
        if now_ns < next_ns || exchange(next_ns).is_err() {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.suppressed.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_written_and_then_one_a_period_that_counts_the_others() {
        let (seldom, second) = (Seldom::default(), 1_000_000_000);
        let written: Vec<(u64, u64)> = (0..25)
            .filter_map(|at| Some((at, seldom.admit(at * second)?)))
            .collect();
        assert_eq!(written, [(0, 0), (10, 9), (20, 9)]);
    }
}
