//! Sends outboxes to sockets, usually with one call for each connection and turn.

use std::io;
use std::io::{ErrorKind, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::io::Errno;

use super::client::Client;
use super::connection::{Connection, LowWater, Phase};
use super::core::Core;
use super::encrypting;
use super::slow;
use crate::engine::clients::Clients;
use crate::engine::ids::Key;
use crate::engine::stats::ShardStats;
use crate::fanout::outbox::{Outbox, Sent};
use crate::limits::{
    ASSEMBLED_BYTES_MAX, FLUSH_QUANTUM_NS, PRICE_ACKNOWLEDGE, PRICE_KIB_ENCRYPTED, PRICE_KIB_SENT,
    PRICE_SEND, SLICES_PER_WRITE,
};
use crate::work::{TurnPhase, price_of_bytes};

impl Clients {
    /// Writes to every connection that something waits for, usually with one call each.
    ///
    /// Connections are flushed once, at the end of the turn, rather than when a frame is queued: so
    /// the frames of a turn cost one system call together. A connection with much to send
    /// alternates with others, so that it cannot delay those that need one short send.
    pub(in crate::engine) fn flush(&mut self) {
        self.core.settle();
        self.core.work.begin(TurnPhase::Flush);
        if !self.core.unanswered.is_empty() {
            self.acknowledge_unanswered();
        }
        while !self.core.work.is_spent()
            && let Some(key) = self.core.dirty.pop()
        {
            self.flush_connection(key);
        }
        self.core.note_cut(!self.core.dirty.is_empty());
    }

    /// Acknowledges messages that get no answer, unless something is sent to the client anyway.
    #[cold]
    fn acknowledge_unanswered(&mut self) {
        for key in self.core.unanswered.drain(..) {
            let connection = self.core.connections.get(key.index as usize);
            let connection = connection.filter(|each| each.generation == key.generation);
            if let Some(connection) = connection.filter(|each| !each.has_to_send()) {
                connection.stream.acknowledge();
                self.core.work.spend(PRICE_ACKNOWLEDGE);
            }
        }
    }

    /// Writes to one connection until its socket takes no more, or others have their turn.
    ///
    /// It is inlined into the loop that calls it, down to the system call: see [`Stream::write`].
    ///
    /// [`Stream::write`]: crate::engine::stream::Stream::write
    #[inline(always)]
    fn flush_connection(&mut self, key: Key) {
        let Some(connection) = self.core.connection(key) else {
            return;
        };
        connection.is_dirty = false;
        if !connection.is_writable || connection.phase == Phase::Dead {
            return;
        }
        if !connection.has_to_send() {
            self.core.note_low_water(key);
            return self.all_sent(key);
        }
        let end_ns = self.core.work.left_ns() - FLUSH_QUANTUM_NS as i64;
        // `write` returns true only if the connection still exists and its socket takes more.
        while self.write(key) {
            if self.core.work.is_spent() || self.core.work.left_ns() < end_ns {
                return self.core.mark_dirty(key);
            }
        }
    }

    /// Tells endpoints about clients for which little waits by now.
    pub(in crate::engine) fn tell_of_low_water(&mut self) {
        for key in std::mem::take(&mut self.core.drained) {
            if !self.core.take_low_water(key) {
                continue;
            }
            let now_ns = self.core.clock.turn_ns();
            let endpoint = self.endpoint_of(key);
            let client = Client::new(&mut self.core, key, now_ns);
            let call = AssertUnwindSafe(|| endpoint.drained(client));
            if catch_unwind(call).is_err() {
                self.endpoint_panicked(key);
            }
        }
    }

    /// Writes to one connection before the flush of the turn.
    #[inline(never)]
    pub(super) fn flush_now(&mut self, key: Key) {
        self.flush_connection(key);
    }

    /// One `send` or `writev`. Returns whether everything tried was sent and more is waiting.
    ///
    /// A send that takes less than was tried means that the socket is full. The connection is not
    /// written to again before the next event reports room; until then it lags, and the policy for
    /// slow clients applies to it.
    #[inline(always)]
    pub(super) fn write(&mut self, key: Key) -> bool {
        let Core {
            connections,
            clock,
            shared,
            id,
            lagging,
            starved,
            drained,
            work,
            ..
        } = &mut self.core;
        let connection = &mut connections[key.index as usize];
        let (result, tried, encrypted) = if connection.tls.is_some() {
            let sent = encrypting::send(connection, &mut self.tls_buffers);
            (sent.result, sent.tried, Some(sent.encrypted))
        } else {
            let (result, tried) = write_plain(connection, &mut self.assembled);
            (result, tried, None)
        };
        let sent = match result {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) if error.kind() == ErrorKind::Interrupted => return true,
            Err(error) if is_shortage(&error) => {
                starved.push(key);
                shared.handles[usize::from(*id)].stats.send_errors.add(1);
                0
            }
            Err(_) => {
                self.client_gone(key);
                return false;
            }
        };
        work.spend(PRICE_SEND + price_of_bytes(sent, PRICE_KIB_SENT));
        if let Some(encrypted) = encrypted {
            work.spend_bytes(encrypted, PRICE_KIB_ENCRYPTED);
        }
        let stats = &shared.handles[usize::from(*id)].stats;
        stats.sends.add(1);
        stats.sent_bytes.add(sent as u64);
        // With TLS, plaintext leaves the outbox as soon as it is encrypted, even if the socket took
        // only a part of the records. A record cannot be made a second time, since each has its own
        // sequence number, so the session keeps the rest of it and sends that first. Removing only
        // what was sent would encrypt and send the rest of the frame a second time.
        let sent_of_outbox = encrypted.unwrap_or(sent);
        remove_sent(
            &mut connection.outbox,
            sent_of_outbox,
            clock.now_ns(),
            stats,
        );
        if connection.low_water == LowWater::Awaited {
            note_low_water(connection, key, drained);
        }
        if sent < tried {
            connection.is_writable = false;
            if !connection.is_lagging {
                connection.is_lagging = true;
                lagging.push(key);
            }
            slow::note_growth(&self.core, key);
            return false;
        }
        let has_more = connection.has_to_send();
        if !has_more && connection.phase == Phase::Draining {
            self.all_sent(key);
        }
        has_more
    }
}

/// Notes that the connection's endpoint is to be told, if little waits for it by now.
#[cold]
fn note_low_water(connection: &mut Connection, key: Key, drained: &mut Vec<Key>) {
    if connection.is_at_low_water(0) {
        connection.low_water = LowWater::Noted;
        drained.push(key);
    }
}

/// Removes sent bytes from the outbox, and counts the deliveries that they complete.
#[inline]
fn remove_sent(outbox: &mut Outbox, bytes: usize, now_ns: u64, stats: &ShardStats) {
    let mut deliveries = 0;
    outbox.advance(bytes, |done: Sent| {
        if done.is_delivery {
            let frames = u64::from(done.frames);
            deliveries += frames;
            let latency_ns = now_ns.saturating_sub(done.received_ns);
            stats.relay_latency.record(latency_ns, frames);
        }
    });
    if deliveries > 0 {
        stats.deliveries.add(deliveries);
        stats.frames_per_send.record(deliveries);
    }
}

/// One `send` or `writev` of the front of the outbox. Returns the result and the bytes tried. A
/// short frame of two pieces is assembled for a single `send`.
#[inline(always)]
fn write_plain(connection: &mut Connection, assembled: &mut Vec<u8>) -> (io::Result<usize>, usize) {
    if let Some(bytes) = connection.outbox.only_slice() {
        return (connection.stream.write(bytes), bytes.len());
    }
    if let Some((bytes, body)) = connection.outbox.only_pair() {
        if bytes.len() + body.len() <= ASSEMBLED_BYTES_MAX {
            assembled.clear();
            assembled.extend_from_slice(bytes);
            assembled.extend_from_slice(body);
            return (connection.stream.write(assembled), assembled.len());
        }
        let frame = [IoSlice::new(bytes), IoSlice::new(body)];
        let tried = bytes.len() + body.len();
        return (connection.stream.write_vectored(&frame), tried);
    }
    let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
    let filled = connection.outbox.front(&mut slices);
    let tried = slices[..filled].iter().map(|slice| slice.len()).sum();
    (connection.stream.write_vectored(&slices[..filled]), tried)
}

/// Whether a send failed because the kernel is short of memory, for which the client is not to
/// blame. Its socket may have room, in which case no edge would come, so the next tick tries again.
fn is_shortage(error: &std::io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::NOBUFS | Errno::NOMEM))
}
