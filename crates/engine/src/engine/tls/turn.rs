//! TLS in the turn of a shard: handshakes by a budget, decrypting before `take_bytes`, encrypting
//! in place of a plain send.

use std::sync::Arc;
use std::time::SystemTime;

use super::session::Progress;
use crate::engine::close_reason::{CloseReason, Refusal};
use crate::engine::connection::{Connection, Phase};
use crate::engine::ids::Key;
use crate::engine::shard::Shard;
use crate::fanout::outbox::Outbox;
use crate::limits::{PRICE_HANDSHAKE, TLS_HANDSHAKE_READS_PER_TURN, TLS_HANDSHAKES_PER_TURN};
use crate::wire::http::Response;
use crate::work::TurnPhase;

impl Shard {
    /// Goes on with handshakes, up to the budget. It comes last in the turn, when those that are
    /// open have been read and served. With the end of a handshake may come an upgrade, a message
    /// and the client's Close: the next turn seals the message before it closes anybody.
    pub(in crate::engine) fn handshakes(&mut self) {
        self.core.work.begin(TurnPhase::Handshake);
        let mut buffer = std::mem::take(&mut self.receive_buffer);
        self.costly_handshakes = 0;
        for _ in 0..TLS_HANDSHAKE_READS_PER_TURN {
            let is_spent = self.costly_handshakes >= TLS_HANDSHAKES_PER_TURN;
            if is_spent || self.core.work.is_spent() || !self.may_read() {
                break;
            }
            let Some(key) = self.core.to_handshake.pop_front() else {
                break;
            };
            self.read_connection(key, 1, &mut buffer);
        }
        self.receive_buffer = buffer;
        self.core.note_cut(!self.core.to_handshake.is_empty());
    }

    /// Takes in what a TLS connection has sent, what was kept of it before included.
    pub(in crate::engine) fn take_encrypted(
        &mut self,
        key: Key,
        bytes: &mut [u8],
        received_ns: u64,
    ) {
        let Some(connection) = self.core.connection(key) else {
            return;
        };
        let Some(tls) = &mut connection.tls else {
            return;
        };
        let mut plaintext = std::mem::take(&mut self.tls_buffers.received);
        plaintext.clear();
        let begins_like_http =
            !tls.has_answered() && bytes.first().is_some_and(u8::is_ascii_uppercase);
        let progress = tls.receive(bytes, &mut plaintext);
        let has_changed = tls.has_kept_changed();
        if tls.has_to_send(false) {
            self.core.mark_dirty(key);
        }
        if has_changed {
            self.count_kept(key);
        }
        if let Ok(progress) = progress {
            self.note_progress(key, progress);
        }
        if !plaintext.is_empty() {
            self.take_bytes(key, &mut plaintext, received_ns);
        }
        self.tls_buffers.received = plaintext;
        match progress {
            Ok(progress) if progress.is_end => self.end_announced(key),
            Ok(_) => {}
            Err(error) => self.tls_failed(key, &error, begins_like_http),
        }
    }

    /// Keeps account of records that are not whole.
    fn count_kept(&mut self, key: Key) {
        let inbound = Arc::clone(&self.core.doors.inbound);
        let connection = self.core.connection(key);
        if let Some(tls) = connection.and_then(|connection| connection.tls.as_mut())
            && tls.count_kept(&inbound)
        {
            self.core.inbound_grown(key);
        }
    }

    /// The client has said that nothing follows. An answer that it waits for is still given, and
    /// what it sent too fast still has its turn.
    fn end_announced(&mut self, key: Key) {
        let connection = self.core.connection(key);
        let is_end = |each: &Connection| each.phase != Phase::Deferred && !each.has_rest();
        if connection.is_some_and(|connection| is_end(connection)) {
            self.client_ended(key);
        }
    }

    fn note_progress(&mut self, key: Key, progress: Progress) {
        if progress.is_costly {
            self.costly_handshakes += 1;
            self.core.work.spend(PRICE_HANDSHAKE);
        }
        if !progress.is_established {
            return;
        }
        let connection = &self.core.connections[key.index as usize];
        let is_resumed = connection.tls.as_ref().is_some_and(|tls| tls.is_resumed());
        self.core.stats().tls_handshakes[usize::from(is_resumed)].add(1);
        if connection.phase == Phase::Handshake {
            self.enter_phase(key, Phase::Request);
        }
    }

    /// The client broke the protocol of TLS. It is sent an alert, and nothing else.
    fn tls_failed(&mut self, key: Key, error: &rustls::Error, begins_like_http: bool) {
        let Some(connection) = self.core.connection(key) else {
            return;
        };
        let (phase, peer) = (connection.phase, connection.peer());
        if begins_like_http && let Some(tls) = &mut connection.tls {
            let mut answer = Vec::new();
            Response::text(400, "This port speaks TLS: https and wss.\n").append_to(
                &mut answer,
                SystemTime::now(),
                false,
                false,
            );
            tls.answer_plain(answer);
        }
        let id = self.core.connection_id(key);
        tracing::debug!(connection = %id, %peer, %error, "TLS failed");
        match phase {
            Phase::Open => self.core.doom(key, CloseReason::Tls),
            Phase::Handshake | Phase::Request | Phase::Deferred => {
                self.refused(key, Refusal::Tls);
                self.drain_alert(key);
            }
            Phase::Closing | Phase::Draining => self.drain_alert(key),
            Phase::Lingering | Phase::Dead => {}
        }
    }

    /// Sends the alert and ends the stream: what waits cannot be encrypted any more.
    pub(in crate::engine) fn drain_alert(&mut self, key: Key) {
        if let Some(connection) = self.core.connection(key) {
            connection.outbox = Outbox::default();
            self.drain(key);
        }
    }

    /// The client's stream has ended. Without its `close_notify` somebody may have cut it short
    /// (RFC 8446 §6.1): then nothing that it still wants is known.
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

    /// The time for the handshake is over.
    pub(in crate::engine) fn handshake_overdue(&mut self, key: Key) {
        let Some(connection) = self.core.connection(key) else {
            return;
        };
        if connection
            .tls
            .as_ref()
            .is_some_and(|tls| tls.is_in_handshake())
        {
            self.refused(key, Refusal::HandshakeTimeout);
        }
        self.die(key);
    }
}
