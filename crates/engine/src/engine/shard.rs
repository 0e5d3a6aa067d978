//! The loop of a shard: the hot path, top to bottom.
//!
//! One turn is poll, mail, accept, read, seal, deliver, flush, timers, reap, handshakes. Event
//! dispatch only sets readiness and queues connections; the phases do the work, each a bounded
//! amount of one currency ([`crate::work`]). What a bound cut short stays queued, and the next poll
//! does not wait.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use rustix::io::Errno;

use super::busy::BusyWindow;
use super::close_reason::CloseReason;
use super::connection::{Connection, Phase};
use super::control::{Control, Inbox};
use super::core::Core;
use super::endpoint::Endpoint;
use super::ids::Key;
use super::listener::Listener;
use super::router::Router;
use super::stats::ShardStats;
use super::stop::Stop;
use super::tls::TlsBuffers;
use super::{asking, slow, tls};
use crate::clock::Tick;
use crate::fanout::outbox::{Outbox, Sent};
use crate::limits::{
    COMPRESSED_READ_BYTES_MAX, FLUSH_QUANTUM_NS, PRICE_ASK, PRICE_KIB_ENCRYPTED, PRICE_KIB_READ,
    PRICE_KIB_SENT, PRICE_READ, PRICE_RUN, PRICE_SEND, READ_QUANTUM_BYTES, READS_PER_CONNECTION,
    SLICES_PER_WRITE, TURN_BYTES_MAX,
};
use crate::work::{TurnPhase, price_of_bytes};

/// The token of the waker; those of the listeners count down from here. Tokens of connections are
/// generation and index, and no generation is that high.
pub(super) const WAKER: Token = Token(usize::MAX);

/// A listening socket.
pub(super) struct Listening {
    pub(super) listener: Listener,
    /// Connections may wait in it.
    pub(super) is_ready: bool,
    /// The last attempt to accept met an error: it waits for the next tick.
    pub(super) is_failing: bool,
    /// Its clients speak TLS.
    pub(super) tls: bool,
    /// Somebody else holds it too: what waits in it is not lost when we end.
    pub(super) is_inherited: bool,
}

impl Listening {
    /// Whether it is worth trying to accept a connection now.
    pub(super) fn may_accept(&self) -> bool {
        self.is_ready && !self.is_failing
    }
}

/// One thread with one poll, one slab of connections and one set of local rooms.
pub(super) struct Shard {
    pub(super) poll: Poll,
    pub(super) events: Events,
    pub(super) listeners: Vec<Listening>,
    /// Connections with a place apart, each with the turn in which it got it. Some may be gone.
    pub(super) refusing: VecDeque<(Key, u64)>,
    /// With TLS there is room in it for what a session keeps, in front of what comes.
    pub(super) receive_buffer: Vec<u8>,
    pub(super) tls_buffers: TlsBuffers,
    /// Handshakes of this turn that exchanged, signed or verified keys.
    pub(super) costly_handshakes: usize,
    pub(super) router: Arc<Router>,
    pub(super) endpoints: Arc<[Arc<dyn Endpoint>]>,
    pub(super) inbox: Inbox,
    pub(super) core: Core,
    pub(super) stop: Stop,
    /// The tick whose timers have run.
    pub(super) timers_tick: Tick,
    /// When the endpoints are told that a second is over, on the admin shard.
    pub(super) next_pulse_tick: Tick,
    pub(super) busy_window: BusyWindow,
    /// Where the sweep goes on, and how many connections it is yet to look at in this tick.
    pub(super) sweep_from: usize,
    pub(super) sweep_left: usize,
    pub(super) sweep_outbox_bytes: usize,
}

impl Shard {
    /// Runs until the shard is told to stop and its last connection is gone.
    pub(super) fn run(mut self) {
        while !self.is_finished() {
            self.turn();
        }
        self.core.doors.inbound_holders.ended(self.core.id);
        self.core.doors.waiting_holders.ended(self.core.id);
    }

    fn turn(&mut self) {
        self.poll();
        let began_ns = self.core.clock.turn_ns();
        self.core.stats().last_turn_ns.set(began_ns);
        self.core.work.begin_turn();
        self.take_mail();
        self.accept();
        self.read();
        self.seal();
        self.check_stop();
        self.deliver();
        self.flush();
        self.timers();
        self.keep_within_memory();
        self.reap();
        self.handshakes();
        let ended_ns = self.core.clock.now_ns();
        self.core
            .stats()
            .turns
            .record(ended_ns.saturating_sub(began_ns), 1);
    }

    /// Waits for events, unless there is something to do already, and queues what they are about.
    fn poll(&mut self) {
        let waited_from_ns = self.core.clock.now_ns();
        if self.has_work() || self.spins_into_work() {
            self.take_events(Duration::ZERO);
        } else {
            let doors = Arc::clone(&self.core.doors);
            let sleeping = &doors.interconnect.sleeper(self.core.id).sleeping;
            sleeping.announce();
            let has_mail = self.has_mail();
            let until_due = self.until_due();
            self.take_events(if has_mail { Duration::ZERO } else { until_due });
            sleeping.withdraw();
        }
        let may_read = self.may_read();
        self.core.clock.advance(may_read);
        let waited_ns = self.core.clock.turn_ns().saturating_sub(waited_from_ns);
        self.core.stats().idle_ns.add(waited_ns);
    }

    /// How long until the next tick, or until a connection that was made to wait has its turn.
    fn until_due(&self) -> Duration {
        let clock = &self.core.clock;
        let until_tick = clock.until_next_tick();
        match self.core.next_turn_ns().filter(|_| self.may_read()) {
            Some(at_ns) => {
                let until_turn = Duration::from_nanos(at_ns.saturating_sub(clock.now_ns()));
                until_tick.min(until_turn)
            }
            None => until_tick,
        }
    }

    fn take_events(&mut self, timeout: Duration) {
        if let Err(error) = self.poll.poll(&mut self.events, Some(timeout)) {
            // Interrupted by a signal: the events come with the next poll.
            assert!(
                error.kind() == ErrorKind::Interrupted,
                "the poll of a shard failed: {error}"
            );
            return;
        }
        for event in &self.events {
            let Token(token) = event.token();
            if token == WAKER.0 {
                continue;
            }
            let listener = WAKER.0 - 1 - token;
            if let Some(listening) = self.listeners.get_mut(listener) {
                listening.is_ready = true;
                continue;
            }
            let key = Key {
                index: token as u32,
                generation: (token >> 32) as u32,
            };
            let Some(connection) = self.core.connection(key) else {
                continue;
            };
            connection.is_read_closed |= event.is_read_closed() || event.is_error();
            let readable = event.is_readable() || event.is_read_closed() || event.is_error();
            connection.is_readable |= readable;
            let writable = event.is_writable() && !connection.is_writable;
            connection.is_writable |= event.is_writable();
            let is_waiting = writable && connection.has_to_send();
            // Whoever goes can wait for those who stay: they may be many at once.
            if readable && connection.is_read_closed {
                self.core.queue_read_on(key);
            } else if readable {
                self.core.queue_read(key);
            }
            if is_waiting {
                self.core.mark_dirty(key);
            }
        }
    }

    /// Polls for a while where the deployment gave the shard its core. Returns whether that found
    /// something to do; events are taken as they come.
    fn spins_into_work(&mut self) -> bool {
        let spin = self.core.settings.spin;
        if spin.is_zero() {
            return false;
        }
        let began = Instant::now();
        while began.elapsed() < spin {
            self.take_events(Duration::ZERO);
            if self.has_work() || self.has_mail() || self.may_accept() {
                return true;
            }
            std::hint::spin_loop();
        }
        false
    }

    /// Whether something waits that needs no event.
    fn has_work(&self) -> bool {
        let core = &self.core;
        !core.dirty.is_empty()
            || core.exchange.has_pending()
            || core.exchange.has_published()
            || !core.doomed.is_empty()
            || !core.leaving.is_empty()
            || !core.dead.is_empty()
            || core.sweep.is_under_way()
            || self.sweep_left > 0
            || (!(core.to_read.is_empty() && core.to_handshake.is_empty()) && self.may_read())
            || (self.may_accept() && self.stop.is_accepting())
    }

    fn may_accept(&self) -> bool {
        self.listeners.iter().any(Listening::may_accept)
    }

    /// Whether other threads left something, or made room for what they are to get.
    fn has_mail(&self) -> bool {
        !self.inbox.handover.is_empty()
            || (!self.inbox.has_no_control() && !self.core.exchange.is_blocked())
            || self.core.exchange.has_mail()
    }

    /// Whether publishers may be read.
    pub(super) fn may_read(&self) -> bool {
        self.stop.is_reading() && self.core.exchange.may_publish()
    }

    /// Takes what other threads left: control messages, batches.
    fn take_mail(&mut self) {
        self.core.exchange.push_unsent();
        self.take_controls();
        self.core.work.begin(TurnPhase::Mail);
        let tick = self.core.clock.tick();
        let more = self.core.exchange.take_mail(&mut self.core.work, tick);
        self.core.note_cut(more);
    }

    fn take_controls(&mut self) {
        self.core.work.begin(TurnPhase::Control);
        while !self.core.exchange.is_blocked()
            && self.core.exchange.published_bytes() < TURN_BYTES_MAX
            && let Some(control) = self.inbox.take_control()
        {
            self.obey(control);
            if self.core.work.is_spent() {
                break;
            }
        }
        let more = !self.inbox.has_no_control();
        self.core.note_cut(more);
    }

    /// Reads connections that may have something, each at most once. Those that had nothing left
    /// when they were read last and those that had more take turns: so whoever sends now and then
    /// waits for one read of those that send without pause, however many they are.
    fn read(&mut self) {
        self.core.work.begin(TurnPhase::Read);
        self.core.resume_paused();
        let mut buffer = std::mem::take(&mut self.receive_buffer);
        for _ in 0..self.core.to_read.len() {
            let is_full = self.core.exchange.published_bytes() >= TURN_BYTES_MAX;
            if is_full || self.core.work.is_spent() || !self.may_read() {
                break;
            }
            let Some(key) = self.core.to_read.pop() else {
                break;
            };
            self.read_connection(key, READS_PER_CONNECTION, &mut buffer);
        }
        self.receive_buffer = buffer;
        self.core.note_cut(!self.core.to_read.is_empty());
    }

    pub(super) fn read_connection(&mut self, key: Key, reads_max: usize, buffer: &mut [u8]) {
        self.core.work.begin_quantum();
        let is_alone = self.core.to_read.is_empty();
        let reads_max = if is_alone { reads_max } else { 1 };
        for _ in 0..reads_max {
            let paced_max = self.core.read_bytes_max(key);
            let Some(connection) = self.core.connection(key) else {
                return;
            };
            connection.is_queued_to_read = false;
            if !connection.may_be_read() {
                return;
            }
            if connection.is_flushed_first() {
                break;
            }
            if self.take_kept(key) {
                if self.core.work.is_quantum_spent() {
                    break;
                }
                continue;
            }
            let Some(connection) = self.core.connection(key) else {
                return;
            };
            // An incomplete TLS record goes in front of what follows it.
            let kept = connection.tls.as_ref();
            let kept = kept.map_or(0, |tls| tls.restore(buffer));
            let most_at_once = match connection.window_bits {
                0 if is_alone => paced_max,
                0 => READ_QUANTUM_BYTES.min(paced_max),
                _ => COMPRESSED_READ_BYTES_MAX.min(paced_max),
            };
            let most = kept.saturating_add(most_at_once).min(buffer.len());
            match connection.stream.read(&mut buffer[kept..most]) {
                Ok(0) => return self.stream_ended(key),
                Ok(received) => {
                    // A short read has drained the socket; where the end is near, read up to it.
                    let end = kept + received;
                    let is_drained = end < most && !connection.is_read_closed;
                    connection.is_readable = !is_drained;
                    let received_ns = self.core.clock.now_ns();
                    self.core.work.spend(PRICE_READ);
                    self.core.work.spend_bytes(received, PRICE_KIB_READ);
                    self.take_stream(key, &mut buffer[..end], received_ns);
                    if self.core.is_doomed(key) || (is_drained && !self.core.has_kept(key)) {
                        return;
                    }
                    if self.core.work.is_quantum_spent()
                        || self.core.exchange.published_bytes() >= TURN_BYTES_MAX
                    {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    connection.is_readable = false;
                    return;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.client_gone(key),
            }
        }
        if self.core.work.is_quantum_spent() {
            self.core.stats().turn_cut[TurnPhase::Read as usize].add(1);
        }
        self.core.queue_read_on(key);
    }

    /// Takes in what the socket had: the PROXY header where one comes first, then TLS, then what
    /// the client says.
    pub(super) fn take_stream(&mut self, key: Key, bytes: &mut [u8], received_ns: u64) {
        match self.core.connection(key) {
            Some(connection) if connection.awaits_proxy_header => {
                self.take_proxy_header(key, bytes, received_ns);
            }
            Some(connection) if connection.tls.is_some() => {
                self.take_encrypted(key, bytes, received_ns);
            }
            _ => self.take_bytes(key, bytes, received_ns),
        }
    }

    /// Freezes what was published in this turn, takes tickets and hands the batch over: to the
    /// other shards first, so that the cores work side by side.
    pub(super) fn seal(&mut self) {
        self.core.exchange.seal(self.core.clock.tick());
    }

    /// Writes to every connection that has something to be sent: one call each, as a rule.
    fn flush(&mut self) {
        self.core.work.begin(TurnPhase::Flush);
        while !self.core.work.is_spent()
            && let Some(key) = self.core.dirty.pop()
        {
            self.flush_connection(key);
        }
        self.core.note_cut(!self.core.dirty.is_empty());
        self.close_doomed();
    }

    /// Writes to one connection until its socket takes no more, or others have their turn.
    ///
    /// It is inlined into the loop that calls it, down to the system call: see [`Stream::write`].
    ///
    /// [`Stream::write`]: super::stream::Stream::write
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
            return self.all_sent(key);
        }
        let end_ns = self.core.work.left_ns() - FLUSH_QUANTUM_NS as i64;
        // Where something is left to be sent, the connection is there and may be written to.
        while self.write(key) {
            if self.core.work.is_spent() || self.core.work.left_ns() < end_ns {
                return self.core.mark_dirty(key);
            }
        }
    }

    /// Writes to one connection ahead of the flush of the turn.
    #[inline(never)]
    pub(super) fn flush_now(&mut self, key: Key) {
        self.flush_connection(key);
    }

    /// One `send` or `writev`. Returns whether all that was tried went out, and more is to be sent.
    #[inline(always)]
    fn write(&mut self, key: Key) -> bool {
        let Core {
            connections,
            clock,
            doors,
            id,
            lagging,
            starved,
            work,
            ..
        } = &mut self.core;
        let connection = &mut connections[key.index as usize];
        let (result, tried, encrypted) = if connection.tls.is_some() {
            let sent = tls::send(connection, &mut self.tls_buffers);
            (sent.result, sent.tried, Some(sent.encrypted))
        } else {
            let (result, tried) = write_plain(connection);
            (result, tried, None)
        };
        let sent = match result {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) if error.kind() == ErrorKind::Interrupted => return true,
            Err(error) if is_shortage(&error) => {
                starved.push(key);
                doors.doors[usize::from(*id)].stats.send_errors.add(1);
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
        let stats = &doors.doors[usize::from(*id)].stats;
        stats.sends.add(1);
        stats.sent_bytes.add(sent as u64);
        // What is encrypted counts as sent with the call that carried its first byte.
        let sent_of_outbox = encrypted.unwrap_or(sent);
        take_off(
            &mut connection.outbox,
            sent_of_outbox,
            clock.now_ns(),
            stats,
        );
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

    /// Looks once a turn at what the process may hold, and at clients that lag behind.
    fn keep_within_memory(&mut self) {
        slow::sweep_lagging(&mut self.core);
        self.core.publish_held(self.tls_buffers.held_bytes());
        slow::relieve_memory(&mut self.core);
        self.relieve_inbound();
        self.close_doomed();
    }

    fn obey(&mut self, control: Control) {
        let now_ns = self.core.clock.now_ns();
        self.core.work.spend(PRICE_RUN);
        match control {
            Control::Publish {
                room,
                recipients,
                kind,
                payload,
            } => {
                self.core
                    .publish_by_name(&room, recipients, kind.into(), &payload, now_ns);
            }
            Control::Send { to, kind, payload } => {
                if let Some(key) = self.core.key_of(to) {
                    self.core.send(key, kind.into(), &payload, now_ns);
                }
            }
            Control::Close {
                connection,
                code,
                reason,
            } => {
                if let Some(key) = self.core.key_of(connection) {
                    let reason = CloseReason::Endpoint {
                        code,
                        reason: reason.into(),
                    };
                    self.core.doom(key, reason);
                }
            }
            Control::Join { connection, room } => {
                let joined = self
                    .core
                    .key_of(connection)
                    .map(|key| self.core.join(key, &room));
                if let Some(Err(error)) = joined {
                    tracing::debug!(%connection, %error, "a handle's join was refused");
                }
            }
            Control::Leave { connection, room } => {
                if let Some(key) = self.core.key_of(connection)
                    && let Some(place) = self.core.exchange.find(&room)
                {
                    self.core.leave(key, place);
                }
            }
            Control::Ask(ask) => {
                self.core.work.spend(PRICE_ASK);
                asking::answer(&mut self.core, ask);
            }
            Control::Answered(connection) => {
                if let Some(key) = self.core.key_of(connection) {
                    self.answered(key);
                }
            }
            Control::Reload(live) => self.core.take_live(live),
            Control::Stop => self.begin_stop(),
        }
    }
}

/// Takes what was sent off the outbox, and counts what was delivered.
#[inline]
fn take_off(outbox: &mut Outbox, bytes: usize, now_ns: u64, stats: &ShardStats) {
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

/// One `send` or `writev` of the front of the outbox, and how many bytes that is.
#[inline(always)]
fn write_plain(connection: &mut Connection) -> (io::Result<usize>, usize) {
    if let Some(bytes) = connection.outbox.only_slice() {
        return (connection.stream.write(bytes), bytes.len());
    }
    let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
    let filled = connection.outbox.front(&mut slices);
    let tried = slices[..filled].iter().map(|slice| slice.len()).sum();
    (connection.stream.write_vectored(&slices[..filled]), tried)
}

/// Whether a send failed because the kernel is short of memory at the moment, which is no fault of
/// the client's. Its socket may have room, so no edge would come: the next tick tries again.
fn is_shortage(error: &std::io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::NOBUFS | Errno::NOMEM))
}
