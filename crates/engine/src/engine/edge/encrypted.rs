//! TLS in the turn of a shard: handshakes within a budget, decrypting before `handle_bytes`, and
//! encrypting instead of a plain send.

use std::sync::Arc;
use std::time::SystemTime;

use crate::engine::clients::Clients;
use crate::engine::clients::connection::{Connection, Phase};
use crate::engine::close_reason::CloseReason;
use crate::engine::edge::Edge;
use crate::engine::ids::Key;
use crate::engine::refusal::Refusal;
use crate::engine::tls::TlsSession;
use crate::engine::tls::session::Progress;
use crate::wire::http::Response;

impl Edge {
    /// Handles bytes of a TLS connection, including those that were kept.
    pub(in crate::engine) fn handle_encrypted(
        &self,
        clients: &mut Clients,
        key: Key,
        bytes: &mut [u8],
        received_ns: u64,
    ) {
        let Some(connection) = clients.core.connection(key) else {
            return;
        };
        if connection.tls().is_none() {
            return;
        }
        let mut plaintext = clients.take_plaintext();
        let connection = clients.core.known_mut(key);
        let Some(tls) = connection.tls_mut() else {
            return;
        };
        let begins_like_http =
            !tls.has_answered() && bytes.first().is_some_and(u8::is_ascii_uppercase);
        let progress = tls.receive(bytes, &mut plaintext);
        let has_changed = tls.has_kept_changed();
        if tls.has_to_send(false) {
            clients.core.mark_dirty(key);
        }
        if has_changed {
            self.count_kept(clients, key);
        }
        if let Ok(progress) = progress {
            self.note_progress(clients, key, progress);
        }
        if !plaintext.is_empty() {
            self.handle_bytes(clients, key, &mut plaintext, received_ns);
        }
        clients.keep_plaintext(plaintext);
        match progress {
            Ok(progress) if progress.is_end => self.end_announced(clients, key),
            Ok(_) => {}
            Err(error) => self.tls_failed(clients, key, &error, begins_like_http),
        }
    }

    /// Updates the count of incomplete records.
    fn count_kept(&self, clients: &mut Clients, key: Key) {
        let inbound = Arc::clone(&clients.core.shared().inbound);
        let connection = clients.core.connection(key);
        if let Some(tls) = connection.and_then(|connection| connection.tls_mut())
            && tls.count_kept(&inbound)
        {
            clients.core.inbound_grown(key);
        }
    }

    /// The client has ended its stream. An answer that it waits for is still sent, and messages
    /// that it sent too fast are still handled.
    fn end_announced(&self, clients: &mut Clients, key: Key) {
        let connection = clients.core.connection(key);
        let is_end = |each: &Connection| each.phase() != Phase::Deferred && !each.has_rest();
        if connection.is_some_and(|connection| is_end(connection)) {
            clients.client_ended(key);
        }
    }

    fn note_progress(&self, clients: &mut Clients, key: Key, progress: Progress) {
        if progress.is_costly {
            clients.note_costly_handshake();
        }
        if !progress.is_established {
            return;
        }
        let connection = clients.core.known(key);
        let is_resumed = connection.tls().is_some_and(TlsSession::is_resumed);
        clients.core.stats().tls_handshakes[usize::from(is_resumed)].add(1);
        if connection.phase() == Phase::Handshake {
            clients.enter_phase(key, Phase::Request);
        }
    }

    /// The client broke the protocol of TLS. It is sent an alert, and nothing else.
    fn tls_failed(
        &self,
        clients: &mut Clients,
        key: Key,
        error: &rustls::Error,
        begins_like_http: bool,
    ) {
        let Some(connection) = clients.core.connection(key) else {
            return;
        };
        let (phase, peer) = (connection.phase(), connection.peer());
        if begins_like_http && let Some(tls) = connection.tls_mut() {
            let mut answer = Vec::new();
            Response::text(400, "This port speaks TLS: https and wss.\n").append_to(
                &mut answer,
                SystemTime::now(),
                false,
                false,
            );
            tls.answer_plain(answer);
        }
        let id = clients.core.connection_id(key);
        tracing::debug!(connection = %id, %peer, %error, "TLS failed");
        match phase {
            Phase::Open => clients.core.schedule_close(key, CloseReason::Tls),
            Phase::Handshake | Phase::Request | Phase::Deferred => {
                clients.refused(key, Refusal::Tls);
                clients.drain_alert(key);
            }
            Phase::Closing | Phase::Draining => clients.drain_alert(key),
            Phase::Lingering | Phase::Dead => {}
        }
    }

    /// The time for the handshake is over.
    pub(in crate::engine) fn handshake_overdue(&self, clients: &mut Clients, key: Key) {
        let Some(connection) = clients.core.connection(key) else {
            return;
        };
        if connection.tls().is_some_and(TlsSession::is_in_handshake) {
            clients.refused(key, Refusal::HandshakeTimeout);
        }
        clients.die(key);
    }
}
