//! Frames of an open WebSocket, and of one that is closing.
//!
//! The phases and their transitions are drawn in `LIFECYCLE.md` beside this file.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::client::Client;
use super::connection::Phase;
use super::erased::ErasedEndpoint;
use super::pace::{Meter, Pace};
use crate::engine::clients::Clients;
use crate::engine::close_reason::CloseReason;
use crate::engine::holders::Turn;
use crate::engine::ids::Key;
use crate::engine::settings::Rate;
use crate::limits::{PRICE_FRAME, PRICE_KIB_INFLATED};
use crate::wire::decoder::{Decoder, DecoderLimits, Input, Item, Message, Passive};
use crate::wire::frame::Opcode;

/// The state of decoding the bytes of one connection.
struct Hearing<'h> {
    endpoint: &'h dyn ErasedEndpoint,
    meter: Meter<'h>,
    message_bytes_max: usize,
    received_ns: u64,
    /// Messages that were passed on.
    messages: u64,
    message_bytes: u64,
}

impl Hearing<'_> {
    #[inline]
    pub(super) fn count(&mut self, message_bytes: usize) {
        self.messages += 1;
        self.message_bytes += message_bytes as u64;
    }
}

/// The point at which decoding stopped early.
struct Stopped {
    by: StoppedBy,
    /// The number of bytes that were not decoded, at the end of those received.
    rest_bytes: usize,
}

enum StoppedBy {
    /// The connection has sent more than it may.
    Rate,
    /// It has used up its share of the turn.
    Turn,
    /// Its endpoint has paused the reading.
    Hold,
}

impl Clients {
    /// Handles received frames.
    pub(in crate::engine) fn handle_frames(
        &mut self,
        key: Key,
        bytes: &mut [u8],
        received_ns: u64,
    ) {
        let reading_tick = self.core.clock.reading_tick();
        let Some(connection) = self.core.connection(key) else {
            return;
        };
        connection.heard_tick = reading_tick;
        if connection.is_held && connection.phase == Phase::Open {
            return self.core.keep_rest(key, bytes);
        }
        let endpoint = Arc::clone(&self.endpoints[usize::from(connection.endpoint.0)]);
        let mut decoder = std::mem::replace(&mut connection.decoder, Decoder::new());
        let mut pace = connection.extras.take_pace();
        let held_before = decoder.held_bytes();
        let stopped = self.decode(
            key,
            (&mut decoder, &mut pace),
            bytes,
            &*endpoint,
            received_ns,
        );
        let held = decoder.held_bytes();
        let is_mid_message = decoder.is_mid_message();
        let Some(connection) = self.core.connection(key) else {
            return;
        };
        connection.decoder = decoder;
        connection.extras.set_pace(pace);
        connection.message_since_tick = match (is_mid_message, connection.message_since_tick) {
            (false, _) => 0,
            (true, 0) => reading_tick.max(1),
            (true, since) => since,
        };
        if held != held_before {
            self.held_changed(key, held_before, held);
        }
        if let Some(stopped) = stopped
            && !self.core.is_close_scheduled(key)
        {
            let rest = &bytes[bytes.len() - stopped.rest_bytes..];
            self.core.keep_rest(key, rest);
            match stopped.by {
                StoppedBy::Rate => self.core.pause(key, received_ns),
                StoppedBy::Turn => self.core.queue_read_on(key),
                StoppedBy::Hold => {}
            }
            self.relieve_inbound();
        }
    }

    /// Returns where it stopped, if it did so before everything was decoded.
    fn decode(
        &mut self,
        key: Key,
        (decoder, pace): (&mut Decoder, &mut Option<Box<Pace>>),
        bytes: &mut [u8],
        endpoint: &dyn ErasedEndpoint,
        received_ns: u64,
    ) -> Option<Stopped> {
        let (limits, rate) = self.bounds_of(key);
        let mut hearing = Hearing {
            endpoint,
            meter: Meter::new(pace, rate, received_ns),
            message_bytes_max: limits.message_bytes,
            received_ns,
            messages: 0,
            message_bytes: 0,
        };
        let mut input = Input::new(bytes);
        let mut has_begun = false;
        loop {
            let connection = &self.core.connections[key.index as usize];
            let is_open = connection.is_open();
            let must_wait = is_open && (connection.is_held || hearing.meter.must_wait());
            // One frame is always decoded, so that this makes progress. Nothing is kept of a
            // connection about to be closed: it is decoded to the end, to find its Close.
            let is_over =
                has_begun && self.core.work.is_quantum_spent() && !connection.is_close_scheduled;
            if (must_wait || is_over) && !input.is_empty() {
                break;
            }
            has_begun = true;
            self.core.work.spend(PRICE_FRAME);
            match decoder.next(&mut input, &limits) {
                Ok(None) => break,
                Ok(Some(Item::Close(frame))) => {
                    let code = frame.map(|frame| frame.code);
                    self.core.connections[key.index as usize].is_read_closed = true;
                    self.core
                        .schedule_close(key, CloseReason::ClientClosed(code));
                    break;
                }
                Ok(Some(item)) if is_open => self.handle_item(key, item, &mut hearing),
                Ok(Some(_)) => {}
                Err(error) => {
                    self.core.schedule_close(key, CloseReason::Protocol(error));
                    break;
                }
            }
        }
        let stats = self.core.stats();
        stats.messages.add(hearing.messages);
        stats.message_bytes.add(hearing.message_bytes);
        let by = match self.core.is_open(key) && hearing.meter.must_wait() {
            true => StoppedBy::Rate,
            false if input.is_empty() => return None,
            false if self.core.is_held(key) => StoppedBy::Hold,
            false => StoppedBy::Turn,
        };
        Some(Stopped {
            by,
            rest_bytes: input.len(),
        })
    }

    /// Handles what an open connection has sent, except for a Close.
    #[inline]
    fn handle_item(&mut self, key: Key, item: Item<'_>, hearing: &mut Hearing<'_>) {
        match item {
            Item::Message(message) => {
                let bytes = message.payload.len();
                if self.passes_meter(key, &mut hearing.meter, bytes) {
                    hearing.count(bytes);
                    self.call_message(key, hearing.endpoint, message, hearing.received_ns);
                }
            }
            Item::Compressed(message) => {
                if self.passes_meter(key, &mut hearing.meter, 0)
                    && let Some(bytes) = self.call_compressed(key, message, hearing)
                {
                    hearing.count(bytes);
                    hearing.meter.spend_bytes(bytes);
                    self.core.work.spend_bytes(bytes, PRICE_KIB_INFLATED);
                }
            }
            Item::Ping(payload) => {
                self.core.stats().pings.add(1);
                if self.control_gets_through(key, &mut hearing.meter, payload.len()) {
                    let received_ns = hearing.received_ns;
                    self.core
                        .enqueue_control(key, Opcode::Pong, payload, received_ns);
                }
            }
            Item::Passive(frame) => {
                let bytes = match frame {
                    Passive::Pong(payload) => payload.len(),
                    Passive::Fragment => 0,
                };
                self.control_gets_through(key, &mut hearing.meter, bytes);
            }
            Item::Close(_) => {}
        }
    }

    /// The decoder's limits and the rate limit of the connection.
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

    #[inline]
    fn call_message(
        &mut self,
        key: Key,
        endpoint: &dyn ErasedEndpoint,
        message: Message<'_>,
        received_ns: u64,
    ) {
        let client = Client::new(&mut self.core, key, received_ns);
        let call = AssertUnwindSafe(|| endpoint.message(client, message));
        if catch_unwind(call).is_err() {
            self.endpoint_panicked(key);
        }
    }

    /// Inflates a message and passes it to the endpoint. Returns its size, unless the connection is
    /// to be closed for it.
    fn call_compressed(
        &mut self,
        key: Key,
        compressed: Message<'_>,
        hearing: &Hearing<'_>,
    ) -> Option<usize> {
        // The endpoint may be given the whole core, so the message must not be stored in it.
        let mut inflater = std::mem::take(&mut self.core.inflater);
        let inflated = inflater.inflate(compressed, hearing.message_bytes_max);
        let bytes = inflated.map(|message| {
            self.core.stats().inflated.add(1);
            self.call_message(key, hearing.endpoint, message, hearing.received_ns);
            message.payload.len()
        });
        self.core.inflater = inflater;
        if let Err(error) = bytes {
            self.core.stats().inflations_refused[error as usize].add(1);
            self.core
                .schedule_close(key, CloseReason::Protocol(error.into()));
        }
        bytes.ok()
    }

    pub(super) fn endpoint_panicked(&mut self, key: Key) {
        self.core.stats().endpoint_panics.add(1);
        tracing::error!(connection = %self.core.connection_id(key), "endpoint code panicked");
        self.core.schedule_close(key, CloseReason::EndpointPanic);
    }

    /// Updates the count of partial messages.
    fn held_changed(&mut self, key: Key, before: usize, now: usize) {
        let inbound = &self.core.shared.inbound;
        if now < before {
            inbound.fetch_sub(before - now, Ordering::Relaxed);
            return;
        }
        inbound.fetch_add(now - before, Ordering::Relaxed);
        self.core.inbound_grown(key);
        self.relieve_inbound();
    }

    /// If partial messages and requests of the process exceed their bound, closes the largest
    /// holder of all shards. Called when they grow, and once a turn, since another shard may have
    /// found that the largest is here.
    pub(super) fn relieve_inbound(&mut self) {
        if self.is_inbound_over() {
            self.forget_largest();
        }
    }

    fn is_inbound_over(&self) -> bool {
        let total = self.core.shared.inbound.load(Ordering::Relaxed);
        total > self.core.settings.limits.inbound_bytes
    }

    #[cold]
    fn forget_largest(&mut self) {
        let shared = Arc::clone(&self.core.shared);
        match shared.inbound_holders.turn() {
            None => return,
            Some(other) if other != self.core.id => {
                shared.wake(other);
                return;
            }
            Some(_) => {}
        }
        let connections = self.core.connections.iter();
        let holders =
            connections.filter(|(_, each)| !each.is_close_scheduled && each.phase != Phase::Dead);
        let holders = holders.map(|(index, each)| {
            let key = Key {
                index: index as u32,
                generation: each.generation,
            };
            (each.held_bytes(), key)
        });
        let holders = holders.filter(|(bytes, _)| *bytes > 0).collect();
        let mut relief = shared.inbound_holders.relief(self.core.id, holders);
        while self.is_inbound_over() {
            match relief.next() {
                Turn::Own(key) => {
                    self.core.schedule_close(key, CloseReason::InboundBudget);
                    // Released at once, so that no other connection is closed for memory that is
                    // already free.
                    if let Some(connection) = self.core.connection(key) {
                        connection.forget_received(&shared.inbound);
                    }
                }
                Turn::Other(shard) => {
                    shared.wake(shard);
                    return;
                }
                Turn::Nobody => return,
            }
        }
    }

    /// Updates the count of an unfinished request.
    pub(in crate::engine) fn count_held(&mut self, key: Key) {
        let inbound = Arc::clone(&self.core.shared.inbound);
        let Some(connection) = self.core.connection(key) else {
            return;
        };
        if let Some(cold) = &mut connection.cold {
            let body = cold
                .chunked
                .as_ref()
                .map_or(0, |chunked| chunked.body.capacity());
            let bytes = cold.received.capacity() + body;
            let is_growing = bytes > cold.held.bytes();
            cold.held.set(&inbound, bytes);
            if is_growing {
                self.core.inbound_grown(key);
                self.relieve_inbound();
            }
        }
    }
}
