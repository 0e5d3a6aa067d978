//! Clients that come and go, and clients that read slowly: what a worker does by the clock beside
//! sending.

use std::time::{Duration, Instant};

use tungstenite::protocol::frame::coding::Control;

use super::Worker;
use super::turns::SLOW_TICK;
use crate::client::{Cause, Client, End};
use crate::frames::append_control;
use crate::interval::Spans;
use crate::plan::Churn;
use crate::report::Storm;

/// Of a storm, so many connections are replaced before other work gets its turn: what is due
/// meanwhile must not be late.
const STORM_BATCH: usize = 8;
/// At the end the backlogs of all slow readers of a thread are read for so long at most.
const BACKLOG_PATIENCE: Duration = Duration::from_millis(500);
const BACKLOG_PAUSE: Duration = Duration::from_millis(1);
/// Over TLS a read has room for whole records, whatever it was to take.
const SLOW_BYTES_MIN: usize = 96 << 10;

impl Worker {
    /// Replaces those connections whose time has come.
    pub(super) fn come_and_go(&mut self) {
        let Some(start_ns) = self.shared.times.start_ns() else {
            return;
        };
        if self.comings.places.is_empty() {
            return;
        }
        let now_ns = self.shared.clock.now_ns();
        let end_ns = self.shared.times.end_ns();
        self.go_on_storming(now_ns);
        while self.comings.storm.0.is_empty() {
            let comings = &mut self.comings;
            let after =
                |times: u64| start_ns.saturating_add((times as f64 * comings.interval_ns) as u64);
            let (due_ns, next_but_one_ns) = (after(comings.done + 1), after(comings.done + 2));
            let is_storm = matches!(comings.churn, Some(Churn::Storms { .. }));
            // The last storm has as much time to recover from as the others.
            let is_over = match is_storm {
                true => next_but_one_ns > end_ns,
                false => due_ns >= end_ns,
            };
            comings.next_ns = if is_over { u64::MAX } else { due_ns };
            if comings.next_ns > now_ns {
                return;
            }
            if is_storm {
                comings.storm = (0..comings.places.len(), due_ns);
                comings.outcome.storms.push(Storm::default());
            } else {
                let place = comings.places[comings.done as usize % comings.places.len()];
                self.come(place, due_ns);
            }
            self.comings.done += 1;
        }
    }

    /// Drops some more of those that are still to be dropped.
    fn go_on_storming(&mut self, now_ns: u64) {
        let (left, due_ns) = self.comings.storm.clone();
        for at in left.take(STORM_BATCH) {
            self.comings.storm.0.start += 1;
            if self.come(self.comings.places[at], due_ns)
                && let Some(storm) = self.comings.outcome.storms.last_mut()
            {
                storm.dropped += 1;
            }
        }
        if !self.comings.storm.0.is_empty() {
            self.comings.next_ns = now_ns;
        }
    }

    /// It is the turn of the connection at `place`. False where it has not come up yet since the
    /// last time, so that nothing can be done.
    fn come(&mut self, place: usize, due_ns: u64) -> bool {
        let is_replaced = self.replace(place, due_ns);
        self.comings.outcome.due += 1;
        self.comings.outcome.skipped += u64::from(!is_replaced);
        is_replaced
    }

    /// Ends the connection at `place` and opens another one there, which was due at `due_ns`. False
    /// where there is none to end yet.
    fn replace(&mut self, place: usize, due_ns: u64) -> bool {
        let client = &mut self.clients[place];
        if client.is_opening() {
            let age_ns = self.shared.clock.now_ns() - client.started_ns;
            if age_ns < self.shared.connect_timeout.as_nanos() as u64 {
                return false;
            }
            let reason = format!("not upgraded within {:?}", self.shared.connect_timeout);
            self.lost(place, End::new(Cause::Refused, reason));
        }
        let client = &mut self.clients[place];
        if client.is_open() {
            // In a storm nobody says goodbye.
            if matches!(self.comings.churn, Some(Churn::Steady { .. })) {
                let mut goodbye = Vec::new();
                let (mask, code) = (self.shared.payloads.mask(), 1000_u16.to_be_bytes());
                append_control(&mut goodbye, Control::Close, mask, &code);
                // Whether the goodbye arrives changes nothing.
                let _ = client.write(&goodbye);
            }
            // Whoever closes first keeps the port for a minute; a reset does not.
            client.reset_on_drop();
            self.progress.left(&self.relay, client.index);
        }
        self.comings.gone(&std::mem::take(&mut client.receiver));
        let opened = self.open(place).and_then(|mut client| {
            client.started_ns = due_ns;
            self.watch(place, &mut client)?;
            self.clients[place] = client;
            Ok(())
        });
        if let Err(error) = opened {
            let now_ns = self.shared.clock.now_ns();
            self.clients[place].close(End::new(Cause::Replaced, "replaced"), now_ns);
            self.comings.failed(&error.to_string());
        }
        true
    }

    /// Lets the slow readers take what they may.
    pub(super) fn receive_slowly(&mut self, spans: &mut Spans) {
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
            if let Err(end) = self.receive(place, until, spans) {
                self.lost(place, end);
            }
            let took = self.clients[place].received_bytes - before;
            self.slow.credits[at] -= took as i64;
        }
    }

    /// At the end: takes what is left for the slow readers, whose faults count like all others.
    /// Behind it is the server's Close, or the end, or nothing.
    pub(super) fn receive_backlogs(&mut self, spans: &mut Spans) {
        let until = Instant::now() + BACKLOG_PATIENCE;
        let places = std::mem::take(&mut self.slow.places);
        let is_open = |client: &Client| client.is_open();
        while places
            .iter()
            .any(|place| self.clients.get(*place).is_some_and(is_open))
            && Instant::now() < until
        {
            let mut is_quiet = true;
            for place in &places {
                let Some(client) = self.clients.get(*place).filter(|client| is_open(client)) else {
                    continue;
                };
                let before = client.received_bytes;
                if let Err(end) = self.receive(*place, self.buffer.len(), spans) {
                    self.lost(*place, end);
                }
                is_quiet &= self.clients[*place].received_bytes == before;
            }
            if is_quiet {
                std::thread::sleep(BACKLOG_PAUSE);
            }
        }
    }
}
