//! Moves frames that were gathered for single connections into their outboxes, before anything else
//! uses those.
//!
//! So the answers and heads of a turn take a few allocations together, and none for each frame.
//! Code that reads or fills the outbox of an open connection must settle first ([`Core::settle`]),
//! so that frames are queued in the order in which they were sent.

use std::sync::Arc;

use super::connection::{Connection, Phase};
use super::core::Core;
use super::gathered::Entry;
use super::slow;
use crate::engine::ids::Key;
use crate::engine::settings::SlowClient;
use crate::fanout::outbox::Origin;
use crate::fanout::segment::Segment;
use crate::limits::{PRICE_KIB_READ, PRICE_PUBLISH};

impl Core {
    /// Begins a frame of about `own_bytes` bytes besides its shared body. A frame that is too large
    /// gets a buffer of its own, so that a client that lags behind on it does not keep the others
    /// in memory.
    #[inline]
    pub(super) fn begin_gathered(&mut self, own_bytes: usize) {
        if self.gathered.is_full_for(own_bytes) {
            self.settle_all();
        }
    }

    /// Ends a gathered frame, and records its recipient.
    #[inline]
    pub(super) fn end_gathered(
        &mut self,
        key: Key,
        origin: Origin,
        own_bytes: usize,
        received_ns: u64,
    ) {
        self.work.spend(PRICE_PUBLISH);
        self.work.spend_bytes(own_bytes, PRICE_KIB_READ);
        let bytes = self.gathered.end_frame(key, origin, received_ns);
        if let Some(connection) = self.connection(key) {
            connection.outbox.announce(bytes);
        }
    }

    /// Moves the gathered frames into the outboxes.
    #[inline]
    pub(in crate::engine) fn settle(&mut self) {
        if !self.gathered.is_empty() {
            self.settle_all();
        }
    }

    #[inline(never)]
    fn settle_all(&mut self) {
        let buffer = self.gathered.bundle.freeze(&self.shared.interconnect.live);
        let (buffer, tick) = (Arc::new(buffer), self.clock.tick());
        let received_ns = self.gathered.received_ns;
        let segment = Segment::apart(buffer, received_ns, tick, &self.meter);
        let mut entries = std::mem::take(&mut self.gathered.entries);
        let settings = Arc::clone(&self.endpoint_settings);
        let (mut start, mut refused) = (0, 0);
        for Entry { key, end, origin } in entries.drain(..) {
            let bytes = std::mem::replace(&mut start, end)..end;
            let Some(connection) = self.connection(key) else {
                continue;
            };
            connection.outbox.arrive(bytes.end - bytes.start);
            if connection.phase != Phase::Open {
                continue;
            }
            let slow = &settings[usize::from(connection.endpoint.0)].slow_client;
            if is_refused(connection, origin, bytes.len(), slow) {
                refused += 1;
                continue;
            }
            match origin {
                Origin::Direct => connection.outbox.push(&segment, bytes, 1, origin),
                _ => connection.outbox.push_control_at(&segment, bytes, origin),
            }
            if connection.is_writable {
                self.mark_dirty(key);
                continue;
            }
            slow::note_growth(self, key);
            self.mark_dirty(key);
            if origin == Origin::Direct {
                slow::enforce(self, key);
            }
        }
        self.gathered.entries = entries;
        self.gathered.note_held();
        if refused > 0 {
            self.count_refused(refused);
        }
    }
}

fn is_refused(connection: &Connection, origin: Origin, bytes: usize, slow: &SlowClient) -> bool {
    origin == Origin::Direct && !connection.is_writable && slow::refuses(connection, slow, bytes)
}
