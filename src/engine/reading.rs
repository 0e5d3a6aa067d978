//! What a connection's bytes mean: frames of an open WebSocket, and the way to its end.
//!
//! The phases and the transitions between them are drawn in `LIFECYCLE.md` beside this file.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::attachments::Attachments;
use super::clock::ticks_of;
use super::close_reason::{CloseReason, Refusal};
use super::connection::{Key, Phase};
use super::core::Core;
use super::delivery;
use super::endpoint::Endpoint;
use super::pace::{Meter, Pace};
use super::session::Session;
use super::settings::Rate;
use super::shard::Shard;
use super::stats::{Counter, ShardStats};
use crate::fanout::outbox::Origin;
use crate::limits::{INFLATED_BYTES_MAX, REFUSING_WAIT};
use crate::wire::close::append_close;
use crate::wire::decoder::{Decoder, DecoderLimits, Input, Item, Message};
use crate::wire::frame::{Opcode, append_frame};
use crate::wire::http::Response;

/// What one receive buffer held.
#[derive(Default)]
struct Heard {
    messages: u64,
    message_bytes: u64,
    /// Of these what was inflated.
    inflated_bytes: usize,
}

impl Shard {
    /// Takes in what a connection has sent.
    pub(super) fn take_bytes(&mut self, key: Key, bytes: &mut [u8], received_ns: u64) {
        let Some(connection) = self.core.connection(key) else {
            return;
        };
        match connection.phase {
            Phase::Request => self.take_request(key, bytes, received_ns),
            Phase::Open | Phase::Closing => self.take_frames(key, bytes, received_ns),
            Phase::Handshake
            | Phase::Deferred
            | Phase::Draining
            | Phase::Lingering
            | Phase::Dead => {}
        }
    }

    /// Takes in frames.
    pub(super) fn take_frames(&mut self, key: Key, bytes: &mut [u8], received_ns: u64) {
        let reading_tick = self.core.clock.reading_tick();
        let Some(connection) = self.core.connection(key) else {
            return;
        };
        connection.heard_tick = reading_tick;
        let endpoint = Arc::clone(&self.endpoints[usize::from(connection.endpoint.0)]);
        let mut decoder = std::mem::replace(&mut connection.decoder, Decoder::new());
        let mut pace = connection.pace.take();
        let held_before = decoder.held_bytes();
        let waits = self.decode(
            key,
            (&mut decoder, &mut pace),
            bytes,
            &endpoint,
            received_ns,
        );
        let held = decoder.held_bytes();
        let is_mid_message = decoder.is_mid_message();
        let Some(connection) = self.core.connection(key) else {
            return;
        };
        connection.decoder = decoder;
        connection.pace = pace;
        connection.message_since_tick = match (is_mid_message, connection.message_since_tick) {
            (false, _) => 0,
            (true, 0) => reading_tick.max(1),
            (true, since) => since,
        };
        if held != held_before {
            self.held_changed(held_before, held);
        }
        if let Some(rest_bytes) = waits {
            let rest = &bytes[bytes.len() - rest_bytes..];
            self.core.pause(key, rest, received_ns);
            self.relieve_inbound();
        }
    }

    /// Returns, of a connection that has to wait before it may send more, how many bytes at the end
    /// are not its turn.
    fn decode(
        &mut self,
        key: Key,
        (decoder, pace): (&mut Decoder, &mut Option<Box<Pace>>),
        bytes: &mut [u8],
        endpoint: &Arc<dyn Endpoint>,
        received_ns: u64,
    ) -> Option<usize> {
        let (limits, rate) = self.bounds_of(key);
        let mut meter = Meter::new(pace, rate, received_ns);
        let mut heard = Heard::default();
        let mut input = Input::new(bytes);
        loop {
            let is_open = self.core.is_open(key);
            if is_open && meter.must_wait() && !input.is_empty() {
                break;
            }
            match decoder.next(&mut input, &limits) {
                Ok(None) => break,
                Ok(Some(Item::Message(message)))
                    if is_open && self.gets_through(key, &mut meter, message.payload.len()) =>
                {
                    heard.messages += 1;
                    heard.message_bytes += message.payload.len() as u64;
                    self.call_message(key, endpoint, message, received_ns);
                }
                Ok(Some(Item::Compressed(message)))
                    if is_open && self.gets_through(key, &mut meter, 0) =>
                {
                    // Past the bound even one byte is too much.
                    let max = match heard.inflated_bytes {
                        0..=INFLATED_BYTES_MAX => limits.message_bytes,
                        _ => 0,
                    };
                    let bytes = self.call_compressed(key, endpoint, message, max, received_ns);
                    heard.messages += u64::from(bytes.is_some());
                    heard.message_bytes += bytes.unwrap_or(0) as u64;
                    heard.inflated_bytes += bytes.unwrap_or(0);
                    meter.spend_bytes(bytes.unwrap_or(0));
                }
                Ok(Some(Item::Ping(payload)))
                    if is_open && self.ping_gets_through(key, &mut meter, payload.len()) =>
                {
                    let mut pong = Vec::with_capacity(2 + payload.len());
                    append_frame(&mut pong, Opcode::Pong, payload);
                    self.core.enqueue(key, pong, Origin::Pong, received_ns);
                }
                Ok(Some(
                    Item::Message(_) | Item::Compressed(_) | Item::Ping(_) | Item::Pong(_),
                )) => {}
                Ok(Some(Item::Close(frame))) => {
                    let code = frame.map(|frame| frame.code);
                    self.core.connections[key.index as usize].is_read_closed = true;
                    self.core.doom(key, CloseReason::ClientClosed(code));
                    break;
                }
                Err(error) => {
                    self.core.doom(key, CloseReason::Protocol(error));
                    break;
                }
            }
        }
        let stats = self.core.stats();
        stats.messages.add(heard.messages);
        stats.message_bytes.add(heard.message_bytes);
        (self.core.is_open(key) && meter.must_wait()).then(|| input.len())
    }

    /// What the connection may send, and how fast.
    fn bounds_of(&self, key: Key) -> (DecoderLimits, Rate) {
        let connection = &self.core.connections[key.index as usize];
        let settings = self.core.settings_of(connection.endpoint);
        let limits = DecoderLimits {
            message_bytes: settings.message_bytes,
            frame_bytes: settings.frame_bytes,
            allows_compressed: connection.window_bits > 0,
        };
        (limits, settings.rate)
    }

    fn call_message(
        &mut self,
        key: Key,
        endpoint: &Arc<dyn Endpoint>,
        message: Message<'_>,
        received_ns: u64,
    ) {
        let mut session = Session::new(&mut self.core, key, received_ns);
        let call = AssertUnwindSafe(|| endpoint.message(&mut session, message));
        if catch_unwind(call).is_err() {
            self.endpoint_panicked(key);
        }
    }

    /// Inflates a message and gives it to the endpoint. Returns how large it is, unless the
    /// connection is to be closed for it.
    fn call_compressed(
        &mut self,
        key: Key,
        endpoint: &Arc<dyn Endpoint>,
        compressed: Message<'_>,
        message_bytes_max: usize,
        received_ns: u64,
    ) -> Option<usize> {
        // The endpoint may be given the whole core, so the message must not lie in it.
        let mut inflater = std::mem::take(&mut self.core.inflater);
        let inflated = inflater.inflate(compressed, message_bytes_max);
        let bytes = inflated.map(|message| {
            self.core.stats().inflated.add(1);
            self.call_message(key, endpoint, message, received_ns);
            message.payload.len()
        });
        self.core.inflater = inflater;
        if let Err(error) = bytes {
            self.core.stats().inflations_refused[error as usize].add(1);
            self.core.doom(key, CloseReason::Protocol(error.into()));
        }
        bytes.ok()
    }

    pub(super) fn endpoint_panicked(&mut self, key: Key) {
        self.core.stats().endpoint_panics.add(1);
        tracing::error!(connection = %self.core.connection_id(key), "endpoint code panicked");
        self.core.doom(key, CloseReason::EndpointPanic);
    }

    /// Keeps account of partial messages. Over the bound, the largest that this shard holds goes.
    fn held_changed(&mut self, before: usize, now: usize) {
        let inbound = &self.core.doors.inbound;
        if now < before {
            inbound.fetch_sub(before - now, Ordering::Relaxed);
            return;
        }
        inbound.fetch_add(now - before, Ordering::Relaxed);
        self.relieve_inbound();
    }

    /// Where partial messages and requests take more than they may, the largest on this shard goes.
    pub(super) fn relieve_inbound(&mut self) {
        let total = self.core.doors.inbound.load(Ordering::Relaxed);
        if total <= self.core.settings.inbound_bytes_max {
            return;
        }
        let candidates = self.core.connections.iter().filter(|(_, each)| {
            !each.is_doomed && matches!(each.phase, Phase::Request | Phase::Open)
        });
        let largest = candidates.max_by_key(|(_, each)| each.held_bytes());
        if let Some((index, connection)) = largest {
            let key = Key {
                index: index as u32,
                generation: connection.generation,
            };
            self.core.doom(key, CloseReason::InboundBudget);
        }
    }

    /// Ends a connection, gracefully where the reason allows it.
    pub(super) fn close(&mut self, key: Key, reason: &CloseReason) {
        let Some(connection) = self.core.connection(key) else {
            return;
        };
        connection.is_doomed = false;
        match connection.phase {
            Phase::Open => self.close_open(key, reason),
            // The answer to our Close, or a client that cannot even close properly.
            Phase::Closing => match reason {
                CloseReason::ClientGone => self.die(key),
                _ => self.drain(key),
            },
            Phase::Request | Phase::Deferred if *reason == CloseReason::Shutdown => {
                let response = Response::text(503, "The relay is shutting down.\n");
                self.refuse_unfinished(key, Refusal::Shutdown, &response);
            }
            Phase::Request if *reason == CloseReason::InboundBudget => {
                let response = Response::text(503, "The relay is short of memory.\n")
                    .with_header("Retry-After", "5");
                self.refuse_unfinished(key, Refusal::InboundBudget, &response);
            }
            Phase::Draining | Phase::Lingering if *reason != CloseReason::ClientGone => {}
            _ => self.die(key),
        }
        // What it sent after the reason for its end was not read.
        if self
            .core
            .connection(key)
            .is_some_and(|connection| connection.is_readable || connection.has_rest())
        {
            self.core.queue_read(key);
        }
    }

    fn close_open(&mut self, key: Key, reason: &CloseReason) {
        let received_ns = self.core.clock.turn_ns();
        let endpoint = self.core.connections[key.index as usize].endpoint;
        let endpoint = Arc::clone(&self.endpoints[usize::from(endpoint.0)]);
        let mut session = Session::new(&mut self.core, key, received_ns);
        let call = AssertUnwindSafe(|| endpoint.closed(&mut session, reason));
        if catch_unwind(call).is_err() {
            self.core.stats().endpoint_panics.add(1);
            tracing::error!(connection = %self.core.connection_id(key), "endpoint code panicked");
        }
        if !reason.is_slow() && !reason.is_unreachable() {
            delivery::deliver_rest(&mut self.core, key);
        }
        self.core.leave_all(key);
        self.core.stats().closed[reason.label_index()].add(1);
        self.log_closed(key, reason);
        let is_gone = *reason == CloseReason::ClientGone;
        let connection = &mut self.core.connections[key.index as usize];
        connection.state = None;
        connection.attachments = Attachments::default();
        connection.message_since_tick = 0;
        if is_gone {
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
        let peer = self.core.connections[key.index as usize].peer;
        match reason {
            CloseReason::Protocol(error) => {
                tracing::debug!(%connection, %peer, reason = reason.label(), %error, "closed");
            }
            reason if reason.is_slow() => {
                tracing::info!(%connection, %peer, reason = reason.label(), "slow client closed");
            }
            reason => tracing::debug!(%connection, %peer, reason = reason.label(), "closed"),
        }
    }

    /// Nothing more is queued: what waits goes out, then the stream ends.
    pub(super) fn drain(&mut self, key: Key) {
        self.enter_phase(key, Phase::Draining);
        // Nothing that still comes is decoded, so nothing is held for it.
        let connection = &mut self.core.connections[key.index as usize];
        connection.pace = None;
        let held = std::mem::take(&mut connection.decoder).held_bytes();
        if held > 0 {
            self.held_changed(held, 0);
        }
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
            // Both sides have said all that they will.
            return self.die(key);
        }
        // Closing now would reset the connection if the client is still sending, and the reset
        // could overtake what we sent. So only our direction ends; theirs is read until it does.
        if connection.stream.finish().is_err() {
            return self.die(key);
        }
        self.enter_phase(key, Phase::Lingering);
        self.linger_apart(key);
        self.core.queue_read(key);
    }

    /// The client has ended its direction of the stream.
    pub(super) fn client_ended(&mut self, key: Key) {
        let Some(connection) = self.core.connection(key) else {
            return;
        };
        connection.is_read_closed = true;
        connection.is_readable = false;
        match connection.phase {
            // A client may end its direction and still want the answer to what it asked.
            Phase::Request | Phase::Draining if !connection.outbox.is_empty() => self.drain(key),
            _ => self.client_gone(key),
        }
    }

    /// The connection is of no use any more.
    pub(super) fn client_gone(&mut self, key: Key) {
        self.close(key, &CloseReason::ClientGone);
    }

    /// Removes the connection at the end of the turn.
    pub(super) fn die(&mut self, key: Key) {
        let Some(connection) = self.core.connection(key) else {
            return;
        };
        if connection.phase == Phase::Dead {
            return;
        }
        debug_assert!(connection.rooms.len() == 0, "a member that dies");
        self.enter_phase(key, Phase::Dead);
        self.core.dead.push(key);
    }

    /// The one place where a phase changes: gauges and deadlines follow.
    pub(super) fn enter_phase(&mut self, key: Key, phase: Phase) {
        let close_ticks = ticks_of(self.core.settings.timeouts.close);
        let Core {
            connections,
            doors,
            id,
            clock,
            ..
        } = &mut self.core;
        let connection = &mut connections[key.index as usize];
        let stats = &doors.doors[usize::from(*id)].stats;
        debug_assert!(
            connection.phase == phase || Phase::TRANSITIONS.contains(&(connection.phase, phase)),
            "from {:?} to {phase:?}",
            connection.phase
        );
        if let Some(gauge) = gauge(stats, connection.phase) {
            gauge.set(gauge.get().saturating_sub(1));
        }
        if let Some(gauge) = gauge(stats, phase) {
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
}

/// The gauge that counts connections in a phase.
pub(super) fn gauge(stats: &ShardStats, phase: Phase) -> Option<&Counter> {
    match phase {
        Phase::Handshake | Phase::Request | Phase::Deferred => Some(&stats.connecting),
        Phase::Open => Some(&stats.open),
        Phase::Closing | Phase::Draining | Phase::Lingering => Some(&stats.closing),
        Phase::Dead => None,
    }
}
