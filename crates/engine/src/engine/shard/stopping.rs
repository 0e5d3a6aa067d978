//! The stop of a shard: stop accepting, stop reading, deliver what was accepted, close.

use std::sync::atomic::Ordering;

use super::stop::Stop;
use crate::clock::ticks_of;
use crate::engine::clients::connection::{Connection, Phase};
use crate::engine::close_reason::CloseReason;
use crate::engine::ids::Key;
use crate::engine::shard::Shard;
use crate::limits::{LISTEN_BACKLOG, STOP_MARKER_WAIT};

impl Shard {
    /// Whether the thread may end.
    pub(in crate::engine) fn is_finished(&self) -> bool {
        let aborted = self
            .clients
            .core
            .shared()
            .is_aborted
            .load(Ordering::Relaxed);
        aborted
            || (matches!(self.edge.stop, Stop::Closing)
                && self.clients.core.connections().is_empty())
    }

    /// Stops accepting and reading, and tells the other shards so, behind the last batch.
    pub(in crate::engine) fn begin_stop(&mut self) {
        if !self.edge.stop.is_accepting() {
            return;
        }
        // From here on this shard keeps the connections that it accepts.
        self.edge.stop = Stop::Gathering {
            since: self.clients.core.clock().tick(),
        };
        // Clients in the kernel's queue get an answer rather than a reset. If the listener is
        // inherited, its queue outlives us, and a successor accepts them.
        for listener in 0..self.listeners.len() {
            if !self.listeners[listener].is_inherited {
                self.accept_from(listener, LISTEN_BACKLOG as usize);
            }
        }
        self.listeners.clear();
        while let Ok(handover) = self.inbox.handover.try_recv() {
            self.register(handover);
        }
        // Frames that were read in earlier turns were sealed then. Frames that handles published in
        // this turn must precede the marker.
        self.clients.core.seal();
        for shard in self.co_relaying() {
            self.clients.core.end_mail_to(shard);
        }
    }

    /// The shards that may still send batches.
    fn co_relaying(&self) -> impl Iterator<Item = u16> + use<> {
        let (own, relaying) = (self.clients.core.id(), self.clients.core.shared().relaying);
        (0..relaying).filter(move |shard| *shard != own && own < relaying)
    }

    /// Closes all connections once the other shards have sent their last batch, or their time for
    /// that is over. Were the Close sent earlier, members would miss frames that another shard has
    /// already accepted.
    pub(in crate::engine) fn check_stop(&mut self) {
        let Stop::Gathering { since } = self.edge.stop else {
            return;
        };
        let waited = self.clients.core.clock().tick().saturating_sub(since);
        let has_all = self
            .co_relaying()
            .all(|shard| self.clients.core.exchange().has_ended(shard));
        if !has_all && waited <= ticks_of(STOP_MARKER_WAIT) {
            return;
        }
        // Frames are sent before the Close only if they are in the outboxes.
        if self.clients.core.exchange().has_pending() {
            return;
        }
        self.edge.stop = Stop::Closing;
        let connections = self.clients.core.connections().iter();
        let key = |(index, each): (usize, &Connection)| Key {
            index: index as u32,
            generation: each.generation(),
        };
        let keys: Vec<Key> = connections.map(key).collect();
        for key in keys {
            let Some(connection) = self.clients.core.connection(key) else {
                continue;
            };
            // A request may be on its way to us: it is read once more before it is refused.
            if matches!(connection.phase(), Phase::Handshake | Phase::Request) {
                let soon = self.clients.last_request_deadline();
                let connection = self.clients.core.known_mut(key);
                connection.set_deadline(connection.deadline_tick().min(soon));
                self.clients.core.queue_read(key);
            } else {
                self.clients.core.schedule_close(key, CloseReason::Shutdown);
            }
        }
        self.edge.close_scheduled(&mut self.clients);
        tracing::debug!(
            shard = self.clients.core.id(),
            "sent Close 1001 to all connections"
        );
    }
}
