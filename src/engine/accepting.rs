//! New connections: accepted, counted, and handed to the shard that has the fewest.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;

use mio::Token;

use super::close_reason::Refusal;
use super::connection::{Connection, Key, OverLimit};
use super::control::Handover;
use super::reading::gauge;
use super::shard::Shard;
use super::stream::Stream;
use super::tls::TlsSession;
use crate::limits::{ACCEPTS_PER_TURN, ADMIN_CONNECTIONS_MAX, REFUSING_MAX};

impl Shard {
    /// Accepts what waits, up to a bound for each listener and turn.
    pub(super) fn accept(&mut self) {
        if !self.stop.is_accepting() {
            return;
        }
        for listener in 0..self.listeners.len() {
            if self.listeners[listener].is_ready {
                self.accept_from(listener, ACCEPTS_PER_TURN);
            }
        }
    }

    pub(super) fn accept_from(&mut self, listener: usize, accepts_max: usize) {
        for _ in 0..accepts_max {
            let listening = &mut self.listeners[listener];
            match listening.listener.accept() {
                Ok((stream, peer)) => {
                    listening.is_failing = false;
                    let tls = listening.tls;
                    self.welcome(stream, peer, tls);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    listening.is_ready = false;
                    listening.is_failing = false;
                    return;
                }
                // The client was gone before it was accepted.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    // Open files are used up, as a rule. No new edge would come: the next tick
                    // tries again.
                    listening.is_ready = false;
                    if !std::mem::replace(&mut listening.is_failing, true) {
                        tracing::warn!(%error, "cannot accept connections; trying again");
                    }
                    self.core.stats().accept_errors.add(1);
                    return;
                }
            }
        }
    }

    /// Tries again after errors. Called once a tick.
    pub(super) fn retry_accept(&mut self) {
        for listening in &mut self.listeners {
            listening.is_ready |= listening.is_failing;
        }
    }

    fn welcome(&mut self, stream: Stream, peer: SocketAddr, tls: bool) {
        self.core.stats().accepted.add(1);
        let own = self.core.id;
        if own >= self.core.doors.relaying {
            if self.core.connections.len() < ADMIN_CONNECTIONS_MAX {
                self.count_in(own);
                self.adopt(Handover {
                    stream,
                    peer,
                    over_limit: None,
                    is_counted: false,
                    tls,
                });
            }
            return;
        }
        if !self.may_come_in(peer) {
            let refusal = Refusal::Network;
            self.core.stats().refused[refusal as usize].add(1);
            return tracing::debug!(%peer, reason = refusal.label(), "refused");
        }
        let Some((over_limit, is_counted)) = self.judge(peer) else {
            return;
        };
        let handover = Handover {
            stream,
            peer,
            over_limit,
            is_counted,
            tls,
        };
        let least_loaded = self.core.doors.least_loaded(own);
        // A stopping shard keeps what it accepts: the other may have ended already.
        if least_loaded == own || !self.stop.is_accepting() {
            self.count_in(own);
            return self.adopt(handover);
        }
        if let Err(handover) = self.core.doors.hand_over(least_loaded, handover) {
            self.count_in(own);
            self.adopt(handover);
        }
    }

    fn count_in(&self, shard: u16) {
        self.core.doors.doors[usize::from(shard)]
            .load
            .fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the connection may stay, and whether it counts towards its address's limit; `None`
    /// where it cannot even be told.
    fn judge(&self, peer: SocketAddr) -> Option<(Option<OverLimit>, bool)> {
        let settings = &self.core.settings;
        if let Some(max) = settings.connections_max {
            let connections = self.core.doors.connections() as usize;
            if connections >= max + REFUSING_MAX {
                return None;
            }
            if connections >= max {
                return Some((Some(OverLimit::Connections), false));
            }
        }
        Some(self.judge_address(peer))
    }

    /// Whether the client's address may connect now and has room for one more connection, which
    /// then counts. Proxies
    /// and clients without an address do not count.
    pub(super) fn judge_address(&self, client: SocketAddr) -> (Option<OverLimit>, bool) {
        let address = client.ip();
        let mut exempt = self.core.settings.exempt_networks.iter();
        let is_exempt = address.is_unspecified()
            || self.is_trusted_proxy(client)
            || exempt.any(|network| network.contains(address));
        match is_exempt {
            true => (None, false),
            false => self.count_address(address),
        }
    }

    /// The same for an address that counts whoever has it.
    pub(super) fn count_address(&self, address: IpAddr) -> (Option<OverLimit>, bool) {
        let settings = &self.core.settings;
        if let Some(rate) = &settings.connects_per_ip {
            let now_ns = self.core.clock.turn_ns();
            if !self.core.doors.connects.take(address, rate, now_ns) {
                return (Some(OverLimit::Rate), false);
            }
        }
        match settings.connections_per_ip_max {
            Some(max) => match self.core.doors.addresses.enter(address, max) {
                true => (None, true),
                false => (Some(OverLimit::Address), false),
            },
            None => (None, false),
        }
    }

    /// Makes an accepted connection one of this shard's.
    pub(super) fn adopt(&mut self, handover: Handover) {
        let Handover {
            stream,
            peer,
            over_limit,
            is_counted,
            tls,
        } = handover;
        let generation = self.core.next_generation();
        let session = self.core.tls.as_deref().filter(|_| tls);
        let session = session.and_then(TlsSession::new);
        let has_session = session.is_some() == tls;
        let mut connection = Connection::new(stream, session, peer, generation);
        connection.over_limit = over_limit;
        connection.is_counted = is_counted;
        connection.awaits_proxy_header =
            self.core.settings.proxy_protocol && self.is_trusted_proxy(peer);
        connection.deadline_tick = if self.stop.is_accepting() {
            self.request_deadline()
        } else {
            self.last_request_deadline()
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
    }
}
