//! Connections that cannot stay: over a limit, or more than the files allow.
//!
//! They are kept for a moment, in places of their own ([`super::places`]), until they have asked and
//! were told so in the words of the endpoint that they wanted. If those places are taken too, they
//! are told at once, before they have asked, and closed. Each counts once, when it is judged.

use std::net::SocketAddr;
use std::time::SystemTime;

use rustix::io::Errno;

use super::clock::{Tick, ticks_of};
use super::close_reason::Refusal;
use super::connection::{Connection, Key, OverLimit};
use super::control::Handover;
use super::shard::Shard;
use super::stream::Stream;
use crate::limits::REFUSING_WAIT;

impl Shard {
    /// Takes in a connection that is over a limit, to tell it so. It stays on this shard: it is not
    /// worth another one's time.
    pub(super) fn take_to_refuse(
        &mut self,
        stream: Stream,
        peer: SocketAddr,
        tls: bool,
        over_limit: OverLimit,
    ) {
        self.count_over_limit(over_limit, peer);
        let address = (!self.core.is_exempt(peer.ip())).then(|| peer.ip());
        let max = self.core.settings.refusing_max;
        if self.core.doors.places.enter_refusing(address, max) {
            self.adopt(Handover {
                stream,
                peer,
                over_limit: Some(over_limit),
                is_counted: address.is_some(),
                tls,
            });
        } else if !tls {
            self.tell_unasked(&stream, over_limit);
        }
    }

    /// A connection that is there already turns out to be over a limit: it moves to the places for
    /// those, or goes at once.
    pub(super) fn move_to_refuse(&mut self, key: Key, client: SocketAddr, over_limit: OverLimit) {
        self.count_over_limit(over_limit, client);
        let max = self.core.settings.refusing_max;
        let address = Some(client.ip());
        if !self.core.doors.places.enter_refusing(address, max) {
            let connection = &self.core.connections[key.index as usize];
            if connection.tls.is_none() {
                self.tell_unasked(&connection.stream, over_limit);
            }
            return self.die(key);
        }
        self.give_place_back(&self.core.connections[key.index as usize]);
        let deadline = self.refusing_deadline();
        let connection = &mut self.core.connections[key.index as usize];
        connection.peer = client;
        connection.over_limit = Some(over_limit);
        connection.is_counted = true;
        connection.deadline_tick = connection.deadline_tick.min(deadline);
    }

    /// A connection that is refused has not asked in time: it is told all the same.
    pub(super) fn refusal_overdue(&mut self, key: Key, over_limit: OverLimit) {
        if let Some(connection) = self.core.connections.get(key.index as usize)
            && connection.tls.is_none()
            && !connection.awaits_proxy_header
        {
            self.tell_unasked(&connection.stream, over_limit);
        }
        self.die(key);
    }

    /// When a connection that is refused has to have asked.
    pub(super) fn refusing_deadline(&self) -> Tick {
        self.core.clock.reading_tick() + ticks_of(REFUSING_WAIT)
    }

    /// The answer that nobody has asked for. If the client's request is under way, or was not read,
    /// it may be lost with the end of the connection: then the end says the same.
    fn tell_unasked(&self, stream: &Stream, over_limit: OverLimit) {
        let (_, response) = over_limit.refusal(&self.core.settings);
        let mut bytes = Vec::with_capacity(256);
        response.append_to(&mut bytes, SystemTime::now(), false, false);
        let _ = stream.write(&bytes);
    }

    fn count_over_limit(&self, over_limit: OverLimit, client: SocketAddr) {
        let settings = &self.core.settings;
        let (refusal, _) = over_limit.refusal(settings);
        self.core.stats().refused[refusal as usize].add(1);
        let notices = &self.core.doors.notices;
        let (now_ns, reason) = (self.core.clock.turn_ns(), refusal.label());
        if over_limit == OverLimit::Connections {
            if let Some(left_out) = notices.full.due(now_ns) {
                let connections = settings.connections_max;
                tracing::warn!(
                    connections,
                    left_out,
                    "the relay is full: clients are refused"
                );
            }
        } else if let Some(left_out) = notices.address.due(now_ns) {
            tracing::info!(%client, reason, left_out, "a client over a limit is refused");
        }
    }

    /// Gives back the places that a connection has: in the process, on its shard, of its address.
    pub(super) fn give_place_back(&self, connection: &Connection) {
        let (doors, own) = (&self.core.doors, self.core.id);
        let address = connection.peer.ip();
        if connection.over_limit.is_some() {
            let address = connection.is_counted.then_some(address);
            return doors.places.leave_refusing(address);
        }
        if connection.is_counted {
            doors.places.addresses.leave(address);
        }
        if own < doors.relaying {
            doors.places.leave();
        }
        self.count_out(own);
    }

    /// The files are used up, and a client waits to be accepted. The spare file makes room: on the
    /// admin shard for the client, since it may be a probe; on the others for as long as it takes to
    /// tell the client that the relay is full. Returns whether accepting may go on.
    pub(super) fn accept_by_spare_file(&mut self, listener: usize) -> bool {
        if self.is_admin() {
            let spare = |shard: &Shard| shard.core.spare_file().spend();
            return spare(self) || (self.evict(None) && spare(self));
        }
        if !self.core.spare_file().spend() {
            return false;
        }
        let listening = &self.listeners[listener];
        let Ok((stream, peer)) = listening.listener.accept() else {
            self.core.spare_file().reopen();
            return false;
        };
        let tls = listening.tls;
        self.core.stats().accepted.add(1);
        if self.may_come_in(peer) {
            self.count_over_limit(OverLimit::Connections, peer);
            if !tls {
                self.tell_unasked(&stream, OverLimit::Connections);
            }
        } else {
            self.core.stats().refused[Refusal::Network as usize].add(1);
        }
        self.core.spare_file().close(stream.into());
        true
    }
}

/// Whether the process, or the machine, has no more files to open.
pub(super) fn is_out_of_files(error: &std::io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE))
}
