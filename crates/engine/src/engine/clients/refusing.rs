//! Connections that are refused, because they are over a limit or no descriptor is left, and those
//! that linger.
//!
//! They are kept briefly, in places of their own (`places.rs`), until they have sent a request and
//! were refused in the form of its path. If those places are taken too, the connection that has
//! waited longest is refused before it has asked, and closed. Each is counted once, when the limit
//! is checked.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use rustix::io::Errno;

use super::connection::{Connection, Phase};
use crate::clock::{Tick, ticks_of};
use crate::engine::addresses::counted_as;
use crate::engine::clients::Clients;
use crate::engine::ids::Key;
use crate::engine::over_limit::OverLimit;
use crate::engine::places::Taken;
use crate::engine::stream::Stream;
use crate::limits::REFUSING_WAIT;
use crate::peer::Peer;

impl Clients {
    /// Records that the connection has a place among the refused. Entries of connections that have
    /// ended are removed every so often, so at most as many of them exist as there are places.
    pub(in crate::engine) fn note_apart(&mut self, key: Key) {
        if self.refusing.len() >= 2 * self.core.settings.refusing_max {
            let core = &mut self.core;
            self.refusing
                .retain(|(key, _)| core.connection(*key).is_some());
        }
        let now_ns = self.core.clock.turn_ns();
        self.refusing.push_back((key, now_ns));
    }

    /// Ends the connection on this shard that has been among the refused for longest; if its
    /// address has too many, the oldest of that address. A new one so has time to ask. A connection
    /// that came in this turn has not been read yet, and stays.
    pub(in crate::engine) fn hurry_refused(&mut self, taken: Taken) {
        let now_ns = self.core.clock.turn_ns();
        let core = &mut self.core;
        while let Some((key, _)) = self.refusing.front()
            && core.connection(*key).is_none()
        {
            self.refusing.pop_front();
        }
        let mut waiting = self.refusing.iter();
        let place = waiting.position(|(key, since_ns)| {
            let connection = self.core.connection(*key);
            *since_ns < now_ns && connection.is_some_and(|each| may_hurry(each, taken))
        });
        let Some((key, _)) = place.and_then(|place| self.refusing.remove(place)) else {
            return;
        };
        match self.core.connection(key).and_then(|each| each.over_limit) {
            Some(over_limit) => self.refusal_overdue(key, over_limit),
            None => self.die(key),
        }
        self.remove_at_once(key);
    }

    /// An accepted connection turns out to be over a limit: it moves to the places of the refused,
    /// or ends at once.
    pub(in crate::engine) fn move_to_refuse(
        &mut self,
        key: Key,
        client: Peer,
        over_limit: OverLimit,
    ) {
        self.count_over_limit(over_limit, client);
        let max = self.core.settings.refusing_max;
        let address = Some(client.counting_ip());
        let entered = self.core.shared.places.enter_refusing(address, max);
        if entered.is_err() {
            let connection = &self.core.connections[key.index as usize];
            if connection.tls.is_none() {
                self.tell_unasked(&connection.stream, over_limit);
            }
            return self.die(key);
        }
        self.give_place_back(&self.core.connections[key.index as usize]);
        let deadline = self.refusing_deadline();
        let connection = &mut self.core.connections[key.index as usize];
        connection.set_peer(client);
        connection.over_limit = Some(over_limit);
        (connection.is_apart, connection.is_counted) = (true, true);
        connection.deadline_tick = connection.deadline_tick.min(deadline);
        self.note_apart(key);
    }

    /// A refused connection has not asked in time, and is answered nevertheless.
    pub(in crate::engine) fn refusal_overdue(&mut self, key: Key, over_limit: OverLimit) {
        if let Some(connection) = self.core.connections.get(key.index as usize)
            && connection.tls.is_none()
            && connection.phase == Phase::Request
            && !connection.awaits_proxy_header
        {
            self.tell_unasked(&connection.stream, over_limit);
        }
        self.die(key);
    }

    /// A connection that has been told everything, and only has to end its side, gives its place
    /// back if there is one among the refused for it.
    pub(super) fn linger_apart(&mut self, key: Key) {
        let connection = &self.core.connections[key.index as usize];
        if connection.is_apart || self.is_admin() {
            return;
        }
        let peer = connection.peer();
        let address = (!self.core.is_exempt(peer)).then(|| peer.counting_ip());
        let max = self.core.settings.refusing_max;
        let entered = self.core.shared.places.enter_refusing(address, max);
        if entered.is_ok() {
            self.give_place_back(connection);
            let connection = &mut self.core.connections[key.index as usize];
            (connection.is_apart, connection.is_counted) = (true, address.is_some());
            self.note_apart(key);
        }
    }

    /// The deadline by which a refused connection must have asked.
    pub(in crate::engine) fn refusing_deadline(&self) -> Tick {
        self.core.clock.reading_tick() + ticks_of(REFUSING_WAIT)
    }

    /// Sends the refusal before a request was read. If the client's request is on its way or
    /// unread, closing the connection may destroy the answer; then the close itself tells the
    /// client.
    pub(in crate::engine) fn tell_unasked(&self, stream: &Stream, over_limit: OverLimit) {
        let response = over_limit.refused(&self.core.settings).to_text();
        let mut bytes = Vec::with_capacity(256);
        response.append_to(&mut bytes, SystemTime::now(), false, false);
        let _ = stream.write(&bytes);
    }

    pub(in crate::engine) fn count_over_limit(&self, over_limit: OverLimit, client: Peer) {
        let refusal = over_limit.reason();
        self.core.stats().refused.add(refusal);
        let notices = &self.core.shared.notices;
        let (now_ns, reason) = (self.core.clock.turn_ns(), refusal.label());
        if over_limit == OverLimit::Connections {
            if let Some(left_out) = notices.full.due(now_ns) {
                let connections = self.core.settings.connections_max;
                tracing::warn!(
                    connections,
                    left_out,
                    "the relay is full: clients are refused"
                );
            }
        } else if let Some(left_out) = notices.address.due(now_ns) {
            tracing::info!(%client, reason, left_out, "refused a client over a limit");
        }
        if over_limit != OverLimit::Connections
            && let Some(address) = client.ip()
        {
            self.guess_proxy(address);
        }
    }

    /// Says once that a private address is over a limit for one address: clients rarely are so many
    /// there, and those of a proxy all come from its address.
    fn guess_proxy(&self, address: IpAddr) {
        let notices = &self.core.shared.notices;
        if is_private(address) && !notices.private_over_limit.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %address,
                "one private address is over a limit for one address: it is probably a proxy, and \
                 its clients all count as that address; add it to server.trusted_proxies"
            );
        }
    }

    /// Gives back the places that a connection has: in the process, on its shard, of its address.
    pub(super) fn give_place_back(&self, connection: &Connection) {
        let (shared, own) = (&self.core.shared, self.core.id);
        let address = connection.ip();
        if connection.is_apart {
            let address = connection.is_counted.then_some(address);
            return shared.places.leave_refusing(address);
        }
        if connection.is_counted {
            shared.places.addresses.leave(address);
        }
        if own < shared.relaying {
            shared.places.leave();
        }
        self.count_out(own);
    }
}

/// Whether a refused connection may be ended early. An answer that it is being sent is finished
/// first.
fn may_hurry(connection: &Connection, taken: Taken) -> bool {
    let may_end = matches!(
        connection.phase,
        Phase::Handshake | Phase::Request | Phase::Lingering
    );
    let is_of = match taken {
        Taken::All => true,
        Taken::OfAddress(address) => counted_as(connection.ip()) == counted_as(address),
    };
    may_end && is_of
}

/// Whether the process or the machine has no file descriptor left.
pub(in crate::engine) fn is_out_of_files(error: &std::io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE))
}

/// Whether an address is of a network that is not routed on the internet (RFC 1918, RFC 6598,
/// RFC 4193), or of this machine.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(four) => {
            let [a, b, ..] = four.octets();
            let is_shared = a == 100 && b & 0xC0 == 64;
            four.is_private() || four.is_loopback() || four.is_link_local() || is_shared
        }
        IpAddr::V6(six) => six.is_loopback() || six.segments()[0] & 0xFE00 == 0xFC00,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_those_that_are_not_routed() {
        let is_private = |text: &str| is_private(text.parse().expect("an address"));
        for private in [
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "::ffff:10.0.0.1",
            "fd00::1",
            "::1",
        ] {
            assert!(is_private(private), "{private}");
        }
        for public in [
            "192.0.2.1",
            "172.32.0.1",
            "100.128.0.1",
            "2001:db8::1",
            "fe00::1",
        ] {
            assert!(!is_private(public), "{public}");
        }
    }
}
