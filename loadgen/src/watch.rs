//! Watches a run while it goes on: for the observer, the timeline and `--abort-if`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, process_cpu};
use crate::condition::{Condition, Running};
use crate::control::{Progress, Times};
use crate::interval::{Cell, Recorder};
use crate::plan::{Pace, Plan, Relay};
use crate::report::{Aborted, Quantiles};
use crate::snapshot::{Phase, Snapshot, Turn};

/// How often the observer is called. A divisor of a second, so that the looks coincide with the
/// ends of seconds.
const LOOK_NS: u64 = 250_000_000;

pub(crate) struct Watch<'a> {
    observe: &'a mut dyn FnMut(&Snapshot),
    abort_if: &'a [Condition],
    turn: Option<Turn>,
    clients: u64,
    progress: Vec<Arc<Progress>>,
    pub(crate) recorder: Recorder,
    pub(crate) aborted: Option<Aborted>,
    /// When to look next, on the run's clock.
    pub(crate) look_next_ns: u64,
    /// Tracks the times in which nothing arrived.
    pub(crate) silence: Silence,
    last: Look,
}

/// Sums over all threads, including messages of the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Connections that are open.
    pub(crate) connected: u64,
    /// Of the connected: clients that read all the time.
    pub(crate) readers: u64,
    /// Of the connected: connections that publish.
    pub(crate) publishers: u64,
    pub(crate) sent: u64,
    /// First arrivals that these messages should lead to.
    pub(crate) expected: u64,
    pub(crate) arrivals: u64,
    /// Messages of the run at any client, faulty ones included.
    pub(crate) seen: u64,
}

/// Finds the longest time in which messages were sent and none arrived.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Silence {
    /// In a closed loop nothing more is sent while nothing arrives.
    is_closed_loop: bool,
    last: Totals,
    last_look_ns: u64,
    /// Since when messages are awaited in vain.
    since_ns: Option<u64>,
    /// The longest one: its start and end, and whether it was over.
    pub(crate) longest: Option<Span>,
}

/// A time in which nothing arrived, on the run's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from_ns: u64,
    pub(crate) until_ns: u64,
    /// Something arrived after it.
    pub(crate) is_over: bool,
}

impl Silence {
    fn look(&mut self, now_ns: u64, totals: &Totals) {
        let last = std::mem::replace(&mut self.last, *totals);
        let last_look_ns = std::mem::replace(&mut self.last_look_ns, now_ns);
        if totals.arrivals > last.arrivals {
            if let (Some(since_ns), Some(longest)) = (self.since_ns, &mut self.longest) {
                longest.is_over |= longest.from_ns == since_ns;
            }
            self.since_ns = None;
        } else if totals.expected > last.expected
            || self.since_ns.is_some()
            || self.is_closed_loop && totals.expected > totals.arrivals
        {
            let from_ns = *self.since_ns.get_or_insert(last_look_ns);
            let span = Span {
                from_ns,
                until_ns: now_ns,
                is_over: false,
            };
            let length_ns = |span: &Span| span.until_ns - span.from_ns;
            if self.longest.as_ref().is_none_or(|longest| {
                longest.from_ns == from_ns || length_ns(longest) < length_ns(&span)
            }) {
                self.longest = Some(span);
            }
        }
    }
}

/// The state at the last look, from which rates are computed.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    at_ns: u64,
    sent: u64,
    received: u64,
    cpu: Duration,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(
        plan: &'a Plan,
        relay: &Relay,
        turn: Option<Turn>,
        progress: Vec<Arc<Progress>>,
        cells: Vec<Cell>,
        observe: &'a mut dyn FnMut(&Snapshot),
    ) -> Self {
        Self {
            observe,
            abort_if: &plan.abort_if,
            turn,
            clients: relay.clients.into(),
            progress,
            recorder: Recorder::new(cells),
            aborted: None,
            look_next_ns: 0,
            silence: Silence {
                is_closed_loop: matches!(relay.pace, Pace::Closed { .. }),
                ..Silence::default()
            },
            last: Look {
                cpu: process_cpu(),
                ..Look::default()
            },
        }
    }

    /// The totals of all threads.
    pub(crate) fn totals(&self) -> Totals {
        let sum = |of: fn(&Progress) -> &AtomicU64| {
            let counters = self.progress.iter().map(|one| of(one));
            counters.map(|one| one.load(Ordering::Relaxed)).sum()
        };
        Totals {
            connected: sum(|one| &one.connected),
            readers: sum(|one| &one.readers),
            publishers: sum(|one| &one.publishers),
            sent: sum(|one| &one.sent),
            expected: sum(|one| &one.expected),
            arrivals: sum(|one| &one.arrivals),
            seen: sum(|one| &one.seen),
        }
    }

    /// Looks if it is time to.
    pub(crate) fn look(&mut self, clock: &Clock, times: &Times) {
        let now_ns = clock.now_ns();
        if now_ns < self.look_next_ns {
            return;
        }
        let measured_ns = times
            .start_ns()
            .and_then(|_| now_ns.checked_sub(times.measure_ns()));
        // While it measures, looks fall on the ends of seconds.
        self.look_next_ns = match measured_ns {
            Some(measured_ns) => now_ns + LOOK_NS - measured_ns % LOOK_NS,
            None => (now_ns + LOOK_NS).min(times.measure_ns().max(now_ns + 1)),
        };
        self.recorder.look();
        let mut snapshot = self.snapshot(now_ns, times);
        if let Some(measured_ns) = measured_ns.filter(|_| now_ns < times.end_ns()) {
            let connected = snapshot.connected;
            snapshot.second = self.recorder.end_second(measured_ns, connected).cloned();
            self.judge(&snapshot, measured_ns);
        }
        (self.observe)(&snapshot);
    }

    fn snapshot(&mut self, now_ns: u64, times: &Times) -> Snapshot {
        let totals = self.totals();
        let (sent, received) = (totals.sent, totals.arrivals);
        if times.start_ns().is_some() {
            self.silence.look(now_ns, &totals);
        }
        let (phase, until_ns) = match times.start_ns() {
            None => (Phase::Connecting, None),
            Some(_) if now_ns < times.measure_ns() => (Phase::WarmUp, Some(times.measure_ns())),
            Some(_) if now_ns < times.end_ns() => (Phase::Measuring, Some(times.end_ns())),
            Some(_) => (Phase::Draining, None),
        };
        let cpu = process_cpu();
        let last = std::mem::replace(
            &mut self.last,
            Look {
                at_ns: now_ns,
                sent,
                received,
                cpu,
            },
        );
        let seconds = (now_ns - last.at_ns).max(1) as f64 / 1e9;
        let fresh = &self.recorder.fresh;
        Snapshot {
            phase,
            turn: self.turn,
            elapsed_ms: now_ns / 1_000_000,
            remaining_ms: until_ns.map(|until_ns| (until_ns - now_ns) / 1_000_000),
            connected: totals.connected,
            clients: self.clients,
            sent,
            received,
            sent_per_second: (sent - last.sent) as f64 / seconds,
            received_per_second: (received - last.received) as f64 / seconds,
            received_bytes_per_second: fresh.received_bytes as f64 / seconds,
            latency_ns: Quantiles::of(&fresh.latency.histogram()),
            latency_so_far_ns: Quantiles::of(&self.recorder.total.latency.histogram()),
            lateness_ns: Quantiles::of(&fresh.lateness),
            faults: self.recorder.total.faults,
            cpu_share: cpu.saturating_sub(last.cpu).as_secs_f64() / seconds,
            second: None,
        }
    }

    fn judge(&mut self, snapshot: &Snapshot, measured_ns: u64) {
        let running = Running {
            latency: snapshot.latency_so_far_ns,
            lateness: Quantiles::of(&self.recorder.total.lateness),
            faults: snapshot.faults,
        };
        let mut held = self
            .abort_if
            .iter()
            .filter_map(|one| Some((one, one.holds_while(&running)?)));
        self.aborted = held.next().map(|(condition, observed)| Aborted {
            condition: condition.text().to_owned(),
            observed,
            at_ms: measured_ns / 1_000_000,
        });
    }
}
