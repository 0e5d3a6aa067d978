//! A broadcast server with planted faults, which records its own actions.
//!
//! One thread accepts, one per connection reads, and one, the hub, writes. Faults are a closure of
//! the test: the hub calls it with every message, and it decides with the hub's methods what
//! happens to the message. The hub counts its actions, and a test compares them with the report.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::SockRef;
use tungstenite::Message as Frame;
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::generator::number;

/// How long the hub sleeps if no later write is planned.
const IDLE: Duration = Duration::from_secs(3600);
/// The hub gives up on a client that does not read for this long.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);

/// A message as received.
#[derive(Clone)]
pub struct Message {
    /// The connection that sent it, numbered in the order of the handshakes.
    pub from: usize,
    /// Its number among all messages, from 0.
    pub number: u64,
    pub is_text: bool,
    pub payload: Vec<u8>,
}

impl Message {
    /// 0 for the warm-up, 1 for the measurement.
    pub fn phase(&self) -> usize {
        usize::from(self.payload.get(3) == Some(&1))
    }

    pub fn publisher(&self) -> u32 {
        let bytes = self.payload[4..8].try_into();
        u32::from_le_bytes(bytes.expect("four bytes"))
    }

    fn kind(&self) -> Data {
        match self.is_text {
            true => Data::Text,
            false => Data::Binary,
        }
    }

    /// The frame that this message should come back in.
    pub fn frame(&self) -> Vec<u8> {
        frame(self.kind(), true, &self.payload)
    }

    /// The same message with another payload.
    pub fn with(&self, payload: Vec<u8>) -> Self {
        Self {
            payload,
            ..self.clone()
        }
    }
}

/// A data frame of a server.
pub fn frame(kind: Data, is_final: bool, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader {
        is_final,
        opcode: OpCode::Data(kind),
        ..FrameHeader::default()
    };
    let mut bytes = Vec::new();
    let length = payload.len() as u64;
    header.format(length, &mut bytes).expect("into memory");
    bytes.extend_from_slice(payload);
    bytes
}

/// The server's actions, `[warm-up, measured]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Truth {
    /// Messages received.
    pub messages: [u64; 2],
    /// Correct deliveries.
    pub deliveries: [u64; 2],
    /// Planted faults, counted by the test.
    pub faults: [u64; 2],
    /// Frames that no client had sent.
    pub foreign: u64,
}

/// Decides what happens to a message.
pub type Mode = Box<dyn FnMut(&mut Hub, &Message) + Send>;
/// Decides what happens to a client that was just upgraded.
pub type Joined = Box<dyn FnMut(&mut Hub, usize) + Send>;
/// The answer to a client; `None` upgrades it. It may block.
pub type Answer = Box<dyn FnMut(usize) -> Option<u16> + Send>;

/// A server before it runs.
pub struct Plan {
    pub mode: Mode,
    pub joined: Joined,
    pub answer: Answer,
}

impl Default for Plan {
    /// All clients get every message.
    fn default() -> Self {
        Self {
            mode: Box::new(Hub::broadcast),
            joined: Box::new(|_, _| {}),
            answer: Box::new(|_| None),
        }
    }
}

enum Event {
    /// A client is about to be upgraded; the last field signals when it was.
    Joined(usize, String, TcpStream, Receiver<()>),
    Message(usize, bool, Vec<u8>),
    Left(usize),
}

/// A server that runs until the test ends.
pub struct StandIn {
    pub url: String,
    truth: Arc<Mutex<Truth>>,
}

impl StandIn {
    pub fn new(plan: Plan) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let truth = Arc::default();
        let (sender, events) = channel();
        let switches = Arc::new(Switches::default());
        let hub = Hub {
            clients: BTreeMap::new(),
            later: BTreeMap::new(),
            planned: 0,
            began: None,
            address,
            truth: Arc::clone(&truth),
            switches: Arc::clone(&switches),
        };
        let Plan {
            mode,
            joined,
            answer,
        } = plan;
        std::thread::spawn(move || hub.run(&events, mode, joined));
        let answer = Arc::new(Mutex::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if switches.is_deaf.load(Ordering::Relaxed) {
                    break;
                }
                let (sender, switches) = (sender.clone(), Arc::clone(&switches));
                let answer = Arc::clone(&answer);
                std::thread::spawn(move || read(stream, &sender, &switches, &answer));
            }
        });
        let url = format!("ws://{address}/{{i}}");
        Self { url, truth }
    }

    /// A server whose messages are handled by `mode`.
    pub fn with(mode: impl FnMut(&mut Hub, &Message) + Send + 'static) -> Self {
        Self::new(Plan {
            mode: Box::new(mode),
            ..Plan::default()
        })
    }

    pub fn truth(&self) -> Truth {
        *self.truth.lock().expect("nobody panicked")
    }
}

/// Flags from the hub to the other threads.
#[derive(Default)]
struct Switches {
    /// Connections are no longer accepted.
    is_deaf: AtomicBool,
    /// Nothing is read any more.
    is_blind: AtomicBool,
    next: AtomicUsize,
}

fn read(
    stream: TcpStream,
    events: &Sender<Event>,
    switches: &Switches,
    answer: &Mutex<Answer>,
) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let client = switches.next.fetch_add(1, Ordering::Relaxed);
    let writer = stream.try_clone().ok()?;
    let (upgraded, is_upgraded) = channel();
    let mut joining = Some((writer, is_upgraded));
    // The callback's error is tungstenite's own type.
    #[allow(clippy::result_large_err)]
    let agree = |request: &Request, response: Response| {
        if let Some(status) = answer.lock().expect("nobody panicked")(client) {
            let mut refusal = ErrorResponse::new(None);
            *refusal.status_mut() = status.try_into().expect("a status");
            return Err(refusal);
        }
        // Before the client hears of it, so that it misses nothing.
        if let Some((writer, is_upgraded)) = joining.take() {
            let path = request.uri().path().to_owned();
            let _ = events.send(Event::Joined(client, path, writer, is_upgraded));
        }
        Ok(response)
    };
    let mut socket = tungstenite::accept_hdr(stream, agree).ok()?;
    upgraded.send(()).ok()?;
    while let Ok(came) = socket.read() {
        while switches.is_blind.load(Ordering::Relaxed) {
            std::thread::park();
        }
        let event = match came {
            Frame::Text(text) => Event::Message(client, true, text.as_bytes().to_vec()),
            Frame::Binary(bytes) => Event::Message(client, false, bytes.to_vec()),
            _ => continue,
        };
        events.send(event).ok()?;
    }
    events.send(Event::Left(client)).ok()
}

struct Client {
    path: String,
    stream: TcpStream,
}

/// The thread that writes, with all actions of a mode.
pub struct Hub {
    clients: BTreeMap<usize, Client>,
    /// Later writes and their clients, in the order in which they are due.
    later: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    planned: u64,
    /// When the first measured message came.
    began: Option<Instant>,
    address: SocketAddr,
    truth: Arc<Mutex<Truth>>,
    switches: Arc<Switches>,
}

impl Hub {
    fn run(mut self, events: &Receiver<Event>, mut mode: Mode, mut joined: Joined) {
        let mut messages = 0;
        loop {
            let due = self.later.first_key_value().map(|((due, _), _)| *due);
            let wait = due.map_or(IDLE, |due| due.saturating_duration_since(Instant::now()));
            match events.recv_timeout(wait) {
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Event::Left(client)) => {
                    self.clients.remove(&client);
                }
                Ok(Event::Joined(client, path, stream, is_upgraded)) => {
                    let _ = stream.set_write_timeout(Some(WRITE_PATIENCE));
                    if is_upgraded.recv().is_ok() {
                        self.clients.insert(client, Client { path, stream });
                        joined(&mut self, client);
                    }
                }
                Ok(Event::Message(from, is_text, payload)) => {
                    let message = Message {
                        from,
                        number: messages,
                        is_text,
                        payload,
                    };
                    messages += 1;
                    self.note(|truth| truth.messages[message.phase()] += 1);
                    if message.phase() == 1 {
                        self.began.get_or_insert_with(Instant::now);
                    }
                    mode(&mut self, &message);
                }
            }
            self.write_what_is_due();
        }
    }

    fn write_what_is_due(&mut self) {
        while let Some(first) = self.later.first_entry()
            && first.key().0 <= Instant::now()
        {
            let (client, bytes) = first.remove();
            self.send(client, &bytes);
        }
    }

    fn note(&self, note: impl FnOnce(&mut Truth)) {
        note(&mut self.truth.lock().expect("nobody panicked"));
    }

    // ---- what a mode may ask ----

    /// The connected clients.
    pub fn clients(&self) -> Vec<usize> {
        self.clients.keys().copied().collect()
    }

    /// The generator's own number of a client, by its path.
    pub fn index(&self, client: usize) -> Option<u32> {
        let path = &self.clients.get(&client)?.path;
        path.trim_start_matches('/').parse().ok()
    }

    /// The time since the first measured message came; zero before.
    pub fn measured_for(&self) -> Duration {
        self.began.map_or(Duration::ZERO, |began| began.elapsed())
    }

    // ---- what a mode may do ----

    /// Delivers a message to all clients.
    pub fn broadcast(&mut self, message: &Message) {
        for client in self.clients() {
            self.deliver(client, message);
        }
    }

    /// Delivers a message correctly.
    pub fn deliver(&mut self, client: usize, message: &Message) {
        self.note(|truth| truth.deliveries[message.phase()] += 1);
        self.send(client, &message.frame());
    }

    /// The same, some time later.
    pub fn deliver_later(&mut self, after: Duration, client: usize, message: &Message) {
        self.note(|truth| truth.deliveries[message.phase()] += 1);
        self.send_later(after, client, message.frame());
    }

    /// Counts a fault that the mode plants.
    pub fn fault(&self, message: &Message) {
        self.note(|truth| truth.faults[message.phase()] += 1);
    }

    /// Sends a frame of the server's own.
    pub fn send_foreign(&mut self, client: usize, bytes: &[u8]) {
        self.note(|truth| truth.foreign += 1);
        self.send(client, bytes);
    }

    pub fn send(&mut self, client: usize, bytes: &[u8]) {
        if let Some(found) = self.clients.get_mut(&client)
            && found.stream.write_all(bytes).is_err()
        {
            self.close(client);
        }
    }

    pub fn send_later(&mut self, after: Duration, client: usize, bytes: Vec<u8>) {
        self.planned += 1;
        let due = (Instant::now() + after, self.planned);
        self.later.insert(due, (client, bytes));
    }

    /// Ends a connection without a Close.
    pub fn close(&mut self, client: usize) {
        if let Some(client) = self.clients.remove(&client) {
            let _ = client.stream.shutdown(Shutdown::Both);
        }
    }

    /// Ends a connection with a reset.
    pub fn reset(&mut self, client: usize) {
        if let Some(client) = self.clients.remove(&client) {
            let _ = SockRef::from(&client.stream).set_linger(Some(Duration::ZERO));
            // Wakes the reading thread, which has the last handle, without notifying the client.
            let _ = client.stream.shutdown(Shutdown::Read);
        }
    }

    /// Stops reading from all clients.
    pub fn stop_reading(&self) {
        self.switches.is_blind.store(true, Ordering::Relaxed);
    }

    /// Refuses new connections from now on.
    pub fn stop_listening(&self) {
        self.switches.is_deaf.store(true, Ordering::Relaxed);
        // The accepting thread checks the flag at the next connection.
        let _ = TcpStream::connect(self.address);
    }
}

/// Blocks the calling thread: a fault to plant, not a way to wait.
pub fn stall(time: Duration) {
    std::thread::sleep(time);
}

/// Calls `fault` instead of every `every`-th delivery, counted over all clients.
pub fn every(
    every: u64,
    mut fault: impl FnMut(&mut Hub, usize, &Message) + Send + 'static,
) -> impl FnMut(&mut Hub, &Message) + Send + 'static {
    let mut deliveries = 0;
    move |hub, message| {
        for client in hub.clients() {
            deliveries += 1;
            match deliveries % every {
                0 => {
                    hub.fault(message);
                    fault(hub, client, message);
                }
                _ => hub.deliver(client, message),
            }
        }
    }
}

/// `[warm-up, measured]` of one count of a report.
pub fn both(report: &Value, name: &str) -> [u64; 2] {
    let warmup = number(report, &format!("/warmup/{name}"));
    [warmup as u64, number(report, &format!("/{name}")) as u64]
}

/// Checks every count of a report in both phases. Counts that are not named must be zero; `sent`
/// and `expected` follow from the messages that the server received and the clients that read.
#[track_caller]
pub fn expect(report: &Value, truth: &Truth, clients: u64, counts: &[(&str, [u64; 2])]) {
    let expected = truth.messages.map(|messages| messages * clients);
    let counts = [&[("sent", truth.messages), ("expected", expected)], counts].concat();
    for name in [
        "sent",
        "expected",
        "delivered",
        "lost",
        "repeated",
        "reordered",
        "damaged",
        "misrouted",
        "early",
    ] {
        let wanted = counts.iter().find(|count| count.0 == name);
        let wanted = wanted.map_or([0; 2], |count| count.1);
        assert_eq!(both(report, name), wanted, "{name}: {truth:?}, {report:#}");
    }
}
