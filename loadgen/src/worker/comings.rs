//! Clients that come and go, and clients that read slowly: what a worker does by the clock beside
//! sending.

use std::time::Duration;

use hdrhistogram::Histogram;
use tungstenite::protocol::frame::coding::Control;

use super::Worker;
use crate::check::Counts;
use crate::frames::append_control;
use crate::histogram;
use crate::interval::Interval;
use crate::plan::{Relay, Role};

/// Reasons of failures that are kept.
const REASONS_MAX: usize = 10;
/// How often slow readers read.
const SLOW_TICK: Duration = Duration::from_millis(100);
/// Over TLS a read has room for whole records, whatever it was to take.
const SLOW_BYTES_MIN: usize = 96 << 10;

/// What became of one thread's clients that come and go.
#[derive(Debug)]
pub(crate) struct ChurnOutcome {
    pub(crate) replaced: u64,
    pub(crate) failed: u64,
    pub(crate) reasons: Vec<String>,
    /// Of connections that are gone: `[warm-up, measured]`.
    pub(crate) counts: [Counts; 2],
    /// Nanoseconds from connect to upgraded.
    pub(crate) connect_times: Histogram<u64>,
}

/// One thread's clients that come and go.
#[derive(Debug)]
pub(super) struct Comings {
    places: Vec<usize>,
    turn: usize,
    interval_ns: f64,
    done: u64,
    /// When the next one goes; `u64::MAX` where none does.
    pub(super) next_ns: u64,
    pub(super) outcome: ChurnOutcome,
}

impl Comings {
    pub(super) fn new(relay: &Relay, thread: u32, threads: u32) -> Self {
        let places = places(relay, Role::Churning, thread, threads);
        let share = places.len() as f64 / f64::from(relay.churning.max(1));
        Self {
            interval_ns: 1e9 / (relay.churn_per_second * share),
            places,
            turn: 0,
            done: 0,
            next_ns: u64::MAX,
            outcome: ChurnOutcome {
                replaced: 0,
                failed: 0,
                reasons: Vec::new(),
                counts: [Counts::default(); 2],
                connect_times: histogram::new(),
            },
        }
    }

    /// A new connection is up.
    pub(super) fn replaced(&mut self, took_ns: u64) {
        self.outcome.replaced += 1;
        histogram::record(&mut self.outcome.connect_times, took_ns);
    }

    /// A connection broke, or did not come up.
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
    places: Vec<usize>,
    /// By place: bytes that it may still take, below 0 what it took too much.
    credits: Vec<i64>,
    bytes_a_tick: i64,
    /// When they read next; `u64::MAX` where there are none.
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

/// The places of the thread's connections with this role.
fn places(relay: &Relay, role: Role, thread: u32, threads: u32) -> Vec<usize> {
    (thread..relay.connections())
        .step_by(threads as usize)
        .enumerate()
        .filter(|(_, index)| relay.role(*index) == role)
        .map(|(place, _)| place)
        .collect()
}

impl Worker {
    /// Replaces those connections whose time has come.
    pub(super) fn come_and_go(&mut self) {
        if self.comings.places.is_empty() {
            return;
        }
        let Some(start_ns) = self.shared.times.start_ns() else {
            return;
        };
        let now_ns = self.shared.clock.now_ns();
        let end_ns = self.shared.times.end_ns();
        loop {
            let due = (self.comings.done + 1) as f64 * self.comings.interval_ns;
            self.comings.next_ns = start_ns.saturating_add(due as u64);
            if self.comings.next_ns >= end_ns {
                self.comings.next_ns = u64::MAX;
                return;
            }
            if self.comings.next_ns > now_ns {
                return;
            }
            self.comings.done += 1;
            let place = self.comings.places[self.comings.turn % self.comings.places.len()];
            self.comings.turn += 1;
            self.replace(place);
        }
    }

    /// Ends the connection at `place` and opens another one there.
    fn replace(&mut self, place: usize) {
        let client = &mut self.clients[place];
        if client.is_opening() {
            let age_ns = self.shared.clock.now_ns() - client.started_ns;
            if age_ns < self.shared.connect_timeout.as_nanos() as u64 {
                return;
            }
            let reason = format!("not upgraded within {:?}", self.shared.connect_timeout);
            self.lost(place, &reason);
        }
        let client = &mut self.clients[place];
        if client.is_open() {
            let mut goodbye = Vec::new();
            let (mask, code) = (self.shared.payloads.mask(), 1000_u16.to_be_bytes());
            append_control(&mut goodbye, Control::Close, mask, &code);
            // Whether the goodbye arrives changes nothing.
            let _ = client.write(&goodbye);
            // Whoever closes first keeps the port for a minute; a reset does not.
            client.reset_on_drop();
            self.progress
                .connected
                .fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        }
        for (sum, counts) in self
            .comings
            .outcome
            .counts
            .iter_mut()
            .zip(client.receiver.counts)
        {
            sum.add(&counts);
        }
        client.receiver.counts = [Counts::default(); 2];
        let opened = self.open(place).and_then(|mut client| {
            self.watch(place, &mut client)?;
            self.clients[place] = client;
            Ok(())
        });
        if let Err(error) = opened {
            self.clients[place].close("replaced");
            self.comings.failed(&error.to_string());
        }
    }

    /// Lets the slow readers take what they may.
    pub(super) fn receive_slowly(&mut self, interval: &mut Interval) {
        if self.slow.next_ns == u64::MAX {
            return;
        }
        let now_ns = self.shared.clock.now_ns();
        if now_ns < self.slow.next_ns {
            return;
        }
        self.slow.next_ns = now_ns + SLOW_TICK.as_nanos() as u64;
        for at in 0..self.slow.places.len() {
            let place = self.slow.places[at];
            let Some(client) = self.clients.get(place) else {
                return;
            };
            let credit = &mut self.slow.credits[at];
            *credit = (*credit + self.slow.bytes_a_tick).min(10 * self.slow.bytes_a_tick);
            if !client.is_open() || !client.readable || *credit <= 0 {
                continue;
            }
            let before = client.received_bytes;
            let mut until = client.inbox.len() + *credit as usize;
            if self.shared.tls.is_some() {
                until = until.max(client.inbox.len() + SLOW_BYTES_MIN);
            }
            if let Err(reason) = self.receive(place, until, interval) {
                self.lost(place, &reason);
            }
            let took = self.clients[place].received_bytes - before;
            self.slow.credits[at] -= took as i64;
        }
    }
}
