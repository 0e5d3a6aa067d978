//! One thread of a relay run: its share of the clients, one poll, one receive buffer.
//!
//! ```text
//! open more ─▶ poll ─▶ connects and writes ─▶ receive ─▶ send what is due ─▶ progress
//! ```
//! Sockets are registered once, edge-triggered. Between two messages the thread sleeps in `poll`,
//! woken by a timer of nanosecond resolution, so that it takes no CPU from the relay.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::Duration;

use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token, Waker};
use tungstenite::protocol::frame::coding::Control;

use crate::check::Receiver;
use crate::client::{Client, Credit, Phase};
use crate::clock::{Timer, thread_cpu};
use crate::control::{Notice, Progress, Shared};
use crate::frames::append_control;
use crate::histogram;
use crate::outcome::{ClientOutcome, Outcome};
use crate::pacing::{Pacing, Publisher};
use crate::plan::{Pace, Relay};
use crate::receive::{Arrivals, Tally, walk_of};
use crate::stalled::look_for_ends;

mod publish;

const TIMER: Token = Token(usize::MAX - 1);
const WAKER: Token = Token(usize::MAX - 2);

/// Connections that all threads together have in flight: as many as the smallest listen backlog in
/// common use, since a SYN that is dropped comes back a second later.
const OPENING_MAX: u32 = 128;
/// While connections are opened, their timeout is looked at this often.
const OPENING_TICK: Duration = Duration::from_millis(100);
/// A thread's receive buffer has at least this many bytes.
const RECV_BYTES_MIN: usize = 256 << 10;
const EVENTS: usize = 1024;

/// A thread before it runs.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    relay: Relay,
    thread: u32,
    notices: Sender<Notice>,
    progress: Arc<Progress>,
    poll: Poll,
    timer: Timer,
    clients: Vec<Client>,
    /// Clients that this thread has to open in all.
    share: usize,
    /// Clients that are neither upgraded nor failed.
    opening: usize,
    /// Places of clients with something to read.
    ready: Vec<usize>,
    /// Places of publishers that may have something to send.
    sending: Vec<usize>,
    pacing: Pacing,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
    tally: Tally,
    lateness: Histogram<u64>,
    connect_times: Histogram<u64>,
    sent: u64,
    /// When the schedule has the next message, as the last look at it said.
    next_due_ns: u64,
    /// The clock at the last `recv`.
    received_ns: u64,
    started: bool,
    told_sent: bool,
    cpu_at_measure: Option<(u64, Duration)>,
    cpu_at_end: Option<(u64, Duration)>,
}

impl Worker {
    /// Prepares thread number `thread`. The waker interrupts its sleep when times have changed.
    ///
    /// # Errors
    /// The system has no more file descriptors.
    pub(crate) fn new(
        shared: Arc<Shared>,
        relay: Relay,
        thread: u32,
        notices: Sender<Notice>,
        progress: Arc<Progress>,
    ) -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        let timer = Timer::new(poll.registry(), TIMER)?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let mine = |count: u32| (thread..count).step_by(shared.threads as usize);
        let pacing = Pacing::new(&relay, thread, shared.threads);
        let worker = Self {
            share: mine(relay.clients).count(),
            // A frame and the header of the next one always fit.
            tally: Tally::new(&shared.payloads),
            buffer: vec![0; RECV_BYTES_MIN.max(2 * shared.payloads.frame_bytes() + 256)],
            shared,
            relay,
            thread,
            notices,
            progress,
            poll,
            timer,
            clients: Vec::new(),
            opening: 0,
            ready: Vec::new(),
            sending: Vec::new(),
            pacing,
            scratch: Vec::new(),
            lateness: histogram::new(),
            connect_times: histogram::new(),
            sent: 0,
            next_due_ns: u64::MAX,
            received_ns: 0,
            started: false,
            told_sent: false,
            cpu_at_measure: None,
            cpu_at_end: None,
        };
        Ok((worker, waker))
    }

    /// Runs until the coordinator says that it is over.
    pub(crate) fn run(mut self) -> Outcome {
        let mut events = Events::with_capacity(EVENTS);
        while !self.shared.is_finished() {
            self.open_more();
            if let Err(error) = self.wait(&mut events) {
                self.fail(format!("poll: {error}"));
                break;
            }
            for event in &events {
                if event.token() != TIMER && event.token() != WAKER {
                    self.note_event(event);
                }
            }
            self.receive_ready();
            self.send_ready();
            self.note_progress();
        }
        self.hand_in()
    }

    // ---- opening ----

    fn open_more(&mut self) {
        let opening_max = (OPENING_MAX / self.shared.threads).max(1) as usize;
        while self.clients.len() < self.share && self.opening < opening_max {
            if let Err(error) = self.open_one() {
                let index = self.client_index(self.clients.len());
                return self.fail(format!("client {index}: {error}"));
            }
        }
    }

    fn open_one(&mut self) -> io::Result<()> {
        let place = self.clients.len();
        let index = self.client_index(place);
        let stalled = index >= self.relay.live();
        let now_ns = self.shared.clock.now_ns();
        let mut client = Client::connect(index, &self.shared, stalled, now_ns)?;
        if index < self.relay.publishers {
            client.publisher = Some(Publisher::default());
            client.receiver = Receiver::new((!self.relay.echo).then_some(index));
        }
        client.credits = self.credit_for(place);
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut client.stream, Token(place), interest)?;
        self.clients.push(client);
        self.opening += 1;
        Ok(())
    }

    fn client_index(&self, place: usize) -> u32 {
        place as u32 * self.shared.threads + self.thread
    }

    /// Whose messages complete at `place`: its own, or without echo those of the neighbour.
    fn credit_for(&self, place: usize) -> Option<Credit> {
        let live = (self.thread..self.relay.live())
            .step_by(self.shared.threads as usize)
            .count();
        if !matches!(self.relay.pace, Pace::Closed { .. }) || place >= live {
            return None;
        }
        let of = if self.relay.echo {
            place
        } else {
            (place + live - 1) % live
        };
        let publisher = self.client_index(of);
        (publisher < self.relay.publishers).then_some(Credit {
            publisher,
            place: of,
        })
    }

    fn fail(&mut self, reason: String) {
        // The coordinator is gone only when the run is over.
        let _ = self.notices.send(Notice::Failed(reason));
        self.share = self.clients.len();
    }

    // ---- waiting ----

    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let now_ns = self.shared.clock.now_ns();
        let wake_ns = self.wake_ns(now_ns);
        let timeout = if !self.ready.is_empty() || wake_ns <= now_ns {
            Some(Duration::ZERO)
        } else {
            if wake_ns != u64::MAX {
                self.timer.arm(wake_ns, now_ns)?;
            }
            (self.opening > 0).then_some(OPENING_TICK)
        };
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            polled => polled,
        }
    }

    /// When there is something to do without an event.
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
        self.next_due_ns.min(mark_ns)
    }

    // ---- events ----

    fn note_event(&mut self, event: &mio::event::Event) {
        let place = event.token().0;
        let Some(client) = self.clients.get_mut(place) else {
            return;
        };
        client.read_closed |= event.is_read_closed() || event.is_error();
        if (event.is_writable() || event.is_error())
            && let Err(error) = self.go_on_writing(place)
        {
            return self.lost(place, &error.to_string());
        }
        let client = &mut self.clients[place];
        let reads = !client.stalled || client.is_opening();
        if reads && !client.readable && (event.is_readable() || client.read_closed) {
            client.readable = true;
            self.ready.push(place);
        }
    }

    /// The socket takes bytes again, or for the first time.
    fn go_on_writing(&mut self, place: usize) -> io::Result<()> {
        let client = &mut self.clients[place];
        if matches!(client.phase, Phase::Connecting) {
            if client.connected()? {
                client.request(&self.shared)?;
            }
        } else if (client.is_blocked() || client.is_held()) && client.flush()? {
            self.may_send(place);
        }
        Ok(())
    }

    /// A connection broke. Before the upgrade that ends the run.
    fn lost(&mut self, place: usize, reason: &str) {
        let client = &mut self.clients[place];
        let was_opening = client.is_opening();
        client.close(reason);
        if was_opening {
            let message = format!("client {}: {reason}", client.index);
            self.fail(message);
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

    fn receive_ready(&mut self) {
        // One read each, so that no client keeps the others waiting.
        for at in 0..self.ready.len() {
            let place = self.ready[at];
            if self.clients[place].readable
                && let Err(reason) = self.receive(place)
            {
                self.lost(place, &reason);
            }
            // Reading from many clients takes its time; what comes due meanwhile must not wait.
            if self.received_ns >= self.next_due_ns {
                self.send_ready();
            }
        }
        let clients = &self.clients;
        self.ready.retain(|place| clients[*place].readable);
    }

    fn receive(&mut self, place: usize) -> Result<(), String> {
        let client = &mut self.clients[place];
        let kept = client.inbox.len();
        self.buffer[..kept].copy_from_slice(&client.inbox);
        let count = match client.read(&mut self.buffer, kept) {
            Ok(None) => return Ok(()),
            Ok(Some(0)) => return Err("the server closed the connection".to_owned()),
            Ok(Some(count)) => count,
            Err(error) => return Err(error.to_string()),
        };
        let now_ns = self.shared.clock.now_ns();
        self.received_ns = now_ns;
        let bytes = &self.buffer[..kept + count];
        let mut from = 0;
        if let Phase::Upgrading(handshake) = &client.phase {
            let Some(answer) = handshake.answer(bytes)? else {
                client.inbox.clear();
                client.inbox.extend_from_slice(bytes);
                return Ok(());
            };
            from = answer.head_bytes;
            client.upgraded(answer.deflate);
            histogram::record(&mut self.connect_times, now_ns - client.started_ns);
            self.opening -= 1;
            let connected = self.progress.connected.fetch_add(1, Ordering::Relaxed) + 1;
            if connected as usize == self.share {
                // The coordinator is gone only when the run is over.
                let _ = self.notices.send(Notice::Connected);
            }
        }
        if client.stalled {
            client.readable = false;
            client.inbox.clear();
            client.inbox.extend_from_slice(&bytes[from..]);
            return Ok(());
        }
        let mut arrivals = Arrivals::of(client, &self.shared, self.relay.publishers, now_ns);
        let taken = arrivals.take(&bytes[from..], &mut self.tally)?;
        client.inbox.clear();
        client.inbox.extend_from_slice(&bytes[from + taken.bytes..]);
        if !taken.replies.is_empty() {
            client
                .write(&taken.replies)
                .map_err(|error| error.to_string())?;
        }
        if let Some(reason) = taken.closed {
            return Err(reason);
        }
        let credit = client.credits;
        // Over TLS a read sends what waited, and no further edge tells.
        if client.is_held() && !client.is_blocked() {
            self.may_send(place);
        }
        self.complete(credit, taken.credits);
        Ok(())
    }

    /// Messages of a publisher have arrived where they complete.
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

    fn time_out(&mut self) {
        let timeout_ns = self.shared.connect_timeout.as_nanos() as u64;
        let oldest_ns = self.shared.clock.now_ns().saturating_sub(timeout_ns);
        let is_late = |client: &Client| client.is_opening() && client.started_ns < oldest_ns;
        if self.opening > 0
            && let Some(place) = self.clients.iter().position(is_late)
        {
            self.lost(
                place,
                &format!("not upgraded within {:?}", self.shared.connect_timeout),
            );
        }
    }

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
            .arrivals
            .store(self.tally.arrivals, Ordering::Relaxed);
    }

    fn hand_in(mut self) -> Outcome {
        let walk = walk_of(&self.shared.payloads, self.shared.deflate);
        look_for_ends(&mut self.clients, &mut self.buffer, walk);
        let mut goodbye = Vec::new();
        let code = 1000_u16.to_be_bytes();
        append_control(
            &mut goodbye,
            Control::Close,
            self.shared.payloads.mask(),
            &code,
        );
        for client in self.clients.iter_mut().filter(|client| client.is_open()) {
            // The run is over: whether the goodbye arrives changes nothing.
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
            latency: self.tally.latency,
            lateness: self.lateness,
            connect_times: self.connect_times,
            last_arrival_ns: self.tally.last_arrival_ns,
            compressed: self.tally.compressed,
            busy,
        }
    }
}
