//! Connections that cannot stay: over a limit, or more than the files allow; and those that linger.
//!
//! They are kept for a moment, in places apart (`places.rs`), until they have asked and were told
//! so in the form of the path that they wanted. If those places are taken too, the one that has
//! waited longest is told before it has asked, and closed. Each counts once, when it is judged.

use std::net::{IpAddr, SocketAddr};
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

impl Clients {
    /// Notes that the connection has a place apart. Those that are gone are forgotten every so
    /// often: no more of them are there at any time than there are places.
    pub(in crate::engine) fn note_apart(&mut self, key: Key) {
        if self.refusing.len() >= 2 * self.core.settings.refusing_max {
            let core = &mut self.core;
            self.refusing
                .retain(|(key, _)| core.connection(*key).is_some());
        }
        let now_ns = self.core.clock.turn_ns();
        self.refusing.push_back((key, now_ns));
    }

    /// Ends the connection that has had a place apart for longest, on this shard and, if it is its
    /// address that has too many, of that. So a new one has the time to ask. Who came in this turn
    /// was not read yet, and stays.
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

    /// A connection that is there already turns out to be over a limit: it moves to the places for
    /// those, or goes at once.
    pub(in crate::engine) fn move_to_refuse(
        &mut self,
        key: Key,
        client: SocketAddr,
        over_limit: OverLimit,
    ) {
        self.count_over_limit(over_limit, client);
        let max = self.core.settings.refusing_max;
        let address = Some(client.ip());
        let entered = self.core.doors.places.enter_refusing(address, max);
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

    /// A connection that is refused has not asked in time: it is told all the same.
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

    /// A connection that was told all, and that only has to end its side, takes no place of those
    /// who are served, if there is one of those apart for it.
    pub(super) fn linger_apart(&mut self, key: Key) {
        let connection = &self.core.connections[key.index as usize];
        if connection.is_apart || self.is_admin() {
            return;
        }
        let peer = connection.peer();
        let address = (!self.core.is_exempt(peer.ip())).then(|| peer.ip());
        let max = self.core.settings.refusing_max;
        let entered = self.core.doors.places.enter_refusing(address, max);
        if entered.is_ok() {
            self.give_place_back(connection);
            let connection = &mut self.core.connections[key.index as usize];
            (connection.is_apart, connection.is_counted) = (true, address.is_some());
            self.note_apart(key);
        }
    }

    /// When a connection that is refused has to have asked.
    pub(in crate::engine) fn refusing_deadline(&self) -> Tick {
        self.core.clock.reading_tick() + ticks_of(REFUSING_WAIT)
    }

    /// The answer that nobody has asked for. If the client's request is under way, or was not read,
    /// it may be lost with the end of the connection: then the end says the same.
    pub(in crate::engine) fn tell_unasked(&self, stream: &Stream, over_limit: OverLimit) {
        let response = over_limit.refused(&self.core.settings).to_text();
        let mut bytes = Vec::with_capacity(256);
        response.append_to(&mut bytes, SystemTime::now(), false, false);
        let _ = stream.write(&bytes);
    }

    pub(in crate::engine) fn count_over_limit(&self, over_limit: OverLimit, client: SocketAddr) {
        let refusal = over_limit.reason();
        self.core.stats().refused.add(refusal);
        let notices = &self.core.doors.notices;
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
            tracing::info!(%client, reason, left_out, "a client over a limit is refused");
        }
        if over_limit != OverLimit::Connections {
            self.guess_proxy(client.ip());
        }
    }

    /// Says once that a private address is over a limit for one address: clients rarely are so many
    /// there, and those of a proxy all come from its address.
    fn guess_proxy(&self, address: IpAddr) {
        let notices = &self.core.doors.notices;
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
        let (doors, own) = (&self.core.doors, self.core.id);
        let address = connection.ip();
        if connection.is_apart {
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
}

/// Whether a connection that is refused may have to go before its time. What it is being told goes
/// out first.
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

/// Whether the process, or the machine, has no more files to open.
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
