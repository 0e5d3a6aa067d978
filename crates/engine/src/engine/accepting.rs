//! New connections: accepted, counted, and handed to the shard that has the fewest.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;

use mio::Token;

use super::close_reason::Refusal;
use super::connection::Connection;
use super::control::Handover;
use super::ids::Key;
use super::over_limit::OverLimit;
use super::reading::gauge;
use super::refusing::is_out_of_files;
use super::shard::{Listening, Shard};
use super::stream::Stream;
use super::tls::TlsSession;
use crate::limits::PRICE_ACCEPT;
use crate::work::TurnPhase;

impl Shard {
    /// Takes over what other shards accepted for this one, and accepts what waits: as much as the
    /// work allows, and one of each listener at the least.
    pub(super) fn accept(&mut self) {
        self.core.work.begin(TurnPhase::Accept);
        while let Ok(handover) = self.inbox.handover.try_recv() {
            self.adopt(handover);
            if self.core.work.is_spent() {
                break;
            }
        }
        if !self.stop.is_accepting() {
            return;
        }
        for listener in 0..self.listeners.len() {
            if self.listeners[listener].may_accept() {
                let affordable = self.core.work.left_ns().max(0) as u64 / PRICE_ACCEPT;
                let accepts_max = self.accepts_per_turn().min(affordable.max(1) as usize);
                self.accept_from(listener, accepts_max);
            }
        }
        let more = self.listeners.iter().any(Listening::may_accept);
        self.core.note_cut(more);
    }

    pub(super) fn accept_from(&mut self, listener: usize, accepts_max: usize) {
        for _ in 0..accepts_max {
            let listening = &mut self.listeners[listener];
            match listening.listener.accept() {
                Ok((stream, peer)) => {
                    let tls = listening.tls;
                    self.welcome(stream, peer, tls);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    listening.is_ready = false;
                    return;
                }
                // The client was gone before it was accepted.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_out_of_files(&error) && !listening.listener.has_waiting() => {
                    listening.is_ready = false;
                    return self.core.stats().accept_errors.add(1);
                }
                Err(error) => {
                    let now_ns = self.core.clock.turn_ns();
                    if let Some(left_out) = self.core.doors.notices.accept_error.due(now_ns) {
                        tracing::warn!(%error, left_out, "a connection cannot be accepted");
                    }
                    self.core.stats().accept_errors.add(1);
                    if is_out_of_files(&error) && self.accept_by_spare_file(listener) {
                        continue;
                    }
                    // No new edge would come for those who wait: the next tick tries again, and
                    // nothing does before, however many more connect.
                    self.listeners[listener].is_failing = true;
                    return;
                }
            }
        }
    }

    /// Tries again after errors. Called once a tick.
    pub(super) fn retry_accept(&mut self) {
        self.core.has_spare_files();
        for listening in &mut self.listeners {
            listening.is_ready |= std::mem::take(&mut listening.is_failing);
        }
    }

    pub(super) fn welcome(&mut self, stream: Stream, peer: SocketAddr, tls: bool) {
        self.core.stats().accepted.add(1);
        self.core.work.spend(PRICE_ACCEPT);
        if self.is_admin() {
            return self.welcome_admin(stream, peer, tls);
        }
        if !self.core.has_spare_files() {
            return self.turn_down(stream, peer, tls);
        }
        let own = self.core.id;
        if !self.may_come_in(peer) {
            let refusal = Refusal::Network;
            self.core.stats().refused[refusal as usize].add(1);
            return tracing::debug!(%peer, reason = refusal.label(), "refused");
        }
        let is_counted = match self.judge(peer) {
            Ok(is_counted) => is_counted,
            Err(over_limit) => return self.take_to_refuse(stream, peer, tls, over_limit),
        };
        let handover = Handover {
            stream,
            peer,
            over_limit: None,
            is_counted,
            tls,
        };
        let least_loaded = self.core.doors.least_loaded(own);
        // Once the relay goes away, a shard keeps what it accepts: the other may have ended.
        let is_ready = self.core.doors.is_ready.load(Ordering::Acquire);
        if least_loaded == own || !is_ready || !self.stop.is_accepting() {
            self.count_in(own);
            self.adopt(handover);
            return;
        }
        if let Err(handover) = self.core.doors.hand_over(least_loaded, handover) {
            self.count_in(own);
            self.adopt(handover);
        }
    }

    pub(super) fn count_in(&self, shard: u16) {
        self.core.doors.doors[usize::from(shard)]
            .load
            .fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_out(&self, shard: u16) {
        self.core.doors.doors[usize::from(shard)]
            .load
            .fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether the connection may stay, and counts towards its address's limit: then it has its
    /// place. That of the process is taken last, so that nobody takes it only to give it back.
    fn judge(&self, peer: SocketAddr) -> Result<bool, OverLimit> {
        let (max, places) = (self.core.settings.connections_max, &self.core.doors.places);
        if places.are_taken(max) {
            return Err(OverLimit::Connections);
        }
        let is_counted = self.judge_address(peer)?;
        if places.enter(max) {
            return Ok(is_counted);
        }
        if is_counted {
            places.addresses.leave(peer.ip());
        }
        Err(OverLimit::Connections)
    }

    /// Whether the client's address may connect now and has room for one more connection, which
    /// then counts (`true`). Proxies and clients without an address do not count.
    pub(super) fn judge_address(&self, client: SocketAddr) -> Result<bool, OverLimit> {
        match self.core.is_exempt(client.ip()) {
            true => Ok(false),
            false => self.count_address(client.ip()),
        }
    }

    /// The same for an address that counts whoever has it.
    pub(super) fn count_address(&self, address: IpAddr) -> Result<bool, OverLimit> {
        let (settings, doors) = (&self.core.settings, &self.core.doors);
        if let Some(rate) = &settings.connects_per_ip {
            let now_ns = self.core.clock.turn_ns();
            if !doors.connects.take(address, rate, now_ns) {
                return Err(OverLimit::Rate);
            }
        }
        match settings.connections_per_ip_max {
            Some(max) if doors.places.addresses.enter(address, max) => Ok(true),
            Some(_) => Err(OverLimit::Address),
            None => Ok(false),
        }
    }

    /// Makes an accepted connection one of this shard's.
    pub(super) fn adopt(&mut self, handover: Handover) -> Key {
        let Handover {
            stream,
            peer,
            over_limit,
            is_counted,
            tls,
        } = handover;
        self.core.work.spend(PRICE_ACCEPT);
        let generation = self.core.next_generation();
        let session = self.core.tls.as_deref().filter(|_| tls);
        let session = session.and_then(|tls| TlsSession::new(tls, &self.core.meter));
        let has_session = session.is_some() == tls;
        let mut connection = Connection::new(stream, session, peer, generation);
        connection.over_limit = over_limit;
        connection.is_apart = over_limit.is_some();
        connection.is_counted = is_counted;
        connection.awaits_proxy_header =
            self.core.settings.proxy_protocol && self.is_trusted_proxy(peer);
        connection.deadline_tick = if !self.stop.is_accepting() {
            self.last_request_deadline()
        } else if over_limit.is_some() {
            self.refusing_deadline()
        } else {
            self.request_deadline()
        };
        let entry = self.core.connections.vacant_entry();
        let key = Key {
            index: entry.key() as u32,
            generation,
        };
        let token = Token((generation as usize) << 32 | entry.key());
        let registered = connection.stream.register(self.poll.registry(), token);
        let phase = entry.insert(connection).phase;
        if let Some(gauge) = gauge(self.core.stats(), phase) {
            gauge.add(1);
        }
        if let Err(error) = registered {
            tracing::warn!(%error, "a connection could not be registered");
            self.die(key);
        } else if !has_session {
            debug_assert!(false, "checked when the engine was started");
            self.die(key);
        }
        key
    }
}
