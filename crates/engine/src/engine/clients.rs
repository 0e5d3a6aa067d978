//! The connections of a shard, with the endpoints that are called for them.
//!
//! What endpoint code may touch while it is called is [`Core`]; around it are the steps that call
//! endpoints and sockets: frames in ([`super::frames`]), frames out ([`super::delivery`],
//! [`super::flushing`]), and the way to the end ([`super::closing`]). Nothing in here knows of HTTP
//! or of listeners, and nothing calls the parts that do ([`super::edge`], [`super::shard`]).

use std::collections::VecDeque;
use std::sync::Arc;

use super::connection::Phase;
use super::core::Core;
use super::endpoint::Responder;
use super::erased::ErasedEndpoint;
use super::ids::Key;
use super::refusal::Refusal;
use super::tls::TlsBuffers;
use crate::clock::{Tick, ticks_of};
use crate::fanout::room::EndpointId;
use crate::limits::STOP_REQUEST_WAIT;

/// The connections of a shard.
pub(super) struct Clients {
    pub(super) core: Core,
    pub(super) endpoints: Arc<[Arc<dyn ErasedEndpoint>]>,
    /// Connections with a place apart, each with the turn in which it got it. Some may be gone.
    pub(super) refusing: VecDeque<(Key, u64)>,
    pub(super) tls_buffers: TlsBuffers,
    /// Handshakes of this turn that exchanged, signed or verified keys.
    pub(super) costly_handshakes: usize,
}

impl Clients {
    pub(super) fn new(core: Core, endpoints: Arc<[Arc<dyn ErasedEndpoint>]>) -> Clients {
        Clients {
            core,
            endpoints,
            refusing: VecDeque::new(),
            tls_buffers: TlsBuffers::default(),
            costly_handshakes: 0,
        }
    }

    pub(super) fn endpoint(&self, id: EndpointId) -> Arc<dyn ErasedEndpoint> {
        Arc::clone(&self.endpoints[usize::from(id.0)])
    }

    pub(super) fn endpoint_of(&self, key: Key) -> Arc<dyn ErasedEndpoint> {
        self.endpoint(self.core.connections[key.index as usize].endpoint)
    }

    pub(super) fn responder(&mut self, key: Key) -> Responder<'_> {
        let connection = self.core.connection_id(key);
        Responder {
            core: &mut self.core,
            connection,
        }
    }

    pub(super) fn refused(&mut self, key: Key, refusal: Refusal) {
        let connection = self.core.connection(key);
        // A client over a limit was counted when it was found to be.
        if connection.is_none_or(|connection| connection.over_limit.is_none()) {
            self.core.stats().refused.add(refusal);
        }
        let connection = self.core.connection_id(key);
        tracing::debug!(%connection, reason = refusal.label(), "refused");
    }

    /// Whether a client that is late takes in what it asked for, however slowly: then it gets as
    /// much time again. What waits for it is bounded, so this ends. A WebSocket that is closed has
    /// no such claim.
    pub(super) fn is_reading_answer(&mut self, key: Key) -> bool {
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

    /// When a request that begins now has to be there.
    pub(super) fn request_deadline(&self) -> Tick {
        self.core.clock.reading_tick() + ticks_of(self.core.settings.timeouts.handshake)
    }

    /// When a request has to be there that is under way while the relay shuts down.
    pub(super) fn last_request_deadline(&self) -> Tick {
        self.core.clock.reading_tick() + ticks_of(STOP_REQUEST_WAIT)
    }
}
