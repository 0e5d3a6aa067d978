//! Measurements of the threads over time.
//!
//! Each thread has its own [`Spans`] behind a lock that it holds while it works and releases before
//! it sleeps. A few times a second the [`Recorder`] swaps in empty ones, so the figures of every
//! second are available during the run at the price of one lock per turn.

use std::sync::{Arc, Mutex, PoisonError};

use hdrhistogram::Histogram;

use crate::control::Times;
use crate::histogram::{self, Buckets};
use crate::report::{Distribution, Quantiles, Second};

const SECOND_NS: u64 = 1_000_000_000;
/// Seconds that a timeline lists: a day.
const SECONDS_MAX: usize = 86_400;

/// One thread's measurements since the recorder last looked.
#[derive(Debug)]
pub(crate) struct Interval {
    /// Nanoseconds from due to received, of measured messages.
    pub(crate) latency: Buckets,
    /// Nanoseconds from due to sent, of measured messages.
    pub(crate) lateness: Histogram<u64>,
    /// Measured messages.
    pub(crate) sent: u64,
    /// Deliveries since the measurement began, including late messages of the warm-up.
    pub(crate) received: u64,
    /// From the sockets of clients that read all the time.
    pub(crate) received_bytes: u64,
    /// Repeated, reordered, damaged, misrouted and early, including the warm-up's.
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

    /// Adds the values of `other` and empties it.
    fn take(&mut self, other: &mut Self) {
        if !other.is_empty() {
            self.add(other);
            other.clear();
        }
    }

    fn is_empty(&self) -> bool {
        let Self {
            latency: _,
            lateness: _,
            sent,
            received,
            received_bytes,
            faults,
        } = self;
        [sent, received, received_bytes, faults] == [&0; 4]
    }

    fn clear(&mut self) {
        self.latency.clear();
        self.lateness.reset();
        (self.sent, self.received, self.received_bytes, self.faults) = (0, 0, 0, 0);
    }
}

/// One thread's intervals, by arrival time.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    /// Until the end of the measured time; also everything that was sent.
    pub(crate) window: Interval,
    /// After that.
    pub(crate) drain: Interval,
}

impl Spans {
    /// The interval that an arrival at `now_ns` belongs to.
    #[inline]
    pub(crate) fn at(&mut self, now_ns: u64, times: &Times) -> &mut Interval {
        match now_ns < times.end_ns() {
            true => &mut self.window,
            false => &mut self.drain,
        }
    }
}

/// One thread's intervals, shared with the recorder.
pub(crate) type Cell = Arc<Mutex<Spans>>;

impl Default for Interval {
    fn default() -> Self {
        Self::new()
    }
}

/// Adds up the intervals of all threads, into seconds and into totals.
#[derive(Debug)]
pub(crate) struct Recorder {
    cells: Vec<Cell>,
    spare: Spans,
    /// Since the last call of `look`.
    pub(crate) fresh: Interval,
    /// Since the second began.
    second: Interval,
    /// Deliveries in all seconds.
    pub(crate) received_in_window: u64,
    /// After the end of the measured time.
    drain: Interval,
    /// Since the run began.
    pub(crate) total: Interval,
    pub(crate) seconds: Vec<Second>,
}

impl Recorder {
    pub(crate) fn new(cells: Vec<Cell>) -> Self {
        Self {
            cells,
            spare: Spans::default(),
            fresh: Interval::new(),
            second: Interval::new(),
            received_in_window: 0,
            drain: Interval::new(),
            total: Interval::new(),
            seconds: Vec::new(),
        }
    }

    /// Takes the measurements of the threads since the last call.
    pub(crate) fn look(&mut self) {
        self.fresh.clear();
        for cell in &self.cells {
            // A thread that panicked ends the run elsewhere.
            let mut own = cell.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut *own, &mut self.spare);
            drop(own);
            let Spans { window, drain } = &mut self.spare;
            self.received_in_window += window.received;
            for (interval, span) in [(window, &mut self.second), (drain, &mut self.drain)] {
                if !interval.is_empty() {
                    span.add(interval);
                    self.total.add(interval);
                    self.fresh.take(interval);
                }
            }
        }
    }

    /// Ends a second of the timeline if one is over, `measured_ns` after the start of the
    /// measurement, and returns it.
    pub(crate) fn end_second(&mut self, measured_ns: u64, connected: u64) -> Option<&Second> {
        let begun = self.seconds.len() as u64;
        if measured_ns < (begun + 1) * SECOND_NS || self.seconds.len() == SECONDS_MAX {
            return None;
        }
        // A late look belongs to the whole seconds before it.
        let whole = measured_ns / SECOND_NS - begun;
        self.push_second(whole * 1000, connected);
        for _ in 1..whole.min(SECONDS_MAX as u64) {
            self.split_last();
        }
        self.seconds.last()
    }

    /// Ends the last second: `measured_ns` were measured in all, and the last delivery arrived
    /// `drained_ns` later. Returns what arrived in that time.
    pub(crate) fn finish(&mut self, measured_ns: u64, drained_ns: u64, connected: u64) -> Second {
        self.look();
        self.end_second(measured_ns, connected);
        let at_ms = self.seconds.len() as u64 * 1000;
        let for_ms = (measured_ns / 1_000_000).saturating_sub(at_ms);
        let has_rest = for_ms > 0 || self.second.sent + self.second.received > 0;
        if has_rest && self.seconds.len() < SECONDS_MAX {
            self.push_second(for_ms, connected);
        }
        Second::of(
            &self.drain,
            measured_ns / 1_000_000,
            drained_ns.div_ceil(1_000_000),
            connected,
        )
    }

    /// The timeline is too short for the whole measured time.
    pub(crate) fn is_full(&self) -> bool {
        self.seconds.len() == SECONDS_MAX
    }

    fn push_second(&mut self, for_ms: u64, connected: u64) {
        let at_ms = self.seconds.len() as u64 * 1000;
        let second = Second::of(&self.second, at_ms, for_ms, connected);
        self.seconds.push(second);
        self.second.clear();
    }

    /// The coordinator was held up for more than a second: the first of these seconds gets all
    /// measurements, the others are empty.
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

impl Second {
    /// The figures of `interval`, which began `at_ms` after the start of the measurement.
    fn of(interval: &Interval, at_ms: u64, for_ms: u64, connected: u64) -> Self {
        Self {
            at_ms,
            for_ms,
            sent: interval.sent,
            received: interval.received,
            received_bytes: interval.received_bytes,
            connected,
            latency: Distribution::of(&interval.latency.histogram()),
            lateness_ns: Quantiles::of(&interval.lateness),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorder() -> (Cell, Recorder) {
        let cell = Cell::default();
        (Arc::clone(&cell), Recorder::new(vec![cell]))
    }

    fn note(cell: &Cell, latency_ns: u64) {
        let interval = &mut cell.lock().expect("nobody panicked").window;
        interval.latency.record(latency_ns, 1);
        interval.received += 1;
    }

    fn note_drained(cell: &Cell, latency_ns: u64) {
        let interval = &mut cell.lock().expect("nobody panicked").drain;
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
        note_drained(&cell, 9000);
        let drain = recorder.finish(1_500_000_000, 20_000_001, 1);
        let times = (drain.at_ms, drain.for_ms, drain.received);
        assert_eq!(times, (1500, 21, 1));
        assert_eq!(recorder.received_in_window, 3);
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
            (4, 4)
        );
    }

    #[test]
    fn seconds_without_a_look_are_present_and_empty() {
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
