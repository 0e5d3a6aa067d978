//! The loop of a shard: the hot path, top to bottom.
//!
//! One turn is poll, mail, accept, read, endpoint work, seal, check of a stop, deliver, flush,
//! timers, reap, handshakes. Event dispatch only records readiness and queues connections; the
//! phases do the work, each a bounded amount in one currency ([`crate::work`]). Work that a bound
//! cut short stays queued, and the next poll does not wait. Every phase gets its own share, and
//! what the earlier ones left, so none of them can starve those behind it.

pub(super) mod accepting;
pub(super) mod busy;
pub(super) mod stop;
pub(super) mod stopping;
pub(super) mod timers;

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use self::busy::BusyWindow;
use crate::clock::Tick;
use crate::engine::clients::Clients;
use crate::engine::clients::asking;
use crate::engine::clients::connection::Received;
use crate::engine::close_reason::CloseReason;
use crate::engine::control::{Control, Inbox};
use crate::engine::edge::Edge;
use crate::engine::ids::Key;
use crate::engine::listener::Listener;
use crate::limits::{
    PRICE_ASK, PRICE_KIB_READ, PRICE_READ, PRICE_RUN, READS_PER_CONNECTION,
    TLS_HANDSHAKE_READS_PER_TURN, TURN_BYTES_MAX,
};
use crate::work::TurnPhase;

/// The token of the waker; those of the listeners count down from here. Tokens of connections
/// consist of generation and index, and no generation is that high.
pub(in crate::engine) const WAKER: Token = Token(usize::MAX);

/// A listening socket.
pub(in crate::engine) struct Listening {
    pub(in crate::engine) listener: Listener,
    /// Connections may wait in its queue.
    pub(in crate::engine) is_ready: bool,
    /// The last attempt to accept failed, so nothing is accepted before the next tick.
    pub(in crate::engine) is_failing: bool,
    /// Its clients speak TLS.
    pub(in crate::engine) tls: bool,
    /// Another process holds it too, so connections in its queue are not lost when we end.
    pub(in crate::engine) is_inherited: bool,
}

impl Listening {
    /// Whether it is worth trying to accept a connection now.
    pub(in crate::engine) fn may_accept(&self) -> bool {
        self.is_ready && !self.is_failing
    }
}

/// One thread with one poll, one slab of connections and one set of local rooms.
pub(in crate::engine) struct Shard {
    pub(in crate::engine) poll: Poll,
    pub(in crate::engine) events: Events,
    pub(in crate::engine) listeners: Vec<Listening>,
    /// With TLS it has room for the bytes that a session keeps, in front of those received.
    pub(in crate::engine) receive_buffer: Vec<u8>,
    pub(in crate::engine) inbox: Inbox,
    pub(in crate::engine) edge: Edge,
    pub(in crate::engine) clients: Clients,
    /// The tick whose timers have run.
    pub(in crate::engine) timers_tick: Tick,
    /// When the endpoints are next told that a second has passed.
    pub(in crate::engine) next_pulse_tick: Tick,
    pub(in crate::engine) busy_window: BusyWindow,
    /// The slot at which the sweep goes on, and the number of connections that it has yet to visit
    /// in this tick.
    pub(in crate::engine) sweep_from: usize,
    pub(in crate::engine) sweep_left: usize,
    pub(in crate::engine) sweep_outbox_bytes: usize,
}

impl Shard {
    /// Runs until the shard is told to stop and its last connection has ended.
    pub(in crate::engine) fn run(mut self) {
        self.clients.begin();
        while !self.is_finished() {
            self.turn();
        }
        self.clients.core.ended();
    }

    /// One turn. The order of the phases decides what a client sees, so each has its reason here.
    fn turn(&mut self) {
        self.poll();
        let core = &mut self.clients.core;
        let began_ns = core.clock().turn_ns();
        core.stats().last_turn_ns.set(began_ns);
        core.work().begin_turn();
        // Mail before the reading: taking it gives other shards room to publish, and if too much
        // waits to be delivered because of it, the reading pauses instead of adding more.
        self.receive_mail();
        self.accept();
        self.read();
        // Before the seal, so that what endpoints publish joins the batch of this turn.
        if self.clients.have_endpoints_work() {
            self.clients.endpoints_work();
        }
        // One batch for everything that was published in the turn, so that tickets are taken once
        // for a run of frames and a shard is woken once, rather than for each message.
        self.clients.core.seal();
        // After the seal: frames of this turn would not count as pending before it, and the Close
        // of a stop would overtake them.
        self.check_stop();
        // After the seal, since delivery is in ticket order, and before the flush, so that all
        // frames of a turn go to a member with one send.
        self.clients.deliver();
        self.clients.core.send_what_follows();
        // Nothing follows a Close frame, so connections are closed only when what was published
        // before is in their outboxes. Before the flush, the Close goes out with the same send.
        self.edge.close_scheduled(&mut self.clients);
        self.clients.flush();
        // Only after the flush is it known what sockets did not take.
        if self.clients.core.has_drained() {
            self.clients.tell_of_low_water();
        }
        self.edge.close_scheduled(&mut self.clients);
        self.timers();
        // After the flush, so that frames that are merely on their way to a socket are not held
        // against their connection.
        self.keep_within_memory();
        // Slots become free here, since earlier phases may still use the keys of connections that
        // died in this turn.
        self.clients.core.work().begin(TurnPhase::Close);
        self.edge.close_scheduled(&mut self.clients);
        self.clients.reap();
        self.handshakes();
        self.clients.check_invariants();
        let core = &self.clients.core;
        let took_ns = core.clock().now_ns().saturating_sub(began_ns);
        core.stats().turns.record(took_ns, 1);
    }

    /// Waits for events, unless there is work already, and queues the connections that they are
    /// about.
    ///
    /// A shard that sleeps is woken by other threads, but they spare themselves the wake if it is
    /// awake (`exchange/sleep.rs`). So it announces the sleep first and then checks for mail once
    /// more: mail that came before the announcement is seen here, and a thread that leaves mail
    /// after it wakes the poll. Checked in the other order, mail could come in between without a
    /// wake, and would wait for the next tick.
    fn poll(&mut self) {
        let waited_from_ns = self.clients.core.clock().now_ns();
        if self.has_work() || self.spins_into_work() {
            self.handle_events(Duration::ZERO);
        } else {
            let shared = Arc::clone(self.clients.core.shared());
            let sleeping = &shared.interconnect.sleeper(self.clients.core.id()).sleeping;
            sleeping.announce();
            let has_mail = self.has_mail();
            let until_due = self.until_due();
            self.handle_events(if has_mail { Duration::ZERO } else { until_due });
            sleeping.withdraw();
        }
        let may_read = self.may_read();
        let core = &mut self.clients.core;
        core.advance_clock(may_read);
        let waited_ns = core.clock().turn_ns().saturating_sub(waited_from_ns);
        core.stats().idle_ns.add(waited_ns);
    }

    /// The time until the next tick, or until a connection that was made to wait may be read.
    fn until_due(&self) -> Duration {
        let clock = self.clients.core.clock();
        let until_tick = clock.until_next_tick();
        match self.clients.core.next_turn_ns().filter(|_| self.may_read()) {
            Some(at_ns) => {
                let until_turn = Duration::from_nanos(at_ns.saturating_sub(clock.now_ns()));
                until_tick.min(until_turn)
            }
            None => until_tick,
        }
    }

    /// Polls once, and records the readiness that the events report.
    ///
    /// Sockets are registered edge-triggered: an edge is reported once, and nothing is reported
    /// again until the socket was read until it would block. So readiness is kept in the
    /// connection, and a connection that is ready is queued until it was served. An event that is
    /// only kept for this turn would be lost, and its client would hang.
    fn handle_events(&mut self, timeout: Duration) {
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
            let Some(connection) = self.clients.core.connection(key) else {
                continue;
            };
            let (readable, is_waiting) = connection.note_event(event);
            // Connections that end can wait for those that stay, since many may end at once.
            if readable && connection.is_read_closed() {
                self.clients.core.queue_read_on(key);
            } else if readable {
                self.clients.core.queue_read(key);
            }
            if is_waiting {
                self.clients.core.mark_dirty(key);
            }
        }
    }

    /// Polls for a while without sleeping, if the deployment gave the shard its own core. Returns
    /// whether there is work now.
    fn spins_into_work(&mut self) -> bool {
        let spin = self.clients.core.settings().spin;
        if spin.is_zero() {
            return false;
        }
        let began = Instant::now();
        while began.elapsed() < spin {
            self.handle_events(Duration::ZERO);
            if self.has_work() || self.has_mail() || self.may_accept() {
                return true;
            }
            std::hint::spin_loop();
        }
        false
    }

    /// Whether there is work that needs no event.
    fn has_work(&self) -> bool {
        let core = &self.clients.core;
        core.has_work()
            || self.sweep_left > 0
            || ((core.to_read() > 0 || core.has_to_handshake()) && self.may_read())
            || (self.may_accept() && self.edge.stop.is_accepting())
    }

    fn may_accept(&self) -> bool {
        self.listeners.iter().any(Listening::may_accept)
    }

    /// Whether other threads left mail, or made room for mail to them.
    fn has_mail(&self) -> bool {
        !self.inbox.handover.is_empty()
            || (!self.inbox.has_no_control() && !self.clients.core.exchange().is_blocked())
            || self.clients.core.exchange().has_mail()
    }

    /// Whether publishers may be read: not while a stop gathers the last batches, nor while a
    /// mailbox or the frames to be delivered are over their bound. The sockets then fill, and TCP
    /// slows the publishers down.
    fn may_read(&self) -> bool {
        self.edge.stop.is_reading() && self.clients.core.exchange().may_publish()
    }

    /// Takes control messages and mail of other threads. Mail that did not fit elsewhere is pushed
    /// first: until it is gone nothing may be published, so neither control messages are handled
    /// nor clients read.
    fn receive_mail(&mut self) {
        self.clients.core.push_unsent();
        self.handle_controls();
        self.clients.core.receive_mail();
    }

    /// Handles control messages of other threads, within a share of the work.
    ///
    /// Handles that publish are held back like clients: while a mailbox is full, or once the turn
    /// has gathered its payload, their messages stay in the control mailbox, which is bounded and
    /// answers `Busy`. Otherwise a fast handle could make this shard's memory grow without bound.
    fn handle_controls(&mut self) {
        self.clients.core.work().begin(TurnPhase::Control);
        while !self.clients.core.exchange().is_blocked()
            && self.clients.core.exchange().published_bytes() < TURN_BYTES_MAX
            && let Some(control) = self.inbox.next_control()
        {
            self.handle_control(control);
            if self.clients.core.work().is_spent() {
                break;
            }
        }
        let more = !self.inbox.has_no_control();
        self.clients.core.note_cut(more);
    }

    /// Reads connections that may have data, each at most once. Connections that had nothing left
    /// after their last read and connections that had more are served alternately: a client that
    /// sends now and then waits for at most as many reads of clients that send without pause as
    /// there are reads of its own kind before it.
    fn read(&mut self) {
        self.clients.core.work().begin(TurnPhase::Read);
        self.clients.core.resume_paused();
        let mut buffer = std::mem::take(&mut self.receive_buffer);
        for _ in 0..self.clients.core.to_read() {
            let is_full = self.clients.core.exchange().published_bytes() >= TURN_BYTES_MAX;
            if is_full || self.clients.core.work().is_spent() || !self.may_read() {
                break;
            }
            let Some(key) = self.clients.core.next_to_read() else {
                break;
            };
            self.read_connection(key, READS_PER_CONNECTION, &mut buffer);
        }
        self.receive_buffer = buffer;
        let more = self.clients.core.to_read() > 0;
        self.clients.core.note_cut(more);
    }

    /// Reads one connection, up to its quantum of the work. If more may be left, it is queued
    /// behind the others: the socket reports no new edge for data that is there already.
    fn read_connection(&mut self, key: Key, reads_max: usize, buffer: &mut [u8]) {
        self.clients.core.work().begin_quantum();
        let is_alone = self.clients.core.to_read() == 0;
        let reads_max = if is_alone { reads_max } else { 1 };
        for _ in 0..reads_max {
            let paced_max = self.clients.core.read_bytes_max(key);
            let Some(connection) = self.clients.core.connection(key) else {
                return;
            };
            connection.leave_read_queue();
            if !connection.may_be_read() {
                return;
            }
            if connection.is_flushed_first() {
                break;
            }
            if self.edge.handle_kept(&mut self.clients, key) {
                if self.clients.core.work().is_quantum_spent() {
                    break;
                }
                continue;
            }
            let Some(connection) = self.clients.core.connection(key) else {
                return;
            };
            match connection.receive(buffer, is_alone, paced_max) {
                Received::Bytes {
                    end,
                    new,
                    is_drained,
                } => {
                    let received_ns = self.clients.core.clock().now_ns();
                    self.clients.core.work().spend(PRICE_READ);
                    self.clients.core.work().spend_bytes(new, PRICE_KIB_READ);
                    self.edge.handle_stream(
                        &mut self.clients,
                        key,
                        &mut buffer[..end],
                        received_ns,
                    );
                    let core = &mut self.clients.core;
                    if core.is_close_scheduled(key) || (is_drained && !core.has_kept(key)) {
                        return;
                    }
                    if core.work().is_quantum_spent()
                        || core.exchange().published_bytes() >= TURN_BYTES_MAX
                    {
                        break;
                    }
                }
                Received::Interrupted => {}
                Received::Nothing => return,
                Received::End => return self.clients.stream_ended(key),
                Received::Gone => return self.clients.client_gone(key),
            }
        }
        if self.clients.core.work().is_quantum_spent() {
            self.clients.core.stats().turn_cut[TurnPhase::Read as usize].add(1);
        }
        self.clients.core.queue_read_on(key);
    }

    /// Keeps the memory of the process within its bounds, and visits clients that lag behind, once
    /// a turn.
    fn keep_within_memory(&mut self) {
        self.clients.keep_within_memory();
        self.edge.close_scheduled(&mut self.clients);
    }

    fn handle_control(&mut self, control: Control) {
        let core = &mut self.clients.core;
        let now_ns = core.clock().now_ns();
        core.work().spend(PRICE_RUN);
        match control {
            Control::Publish {
                room,
                recipients,
                kind,
                payload,
            } => {
                core.publish_by_name(&room, recipients, kind.into(), &payload, now_ns);
            }
            Control::Send { to, kind, payload } => {
                if let Some(key) = core.key_of(to) {
                    core.send(key, kind.into(), &payload, now_ns);
                }
            }
            Control::Close {
                connection,
                code,
                reason,
            } => {
                if let Some(key) = core.key_of(connection) {
                    let reason = CloseReason::Endpoint {
                        code,
                        reason: reason.into(),
                    };
                    core.schedule_close(key, reason);
                }
            }
            Control::Join { connection, room } => {
                let joined = core.key_of(connection).map(|key| core.join(key, &room));
                if let Some(Err(error)) = joined {
                    tracing::debug!(%connection, %error, "refused a handle's request to join");
                }
            }
            Control::Leave { connection, room } => {
                if let Some(key) = core.key_of(connection)
                    && let Some(place) = core.find_room(&room)
                {
                    core.leave(key, place);
                }
            }
            Control::Ask(ask) => {
                core.work().spend(PRICE_ASK);
                asking::answer(core, ask);
            }
            Control::Answered(connection) => {
                if let Some(key) = core.key_of(connection) {
                    self.edge.answered(&mut self.clients, key);
                }
            }
            Control::Mail(mail) => self.clients.endpoint_mail(mail),
            Control::Reload(live) => core.apply_live(live),
            Control::Stop => self.begin_stop(),
        }
    }

    /// Goes on with TLS handshakes, up to their budget.
    ///
    /// They come last in the turn, after open connections were served, since one step can take a
    /// millisecond: a reconnect storm must not delay those who are connected. The end of a
    /// handshake may bring an upgrade, a message and the client's Close at once. Those are not
    /// acted on here: the next turn seals the message before it closes the connection, in the usual
    /// order.
    fn handshakes(&mut self) {
        self.clients.core.work().begin(TurnPhase::Handshake);
        let mut buffer = std::mem::take(&mut self.receive_buffer);
        self.clients.begin_handshakes();
        for _ in 0..TLS_HANDSHAKE_READS_PER_TURN {
            let is_spent = self.clients.has_shaken_enough();
            if is_spent || self.clients.core.work().is_spent() || !self.may_read() {
                break;
            }
            let Some(key) = self.clients.core.next_to_handshake() else {
                break;
            };
            self.read_connection(key, 1, &mut buffer);
        }
        self.receive_buffer = buffer;
        let more = self.clients.core.has_to_handshake();
        self.clients.core.note_cut(more);
    }
}
