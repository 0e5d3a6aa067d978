//! What the threads measure, as time goes by.
//!
//! Each thread has one [`Interval`] behind a lock of its own, which it holds while it works and
//! lets go before it sleeps. A few times a second the [`Recorder`] swaps in an empty one: so the
//! figures of every second are at hand while the run goes on, for the price of one lock a turn.

use std::sync::{Arc, Mutex, PoisonError};

use hdrhistogram::Histogram;

use crate::histogram::{self, Buckets};
use crate::report::{Distribution, Quantiles, Second};

const SECOND_NS: u64 = 1_000_000_000;
/// Seconds that a timeline lists; a day.
const SECONDS_MAX: usize = 86_400;

/// What one thread measured since somebody looked. Measured messages only.
#[derive(Debug)]
pub(crate) struct Interval {
    /// Nanoseconds from due to received.
    pub(crate) latency: Buckets,
    /// Nanoseconds from due to sent.
    pub(crate) lateness: Histogram<u64>,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Off the sockets of clients that read all the time.
    pub(crate) received_bytes: u64,
    /// Repeated, reordered, damaged, misrouted; of the warm-up too.
    pub(crate) faults: u64,
}

impl Interval {
    pub(crate) fn new() -> Self {
        Self {
            latency: Buckets::new(),
            lateness: histogram::new(),
            sent: 0,
            received: 0,
            received_bytes: 0,
            faults: 0,
        }
    }

    fn add(&mut self, other: &Self) {
        self.latency.add(&other.latency);
        histogram::merge(&mut self.lateness, &other.lateness);
        self.sent += other.sent;
        self.received += other.received;
        self.received_bytes += other.received_bytes;
        self.faults += other.faults;
    }

    fn clear(&mut self) {
        self.latency.clear();
        self.lateness.reset();
        (self.sent, self.received, self.received_bytes, self.faults) = (0, 0, 0, 0);
    }
}

/// One thread's interval.
pub(crate) type Cell = Arc<Mutex<Interval>>;

impl Default for Interval {
    fn default() -> Self {
        Self::new()
    }
}

/// Adds the intervals of all threads up, into seconds and into the whole.
#[derive(Debug)]
pub(crate) struct Recorder {
    cells: Vec<Cell>,
    spare: Interval,
    /// Since the last look.
    pub(crate) fresh: Interval,
    /// Since the second began.
    second: Interval,
    /// Since the run began.
    pub(crate) total: Interval,
    pub(crate) seconds: Vec<Second>,
}

impl Recorder {
    pub(crate) fn new(cells: Vec<Cell>) -> Self {
        Self {
            cells,
            spare: Interval::new(),
            fresh: Interval::new(),
            second: Interval::new(),
            total: Interval::new(),
            seconds: Vec::new(),
        }
    }

    /// Takes what the threads have measured since the last call.
    pub(crate) fn look(&mut self) {
        self.fresh.clear();
        for cell in &self.cells {
            // A thread that panicked ends the run elsewhere.
            let mut own = cell.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut *own, &mut self.spare);
            drop(own);
            self.fresh.add(&self.spare);
            self.spare.clear();
        }
        self.second.add(&self.fresh);
        self.total.add(&self.fresh);
    }

    /// Ends a second of the timeline if one is over, `measured_ns` after the begin of the
    /// measurement. Gives it back.
    pub(crate) fn end_second(&mut self, measured_ns: u64, connected: u64) -> Option<&Second> {
        let begun = self.seconds.len() as u64;
        if measured_ns < (begun + 1) * SECOND_NS || self.seconds.len() == SECONDS_MAX {
            return None;
        }
        // A look that came late belongs to the whole seconds before it.
        let whole = measured_ns / SECOND_NS - begun;
        self.push_second(whole * 1000, connected);
        for _ in 1..whole.min(SECONDS_MAX as u64) {
            self.split_last();
        }
        self.seconds.last()
    }

    /// Ends the last second: `measured_ns` were measured in all.
    pub(crate) fn finish(&mut self, measured_ns: u64, connected: u64) {
        self.look();
        self.end_second(measured_ns, connected);
        let at_ms = self.seconds.len() as u64 * 1000;
        let for_ms = (measured_ns / 1_000_000).saturating_sub(at_ms);
        let has_rest = for_ms > 0 || self.second.sent + self.second.received > 0;
        if has_rest && self.seconds.len() < SECONDS_MAX {
            self.push_second(for_ms, connected);
        }
    }

    fn push_second(&mut self, for_ms: u64, connected: u64) {
        self.seconds.push(Second {
            at_ms: self.seconds.len() as u64 * 1000,
            for_ms,
            sent: self.second.sent,
            received: self.second.received,
            received_bytes: self.second.received_bytes,
            connected,
            latency: Distribution::of(&self.second.latency.histogram()),
            lateness_ns: Quantiles::of(&self.second.lateness),
        });
        self.second.clear();
    }

    /// The coordinator was held up for more than a second: the first of these seconds has all that
    /// was measured, the others are empty.
    fn split_last(&mut self) {
        let Some(last) = self.seconds.last_mut() else {
            return;
        };
        let rest_ms = last.for_ms.saturating_sub(1000);
        last.for_ms -= rest_ms;
        let connected = last.connected;
        self.push_second(rest_ms, connected);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorder() -> (Cell, Recorder) {
        let cell = Arc::new(Mutex::new(Interval::new()));
        (Arc::clone(&cell), Recorder::new(vec![cell]))
    }

    fn note(cell: &Cell, latency_ns: u64) {
        let mut interval = cell.lock().expect("nobody panicked");
        interval.latency.record(latency_ns, 1);
        interval.received += 1;
    }

    #[test]
    fn every_value_is_in_one_second_and_in_the_whole() {
        let (cell, mut recorder) = recorder();
        note(&cell, 1000);
        recorder.look();
        assert!(recorder.end_second(900_000_000, 1).is_none());
        note(&cell, 2000);
        recorder.look();
        let received = recorder
            .end_second(1_001_000_000, 1)
            .map(|one| one.received);
        assert_eq!(received, Some(2));
        note(&cell, 3000);
        recorder.finish(1_500_000_000, 1);
        let each: Vec<_> = recorder
            .seconds
            .iter()
            .map(|one| (one.at_ms, one.for_ms))
            .collect();
        assert_eq!(each, [(0, 1000), (1000, 500)]);
        assert_eq!(recorder.seconds[1].latency.quantiles.count, 1);
        assert_eq!(
            (
                recorder.total.received,
                recorder.total.latency.histogram().len()
            ),
            (3, 3)
        );
    }

    #[test]
    fn seconds_that_nobody_looked_at_are_there_and_empty() {
        let (cell, mut recorder) = recorder();
        note(&cell, 1000);
        recorder.look();
        recorder.end_second(3_100_000_000, 1);
        let each: Vec<_> = recorder
            .seconds
            .iter()
            .map(|one| (one.at_ms, one.received))
            .collect();
        assert_eq!(each, [(0, 1), (1000, 0), (2000, 0)]);
        assert!(recorder.seconds.iter().all(|one| one.for_ms == 1000));
    }
}
