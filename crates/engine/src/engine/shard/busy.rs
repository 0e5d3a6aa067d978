//! The share of time in which a shard is busy.

use std::time::Duration;

use crate::clock::{Tick, ticks_of};
use crate::engine::stats::ShardStats;

/// The second whose busy share is being measured, with the counters at its start.
#[derive(Debug, Default)]
pub(in crate::engine) struct BusyWindow {
    tick: Tick,
    busy_ns: u64,
    idle_ns: u64,
}

impl BusyWindow {
    /// Publishes the busy share once the window is a second long, and begins the next window.
    pub(in crate::engine) fn measure(&mut self, tick: Tick, stats: &ShardStats) {
        if tick.saturating_sub(self.tick) < ticks_of(Duration::from_secs(1)) {
            return;
        }
        let (busy_ns, idle_ns) = (stats.turns.sum_ns(), stats.idle_ns.get());
        let busy = busy_ns.wrapping_sub(self.busy_ns) as f64;
        let idle = idle_ns.wrapping_sub(self.idle_ns) as f64;
        let share = busy / (busy + idle).max(1.0);
        stats.busy_ppm.set((share * 1e6) as u64);
        *self = BusyWindow {
            tick,
            busy_ns,
            idle_ns,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busy_share_is_that_of_the_last_whole_second() {
        let (stats, mut window) = (ShardStats::default(), BusyWindow::default());
        stats.turns.record(250_000_000, 1);
        stats.idle_ns.add(750_000_000);
        window.measure(9, &stats);
        assert_eq!(stats.busy_ppm.get(), 0);
        window.measure(10, &stats);
        assert_eq!(stats.busy_ppm.get(), 250_000);
        stats.idle_ns.add(1_000_000_000);
        window.measure(20, &stats);
        assert_eq!(stats.busy_ppm.get(), 0);
    }
}
