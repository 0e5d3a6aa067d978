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
    /// Takes over what other shards accepted for this one, and accepts what waits: as much as the
    /// work allows, and one of each listener at the least.
    pub(in crate::engine) fn accept(&mut self) {
        self.clients.core.work().begin(TurnPhase::Accept);
        while let Ok(handover) = self.inbox.handover.try_recv() {
            self.adopt(handover);
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
                    return self.clients.core.stats().accept_errors.add(1);
                }
                Err(error) => {
                    let now_ns = self.clients.core.clock().turn_ns();
                    if let Some(left_out) =
                        self.clients.core.doors().notices.accept_error.due(now_ns)
                    {
                        tracing::warn!(%error, left_out, "a connection cannot be accepted");
                    }
                    self.clients.core.stats().accept_errors.add(1);
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
    pub(in crate::engine) fn retry_accept(&mut self) {
        self.clients.core.has_spare_files();
        for listening in &mut self.listeners {
            listening.is_ready |= std::mem::take(&mut listening.is_failing);
        }
    }

    fn welcome(&mut self, stream: Stream, peer: Peer, tls: bool) {
        self.clients.core.stats().accepted.add(1);
        self.clients.core.work().spend(PRICE_ACCEPT);
        if self.clients.is_admin() {
            return self.welcome_admin(stream, peer, tls);
        }
        if !self.clients.core.has_spare_files() {
            return self.turn_down(stream, peer, tls);
        }
        let own = self.clients.core.id();
        if !self.clients.may_come_in(peer) {
            let refusal = Refusal::Network;
            self.clients.core.stats().refused.add(refusal);
            return tracing::debug!(%peer, reason = refusal.label(), "refused");
        }
        let is_counted = match self.clients.judge(peer) {
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
        let least_loaded = self.clients.core.doors().least_loaded(own);
        // Once the relay goes away, a shard keeps what it accepts: the other may have ended.
        let is_ready = self.clients.core.doors().is_ready.load(Ordering::Acquire);
        if least_loaded == own || !is_ready || !self.edge.stop.is_accepting() {
            self.clients.count_in(own);
            self.adopt(handover);
            return;
        }
        if let Err(handover) = self.clients.core.doors().hand_over(least_loaded, handover) {
            self.clients.count_in(own);
            self.adopt(handover);
        }
    }

    /// Makes an accepted connection one of this shard's.
    pub(in crate::engine) fn adopt(&mut self, handover: Handover) -> Key {
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
            tracing::warn!(%error, "a connection could not be registered");
            self.clients.die(key);
        } else if !has_session {
            debug_assert!(false, "checked when the engine was started");
            self.clients.die(key);
        }
        key
    }

    /// Takes in a connection that is over a limit, to tell it so. It stays on this shard: it is not
    /// worth another one's time.
    fn take_to_refuse(&mut self, stream: Stream, peer: Peer, tls: bool, over_limit: OverLimit) {
        self.clients.count_over_limit(over_limit, peer);
        let address = (!self.clients.core.is_exempt(peer)).then(|| peer.counting_ip());
        let max = self.clients.core.settings().refusing_max;
        let enter = |shard: &Shard| {
            shard
                .clients
                .core
                .doors()
                .places
                .enter_refusing(address, max)
        };
        let entered = enter(self).or_else(|taken| {
            self.clients.hurry_refused(taken);
            enter(self)
        });
        if entered.is_ok() {
            let key = self.adopt(Handover {
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

    /// The files are used up, and a client waits to be accepted. The spare file makes room: on the
    /// admin shard for the client, since it may be a probe; on the others for as long as it takes
    /// to tell the client that the relay is full. Returns whether accepting may go on.
    fn accept_by_spare_file(&mut self, listener: usize) -> bool {
        if self.clients.is_admin() {
            let spare = |shard: &Shard| shard.clients.core.spare_file().spend();
            return spare(self) || (self.clients.evict(None) && spare(self));
        }
        // One shard at a time: the others wait for their turn rather than for the next tick.
        let doors = Arc::clone(self.clients.core.doors());
        let _turn = doors.spare_files[0].turn();
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
        self.welcome(stream, peer, tls);
        true
    }

    /// A connection that was accepted has the file that should be spare: it is told that the relay
    /// is full, and its file is the spare one again.
    fn turn_down(&self, stream: Stream, peer: Peer, tls: bool) {
        if self.clients.may_come_in(peer) {
            self.clients.count_over_limit(OverLimit::Connections, peer);
            if !tls {
                self.clients.tell_unasked(&stream, OverLimit::Connections);
            }
        } else {
            self.clients.core.stats().refused.add(Refusal::Network);
        }
        self.clients.core.close_file(stream.into());
    }

    /// Takes in a connection of the admin listener.
    fn welcome_admin(&mut self, stream: Stream, peer: Peer, tls: bool) {
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
        self.adopt(Handover {
            stream,
            peer,
            over_limit: None,
            is_counted: false,
            tls,
        });
    }
}
