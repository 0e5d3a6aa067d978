//! One thread of `--handshakes`: open, upgrade, close, with a fixed number of connections in
//! flight.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token};
use tungstenite::protocol::frame::coding::Control;

use crate::client::{Client, Phase};
use crate::control::Shared;
use crate::error::RunError;
use crate::frames::append_control;
use crate::histogram;
use crate::plan::{Handshakes, Role};

/// How long a server may take to close after the Close frame before the generator resets the
/// connection.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(100);
/// Enough for several TLS records after a response head.
const READ_BYTES: usize = 128 << 10;

/// One thread's results.
#[derive(Debug)]
pub(crate) struct HandshakeOutcome {
    pub(crate) completed: u64,
    /// Closing handshakes that the server did not finish in time.
    pub(crate) not_closed: u64,
    /// Nanoseconds from when the connection was due until it was upgraded.
    pub(crate) connect_times: Histogram<u64>,
    /// The same from connect.
    pub(crate) uncorrected_connect_times: Histogram<u64>,
}

/// A connection in progress.
struct Attempt {
    client: Client,
    /// When it was due to be opened; without a rate, when it was opened.
    due_ns: u64,
}

struct Batch<'a> {
    shared: &'a Shared,
    work: Handshakes,
    poll: Poll,
    slots: Vec<Option<Attempt>>,
    started_ns: u64,
    opened: u32,
    buffer: Vec<u8>,
    outcome: HandshakeOutcome,
}

/// Runs this thread's share. Setting `interrupt` ends it early.
pub(crate) fn run(
    shared: &Shared,
    work: Handshakes,
    thread: u32,
    interrupt: &AtomicBool,
) -> Result<HandshakeOutcome, RunError> {
    let mine = |count: u32| (thread..count).step_by(shared.threads as usize);
    let slots = mine(work.concurrency).map(|_| None).collect();
    let outcome = HandshakeOutcome {
        completed: 0,
        not_closed: 0,
        connect_times: histogram::new(),
        uncorrected_connect_times: histogram::new(),
    };
    let buffer = vec![0; READ_BYTES];
    let mut batch = Batch {
        shared,
        work,
        poll: Poll::new()?,
        slots,
        started_ns: shared.clock.now_ns(),
        opened: 0,
        buffer,
        outcome,
    };
    let mut events = Events::with_capacity(1024);
    let mut indexes = mine(work.count);
    let mut swept_ns = 0;
    let total = mine(work.count).count();
    while !interrupt.load(Ordering::Relaxed) {
        let elapsed_ns = shared.clock.now_ns() - batch.started_ns;
        batch.fill(&mut indexes, elapsed_ns)?;
        if batch.opened as usize == total && batch.slots.iter().all(Option::is_none) {
            break;
        }
        let wait = batch.next_open_in(elapsed_ns);
        match batch.poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for event in &events {
            batch.step(event.token().0)?;
        }
        let now_ns = shared.clock.now_ns();
        if now_ns - swept_ns > TICK.as_nanos() as u64 {
            swept_ns = now_ns;
            batch.sweep(now_ns)?;
        }
    }
    Ok(batch.outcome)
}

impl Batch<'_> {
    /// Opens a connection in every empty slot, as far as the rate allows.
    fn fill(
        &mut self,
        indexes: &mut impl Iterator<Item = u32>,
        elapsed_ns: u64,
    ) -> Result<(), RunError> {
        for slot in 0..self.slots.len() {
            if self.slots[slot].is_none()
                && self.open_ns() <= elapsed_ns
                && let Some(index) = indexes.next()
            {
                self.open(slot, index)?;
                self.opened += 1;
            }
        }
        Ok(())
    }

    /// When the next connection may be opened, in nanoseconds after the start.
    fn open_ns(&self) -> u64 {
        self.work.per_second.map_or(0, |per_second| {
            let interval_ns = 1e9 * f64::from(self.shared.threads) / per_second;
            (f64::from(self.opened) * interval_ns) as u64
        })
    }

    /// How long to wait for events: at most until the next connection is due, if a slot is free for
    /// it.
    fn next_open_in(&self, elapsed_ns: u64) -> Duration {
        let has_room = self.slots.iter().any(Option::is_none);
        match self.open_ns().checked_sub(elapsed_ns) {
            Some(wait_ns) if has_room => TICK.min(Duration::from_nanos(wait_ns)),
            _ => TICK,
        }
    }

    fn open(&mut self, slot: usize, index: u32) -> Result<(), RunError> {
        let now_ns = self.shared.clock.now_ns();
        let mut client = Client::connect(index, self.shared, Role::Full, 0, now_ns)?;
        // The side that closes first keeps the port in TIME_WAIT for a minute; a reset does not.
        client.reset_on_drop();
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut client.stream, Token(slot), interest)?;
        let due_ns = match self.work.per_second {
            // Count from when it was due: it may have waited for a slot, and a slow server must not
            // hide that.
            Some(_) => self.started_ns + self.open_ns(),
            None => now_ns,
        };
        self.slots[slot] = Some(Attempt { client, due_ns });
        Ok(())
    }

    fn step(&mut self, slot: usize) -> Result<(), RunError> {
        let Some(attempt) = &mut self.slots[slot] else {
            return Ok(());
        };
        let index = attempt.client.index;
        let done = advance(
            attempt,
            self.shared,
            self.work,
            &mut self.buffer,
            &mut self.outcome,
        )
        .map_err(|reason| RunError::new(format!("connection {index}: {reason}")))?;
        if done {
            self.outcome.completed += 1;
            self.slots[slot] = None;
        }
        Ok(())
    }

    fn sweep(&mut self, now_ns: u64) -> Result<(), RunError> {
        for slot in &mut self.slots {
            let Some(Attempt { client, .. }) = slot else {
                continue;
            };
            let age = Duration::from_nanos(now_ns.saturating_sub(client.started_ns));
            if client.is_opening() && age > self.shared.connect_timeout {
                return Err(RunError::new(format!(
                    "connection {}: not upgraded within {:?}",
                    client.index, self.shared.connect_timeout
                )));
            }
            if client.is_open() && age > CLOSE_PATIENCE {
                self.outcome.completed += 1;
                self.outcome.not_closed += 1;
                *slot = None;
            }
        }
        Ok(())
    }
}

/// Advances a connection as far as possible. True when it is finished.
fn advance(
    attempt: &mut Attempt,
    shared: &Shared,
    work: Handshakes,
    buffer: &mut [u8],
    outcome: &mut HandshakeOutcome,
) -> Result<bool, String> {
    let client = &mut attempt.client;
    if matches!(client.phase, Phase::Connecting) {
        if !client.connected().map_err(|error| error.to_string())? {
            return Ok(false);
        }
        client.request(shared).map_err(|error| error.to_string())?;
    }
    client.flush().map_err(|error| error.to_string())?;
    loop {
        let kept = client.inbox.len();
        buffer[..kept].copy_from_slice(&client.inbox);
        let count = match client.read(buffer, kept, false) {
            Ok(None) => return Ok(false),
            Ok(Some(opened)) if opened.bytes == 0 && client.is_open() => return Ok(true),
            Ok(Some(opened)) if opened.bytes == 0 => {
                return Err("the server closed the connection".to_owned());
            }
            Ok(Some(opened)) => opened.bytes,
            Err(_) if client.is_open() => return Ok(true),
            Err(error) => return Err(error.to_string()),
        };
        let Phase::Upgrading(handshake) = &client.phase else {
            continue;
        };
        let head = &buffer[..kept + count];
        let Some(answer) = handshake.answer(head)? else {
            client.inbox = head.to_vec();
            continue;
        };
        client.inbox.clear();
        client.upgraded(answer.deflate);
        let now_ns = shared.clock.now_ns();
        histogram::record(&mut outcome.connect_times, now_ns - attempt.due_ns);
        let connect_ns = now_ns - client.started_ns;
        histogram::record(&mut outcome.uncorrected_connect_times, connect_ns);
        if work.reset {
            return Ok(true);
        }
        let mut goodbye = Vec::new();
        let code = 1000_u16.to_be_bytes();
        append_control(&mut goodbye, Control::Close, shared.payloads.mask(), &code);
        client.write(&goodbye).map_err(|error| error.to_string())?;
    }
}
