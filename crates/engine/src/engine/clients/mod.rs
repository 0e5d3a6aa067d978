//! The connections of a shard, and the calls of their endpoints.
//!
//! Endpoint code may use [`Core`] while it is called. Around it are the steps that call endpoints
//! and sockets: frames in (`frames.rs`), frames out (`delivery.rs`, `flushing.rs`), and closing
//! (`closing.rs`). Nothing here depends on HTTP or listeners, nor on the directories that do
//! (`edge/`, `shard/`).

pub(super) mod admission;
pub(super) mod asking;
pub(super) mod attachments;
pub(super) mod behind;
pub(super) mod client;
pub(super) mod closing;
pub(super) mod connection;
pub(super) mod core;
pub(super) mod delivery;
pub(super) mod encrypting;
pub(super) mod endpoint;
pub(super) mod erased;
pub(super) mod evicting;
pub(super) mod extras;
pub(super) mod flushing;
pub(super) mod frames;
pub(super) mod gathered;
pub(super) mod held;
pub(super) mod invariants;
pub(super) mod lanes;
pub(super) mod local;
pub(super) mod opening;
pub(super) mod pace;
pub(super) mod packed_peer;
pub(super) mod pausing;
pub(super) mod pulse;
pub(super) mod refusing;
pub(super) mod sending;
pub(super) mod service;
pub(super) mod session;
pub(super) mod settling;
pub(super) mod slow;
pub(super) mod sweeping;
pub(super) mod tries;
pub(super) mod working;

use std::collections::VecDeque;
use std::sync::Arc;

use self::connection::Phase;
use self::core::Core;
use self::endpoint::Responder;
use self::erased::ErasedEndpoint;
use crate::clock::{Tick, ticks_of};
use crate::engine::ids::Key;
use crate::engine::refusal::Refusal;
use crate::engine::tls::TlsBuffers;
use crate::fanout::room::EndpointId;
use crate::limits::{PRICE_HANDSHAKE, STOP_REQUEST_WAIT, TLS_HANDSHAKES_PER_TURN};

/// The connections of a shard, with their endpoints.
pub(in crate::engine) struct Clients {
    pub(in crate::engine) core: Core,
    pub(in crate::engine) endpoints: Arc<[Arc<dyn ErasedEndpoint>]>,
    /// Connections in places for refused ones, each with the turn in which it got its place. Some
    /// may have ended.
    pub(in crate::engine) refusing: VecDeque<(Key, u64)>,
    pub(in crate::engine) tls_buffers: TlsBuffers,
    /// The buffer in which a short frame of two pieces is assembled for its `send`.
    assembled: Vec<u8>,
    /// TLS handshake steps of this turn that exchanged, signed or verified keys.
    pub(in crate::engine) costly_handshakes: usize,
}

impl Clients {
    pub(in crate::engine) fn new(core: Core, endpoints: Arc<[Arc<dyn ErasedEndpoint>]>) -> Clients {
        Clients {
            core,
            endpoints,
            refusing: VecDeque::new(),
            tls_buffers: TlsBuffers::default(),
            assembled: Vec::new(),
            costly_handshakes: 0,
        }
    }

    /// Resets the count of costly handshake steps for this turn.
    pub(in crate::engine) fn begin_handshakes(&mut self) {
        self.costly_handshakes = 0;
    }

    /// Counts a handshake step that exchanged, signed or verified keys, and charges the turn for
    /// it.
    pub(in crate::engine) fn note_costly_handshake(&mut self) {
        self.costly_handshakes += 1;
        self.core.work().spend(PRICE_HANDSHAKE);
    }

    /// Whether this turn has no room for further costly handshake steps.
    pub(in crate::engine) fn has_shaken_enough(&self) -> bool {
        self.costly_handshakes >= TLS_HANDSHAKES_PER_TURN
    }

    /// The buffer for decrypted data, empty. [`Clients::keep_plaintext`] takes it back.
    pub(in crate::engine) fn take_plaintext(&mut self) -> Vec<u8> {
        let mut plaintext = std::mem::take(&mut self.tls_buffers.received);
        plaintext.clear();
        plaintext
    }

    pub(in crate::engine) fn keep_plaintext(&mut self, plaintext: Vec<u8>) {
        self.tls_buffers.received = plaintext;
    }

    /// Keeps the memory of the process within its bounds, and visits clients that lag behind.
    /// Called once a turn.
    pub(in crate::engine) fn keep_within_memory(&mut self) {
        self.core.settle();
        slow::sweep_lagging(&mut self.core);
        let buffers = self.tls_buffers.held_bytes() + self.assembled.capacity();
        self.core.publish_held(buffers);
        slow::relieve_memory(&mut self.core);
        self.relieve_inbound();
    }

    pub(in crate::engine) fn endpoint(&self, id: EndpointId) -> Arc<dyn ErasedEndpoint> {
        Arc::clone(&self.endpoints[usize::from(id.0)])
    }

    pub(in crate::engine) fn endpoint_of(&self, key: Key) -> Arc<dyn ErasedEndpoint> {
        self.endpoint(self.core.connections[key.index as usize].endpoint)
    }

    pub(in crate::engine) fn responder(&mut self, key: Key) -> Responder<'_> {
        let connection = self.core.connection_id(key);
        Responder {
            core: &mut self.core,
            connection,
        }
    }

    pub(in crate::engine) fn refused(&mut self, key: Key, refusal: Refusal) {
        let connection = self.core.connection(key);
        // A client over a limit was counted when the limit was checked.
        if connection.is_none_or(|connection| connection.over_limit.is_none()) {
            self.core.stats().refused.add(refusal);
        }
        let connection = self.core.connection_id(key);
        tracing::debug!(%connection, reason = refusal.label(), "refused");
    }

    /// Whether a client that has missed its deadline is still reading its answer, however slowly.
    /// Then it gets as much time again, which ends because what waits for it is bounded. A
    /// WebSocket that is being closed does not get more time.
    pub(in crate::engine) fn is_reading_answer(&mut self, key: Key) -> bool {
        let clock = &self.core.clock;
        let (tick, reading_tick) = (clock.tick(), clock.reading_tick());
        let timeouts = self.core.settings.timeouts;
        let Some(connection) = self.core.connection(key) else {
            return false;
        };
        let unsent = connection.outbox.bytes();
        if unsent == 0 || connection.was_open() || connection.over_limit.is_some() {
            return false;
        }
        let cold = connection.cold.get_or_insert_default();
        let has_progressed = cold.unsent_bytes.replace(unsent) != Some(unsent);
        if has_progressed {
            connection.deadline_tick = match connection.phase {
                Phase::Request => reading_tick + ticks_of(timeouts.handshake),
                _ => tick + ticks_of(timeouts.close),
            };
        }
        has_progressed
    }

    /// The deadline of a request that begins now.
    pub(in crate::engine) fn request_deadline(&self) -> Tick {
        self.core.clock.reading_tick() + ticks_of(self.core.settings.timeouts.handshake)
    }

    /// The deadline of a request that is on its way during a shutdown.
    pub(in crate::engine) fn last_request_deadline(&self) -> Tick {
        self.core.clock.reading_tick() + ticks_of(STOP_REQUEST_WAIT)
    }
}
