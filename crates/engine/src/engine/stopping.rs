//! A shard's way to its end: stop accepting, stop reading, deliver what was accepted, close.

use std::sync::atomic::Ordering;

use super::close_reason::CloseReason;
use super::connection::Phase;
use super::ids::Key;
use super::shard::Shard;
use super::stop::Stop;
use crate::clock::{Tick, ticks_of};
use crate::limits::{LISTEN_BACKLOG, STOP_MARKER_WAIT, STOP_REQUEST_WAIT};

impl Shard {
    /// Whether the thread may end.
    pub(super) fn is_finished(&self) -> bool {
        let aborted = self.core.doors.is_aborted.load(Ordering::Relaxed);
        aborted || (matches!(self.stop, Stop::Closing) && self.core.connections.is_empty())
    }

    /// Stops accepting and reading, and says so to the other shards behind the last batch.
    pub(super) fn begin_stop(&mut self) {
        if !self.stop.is_accepting() {
            return;
        }
        // From here on this shard keeps what it accepts.
        self.stop = Stop::Gathering {
            since: self.core.clock.tick(),
        };
        // Whoever waits in the kernel's queue gets an answer, rather than a reset; or a successor,
        // where the queue outlives us.
        for listener in 0..self.listeners.len() {
            if !self.listeners[listener].is_inherited {
                self.accept_from(listener, LISTEN_BACKLOG as usize);
            }
        }
        self.listeners.clear();
        while let Ok(handover) = self.inbox.handover.try_recv() {
            self.adopt(handover);
        }
        // What was read before this turn was sealed in its own turn; what handles published in
        // this one must go ahead of the marker.
        self.seal();
        for shard in self.co_relaying() {
            self.core.exchange.end_mail_to(shard);
        }
    }

    /// When a request has to be there that is under way while the relay shuts down.
    pub(super) fn last_request_deadline(&self) -> Tick {
        self.core.clock.reading_tick() + ticks_of(STOP_REQUEST_WAIT)
    }

    /// The shards whose batches may still come.
    fn co_relaying(&self) -> impl Iterator<Item = u16> + use<> {
        let (own, relaying) = (self.core.id, self.core.doors.relaying);
        (0..relaying).filter(move |shard| *shard != own && own < relaying)
    }

    /// Goes on where what is awaited has come, or has had its time.
    pub(super) fn check_stop(&mut self) {
        let Stop::Gathering { since } = self.stop else {
            return;
        };
        let waited = self.core.clock.tick().saturating_sub(since);
        let has_all = self
            .co_relaying()
            .all(|shard| self.core.exchange.has_ended(shard));
        if !has_all && waited <= ticks_of(STOP_MARKER_WAIT) {
            return;
        }
        // Frames go ahead of the Close, so they have to be in the outboxes.
        if self.core.exchange.has_pending() {
            return;
        }
        self.stop = Stop::Closing;
        let keys: Vec<Key> = self
            .core
            .connections
            .iter()
            .map(|(index, each)| Key {
                index: index as u32,
                generation: each.generation,
            })
            .collect();
        for key in keys {
            let Some(connection) = self.core.connection(key) else {
                continue;
            };
            // A request may be under way to us: it is read once more before it is turned away.
            if matches!(connection.phase, Phase::Handshake | Phase::Request) {
                let soon = self.last_request_deadline();
                let connection = &mut self.core.connections[key.index as usize];
                connection.deadline_tick = connection.deadline_tick.min(soon);
                self.core.queue_read(key);
            } else {
                self.core.doom(key, CloseReason::Shutdown);
            }
        }
        self.close_doomed();
        tracing::debug!(
            shard = self.core.id,
            "everybody was told that the relay goes away"
        );
    }
}
