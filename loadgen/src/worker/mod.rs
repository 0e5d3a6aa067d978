//! One thread of a relay run: its share of the clients, one poll, one receive buffer.
//!
//! ```text
//! open more ─▶ poll ─▶ connects and writes ─▶ receive ─▶ send what is due ─▶ churn
//! ```
//! Sockets are registered once, edge-triggered. Between two messages the thread sleeps in `poll`,
//! woken by a timer of nanosecond resolution, so that it takes no CPU from the relay. It wakes
//! before a message is due, by the usual latency of a wake-up, and spins for the rest.

use std::io;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use mio::{Events, Poll, Token, Waker};
use tungstenite::protocol::frame::coding::Control;

use crate::arrival::{Choice, TimeOfDay};
use crate::backlog::look_for_ends;
use crate::client::{Cause, Client, Credit, End, Phase};
use crate::clock::{Timer, thread_cpu};
use crate::control::{Notice, Progress, Shared};
use crate::first_last::Spread;
use crate::frames::append_control;
use crate::histogram;
use crate::interval::{Cell, Interval, Spans};
use crate::measures::Moment;
use crate::nostr::Listener;
use crate::pacing::Pacing;
use crate::plan::{Priority, Relay, Role};
use crate::priority::become_realtime;
use crate::push;
use crate::receive::{Arrivals, Tally, walk_of};
use crate::thread_result::{ClientOutcome, Outcome};
use turns::{Reconnects, SlowReaders};

mod churn;
mod nostr;
mod opening;
mod publish;
mod turns;

const TIMER: Token = Token(usize::MAX - 1);
const WAKER: Token = Token(usize::MAX - 2);

/// How often timeouts are checked while connections are opened.
const OPENING_TICK: Duration = Duration::from_millis(100);
/// A thread's receive buffer has at least this many bytes.
const RECV_BYTES_MIN: usize = 256 << 10;
const EVENTS: usize = 1024;

pub(crate) struct Worker {
    shared: Arc<Shared>,
    relay: Relay,
    thread: u32,
    notices: Sender<Notice>,
    progress: Arc<Progress>,
    cell: Cell,
    poll: Poll,
    timer: Timer,
    clients: Vec<Client>,
    /// Clients that this thread has to open in all.
    share: usize,
    /// Of these, upgraded at least once.
    came_up: usize,
    /// Clients that are neither upgraded nor failed yet.
    opening: usize,
    /// Indices of clients with something to read.
    ready: Vec<usize>,
    /// Indices of publishers that may have something to send.
    sending: Vec<usize>,
    pacing: Pacing,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
    tally: Tally,
    connect_times: Histogram<u64>,
    tcp_connect_times: Histogram<u64>,
    sent: u64,
    /// First arrivals that the messages sent so far should lead to.
    expected: u64,
    reconnects: Reconnects,
    slow: SlowReaders,
    /// Present for a Nostr relay.
    listener: Option<Listener>,
    /// When the schedule has the next message, as of the last look.
    next_due_ns: u64,
    /// Converts the kernel's receive times.
    day: TimeOfDay,
    /// Chooses the reads that take one.
    choice: Choice,
    /// The clock at the last `recv`.
    received_ns: u64,
    started: bool,
    told_connected: bool,
    told_sent: bool,
    cpu_at_measure: Option<(u64, Duration)>,
    cpu_at_end: Option<(u64, Duration)>,
    is_realtime: bool,
}

impl Worker {
    /// Prepares thread number `thread`. The waker interrupts its sleep when the times have changed.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub(crate) fn new(
        shared: Arc<Shared>,
        relay: Relay,
        thread: u32,
        notices: Sender<Notice>,
        progress: Arc<Progress>,
        cell: Cell,
    ) -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        let timer = Timer::new(poll.registry(), TIMER)?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let mine = |count: u32| (thread..count).step_by(shared.threads as usize);
        let spread = Spread::new(&relay, thread, shared.threads);
        let worker = Self {
            share: mine(relay.connections()).count(),
            tally: Tally::new(&shared.payloads, spread),
            pacing: Pacing::new(&relay, shared.seed, thread, shared.threads),
            reconnects: Reconnects::new(&relay, thread, shared.threads),
            slow: SlowReaders::new(&relay, thread, shared.threads),
            listener: shared.nostr.as_ref().map(|_| Listener::new()),
            // A frame and the header of the next one always fit.
            day: TimeOfDay::new(shared.clock),
            choice: Choice::new(thread),
            buffer: vec![0; RECV_BYTES_MIN.max(2 * shared.payloads.frame_bytes() + 256)],
            shared,
            relay,
            thread,
            notices,
            progress,
            cell,
            poll,
            timer,
            clients: Vec::new(),
            came_up: 0,
            opening: 0,
            ready: Vec::new(),
            sending: Vec::new(),
            scratch: Vec::new(),
            connect_times: histogram::new(),
            tcp_connect_times: histogram::new(),
            sent: 0,
            expected: 0,
            next_due_ns: u64::MAX,
            received_ns: 0,
            started: false,
            told_connected: false,
            told_sent: false,
            cpu_at_measure: None,
            cpu_at_end: None,
            is_realtime: false,
        };
        Ok((worker, waker))
    }

    /// Runs until the coordinator ends the run.
    pub(crate) fn run(mut self) -> Outcome {
        let mut events = Events::with_capacity(EVENTS);
        let cell = Arc::clone(&self.cell);
        self.take_priority();
        while !self.shared.is_finished() {
            self.open_more();
            if let Err(error) = self.wait(&mut events) {
                self.fail(format!("poll: {error}"));
                break;
            }
            let now_ns = self.shared.clock.now_ns();
            self.choice.turn(now_ns);
            for event in &events {
                match event.token() {
                    TIMER => self.timer.woke(now_ns),
                    WAKER => {}
                    _ => self.note_event(event),
                }
            }
            {
                let mut spans = cell.lock().unwrap_or_else(PoisonError::into_inner);
                self.receive_ready(&mut spans);
                self.receive_slowly(&mut spans);
                self.send_ready(&mut spans);
            }
            self.replace_due();
            self.note_progress();
        }
        self.hand_in()
    }

    /// Sets the priority, on the thread itself, before it has anything to do.
    fn take_priority(&mut self) {
        let priority = self.shared.priority;
        if !priority.asks(&self.relay) {
            return;
        }
        match become_realtime() {
            Ok(()) => self.is_realtime = true,
            Err(why) if priority == Priority::Realtime => {
                self.fail(format!("--priority realtime: {why}"));
            }
            Err(_) => {}
        }
    }

    // ---- failing ----

    fn fail(&mut self, reason: String) {
        // The coordinator is gone only when the run is over.
        let _ = self.notices.send(Notice::Failed(reason));
        self.share = self.clients.len();
    }

    // ---- waiting ----

    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let now_ns = self.shared.clock.now_ns();
        self.day.keep_up(now_ns);
        let wake_ns = self.wake_ns(now_ns);
        let timeout = if !self.ready.is_empty() || wake_ns <= now_ns + self.timer.early_ns() {
            Some(Duration::ZERO)
        } else {
            if wake_ns != u64::MAX {
                self.timer.arm(wake_ns, now_ns)?;
            }
            (self.opening > 0).then_some(OPENING_TICK)
        };
        let is_interrupted = |polled: &io::Result<()>| {
            let kind = polled.as_ref().err().map(io::Error::kind);
            kind == Some(io::ErrorKind::Interrupted)
        };
        let polled = self.poll.poll(events, timeout);
        if !is_interrupted(&polled) {
            return polled;
        }
        // A process that was stopped continues here. Data that came meanwhile is read before
        // anything is sent: if a read also contains answers to later messages, the kernel reports
        // only the time of the last ones.
        let polled = self.poll.poll(events, Some(Duration::ZERO));
        if is_interrupted(&polled) {
            Ok(())
        } else {
            polled
        }
    }

    /// When the thread must wake without an event.
    fn wake_ns(&self, now_ns: u64) -> u64 {
        let times = &self.shared.times;
        let Some(start_ns) = times.start_ns() else {
            return u64::MAX;
        };
        let end_ns = times.end_ns();
        let marks = [start_ns, times.measure_ns(), end_ns];
        let mark_ns = marks
            .into_iter()
            .find(|mark_ns| *mark_ns > now_ns)
            .unwrap_or(u64::MAX);
        [self.next_due_ns, self.reconnects.next_ns, self.slow.next_ns]
            .into_iter()
            .fold(mark_ns, u64::min)
    }

    // ---- events ----

    fn note_event(&mut self, event: &mio::event::Event) {
        let place = event.token().0;
        // Late events of a connection that has ended are ignored.
        let Some(client) = self
            .clients
            .get_mut(place)
            .filter(|client| !client.is_closed())
        else {
            return;
        };
        client.read_closed |= event.is_read_closed() || event.is_error();
        if (event.is_writable() || event.is_error())
            && let Err(error) = self.go_on_writing(place)
        {
            return self.lost(place, error.into());
        }
        let client = &mut self.clients[place];
        if client.role == Role::Slow && client.is_open() {
            // A slow reader is read on schedule.
            client.readable |= event.is_readable() || client.read_closed;
            return;
        }
        let reads = client.role != Role::Stalled || client.is_opening();
        if reads && !client.readable && (event.is_readable() || client.read_closed) {
            client.readable = true;
            self.ready.push(place);
        }
    }

    /// The socket accepts bytes again, or for the first time.
    fn go_on_writing(&mut self, place: usize) -> io::Result<()> {
        let client = &mut self.clients[place];
        if matches!(client.phase, Phase::Connecting) {
            if client.connected()? {
                let now_ns = self.shared.clock.now_ns();
                if !self.told_connected {
                    histogram::record(&mut self.tcp_connect_times, now_ns - client.started_ns);
                }
                if client.role == Role::Pusher {
                    client.phase = Phase::Open;
                    self.upgraded(place, now_ns);
                } else {
                    client.request(&self.shared)?;
                }
            }
        } else if (client.is_blocked() || client.is_held()) && client.flush()? {
            self.may_send(place);
        }
        Ok(())
    }

    /// Handles the end of a connection. Before the upgrade it ends the run, unless the client
    /// reconnects; so does a push that is refused.
    fn lost(&mut self, place: usize, end: End) {
        let client = &mut self.clients[place];
        if client.is_closed() {
            return;
        }
        let awaits = self.listener.as_ref().is_some_and(|one| one.awaits(place));
        let was_opening = client.is_opening() || awaits;
        let is_refused = end.cause == Cause::Refused;
        let reason = end.reason.clone();
        client.close(end, self.shared.clock.now_ns());
        let (index, role) = (client.index, client.role);
        match was_opening {
            true => self.opening -= 1,
            false => self.progress.left(&self.relay, index),
        }
        if role == Role::Churning && self.told_connected {
            self.reconnects.failed(&reason);
        } else if was_opening || is_refused {
            self.fail(format!("client {index}: {reason}"));
        }
    }

    fn may_send(&mut self, place: usize) {
        let client = &mut self.clients[place];
        if client.publisher.is_some() && !client.is_sending {
            client.is_sending = true;
            self.sending.push(place);
        }
    }

    // ---- receiving ----

    fn receive_ready(&mut self, spans: &mut Spans) {
        // One read each, so that no client keeps the others waiting.
        for at in 0..self.ready.len() {
            let place = self.ready[at];
            if self.clients[place].readable
                && let Err(end) = self.receive(place, self.buffer.len(), spans)
            {
                self.lost(place, end);
            }
            // Reading from many clients takes time; messages that become due meanwhile must not
            // wait.
            if self.received_ns >= self.next_due_ns {
                self.send_ready(spans);
            }
        }
        let clients = &self.clients;
        self.ready.retain(|place| {
            let client = &clients[*place];
            client.readable && (client.role != Role::Slow || client.is_opening())
        });
    }

    /// Reads once, at most up to `until` in the buffer, and handles the data.
    fn receive(&mut self, place: usize, until: usize, spans: &mut Spans) -> Result<(), End> {
        let client = &mut self.clients[place];
        let kept = client.inbox.len();
        self.buffer[..kept].copy_from_slice(&client.inbox);
        let until = until.clamp(kept + 1, self.buffer.len());
        let bytes_before = client.received_bytes;
        let stands_for = self.choice.next();
        let opened = match client.read(&mut self.buffer[..until], kept, stands_for.is_some()) {
            Ok(None) => return Ok(()),
            Ok(Some(opened)) if opened.bytes == 0 => return Err(End::broken()),
            Ok(Some(opened)) => opened,
            Err(error) => return Err(error.into()),
        };
        let moment = Moment {
            now_ns: self.shared.clock.now_ns(),
            arrived_ns: opened.arrived_ns.map(|at_ns| self.day.on_run_clock(at_ns)),
            stands_for: stands_for.unwrap_or(0),
        };
        let (count, now_ns) = (opened.bytes, moment.now_ns);
        self.received_ns = now_ns;
        let interval = spans.at(now_ns, &self.shared.times);
        let bytes = &self.buffer[..kept + count];
        let mut from = 0;
        if let Phase::Upgrading(handshake) = &client.phase {
            let answer = handshake.answer(bytes);
            let Some(answer) = answer.map_err(|why| End::new(Cause::Refused, why))? else {
                client.inbox.clear();
                client.inbox.extend_from_slice(bytes);
                return Ok(());
            };
            from = answer.head_bytes;
            client.upgraded(answer.deflate);
            self.upgraded(place, now_ns);
        } else if now_ns >= self.shared.times.measure_ns() && self.clients[place].role == Role::Full
        {
            interval.received_bytes += self.clients[place].received_bytes - bytes_before;
        }
        self.take(place, from..kept + count, moment, interval)
    }

    /// Handles the frames in the buffer.
    fn take(
        &mut self,
        place: usize,
        range: Range<usize>,
        moment: Moment,
        interval: &mut Interval,
    ) -> Result<(), End> {
        if self.listener.is_some() {
            return self.hear(place, range, moment, interval);
        }
        let client = &mut self.clients[place];
        let bytes = client.unskipped(&self.buffer[range]);
        if client.role == Role::Pusher {
            let answers = push::answers(bytes);
            let (count, taken) = answers.map_err(|why| End::new(Cause::Refused, why))?;
            client.keep(bytes, taken);
            let publisher = client.index;
            self.complete(Some(Credit { publisher, place }), count);
            return Ok(());
        }
        if client.role == Role::Stalled {
            client.readable = false;
            client.keep(bytes, 0);
            return Ok(());
        }
        let mut arrivals = Arrivals::of(client, &self.shared, self.relay.publishers, moment);
        let taken = arrivals.take(bytes, &mut self.tally, interval)?;
        client.keep(bytes, taken.bytes);
        if !taken.replies.is_empty() {
            client.write(&taken.replies)?;
        }
        if let Some((code, reason)) = taken.closed {
            return Err(End::closed(code, &reason));
        }
        let credit = client.credits;
        // Over TLS a read may send bytes that waited, and no further edge reports it.
        if client.is_held() && !client.is_blocked() {
            self.may_send(place);
        }
        self.complete(credit, taken.credits);
        Ok(())
    }

    /// Messages of a publisher have arrived at the client that completes them.
    fn complete(&mut self, credit: Option<Credit>, count: u32) {
        let Some(credit) = credit.filter(|_| count > 0) else {
            return;
        };
        if let Some(publisher) = &mut self.clients[credit.place].publisher {
            publisher.outstanding = publisher.outstanding.saturating_sub(count);
        }
        self.may_send(credit.place);
    }

    // ---- book-keeping ----

    fn note_marks(&mut self, now_ns: u64) {
        let times = &self.shared.times;
        if self.cpu_at_measure.is_none() && now_ns >= times.measure_ns() {
            self.cpu_at_measure = Some((now_ns, thread_cpu()));
        }
        if self.cpu_at_end.is_none() && now_ns >= times.end_ns() {
            self.cpu_at_end = Some((now_ns, thread_cpu()));
        }
    }

    fn note_progress(&self) {
        self.progress.sent.store(self.sent, Ordering::Relaxed);
        self.progress
            .expected
            .store(self.expected, Ordering::Relaxed);
        self.progress
            .arrivals
            .store(self.tally.arrivals, Ordering::Relaxed);
        self.progress.seen.store(self.tally.seen, Ordering::Relaxed);
    }

    fn hand_in(mut self) -> Outcome {
        self.ask_what_is_stored();
        let cell = Arc::clone(&self.cell);
        self.receive_backlogs(&mut cell.lock().unwrap_or_else(PoisonError::into_inner));
        let walk = walk_of(&self.shared.payloads, self.shared.deflate);
        let now_ns = self.shared.clock.now_ns();
        look_for_ends(&mut self.clients, &mut self.buffer, walk, now_ns);
        let mut goodbye = Vec::new();
        let code = 1000_u16.to_be_bytes();
        append_control(
            &mut goodbye,
            Control::Close,
            self.shared.payloads.mask(),
            &code,
        );
        let is_told = |client: &&mut Client| client.is_open() && client.role != Role::Pusher;
        for client in self.clients.iter_mut().filter(is_told) {
            // The run is over: whether the Close arrives does not matter.
            let _ = client.write(&goodbye);
        }
        let busy = match (self.cpu_at_measure, self.cpu_at_end) {
            (Some((from_ns, from)), Some((until_ns, until))) if until_ns > from_ns => {
                (until.saturating_sub(from)).as_nanos() as f64 / (until_ns - from_ns) as f64
            }
            _ => 0.0,
        };
        Outcome {
            clients: self.clients.into_iter().map(ClientOutcome::of).collect(),
            measures: self.tally.measures,
            clock_steps: self.day.steps,
            ends: self.tally.spread.finish(self.shared.joint.as_ref()),
            connect_times: self.connect_times,
            tcp_connect_times: self.tcp_connect_times,
            churn: self.reconnects.outcome,
            last_arrival_ns: self.tally.last_arrival_ns,
            compressed: self.tally.compressed,
            nostr: match (self.listener, &self.shared.nostr) {
                (Some(listener), Some(script)) => {
                    Some(listener.finish(script, self.shared.times.measure_ns()))
                }
                _ => None,
            },
            busy,
            is_realtime: self.is_realtime,
        }
    }
}
