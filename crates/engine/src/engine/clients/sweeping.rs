//! Deadlines of open connections, and sends that are tried again once a tick.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Clients;
use super::pulse::Pulse;
use crate::clock::{Tick, ticks_of};
use crate::engine::close_reason::CloseReason;
use crate::engine::ids::Key;
use crate::fanout::room::EndpointId;
use crate::limits::TICK;
use crate::wire::frame::Opcode;

impl Clients {
    /// Removes old entries of the address buckets, a few in every tick.
    pub(in crate::engine) fn forget_addresses(&self) {
        let (clock, shared) = (&self.core.clock, &self.core.shared);
        if self.core.id == 0 {
            for buckets in [&shared.connects, &shared.failed_credentials] {
                buckets.forget_some(clock.tick() as usize, clock.turn_ns());
            }
        }
    }

    /// Tries sends again that failed because the kernel was short of memory.
    pub(in crate::engine) fn retry_send(&mut self) {
        for key in std::mem::take(&mut self.core.starved) {
            if let Some(connection) = self.core.connection(key) {
                connection.is_writable = true;
                self.core.mark_dirty(key);
            }
        }
    }

    pub(in crate::engine) fn sweep_open(&mut self, key: Key, now: SystemTime) {
        let (tick, reading_tick) = (self.core.clock.tick(), self.core.clock.reading_tick());
        let message_timeout = self.core.settings.timeouts.message;
        let connection = &self.core.connections[key.index as usize];
        // A paused connection is not read, so its silence and message timeouts do not run.
        let is_paused = connection.is_paused() || connection.is_held;
        let keepalive = self.core.settings_of(connection.endpoint).keepalive;
        let is_past = |since: Tick, timeout: Duration| {
            !is_paused
                && timeout > Duration::ZERO
                && reading_tick.saturating_sub(since) > ticks_of(timeout)
        };
        let expires = connection.extras.terms().and_then(|terms| terms.expires);
        if expires.is_some_and(|expires| expires <= now) {
            self.core.schedule_close(key, CloseReason::Expired);
        } else if is_past(connection.heard_tick, keepalive.pong) {
            self.core.schedule_close(key, CloseReason::PingTimeout);
        } else if connection.message_since_tick > 0
            && is_past(connection.message_since_tick, message_timeout)
        {
            self.core.schedule_close(key, CloseReason::MessageTimeout);
        } else if keepalive.ping > Duration::ZERO && tick >= connection.next_ping_tick {
            self.core.connections[key.index as usize].next_ping_tick =
                tick + ticks_of(keepalive.ping);
            let now_ns = self.core.clock.turn_ns();
            self.core.enqueue_control(key, Opcode::Ping, &[], now_ns);
        }
    }

    /// Publishes how many runs wait for an earlier ticket, and how long.
    pub(in crate::engine) fn note_held(&mut self) {
        let (runs, age) = self.core.exchange.held(self.core.clock.tick());
        let stats = &self.core.stats().exchange;
        stats.held_runs.set(runs);
        let age_ms = u64::from(age) * TICK.as_millis() as u64;
        stats.held_age_ms.set(age_ms);
    }

    /// Tells the endpoints that a second has passed.
    pub(in crate::engine) fn pulse_endpoints(&mut self) {
        let endpoints = Arc::clone(&self.endpoints);
        for (number, endpoint) in endpoints.iter().enumerate() {
            let mut pulse = Pulse::new(&mut self.core, EndpointId(number as u16));
            let call = AssertUnwindSafe(|| endpoint.pulse(&mut pulse));
            if catch_unwind(call).is_err() {
                self.core.stats().endpoint_panics.add(1);
                tracing::error!("endpoint code panicked");
            }
        }
    }
}
