//! Rate limits: the pause of a connection that sends more than it may.
//!
//! `frames.rs` calls this for every frame if the endpoint has a limit ([`Rate`](crate::Rate)), and
//! the loop calls it when a pause is over. A paused connection is not read, so that TCP slows its
//! client down. Bytes that were received and may not be handled yet are kept here, bounded by
//! [`PACED_READ_BYTES_MAX`] and counted with the partial messages of the process. No other
//! connection waits for it, and its deadlines that depend on reading do not run.
//!
//! The same place keeps received bytes that were left when others had their turn.

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
    /// Whether it is not read because it has sent more than it may.
    pub(super) fn is_paused(&self) -> bool {
        let pace = self.extras.pace();
        self.phase == Phase::Open && pace.is_some_and(|pace| pace.paused_since.is_some())
    }

    /// Whether received bytes of it were not handled yet.
    pub(in crate::engine) fn has_rest(&self) -> bool {
        self.extras.pace().is_some_and(|pace| !pace.rest.is_empty())
    }

    /// Removes the received bytes that were not handled yet.
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
    /// The number of bytes that may be received at once from a connection: if it can be paused,
    /// little more than it may send.
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

    /// Keeps received bytes that may not be handled yet.
    pub(super) fn keep_rest(&mut self, key: Key, rest: &[u8]) {
        let inbound = Arc::clone(&self.shared.inbound);
        if let Some(connection) = self.connection(key) {
            let pace = connection.extras.pace_or_default();
            pace.rest = rest.to_vec();
            pace.held.set(&inbound, pace.rest.capacity());
            self.inbound_grown(key);
        }
    }

    /// Pauses a connection that has sent more than it may.
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

    /// Schedules the next check of a paused connection: when it may send again, and at the latest
    /// after [`PAUSE_MAX`], so that an entry does not outlive its connection for long.
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

    /// When the first paused connection may be read again.
    pub(in crate::engine) fn next_turn_ns(&self) -> Option<u64> {
        self.paused.peek().map(|Reverse((at_ns, ..))| *at_ns)
    }

    /// Resumes the reading of connections whose pause is over.
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
    /// Checks a message of `bytes` bytes. Returns whether it passes; if not, the policy has been
    /// applied.
    #[inline]
    pub(super) fn passes_meter(&mut self, key: Key, meter: &mut Meter<'_>, bytes: usize) -> bool {
        match meter.check(bytes) {
            Verdict::Pass => return true,
            Verdict::Drop => self.core.stats().rate_actions[RatePolicy::Drop as usize].add(1),
            Verdict::Close(reason) => self.exceeded(key, reason),
        }
        false
    }

    /// The same for a control frame or a fragment, which are never dropped: a ping is answered
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
