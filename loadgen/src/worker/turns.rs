//! Schedules of a worker besides sending: for the clients that reconnect, and for the slow readers.

use std::ops::Range;
use std::time::Duration;

use crate::check::{Counts, Receiver};
use crate::histogram;
use crate::plan::{Churn, Relay, Role};
use crate::thread_result::ChurnOutcome;

/// Reasons of failures that are kept.
const REASONS_MAX: usize = 10;
/// How often slow readers read.
pub(super) const SLOW_TICK: Duration = Duration::from_millis(100);

/// One thread's clients that reconnect.
#[derive(Debug)]
pub(super) struct Reconnects {
    pub(super) places: Vec<usize>,
    pub(super) churn: Option<Churn>,
    /// From one replacement to the next, or from one storm to the next.
    pub(super) interval_ns: f64,
    /// Replacements so far, or storms.
    pub(super) done: u64,
    /// Indices that the current storm still has to drop, and when it began.
    pub(super) storm: (Range<usize>, u64),
    /// When the next one is due; `u64::MAX` if there is none.
    pub(super) next_ns: u64,
    pub(super) outcome: ChurnOutcome,
}

impl Reconnects {
    pub(super) fn new(relay: &Relay, thread: u32, threads: u32) -> Self {
        let places = places(relay, Role::Churning, thread, threads);
        let share = places.len() as f64 / f64::from(relay.churning.max(1));
        Self {
            interval_ns: match relay.churn {
                Some(Churn::Steady { per_second }) => 1e9 / (per_second * share),
                Some(Churn::Storms { every }) => every.as_nanos() as f64,
                None => f64::INFINITY,
            },
            churn: relay.churn,
            places,
            done: 0,
            storm: (0..0, 0),
            next_ns: u64::MAX,
            outcome: ChurnOutcome {
                due: 0,
                replaced: 0,
                skipped: 0,
                failed: 0,
                reasons: Vec::new(),
                counts: [Counts::default(); 2],
                foreign: 0,
                connect_times: histogram::new(),
                storms: Vec::new(),
            },
        }
    }

    /// The connection that was due to be replaced at `due_ns` is upgraded again.
    pub(super) fn replaced(&mut self, due_ns: u64, now_ns: u64) {
        let took_ns = now_ns - due_ns;
        self.outcome.replaced += 1;
        histogram::record(&mut self.outcome.connect_times, took_ns);
        // A connection that is back only after the next storm has begun counts for neither.
        if let Some(storm) = self.outcome.storms.last_mut()
            && due_ns == self.storm.1
        {
            storm.back += 1;
            storm.recovery_ns = storm.recovery_ns.max(took_ns);
        }
    }

    /// A connection is replaced: its counts are kept.
    pub(super) fn gone(&mut self, receiver: &Receiver) {
        for (sum, counts) in self.outcome.counts.iter_mut().zip(receiver.counts) {
            sum.add(&counts);
        }
        self.outcome.foreign += receiver.foreign;
    }

    /// A connection broke, or failed to open.
    pub(super) fn failed(&mut self, reason: &str) {
        self.outcome.failed += 1;
        if self.outcome.reasons.len() < REASONS_MAX {
            self.outcome.reasons.push(reason.to_owned());
        }
    }
}

/// One thread's slow readers.
#[derive(Debug)]
pub(super) struct SlowReaders {
    pub(super) places: Vec<usize>,
    /// By index: bytes that it may still read, negative after it has read too many.
    pub(super) credits: Vec<i64>,
    pub(super) bytes_a_tick: i64,
    /// When they read next; `u64::MAX` if there are none.
    pub(super) next_ns: u64,
}

impl SlowReaders {
    pub(super) fn new(relay: &Relay, thread: u32, threads: u32) -> Self {
        let places = places(relay, Role::Slow, thread, threads);
        let a_tick = f64::from(relay.slow_bytes_per_second) * SLOW_TICK.as_secs_f64();
        Self {
            credits: vec![0; places.len()],
            bytes_a_tick: (a_tick as i64).max(1),
            next_ns: if places.is_empty() { u64::MAX } else { 0 },
            places,
        }
    }
}

/// The indices of the thread's connections with this role.
fn places(relay: &Relay, role: Role, thread: u32, threads: u32) -> Vec<usize> {
    (thread..relay.connections())
        .step_by(threads as usize)
        .enumerate()
        .filter(|(_, index)| relay.role(*index) == role)
        .map(|(place, _)| place)
        .collect()
}
