//! Clients that reconnect, and clients that read slowly: a worker's scheduled work besides sending.

use std::time::{Duration, Instant};

use tungstenite::protocol::frame::coding::Control;

use super::Worker;
use super::turns::SLOW_TICK;
use crate::client::{Cause, Client, End};
use crate::frames::append_control;
use crate::interval::Spans;
use crate::plan::Churn;
use crate::report::Storm;

/// Connections of a storm that are replaced before other work gets its turn, so that due messages
/// are not late.
const STORM_BATCH: usize = 8;
/// Time limit at the end for reading the backlogs of all slow readers of a thread.
const BACKLOG_PATIENCE: Duration = Duration::from_millis(500);
const BACKLOG_PAUSE: Duration = Duration::from_millis(1);
/// Over TLS a read needs room for whole records, even if it should read less.
const SLOW_BYTES_MIN: usize = 96 << 10;

impl Worker {
    /// Replaces the connections whose time has come.
    pub(super) fn replace_due(&mut self) {
        let Some(start_ns) = self.shared.times.start_ns() else {
            return;
        };
        if self.reconnects.places.is_empty() {
            return;
        }
        let now_ns = self.shared.clock.now_ns();
        let end_ns = self.shared.times.end_ns();
        self.continue_storm(now_ns);
        while self.reconnects.storm.0.is_empty() {
            let reconnects = &mut self.reconnects;
            let after = |times: u64| {
                start_ns.saturating_add((times as f64 * reconnects.interval_ns) as u64)
            };
            let (due_ns, next_but_one_ns) =
                (after(reconnects.done + 1), after(reconnects.done + 2));
            let is_storm = matches!(reconnects.churn, Some(Churn::Storms { .. }));
            // The last storm gets as much time to recover as the others.
            let is_over = match is_storm {
                true => next_but_one_ns > end_ns,
                false => due_ns >= end_ns,
            };
            reconnects.next_ns = if is_over { u64::MAX } else { due_ns };
            if reconnects.next_ns > now_ns {
                return;
            }
            if is_storm {
                reconnects.storm = (0..reconnects.places.len(), due_ns);
                reconnects.outcome.storms.push(Storm::default());
            } else {
                let place = reconnects.places[reconnects.done as usize % reconnects.places.len()];
                self.replace_scheduled(place, due_ns);
            }
            self.reconnects.done += 1;
        }
    }

    /// Drops some more of the connections that the storm still has to drop.
    fn continue_storm(&mut self, now_ns: u64) {
        let (left, due_ns) = self.reconnects.storm.clone();
        for at in left.take(STORM_BATCH) {
            self.reconnects.storm.0.start += 1;
            if self.replace_scheduled(self.reconnects.places[at], due_ns)
                && let Some(storm) = self.reconnects.outcome.storms.last_mut()
            {
                storm.dropped += 1;
            }
        }
        if !self.reconnects.storm.0.is_empty() {
            self.reconnects.next_ns = now_ns;
        }
    }

    /// Replaces the connection at `place` on schedule. False if it has not reconnected since the
    /// last time, so that it is skipped.
    fn replace_scheduled(&mut self, place: usize, due_ns: u64) -> bool {
        let is_replaced = self.replace(place, due_ns);
        self.reconnects.outcome.due += 1;
        self.reconnects.outcome.skipped += u64::from(!is_replaced);
        is_replaced
    }

    /// Ends the connection at `place` and opens a new one there, due at `due_ns`. False if there is
    /// none to end yet.
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
            // In a storm connections break without a Close.
            if matches!(self.reconnects.churn, Some(Churn::Steady { .. })) {
                let mut goodbye = Vec::new();
                let (mask, code) = (self.shared.payloads.mask(), 1000_u16.to_be_bytes());
                append_control(&mut goodbye, Control::Close, mask, &code);
                // Whether the Close arrives does not matter.
                let _ = client.write(&goodbye);
            }
            // The side that closes first keeps the port in TIME_WAIT for a minute; a reset does
            // not.
            client.reset_on_drop();
            self.progress.left(&self.relay, client.index);
        }
        self.reconnects.gone(&std::mem::take(&mut client.receiver));
        let opened = self.open(place).and_then(|mut client| {
            client.started_ns = due_ns;
            self.watch(place, &mut client)?;
            self.clients[place] = client;
            Ok(())
        });
        if let Err(error) = opened {
            let now_ns = self.shared.clock.now_ns();
            self.clients[place].close(End::new(Cause::Replaced, "replaced"), now_ns);
            self.reconnects.failed(&error.to_string());
        }
        true
    }

    /// Lets the slow readers read what their rate allows.
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

    /// At the end: reads the backlog of the slow readers, whose faults count like all others. After
    /// it comes the server's Close, or the end of the stream, or nothing.
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
