//! Deadlines: a sweep over the connections, never a timer for each of them.
//!
//! Every tick looks at a part of the connections, so that all of them are seen once a second; where
//! there are few they are seen in every tick. A deadline is kept at the latest a second after it is
//! due, and never early. Nothing else is walked over: what a tick costs follows the connections
//! that there are, and neither rooms nor what was there once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::clock::{Tick, ticks_of};
use crate::engine::clients::Clients;
use crate::engine::clients::connection::Phase;
use crate::engine::clients::pulse::Pulse;
use crate::engine::clients::slow;
use crate::engine::close_reason::CloseReason;
use crate::engine::ids::Key;
use crate::engine::shard::Shard;
use crate::fanout::outbox::Origin;
use crate::fanout::room::EndpointId;
use crate::limits::{SWEEP_CONNECTIONS_MIN, SWEEP_CONNECTIONS_PER_TURN, TICK, TICKS_PER_SWEEP};
use crate::wire::frame::{Opcode, append_frame};

/// Endpoints are told that a second is over this often.
const PULSE: Duration = Duration::from_secs(1);

impl Shard {
    /// Does what is due once a tick.
    pub(in crate::engine) fn timers(&mut self) {
        let tick = self.clients.core.clock.tick();
        if tick == self.timers_tick {
            if self.sweep_left > 0 {
                self.sweep();
                self.edge.close_doomed(&mut self.clients);
            }
            return;
        }
        self.timers_tick = tick;
        self.busy_window.measure(tick, self.clients.core.stats());
        self.retry_accept();
        slow::begin_sweep(&mut self.clients.core);
        self.clients.retry_send();
        let connections = self.clients.core.connections.len();
        self.sweep_left = connections.div_ceil(TICKS_PER_SWEEP);
        self.sweep_left = self.sweep_left.max(SWEEP_CONNECTIONS_MIN);
        self.sweep();
        self.clients.forget_addresses();
        self.pulse();
        self.edge.close_doomed(&mut self.clients);
    }

    /// Looks at the connections that are due in this tick, a bounded number in each turn.
    fn sweep(&mut self) {
        let now = SystemTime::now();
        for _ in 0..self.sweep_left.min(SWEEP_CONNECTIONS_PER_TURN) {
            let Some(index) = self.clients.core.connections.next_from(self.sweep_from) else {
                break;
            };
            self.sweep_from = index + 1;
            self.sweep_left -= 1;
            self.sweep_connection(index, now);
        }
        let rest = self.clients.core.connections.next_from(self.sweep_from);
        if rest.is_none() {
            self.end_sweep();
        }
    }

    /// All connections were looked at. The next tick begins with the first one again.
    fn end_sweep(&mut self) {
        self.sweep_from = 0;
        self.sweep_left = 0;
        let outbox_bytes = std::mem::take(&mut self.sweep_outbox_bytes);
        self.clients
            .core
            .stats()
            .outbox_bytes
            .set(outbox_bytes as u64);
        slow::note_lagging(&self.clients.core);
        self.clients.note_held();
        self.clients.core.shrink();
    }

    fn sweep_connection(&mut self, index: usize, now: SystemTime) {
        let Some(connection) = self.clients.core.connections.get(index) else {
            return;
        };
        self.sweep_outbox_bytes += connection.outbox.bytes();
        let key = Key {
            index: index as u32,
            generation: connection.generation,
        };
        let is_due = self.clients.core.clock.tick() >= connection.deadline_tick;
        let is_due_reading = self.clients.core.clock.reading_tick() >= connection.deadline_tick;
        let phase = connection.phase;
        if connection.awaits_proxy_header && is_due_reading && phase != Phase::Dead {
            return self.edge.proxy_header_overdue(&mut self.clients, key);
        }
        match phase {
            Phase::Handshake if is_due_reading => {
                self.edge.handshake_overdue(&mut self.clients, key);
            }
            Phase::Request if is_due_reading => self.edge.request_overdue(&mut self.clients, key),
            Phase::Deferred if is_due => self.edge.answer_overdue(&mut self.clients, key),
            Phase::Deferred => self.edge.answered(&mut self.clients, key),
            Phase::Open => self.clients.sweep_open(key, now),
            Phase::Draining if is_due && self.clients.is_reading_answer(key) => {}
            Phase::Closing | Phase::Draining | Phase::Lingering if is_due => self.clients.die(key),
            _ => {}
        }
    }

    /// Tells the endpoints that a second is over: what they keep here, and on the admin shard
    /// themselves as well. Called once a tick.
    fn pulse(&mut self) {
        let tick = self.clients.core.clock.tick();
        if tick < self.next_pulse_tick {
            return;
        }
        self.next_pulse_tick = tick + ticks_of(PULSE);
        self.clients.tick_endpoints();
        let is_admin = self.clients.core.id >= self.clients.core.doors.relaying;
        if !is_admin || !self.edge.stop.is_accepting() {
            return;
        }
        let endpoints = Arc::clone(&self.clients.endpoints);
        for (number, endpoint) in endpoints.iter().enumerate() {
            let mut pulse = Pulse::new(&mut self.clients.core, EndpointId(number as u16));
            let call = AssertUnwindSafe(|| endpoint.pulse(&mut pulse));
            if catch_unwind(call).is_err() {
                self.clients.core.stats().endpoint_panics.add(1);
                tracing::error!("endpoint code panicked");
            }
        }
    }
}

impl Clients {
    /// Has what addresses did forgotten that is long past, a few of them in every tick.
    fn forget_addresses(&self) {
        let (clock, doors) = (&self.core.clock, &self.core.doors);
        if self.core.id == 0 {
            for buckets in [&doors.connects, &doors.failed_credentials] {
                buckets.forget_some(clock.tick() as usize, clock.turn_ns());
            }
        }
    }

    /// Tries again to send what the kernel had no memory for.
    fn retry_send(&mut self) {
        for key in std::mem::take(&mut self.core.starved) {
            if let Some(connection) = self.core.connection(key) {
                connection.is_writable = true;
                self.core.mark_dirty(key);
            }
        }
    }

    fn sweep_open(&mut self, key: Key, now: SystemTime) {
        let (tick, reading_tick) = (self.core.clock.tick(), self.core.clock.reading_tick());
        let message_timeout = self.core.settings.timeouts.message;
        let connection = &self.core.connections[key.index as usize];
        // Who is not read has no way to be heard, nor to finish a message.
        let is_paused = connection.is_paused() || connection.is_held;
        let keepalive = self.core.settings_of(connection.endpoint).keepalive;
        let is_past = |since: Tick, timeout: Duration| {
            !is_paused
                && timeout > Duration::ZERO
                && reading_tick.saturating_sub(since) > ticks_of(timeout)
        };
        let expires = connection.extras.terms().and_then(|terms| terms.expires);
        if expires.is_some_and(|expires| expires <= now) {
            self.core.doom(key, CloseReason::Expired);
        } else if is_past(connection.heard_tick, keepalive.pong) {
            self.core.doom(key, CloseReason::PingTimeout);
        } else if connection.message_since_tick > 0
            && is_past(connection.message_since_tick, message_timeout)
        {
            self.core.doom(key, CloseReason::MessageTimeout);
        } else if keepalive.ping > Duration::ZERO && tick >= connection.next_ping_tick {
            self.core.connections[key.index as usize].next_ping_tick =
                tick + ticks_of(keepalive.ping);
            let mut ping = Vec::with_capacity(2);
            append_frame(&mut ping, Opcode::Ping, &[]);
            let now_ns = self.core.clock.turn_ns();
            self.core.enqueue(key, ping, Origin::Ping, now_ns);
        }
    }

    /// Publishes how many runs wait for an earlier ticket, and how long.
    fn note_held(&mut self) {
        let (runs, age) = self.core.exchange.held(self.core.clock.tick());
        let stats = &self.core.stats().exchange;
        stats.held_runs.set(runs);
        let age_ms = u64::from(age) * TICK.as_millis() as u64;
        stats.held_age_ms.set(age_ms);
    }
}
