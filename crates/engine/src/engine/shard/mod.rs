//! The loop of a shard: the hot path, top to bottom.
//!
//! One turn is poll, mail, accept, read, what endpoints do by themselves, seal, deliver, flush,
//! timers, reap, handshakes. Event
//! dispatch only sets readiness and queues connections; the phases do the work, each a bounded
//! amount of one currency ([`crate::work`]). What a bound cut short stays queued, and the next poll
//! does not wait.

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

/// The token of the waker; those of the listeners count down from here. Tokens of connections are
/// generation and index, and no generation is that high.
pub(in crate::engine) const WAKER: Token = Token(usize::MAX);

/// A listening socket.
pub(in crate::engine) struct Listening {
    pub(in crate::engine) listener: Listener,
    /// Connections may wait in it.
    pub(in crate::engine) is_ready: bool,
    /// The last attempt to accept met an error: it waits for the next tick.
    pub(in crate::engine) is_failing: bool,
    /// Its clients speak TLS.
    pub(in crate::engine) tls: bool,
    /// Somebody else holds it too: what waits in it is not lost when we end.
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
    /// With TLS there is room in it for what a session keeps, in front of what comes.
    pub(in crate::engine) receive_buffer: Vec<u8>,
    pub(in crate::engine) inbox: Inbox,
    pub(in crate::engine) edge: Edge,
    pub(in crate::engine) clients: Clients,
    /// The tick whose timers have run.
    pub(in crate::engine) timers_tick: Tick,
    /// When the endpoints are told that a second is over, on the admin shard.
    pub(in crate::engine) next_pulse_tick: Tick,
    pub(in crate::engine) busy_window: BusyWindow,
    /// Where the sweep goes on, and how many connections it is yet to look at in this tick.
    pub(in crate::engine) sweep_from: usize,
    pub(in crate::engine) sweep_left: usize,
    pub(in crate::engine) sweep_outbox_bytes: usize,
}

impl Shard {
    /// Runs until the shard is told to stop and its last connection is gone.
    pub(in crate::engine) fn run(mut self) {
        self.clients.begin();
        while !self.is_finished() {
            self.turn();
        }
        self.clients.core.ended();
    }

    fn turn(&mut self) {
        self.poll();
        let core = &mut self.clients.core;
        let began_ns = core.clock().turn_ns();
        core.stats().last_turn_ns.set(began_ns);
        core.work().begin_turn();
        self.receive_mail();
        self.accept();
        self.read();
        if self.clients.have_endpoints_work() {
            self.clients.endpoints_work();
        }
        self.clients.core.seal();
        self.check_stop();
        self.clients.deliver();
        self.clients.core.send_what_follows();
        self.edge.close_scheduled(&mut self.clients);
        self.clients.flush();
        if self.clients.core.has_drained() {
            self.clients.tell_of_low_water();
        }
        self.edge.close_scheduled(&mut self.clients);
        self.timers();
        self.keep_within_memory();
        self.clients.core.work().begin(TurnPhase::Close);
        self.edge.close_scheduled(&mut self.clients);
        self.clients.reap();
        self.handshakes();
        self.clients.check_invariants();
        let core = &self.clients.core;
        let took_ns = core.clock().now_ns().saturating_sub(began_ns);
        core.stats().turns.record(took_ns, 1);
    }

    /// Waits for events, unless there is something to do already, and queues what they are about.
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

    /// How long until the next tick, or until a connection that was made to wait has its turn.
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
            // Whoever goes can wait for those who stay: they may be many at once.
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

    /// Polls for a while where the deployment gave the shard its core. Returns whether that found
    /// something to do; events are taken as they come.
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

    /// Whether something waits that needs no event.
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

    /// Whether other threads left something, or made room for what they are to get.
    fn has_mail(&self) -> bool {
        !self.inbox.handover.is_empty()
            || (!self.inbox.has_no_control() && !self.clients.core.exchange().is_blocked())
            || self.clients.core.exchange().has_mail()
    }

    /// Whether publishers may be read.
    fn may_read(&self) -> bool {
        self.edge.stop.is_reading() && self.clients.core.exchange().may_publish()
    }

    /// Takes what other threads left: control messages, batches.
    fn receive_mail(&mut self) {
        self.clients.core.push_unsent();
        self.handle_controls();
        self.clients.core.receive_mail();
    }

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

    /// Reads connections that may have something, each at most once. Those that had nothing left
    /// when they were read last and those that had more take turns: so whoever sends now and then
    /// waits for one read of those that send without pause, however many they are.
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

    /// Looks once a turn at what the process may hold, and at clients that lag behind.
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
                    tracing::debug!(%connection, %error, "a join requested by a handle was refused");
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

    /// Goes on with handshakes, up to the budget. It comes last in the turn, when those that are
    /// open have been read and served. With the end of a handshake may come an upgrade, a message
    /// and the client's Close: the next turn seals the message before it closes anybody.
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
