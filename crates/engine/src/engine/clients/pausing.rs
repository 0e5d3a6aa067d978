//! How much a connection may send: its token buckets, and the wait of one that sends more.
//!
//! Called by `frames.rs` for every frame, where its endpoint has a bound at all
//! ([`Rate`](crate::Rate)); by the loop when a wait is over. A connection that has to wait is
//! not read, so that TCP slows its client down; what was received and is not yet its turn is kept
//! here, bounded by [`PACED_READ_BYTES_MAX`] and counted with the partial messages of the process.
//! Nobody else waits for it, and none of its deadlines that depend on reading runs meanwhile.
//!
//! The same place keeps what was received and had to be left when others had their turn.

use std::cmp::Reverse;
use std::sync::Arc;

use super::connection::{Connection, Phase};
use super::core::Core;
use super::pace::{Meter, Verdict};
use crate::engine::clients::Clients;
use crate::engine::close_reason::CloseReason;
use crate::engine::ids::Key;
use crate::engine::settings::RatePolicy;
use crate::limits::{PACED_READ_BYTES_MAX, PAUSE_MAX};

impl Connection {
    /// Whether it is not read, since it has sent more than it may.
    pub(super) fn is_paused(&self) -> bool {
        let pace = self.extras.pace();
        self.phase == Phase::Open && pace.is_some_and(|pace| pace.paused_since.is_some())
    }

    /// Whether something was received from it that was not its turn.
    pub(in crate::engine) fn has_rest(&self) -> bool {
        self.extras.pace().is_some_and(|pace| !pace.rest.is_empty())
    }

    /// What was received and was not its turn.
    pub(in crate::engine) fn take_rest(&mut self) -> Option<Vec<u8>> {
        let pace = self
            .extras
            .pace_mut()
            .filter(|pace| !pace.rest.is_empty())?;
        pace.held = Default::default();
        Some(std::mem::take(&mut pace.rest))
    }
}

impl Core {
    /// How many bytes may be received at once from a connection of the endpoint: of one that may
    /// have to wait, little more than it may send.
    pub(in crate::engine) fn read_bytes_max(&self, key: Key) -> usize {
        let Some(connection) = self.connections.get(key.index as usize) else {
            return usize::MAX;
        };
        let rate = self.settings_of(connection.endpoint).rate;
        let is_paced = rate.is_on() && rate.policy == RatePolicy::Delay;
        if is_paced && connection.phase == Phase::Open {
            PACED_READ_BYTES_MAX
        } else {
            usize::MAX
        }
    }

    /// Keeps what was received and is not its turn.
    pub(super) fn keep_rest(&mut self, key: Key, rest: &[u8]) {
        let inbound = Arc::clone(&self.shared.inbound);
        if let Some(connection) = self.connection(key) {
            let pace = connection.extras.pace_or_default();
            pace.rest = rest.to_vec();
            pace.held.set(&inbound, pace.rest.capacity());
            self.inbound_grown(key);
        }
    }

    /// Leaves a connection alone that has sent more than it may.
    pub(super) fn pause(&mut self, key: Key, now_ns: u64) {
        let reading_tick = self.clock.reading_tick();
        let Some(connection) = self.connection(key) else {
            return;
        };
        let Some(pace) = connection.extras.pace_mut() else {
            return;
        };
        pace.paused_since = Some(reading_tick);
        self.stats().rate_actions[RatePolicy::Delay as usize].add(1);
        self.reschedule(key, now_ns);
    }

    /// Notes when the connection has its next turn, or is to be looked at once more: so that what
    /// waits here is soon gone where the connection is.
    fn reschedule(&mut self, key: Key, now_ns: u64) {
        let Some(connection) = self.connections.get(key.index as usize) else {
            return;
        };
        let rate = self.settings_of(connection.endpoint).rate;
        let pace = connection.extras.pace();
        let next_ns = pace.map_or(0, |pace| pace.next_ns(&rate));
        let latest_ns = now_ns + PAUSE_MAX.as_nanos() as u64;
        self.paused
            .push(Reverse((next_ns.min(latest_ns), key.index, key.generation)));
    }

    /// When the first of the connections that wait has its turn.
    pub(in crate::engine) fn next_turn_ns(&self) -> Option<u64> {
        self.paused.peek().map(|Reverse((at_ns, ..))| *at_ns)
    }

    /// Has those read again whose turn has come.
    pub(in crate::engine) fn resume_paused(&mut self) {
        let now_ns = self.clock.turn_ns();
        while let Some(Reverse((at_ns, index, generation))) = self.paused.peek().copied()
            && at_ns <= now_ns
        {
            self.paused.pop();
            self.resume(Key { index, generation }, now_ns);
        }
    }

    fn resume(&mut self, key: Key, now_ns: u64) {
        let settings = Arc::clone(&self.endpoint_settings);
        let reading_tick = self.clock.reading_tick();
        let Some(connection) = self.connection(key).filter(|each| each.is_paused()) else {
            return;
        };
        let rate = settings[usize::from(connection.endpoint.0)].rate;
        let Some(pace) = connection.extras.pace_mut() else {
            return;
        };
        if pace.must_wait(&rate, now_ns) {
            return self.reschedule(key, now_ns);
        }
        let waited = pace
            .paused_since
            .take()
            .map_or(0, |since| reading_tick - since);
        connection.heard_tick = reading_tick;
        if connection.message_since_tick > 0 {
            connection.message_since_tick += waited;
        }
        self.queue_read(key);
    }
}

impl Clients {
    /// Judges a message of so many bytes. Returns whether it gets through; where it does not, what
    /// has to be done about it is done.
    #[inline]
    pub(super) fn passes_meter(&mut self, key: Key, meter: &mut Meter<'_>, bytes: usize) -> bool {
        match meter.check(bytes) {
            Verdict::Pass => return true,
            Verdict::Drop => self.core.stats().rate_actions[RatePolicy::Drop as usize].add(1),
            Verdict::Close(reason) => self.exceeded(key, reason),
        }
        false
    }

    /// The same of a control frame or a fragment, which are never dropped: a ping is answered
    /// unless the connection is closed for it.
    pub(super) fn control_gets_through(
        &mut self,
        key: Key,
        meter: &mut Meter<'_>,
        bytes: usize,
    ) -> bool {
        match meter.check(bytes) {
            Verdict::Pass | Verdict::Drop => return true,
            Verdict::Close(reason) => self.exceeded(key, reason),
        }
        false
    }

    #[cold]
    fn exceeded(&mut self, key: Key, reason: CloseReason) {
        self.core.stats().rate_actions[RatePolicy::Close as usize].add(1);
        self.core.schedule_close(key, reason);
    }
}
