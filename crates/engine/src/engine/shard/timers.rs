//! Deadlines: a sweep over the connections instead of a timer for each of them.
//!
//! Every tick visits a part of the connections, so that each is visited once a second; if there are
//! few, every tick visits all of them. A deadline is enforced at most a second late, and never
//! early. Nothing else is walked: the cost of a tick depends on the connections that exist, and
//! neither on rooms nor on past peaks.

use std::time::{Duration, SystemTime};

use crate::clock::ticks_of;
use crate::engine::clients::connection::Phase;
use crate::engine::clients::slow;
use crate::engine::ids::Key;
use crate::engine::shard::Shard;
use crate::limits::{SWEEP_CONNECTIONS_MIN, SWEEP_CONNECTIONS_PER_TURN, TICKS_PER_SWEEP};

/// The interval of [`Shard::pulse`].
const PULSE: Duration = Duration::from_secs(1);

impl Shard {
    /// Does the work that is due once a tick, and goes on with an unfinished sweep.
    ///
    /// It comes after the reading of the turn. Otherwise a client could be closed for silence, or
    /// for a late request, although its bytes have arrived.
    pub(in crate::engine) fn timers(&mut self) {
        let tick = self.clients.core.clock().tick();
        if tick == self.timers_tick {
            if self.sweep_left > 0 {
                self.sweep();
                self.edge.close_scheduled(&mut self.clients);
            }
            return;
        }
        self.timers_tick = tick;
        self.busy_window.measure(tick, self.clients.core.stats());
        self.retry_accept();
        slow::begin_sweep(&mut self.clients.core);
        self.clients.retry_send();
        let connections = self.clients.core.connections().len();
        self.sweep_left = connections.div_ceil(TICKS_PER_SWEEP);
        self.sweep_left = self.sweep_left.max(SWEEP_CONNECTIONS_MIN);
        self.sweep();
        self.clients.forget_addresses();
        self.pulse();
        self.edge.close_scheduled(&mut self.clients);
    }

    /// Visits the connections that are due in this tick, a bounded number in each turn.
    fn sweep(&mut self) {
        let now = SystemTime::now();
        for _ in 0..self.sweep_left.min(SWEEP_CONNECTIONS_PER_TURN) {
            let Some(index) = self.clients.core.connections().next_from(self.sweep_from) else {
                break;
            };
            self.sweep_from = index + 1;
            self.sweep_left -= 1;
            self.sweep_connection(index, now);
        }
        let rest = self.clients.core.connections().next_from(self.sweep_from);
        if rest.is_none() {
            self.end_sweep();
        }
    }

    /// All connections were visited. The next tick begins with the first one again.
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
        let Some(connection) = self.clients.core.connections().get(index) else {
            return;
        };
        self.sweep_outbox_bytes += connection.outbox_bytes();
        let key = Key {
            index: index as u32,
            generation: connection.generation(),
        };
        let is_due = self.clients.core.clock().tick() >= connection.deadline_tick();
        let is_due_reading = self.clients.core.clock().reading_tick() >= connection.deadline_tick();
        let phase = connection.phase();
        if connection.awaits_proxy_header() && is_due_reading && phase != Phase::Dead {
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

    /// Tells the endpoints that a second has passed: their local parts on every shard, and the
    /// endpoints themselves on the admin shard. Called once a tick.
    fn pulse(&mut self) {
        let tick = self.clients.core.clock().tick();
        if tick < self.next_pulse_tick {
            return;
        }
        self.next_pulse_tick = tick + ticks_of(PULSE);
        self.clients.tick_endpoints();
        let is_admin = self.clients.core.id() >= self.clients.core.shared().relaying;
        if !is_admin || !self.edge.stop.is_accepting() {
            return;
        }
        self.clients.pulse_endpoints();
    }
}
