//! The end of connections: they are closed by a reason, leave their rooms, and leave the slab.
//!
//! Each step is bounded by the turn's work, however many connections end at once and however many
//! rooms they are in: the next turn goes on with the rest. Until a connection has left its last
//! room it stays in the slab, but it gets nothing that is published to its rooms
//! ([`super::delivery`]).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::client::Client;
use super::connection::Phase;
use super::core::Core;
use super::delivery;
use crate::clock::ticks_of;
use crate::engine::clients::Clients;
use crate::engine::close_reason::CloseReason;
use crate::engine::ids::Key;
use crate::engine::refusal::{Refusal, Refused};
use crate::fanout::outbox::{Origin, Outbox};
use crate::limits::{PRICE_CLOSING, PRICE_ROOM_LEFT, REFUSING_WAIT};
use crate::wire::close::append_close;

impl Core {
    /// Ends the memberships of a connection that is not open any more: at least one, and as many as
    /// the turn's work allows. Later turns end the rest.
    fn leave_rooms(&mut self, key: Key) {
        while let Some(connection) = self.connection(key)
            && let Some(last) = connection.rooms.len().checked_sub(1)
            && let Some(membership) = connection.rooms.at(last)
        {
            self.leave(key, membership.room);
            self.work.spend(PRICE_ROOM_LEFT);
            if last > 0 && self.work.is_spent() {
                return self.leaving.push_back(key);
            }
        }
    }
}

impl Clients {
    /// Marks the connection as dead. It is removed at the end of a turn, when it has left its
    /// rooms.
    pub(in crate::engine) fn die(&mut self, key: Key) {
        let Some(connection) = self.core.connection(key) else {
            return;
        };
        if connection.phase == Phase::Dead {
            return;
        }
        let is_member = connection.rooms.len() > 0;
        self.enter_phase(key, Phase::Dead);
        if !is_member {
            self.core.dead.push(key);
        }
    }

    /// Goes on with connections that leave their rooms, and removes those that are dead. This is
    /// bounded too: thousands of clients that disconnect at once, each in many rooms, must not
    /// delay those that stay. Slots of the slab become free only here and in
    /// [`Clients::remove_at_once`].
    pub(in crate::engine) fn reap(&mut self) {
        self.go_on_leaving();
        self.core.exchange.wake_if_freed();
        while let Some(key) = self.core.dead.pop() {
            self.remove(key);
            if self.core.work.is_spent() {
                break;
            }
        }
        let core = &self.core;
        let more = !(core.to_close.is_empty() && core.leaving.is_empty() && core.dead.is_empty());
        core.note_cut(more);
    }

    /// Removes a connection that has just died, for a caller that needs its file before the turn
    /// ends.
    pub(super) fn remove_at_once(&mut self, key: Key) {
        if self.core.dead.last() == Some(&key) {
            self.core.dead.pop();
            self.remove(key);
        }
    }

    fn go_on_leaving(&mut self) {
        for _ in 0..self.core.leaving.len() {
            let Some(key) = self.core.leaving.pop_front() else {
                return;
            };
            self.core.leave_rooms(key);
            let Some(connection) = self.core.connection(key) else {
                continue;
            };
            if connection.phase == Phase::Dead && connection.rooms.len() == 0 {
                self.core.dead.push(key);
            }
            if self.core.work.is_spent() {
                return;
            }
        }
    }

    pub(super) fn remove(&mut self, key: Key) {
        self.core.work.spend(PRICE_CLOSING);
        let connection = self.core.connections.remove(key.index as usize);
        debug_assert!(connection.phase == Phase::Dead && connection.generation == key.generation);
        debug_assert!(connection.rooms.len() == 0, "a member that is removed");
        let held_bytes = connection.decoder.held_bytes();
        let inbound = &self.core.shared.inbound;
        inbound.fetch_sub(held_bytes, Ordering::Relaxed);
        self.give_place_back(&connection);
        self.core.close_file(connection.stream.into());
    }

    /// Ends a connection, gracefully if the reason allows it. Returns the refusal that is still
    /// owed to the client of an unfinished request.
    pub(in crate::engine) fn close(&mut self, key: Key, reason: &CloseReason) -> Option<Refused> {
        let connection = self.core.connection(key)?;
        connection.is_close_scheduled = false;
        self.core.work.spend(PRICE_CLOSING);
        let is_for_memory = matches!(reason, CloseReason::InboundBudget | CloseReason::SlowMemory);
        let mut owed = None;
        match self.core.connection(key)?.phase {
            Phase::Open => self.close_open(key, reason),
            // Nothing that could still be sent is worth the memory.
            Phase::Draining | Phase::Lingering if is_for_memory => self.die(key),
            // The client has answered our Close, or cannot even close properly.
            Phase::Closing => match reason {
                CloseReason::ClientGone | CloseReason::SlowMemory => self.die(key),
                _ => self.drain(key),
            },
            Phase::Request | Phase::Deferred if *reason == CloseReason::Shutdown => {
                let told = "The relay is shutting down.";
                owed = Some(Refused::of(Refusal::Shutdown, 503, told));
            }
            Phase::Request | Phase::Deferred if *reason == CloseReason::InboundBudget => {
                let told = "The relay is short of memory.";
                let refused = Refused::of(Refusal::InboundBudget, 503, told);
                owed = Some(refused.retry_after(5));
            }
            Phase::Draining | Phase::Lingering if *reason != CloseReason::ClientGone => {}
            _ => self.die(key),
        }
        // Data that arrived after the reason for the close has not been read yet.
        if self
            .core
            .connection(key)
            .is_some_and(|connection| connection.is_readable || connection.has_rest())
        {
            self.core.queue_read(key);
        }
        owed
    }

    pub(super) fn close_open(&mut self, key: Key, reason: &CloseReason) {
        let received_ns = self.core.clock.turn_ns();
        let endpoint = self.core.connections[key.index as usize].endpoint;
        let endpoint = Arc::clone(&self.endpoints[usize::from(endpoint.0)]);
        let client = Client::new(&mut self.core, key, received_ns);
        let call = AssertUnwindSafe(|| endpoint.closed(client, reason));
        if catch_unwind(call).is_err() {
            self.core.stats().endpoint_panics.add(1);
            tracing::error!(connection = %self.core.connection_id(key), "endpoint code panicked");
        }
        self.core.settle();
        if !reason.is_slow() && !reason.is_unreachable() {
            delivery::deliver_rest(&mut self.core, key);
            self.core.send_all_behind(key);
            self.core.settle();
        }
        self.core.leave_rooms(key);
        self.core.stats().closed[reason.label_index()].add(1);
        self.log_closed(key, reason);
        let is_gone = *reason == CloseReason::ClientGone;
        let connection = &mut self.core.connections[key.index as usize];
        connection.state = None;
        connection.extras.clear_attachments();
        connection.message_since_tick = 0;
        if is_gone || connection.is_cut {
            return self.die(key);
        }
        if *reason == CloseReason::Tls {
            return self.drain_alert(key);
        }
        if reason.is_slow() {
            let dropped = connection.outbox.clear(true);
            self.core
                .stats()
                .dropped_frames
                .add(u64::from(dropped.frames));
        }
        let mut frame = Vec::with_capacity(32);
        append_close(&mut frame, reason.close_code(), &reason.close_text());
        self.core.enqueue(key, frame, Origin::Close, received_ns);
        if reason.is_failure() || matches!(reason, CloseReason::ClientClosed(_)) {
            self.drain(key);
        } else {
            self.enter_phase(key, Phase::Closing);
        }
    }

    fn log_closed(&self, key: Key, reason: &CloseReason) {
        let connection = self.core.connection_id(key);
        let peer = self.core.connections[key.index as usize].peer();
        let now_ns = self.core.clock.turn_ns();
        match reason {
            CloseReason::Protocol(error) => {
                tracing::debug!(%connection, %peer, reason = reason.label(), %error, "closed");
            }
            reason
                if reason.is_slow()
                    && let Some(suppressed) = self.core.shared.notices.slow_client.due(now_ns) =>
            {
                let reason = reason.label();
                tracing::info!(%connection, %peer, reason, suppressed, "slow client closed");
            }
            reason => tracing::debug!(%connection, %peer, reason = reason.label(), "closed"),
        }
    }

    /// Nothing more is queued: the outbox is sent, and then the stream ends.
    pub(in crate::engine) fn drain(&mut self, key: Key) {
        self.enter_phase(key, Phase::Draining);
        // Later data is read but not decoded, so no memory is kept for it.
        let connection = &mut self.core.connections[key.index as usize];
        connection.extras.set_pace(None);
        let held = std::mem::take(&mut connection.decoder).held_bytes();
        self.core.shared.inbound.fetch_sub(held, Ordering::Relaxed);
        self.core.mark_dirty(key);
    }

    /// The outbox has become empty.
    pub(super) fn all_sent(&mut self, key: Key) {
        let Some(connection) = self.core.connection(key) else {
            return;
        };
        if connection.phase != Phase::Draining {
            return;
        }
        if connection.is_read_closed {
            // Both sides have ended their direction.
            return self.die(key);
        }
        // Closing now would reset the connection if the client is still sending, and the reset
        // could overtake what we have sent. So we end only our direction, and read until the client
        // ends its own.
        if connection.stream.finish().is_err() {
            return self.die(key);
        }
        self.enter_phase(key, Phase::Lingering);
        self.linger_apart(key);
        self.core.queue_read(key);
    }

    /// The client has ended its direction of the stream.
    pub(in crate::engine) fn client_ended(&mut self, key: Key) {
        let Some(connection) = self.core.connection(key) else {
            return;
        };
        connection.is_read_closed = true;
        connection.is_readable = false;
        match connection.phase {
            // A client may end its direction and still want the answer to its request.
            Phase::Request | Phase::Draining if !connection.outbox.is_empty() => self.drain(key),
            _ => self.client_gone(key),
        }
    }

    /// The connection cannot be used any more.
    pub(in crate::engine) fn client_gone(&mut self, key: Key) {
        let owed = self.close(key, &CloseReason::ClientGone);
        debug_assert!(
            owed.is_none(),
            "a client that disconnected is owed no answer"
        );
    }

    /// Changes the phase, with its gauges and deadlines. Nothing else may change it.
    pub(in crate::engine) fn enter_phase(&mut self, key: Key, phase: Phase) {
        let close_ticks = ticks_of(self.core.settings.timeouts.close);
        let Core {
            connections,
            shared,
            id,
            clock,
            ..
        } = &mut self.core;
        let connection = &mut connections[key.index as usize];
        let stats = &shared.handles[usize::from(*id)].stats;
        debug_assert!(
            connection.phase == phase || Phase::TRANSITIONS.contains(&(connection.phase, phase)),
            "from {:?} to {phase:?}",
            connection.phase
        );
        if let Some(gauge) = connection.phase.gauge(stats) {
            gauge.set(gauge.get().saturating_sub(1));
        }
        if let Some(gauge) = phase.gauge(stats) {
            gauge.add(1);
        }
        let deflates = (connection.window_bits > 0).then_some(&stats.deflate_open);
        let of_endpoint = stats.endpoint_open.get(usize::from(connection.endpoint.0));
        for open in deflates.into_iter().chain(of_endpoint) {
            match (connection.phase == Phase::Open, phase == Phase::Open) {
                (false, true) => open.add(1),
                (true, false) => open.set(open.get().saturating_sub(1)),
                _ => {}
            }
        }
        if matches!(phase, Phase::Closing | Phase::Draining | Phase::Lingering)
            && !matches!(connection.phase, Phase::Closing | Phase::Draining)
        {
            connection.deadline_tick = clock.tick()
                + match connection.over_limit {
                    Some(_) => close_ticks.min(ticks_of(REFUSING_WAIT)),
                    None => close_ticks,
                };
        }
        connection.phase = phase;
    }

    /// Sends the alert and ends the stream: what waits cannot be encrypted any more.
    pub(in crate::engine) fn drain_alert(&mut self, key: Key) {
        if let Some(connection) = self.core.connection(key) {
            connection.outbox = Outbox::default();
            self.drain(key);
        }
    }

    /// The client's stream has ended. Without its `close_notify` an attacker may have cut the
    /// stream (RFC 8446 §6.1), so the client counts as gone.
    pub(in crate::engine) fn stream_ended(&mut self, key: Key) {
        let Some(connection) = self.core.connection(key) else {
            return;
        };
        let tls = connection.tls.as_ref();
        if tls.is_some_and(|tls| !tls.has_received_end()) {
            connection.is_read_closed = true;
            self.client_gone(key);
        } else {
            self.client_ended(key);
        }
    }
}
