//! The step in which a connection becomes a WebSocket.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Clients;
use super::client::Client;
use super::connection::Phase;
use crate::clock::{Tick, ticks_of};
use crate::engine::answer::{ErasedState, Request, Terms};
use crate::engine::ids::Key;

/// The terms on which a connection becomes a WebSocket.
pub(in crate::engine) struct Opening {
    /// The state that its endpoint keeps for it; `None`: the default value, made when it is first
    /// needed.
    pub(in crate::engine) state: Option<ErasedState>,
    pub(in crate::engine) terms: Option<Terms>,
    /// The window with which the client inflates, as a power of two; 0 without permessage-deflate.
    pub(in crate::engine) window_bits: u8,
    /// When the end of the handshake was received.
    pub(in crate::engine) received_ns: u64,
}

impl Clients {
    /// Makes the connection, whose upgrade was answered, a WebSocket, and tells its endpoint.
    pub(in crate::engine) fn open(&mut self, key: Key, request: &Request<'_>, opening: Opening) {
        self.core.connections[key.index as usize].window_bits = opening.window_bits;
        self.enter_phase(key, Phase::Open);
        let (tick, reading_tick) = (self.core.clock.tick(), self.core.clock.reading_tick());
        let endpoint = self.core.connections[key.index as usize].endpoint;
        let keepalive = self.core.settings_of(endpoint).keepalive;
        let connection = &mut self.core.connections[key.index as usize];
        connection.cold = None;
        connection.state = opening.state;
        let terms = opening.terms.filter(|terms| !terms.are_empty());
        connection.extras.set_terms(terms);
        connection.heard_tick = reading_tick;
        connection.next_ping_tick = tick + spread(ticks_of(keepalive.ping), key.generation);
        self.core.stats().opened.add(1);
        let endpoint = self.endpoint_of(key);
        let client = Client::new(&mut self.core, key, opening.received_ns);
        let call = AssertUnwindSafe(|| endpoint.opened(client, request));
        if catch_unwind(call).is_err() {
            self.endpoint_panicked(key);
        }
    }
}

/// A tick within `interval`, different for different connections: golden-ratio hashing spreads
/// consecutive numbers evenly.
fn spread(interval: Tick, number: u32) -> Tick {
    let hash = number.wrapping_mul(0x9E37_79B9);
    ((u64::from(hash) * u64::from(interval.max(1))) >> 32) as Tick + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_are_spread_over_the_interval() {
        let mut tenths = [0; 10];
        for number in 0..10_000 {
            let tick = spread(300, number);
            assert!((1..=300).contains(&tick));
            tenths[(tick as usize - 1) / 30] += 1;
        }
        assert!(
            tenths.iter().all(|count| (900..1_100).contains(count)),
            "{tenths:?}"
        );
    }
}
