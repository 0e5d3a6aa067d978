//! New connections: accepted, counted, and handed to the shard that has the fewest.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::engine::addresses::counted_as;
use crate::engine::clients::connection::Arrival;
use crate::engine::clients::refusing::is_out_of_files;
use crate::engine::control::Handover;
use crate::engine::ids::Key;
use crate::engine::over_limit::OverLimit;
use crate::engine::refusal::Refusal;
use crate::engine::shard::{Listening, Shard};
use crate::engine::stream::Stream;
use crate::limits::PRICE_ACCEPT;
use crate::peer::Peer;
use crate::work::TurnPhase;

impl Shard {
    /// Takes over the connections that other shards accepted for this one, and then accepts those
    /// that wait: as many as the work of the phase allows, and at least one from each listener.
    ///
    /// The bound keeps a storm of connects from delaying the clients that are connected already,
    /// and the minimum keeps a shard that is always busy from accepting nothing at all.
    pub(in crate::engine) fn accept(&mut self) {
        self.clients.core.work().begin(TurnPhase::Accept);
        while let Ok(handover) = self.inbox.handover.try_recv() {
            self.register(handover);
            if self.clients.core.work().is_spent() {
                break;
            }
        }
        if !self.edge.stop.is_accepting() {
            return;
        }
        for listener in 0..self.listeners.len() {
            if self.listeners[listener].may_accept() {
                let affordable = self.clients.core.work().left_ns().max(0) as u64 / PRICE_ACCEPT;
                let accepts_max = self
                    .clients
                    .accepts_per_turn()
                    .min(affordable.max(1) as usize);
                self.accept_from(listener, accepts_max);
            }
        }
        let more = self.listeners.iter().any(Listening::may_accept);
        self.clients.core.note_cut(more);
    }

    pub(in crate::engine) fn accept_from(&mut self, listener: usize, accepts_max: usize) {
        for _ in 0..accepts_max {
            let listening = &mut self.listeners[listener];
            match listening.listener.accept() {
                Ok((stream, peer)) => {
                    let tls = listening.tls;
                    self.accept_stream(stream, peer, tls);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    listening.is_ready = false;
                    return;
                }
                // The client disconnected before it was accepted.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_out_of_files(&error) && !listening.listener.has_waiting() => {
                    listening.is_ready = false;
                    return self.clients.core.stats().accept_errors.add(1);
                }
                Err(error) => {
                    let now_ns = self.clients.core.clock().turn_ns();
                    if let Some(left_out) =
                        self.clients.core.shared().notices.accept_error.due(now_ns)
                    {
                        tracing::warn!(%error, left_out, "cannot accept a connection");
                    }
                    self.clients.core.stats().accept_errors.add(1);
                    if is_out_of_files(&error) && self.accept_by_spare_file(listener) {
                        continue;
                    }
                    // No new edge comes for connections that wait already, so the next tick tries
                    // again. Until then nothing does, however many more connect: otherwise an error
                    // that persists would keep the shard busy.
                    self.listeners[listener].is_failing = true;
                    return;
                }
            }
        }
    }

    /// Tries again after errors. Called once a tick.
    pub(in crate::engine) fn retry_accept(&mut self) {
        self.clients.core.has_spare_files();
        for listening in &mut self.listeners {
            listening.is_ready |= std::mem::take(&mut listening.is_failing);
        }
    }

    fn accept_stream(&mut self, stream: Stream, peer: Peer, tls: bool) {
        self.clients.core.stats().accepted.add(1);
        self.clients.core.work().spend(PRICE_ACCEPT);
        if self.clients.is_admin() {
            return self.accept_admin(stream, peer, tls);
        }
        if !self.clients.core.has_spare_files() {
            return self.turn_down(stream, peer, tls);
        }
        let own = self.clients.core.id();
        if !self.clients.is_network_allowed(peer) {
            let refusal = Refusal::Network;
            self.clients.core.stats().refused.add(refusal);
            return tracing::debug!(%peer, reason = refusal.label(), "refused");
        }
        let is_counted = match self.clients.check_limits(peer) {
            Ok(is_counted) => is_counted,
            Err(over_limit) => return self.accept_to_refuse(stream, peer, tls, over_limit),
        };
        let handover = Handover {
            stream,
            peer,
            over_limit: None,
            is_counted,
            tls,
        };
        let least_loaded = self.clients.core.shared().least_loaded(own);
        // During a shutdown a shard keeps what it accepts, since the other may have ended.
        let is_ready = self.clients.core.shared().is_ready.load(Ordering::Acquire);
        if least_loaded == own || !is_ready || !self.edge.stop.is_accepting() {
            self.clients.count_in(own);
            self.register(handover);
            return;
        }
        if let Err(handover) = self.clients.core.shared().hand_over(least_loaded, handover) {
            self.clients.count_in(own);
            self.register(handover);
        }
    }

    /// Adds an accepted connection to this shard.
    pub(in crate::engine) fn register(&mut self, handover: Handover) -> Key {
        let Handover {
            stream,
            peer,
            over_limit,
            is_counted,
            tls,
        } = handover;
        self.clients.core.work().spend(PRICE_ACCEPT);
        let session = tls.then(|| self.clients.core.new_tls_session()).flatten();
        let has_session = session.is_some() == tls;
        let awaits_proxy_header =
            self.clients.core.settings().proxy_protocol && self.clients.is_trusted_proxy(peer);
        let deadline_tick = if !self.edge.stop.is_accepting() {
            self.clients.last_request_deadline()
        } else if over_limit.is_some() {
            self.clients.refusing_deadline()
        } else {
            self.clients.request_deadline()
        };
        let arrival = Arrival {
            stream,
            tls: session,
            peer,
            over_limit,
            is_counted,
            awaits_proxy_header,
            deadline_tick,
        };
        let (key, registered) = self.clients.core.insert(arrival, self.poll.registry());
        if let Err(error) = registered {
            tracing::warn!(%error, "cannot register a connection");
            self.clients.die(key);
        } else if !has_session {
            debug_assert!(false, "checked when the engine was started");
            self.clients.die(key);
        }
        key
    }

    /// Accepts a connection that is over a limit, to tell it so. It stays on this shard, since it
    /// is not worth the time of another.
    fn accept_to_refuse(&mut self, stream: Stream, peer: Peer, tls: bool, over_limit: OverLimit) {
        self.clients.count_over_limit(over_limit, peer);
        let address = (!self.clients.core.is_exempt(peer)).then(|| peer.counting_ip());
        let max = self.clients.core.settings().refusing_max;
        let enter = |shard: &Shard| {
            shard
                .clients
                .core
                .shared()
                .places
                .enter_refusing(address, max)
        };
        let entered = enter(self).or_else(|taken| {
            self.clients.hurry_refused(taken);
            enter(self)
        });
        if entered.is_ok() {
            let key = self.register(Handover {
                stream,
                peer,
                over_limit: Some(over_limit),
                is_counted: address.is_some(),
                tls,
            });
            self.clients.note_apart(key);
        } else if !tls {
            self.clients.tell_unasked(&stream, over_limit);
        }
    }

    /// Makes room for a client that waits when no file descriptor is left, by closing the spare
    /// file: on the admin shard to serve the client, since it may be a probe; on the others to tell
    /// it that the relay is full. Returns whether accepting may go on.
    fn accept_by_spare_file(&mut self, listener: usize) -> bool {
        if self.clients.is_admin() {
            let spare = |shard: &Shard| shard.clients.core.spare_file().spend();
            return spare(self) || (self.clients.evict(None) && spare(self));
        }
        // One shard at a time. The others wait for the lock rather than for the next tick.
        let shared = Arc::clone(self.clients.core.shared());
        let _turn = shared.spare_files[0].turn();
        if !self.clients.core.spare_file().spend() {
            return false;
        }
        let listening = &self.listeners[listener];
        let Ok((stream, peer)) = listening.listener.accept() else {
            self.clients.core.spare_file().reopen();
            self.clients.core.stats().accept_errors.add(1);
            return false;
        };
        let tls = listening.tls;
        self.accept_stream(stream, peer, tls);
        true
    }

    /// Refuses a connection that was accepted with the descriptor of the spare file: tells it that
    /// the relay is full, and turns its descriptor into the spare file again.
    fn turn_down(&self, stream: Stream, peer: Peer, tls: bool) {
        if self.clients.is_network_allowed(peer) {
            self.clients.count_over_limit(OverLimit::Connections, peer);
            if !tls {
                self.clients.tell_unasked(&stream, OverLimit::Connections);
            }
        } else {
            self.clients.core.stats().refused.add(Refusal::Network);
        }
        self.clients.core.close_file(stream.into());
    }

    /// Accepts a connection of the admin listener.
    fn accept_admin(&mut self, stream: Stream, peer: Peer, tls: bool) {
        let address = counted_as(peer.counting_ip());
        let connections = self.clients.core.connections().iter();
        let of_address = connections.filter(|(_, each)| counted_as(each.ip()) == address);
        if of_address.count() >= self.clients.of_admin_address_max() {
            self.clients.evict(Some(address));
        } else if self.clients.core.connections().len()
            >= self.clients.core.settings().admin_connections_max
        {
            self.clients.evict(None);
        }
        self.clients.count_in(self.clients.core.id());
        self.register(Handover {
            stream,
            peer,
            over_limit: None,
            is_counted: false,
            tls,
        });
    }
}
