//! The test oracle of memory accounting: the relay's count matches its memory.
//!
//! An engine in this process, under an allocator that counts, and clients in another one, which is
//! this binary again. The clients connect and are idle; from there on a seeded random load makes
//! things wait: stalled readers with and without TLS and compression, fast readers, many tiny
//! messages, messages and TLS records in part, answers that nobody reads. At many points what is
//! counted ([`View::process_bytes`] and [`View::inbound_bytes`]) is 80 to 125 % of what is
//! allocated beyond the idle state.
//!
//! A test binary of its own, since it replaces the allocator of the process.

use std::alloc::System;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use corecast::engine::{
    Answer, Builder, Deflate, Endpoint, EndpointSettings, Engine, Keepalive, Limits, Listen,
    Request, Responder, Service, Session, Settings, SlowClient, SlowPolicy, View,
};
use corecast::relay::hub::Hub;
use corecast::wire::decoder::Message;
use corecast::wire::deflate::{Deflater, Inflater};
use corecast::wire::frame::{MessageKind, Opcode};
use corecast::wire::http::Response;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use stats_alloc::{INSTRUMENTED_SYSTEM, Stats, StatsAlloc};

use corecast_test::certificates::{Authority, Folder, tls_of};
use corecast_test::client::{
    BINARY, CONTINUATION, Client, PING, PONG, TEXT, compressed, fragment, frame, raw_frame,
};
use corecast_test::press::{EVENT, Press};
use corecast_test::{eventually, tls_client};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SEEDS: [(u64, Load); 5] = [
    (1, Load::Mixed),
    (20_261_128, Load::Mixed),
    (7, Load::Queued),
    (11, Load::Received),
    (5, Load::Shared),
];
const STEPS: usize = 48;

/// Below this, memory outside the accounting distorts the ratio.
const MATERIAL_BYTES: usize = 1 << 20;

/// Rooms, each with stalled members of every kind, one reading member, and a publisher.
const ROOMS: usize = 3;
const STALLED: usize = 12;
const UPLOADERS: usize = 8;
const ASKERS: usize = 8;

/// The main cause of held memory.
#[derive(Clone, Copy, Debug)]
enum Load {
    /// A mixture.
    Mixed,
    /// Queues: messages that wait for many members, just too large to be merged.
    Queued,
    /// Partial messages, and answers.
    Received,
    /// Shared bodies that wait for many members, after individual heads.
    Shared,
}

/// Tells the other process its task: the address without TLS, the one with it, and the authority.
const CLIENTS: &str = "CORECAST_TEST_CLIENTS";

fn allocated() -> usize {
    let Stats {
        bytes_allocated,
        bytes_deallocated,
        ..
    } = GLOBAL.stats();
    bytes_allocated.wrapping_sub(bytes_deallocated)
}

fn counted(view: &View) -> usize {
    view.process_bytes() + view.inbound_bytes()
}

/// A repeatable pseudo-random sequence (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

/// Answers with far more than a socket accepts.
struct Large;

impl Endpoint for Large {
    type State = ();
    type Local = ();

    fn message(&self, _session: &mut Session<'_>, _message: Message<'_>) {}
}

impl Service for Large {
    fn request(&self, _request: &Request<'_>, _responder: &mut Responder<'_>) -> Answer {
        Answer::Now(Response::text(200, "y".repeat(300_000)))
    }
}

/// No client is closed: everything must be held.
fn engine(authority: &Authority) -> Engine {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let secure = Listen {
        tls: true,
        ..any.into()
    };
    let mut settings = Settings {
        shards: 2,
        listen: vec![any.into(), secure],
        send_buffer_bytes: Some(16 * 1024),
        process_bytes_max: 1 << 40,
        limits: Limits {
            inbound_bytes: 1 << 40,
            ..Limits::default()
        },
        ..Settings::default()
    };
    let hour = Duration::from_secs(3_600);
    settings.timeouts.handshake = hour;
    settings.timeouts.message = hour;
    let folder = Folder::new(&authority.server(2100));
    let mut builder: Builder = Engine::builder().settings(settings);
    builder.tls(tls_of(&folder.files()));
    let endpoint = EndpointSettings {
        message_bytes: 4 << 20,
        slow_client: SlowClient {
            policy: SlowPolicy::Disconnect,
            outbox_bytes: 1 << 30,
            outbox_age: Duration::ZERO,
        },
        keepalive: Keepalive {
            ping: Duration::ZERO,
            pong: Duration::ZERO,
        },
        deflate: Deflate {
            enabled: true,
            min_bytes: 64,
            level: 1,
        },
        ..EndpointSettings::default()
    };
    let large = builder.endpoint_and_service(endpoint, Large);
    builder.route("/large", large).expect("a path");
    let press = builder.endpoint(endpoint, Press);
    builder.route("/press", press).expect("a path");
    let hub = builder.endpoint(endpoint, Hub { echo: false });
    builder.route("/**", hub).expect("a path");
    builder.start().expect("an engine")
}

/// The other process, and its commands: a line for each command, and one for each completion.
struct Clients {
    process: Child,
    tell: ChildStdin,
    hear: BufReader<ChildStdout>,
    /// The last command.
    told: String,
    line: String,
}

impl Clients {
    fn start(engine: &Engine, authority: &Authority) -> Clients {
        let addresses = engine.addresses();
        let pem = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(pem.path(), &authority.cert).expect("a file");
        let told = format!("{} {} {}", addresses[0], addresses[1], pem.path().display());
        let mut process = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--ignored", "--exact", "--nocapture", "the_clients"])
            .env(CLIENTS, told)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("another process");
        let tell = process.stdin.take().expect("a pipe");
        let hear = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut clients = Clients {
            process,
            tell,
            hear,
            told: String::with_capacity(256),
            line: String::with_capacity(256),
        };
        clients.wait();
        clients
    }

    /// Waits until the command is done.
    fn wait(&mut self) {
        loop {
            self.line.clear();
            let read = self.hear.read_line(&mut self.line).expect("a line");
            assert!(read > 0, "the clients have failed");
            if self.line.trim_end().ends_with("done") {
                return;
            }
        }
    }

    fn tell(&mut self, what: std::fmt::Arguments<'_>) {
        self.told.clear();
        self.told.write_fmt(what).expect("a line");
        self.told.push('\n');
        self.tell.write_all(self.told.as_bytes()).expect("a reader");
        self.tell.flush().expect("a reader");
        self.wait();
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One test after the other, because the whole process is counted.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until neither number has changed for this many looks.
fn rest(view: &View, looks: usize) -> (usize, usize) {
    let mut before = (allocated(), counted(view));
    let mut still = 0;
    eventually("the engine rests", || {
        let now = (allocated(), counted(view));
        still = if now == before { still + 1 } else { 0 };
        before = now;
        still >= looks
    });
    before
}

/// Looks until sent data is served, and until waiting data is merged, a tick later.
const SERVED: usize = 4;
const MERGED: usize = 80;

fn step(load: Load, random: &mut Random, clients: &mut Clients) {
    let room = random.below(ROOMS);
    let what = match load {
        Load::Mixed => random.below(10),
        Load::Received => 6 + random.below(4),
        Load::Shared => {
            let bytes = match random.below(3) {
                0 => 1 + random.below(300),
                1 => 600,
                _ => 1_000 + random.below(50_000),
            };
            let count = 1 + random.below(200_000 / (bytes + 1_000));
            return clients.tell(format_args!("press {count} {bytes}"));
        }
        Load::Queued => {
            let (count, bytes) = (50 + random.below(200), 1_024 + random.below(100));
            return clients.tell(format_args!("pace {room} {count} {bytes}"));
        }
    };
    match what {
        0 | 1 => {
            let (count, bytes) = (1 + random.below(100), 1 + random.below(4_000));
            clients.tell(format_args!("publish {room} {count} {bytes}"));
        }
        2 => {
            let (count, bytes) = (1 + random.below(4), 10_000 + random.below(1_000_000));
            clients.tell(format_args!("publish {room} {count} {bytes}"));
        }
        3 | 4 => {
            let (count, bytes) = (50 + random.below(400), 1 + random.below(8));
            clients.tell(format_args!("pace {room} {count} {bytes}"));
        }
        5 => {
            let (count, bytes) = (1 + random.below(4), 1_000 + random.below(100_000));
            clients.tell(format_args!("deflate {room} {count} {bytes}"));
        }
        6 => {
            let (who, bytes) = (random.below(UPLOADERS), 1 + random.below(400_000));
            clients.tell(format_args!("upload {who} {bytes}"));
        }
        7 => clients.tell(format_args!("ask {}", random.below(ASKERS))),
        8 => {
            let who = random.below(3 * STALLED);
            let bytes = 1 + random.below(300_000);
            clients.tell(format_args!("read {room} {who} {bytes}"));
        }
        _ => clients.tell(format_args!("record {}", 1 + random.below(15_000))),
    }
}

#[test]
fn counted_memory_matches_held_memory() {
    let _alone = alone();
    let authority = Authority::new("the server's");
    for (seed, load) in SEEDS {
        println!("seed {seed}, {load:?}");
        let engine = engine(&authority);
        let view = engine.view();
        let mut clients = Clients::start(&engine, &authority);
        let (idle_bytes, idle_counted) = rest(&view, MERGED);
        let mut random = Random(seed);
        let (mut shares, mut most) = (Vec::with_capacity(STEPS), 0);
        for number in 0..STEPS {
            step(load, &mut random, &mut clients);
            // Sometimes when everything is merged, otherwise while small messages wait unmerged.
            let looks = if number % 4 == 0 { MERGED } else { SERVED };
            let (bytes, counted) = rest(&view, looks);
            let held = bytes.saturating_sub(idle_bytes);
            let counted = counted.saturating_sub(idle_counted);
            most = most.max(held);
            if held < MATERIAL_BYTES {
                continue;
            }
            let share = counted * 100 / held;
            assert!(
                (80..=125).contains(&share),
                "seed {seed}, step {number} ({}): {counted} of {held} bytes are counted, {share} %",
                clients.told.trim_end(),
            );
            shares.push(share);
        }
        let (least, largest) = (shares.iter().min(), shares.iter().max());
        println!(
            "{} samples, {least:?} to {largest:?} %, {most} bytes",
            shares.len()
        );
        assert!(shares.len() > STEPS / 3 && most > 3 * MATERIAL_BYTES);
        drop(clients);
        assert!(engine.stop());
    }
}

#[test]
fn a_stream_of_deflate_takes_what_it_is_said_to() {
    let _alone = alone();
    let payload = b"some text that becomes smaller, some text that becomes smaller";
    let before = allocated();
    let mut deflater = Deflater::default();
    let mut out = Vec::with_capacity(1_000);
    assert!(deflater.append(&mut out, Opcode::Text, payload, 6));
    let mut inflater = Inflater::default();
    let deflated = compressed(payload);
    let message = Message {
        kind: MessageKind::Text,
        payload: &deflated,
    };
    assert!(inflater.inflate(message, 1_000).is_ok());
    let held = allocated() - before - out.capacity() - deflated.capacity();
    let counted = deflater.held_bytes() + inflater.held_bytes();
    let share = counted * 100 / held;
    assert!((90..=110).contains(&share), "{counted} of {held} bytes");
}

/// A client that reads only on request.
struct Stalled(TcpStream);

/// All clients of the other process.
struct Crowd {
    publishers: Vec<Client>,
    deflating: Vec<Client>,
    /// For each room: without TLS, with compression, with TLS.
    stalled: Vec<Vec<Stalled>>,
    /// The client that sends the press's messages, and reads them.
    press: Client,
    /// The clients that do not read them.
    pressed: Vec<Stalled>,
    uploaders: Vec<Client>,
    /// Those of them whose message has begun.
    has_begun: [bool; UPLOADERS],
    askers: Vec<Client>,
    /// TLS sessions, and those whose last record is incomplete.
    secure: Vec<tls_client::Client>,
    not_whole: Vec<tls_client::Client>,
}

fn narrow(address: SocketAddr) -> Client {
    Client::connect_narrow(address, 4_096)
}

/// Reads until the relay is gone.
fn read_on(mut stream: TcpStream) {
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while matches!(stream.read(&mut buffer), Ok(read) if read > 0) {}
    });
}

/// Members of a room that do not read.
fn stall(
    plain: SocketAddr,
    secure: SocketAddr,
    config: &Arc<ClientConfig>,
    path: &str,
) -> Vec<Stalled> {
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        stalled.push(Stalled(narrow(plain).upgraded(path).stream));
        stalled.push(Stalled(narrow(plain).deflating(path, "").stream));
        let mut client = tls_client::Client::open(secure, config, path);
        let socket = client.tls().sock.try_clone().expect("a socket");
        stalled.push(Stalled(socket));
    }
    stalled
}

impl Crowd {
    fn gather(plain: SocketAddr, secure: SocketAddr, config: &Arc<ClientConfig>) -> Crowd {
        let mut crowd = Crowd {
            publishers: Vec::new(),
            deflating: Vec::new(),
            stalled: Vec::new(),
            press: Client::connect(plain).deflating("/press", ""),
            pressed: Vec::new(),
            uploaders: Vec::new(),
            has_begun: [false; UPLOADERS],
            askers: (0..ASKERS).map(|_| narrow(plain)).collect(),
            secure: Vec::new(),
            not_whole: Vec::new(),
        };
        for number in 0..ROOMS {
            let room = format!("/{number}");
            crowd.publishers.push(Client::open(plain, &room));
            crowd
                .deflating
                .push(Client::connect(plain).deflating(&room, ""));
            let reader = Client::open(plain, &room);
            read_on(reader.stream.try_clone().expect("a socket"));
            let deflating = crowd.deflating[number].stream.try_clone();
            read_on(deflating.expect("a socket"));
            crowd.stalled.push(stall(plain, secure, config, &room));
        }
        crowd.pressed = stall(plain, secure, config, "/press");
        let alone = |number: usize| Client::open(plain, &format!("/alone/{number}"));
        crowd.uploaders = (0..UPLOADERS).map(alone).collect();
        let path = "/alone/secure";
        let secure = (0..ROOMS).map(|_| tls_client::Client::open(secure, config, path));
        crowd.secure = secure.collect();
        crowd
    }

    fn obey(&mut self, command: &str) {
        let mut words = command.split_ascii_whitespace();
        let verb = words.next().expect("a word");
        let numbers: Vec<usize> = words.map(|word| word.parse().expect("a number")).collect();
        match (verb, &numbers[..]) {
            ("publish", [room, count, bytes]) => {
                let publisher = &mut self.publishers[*room];
                for number in 0..*count {
                    publisher.send(&frame(BINARY, &noise(number, *bytes)));
                }
                heard(publisher);
            }
            ("pace", [room, count, bytes]) => {
                let publisher = &mut self.publishers[*room];
                for number in 0..*count {
                    publisher.send(&frame(BINARY, &noise(number, *bytes)));
                    heard(publisher);
                }
            }
            ("press", [count, bytes]) => {
                let mut random = Random(7);
                (0..*count).for_each(|_| send_event(&mut self.press, &mut random, *bytes));
            }
            ("deflate", [room, count, bytes]) => {
                for _ in 0..*count {
                    let payload =
                        compressed("text that becomes smaller ".repeat(bytes / 26).as_bytes());
                    self.deflating[*room].send(&raw_frame(0xC0 | TEXT, &payload, true));
                }
            }
            ("upload", [who, bytes]) => {
                let uploader = &mut self.uploaders[*who];
                let has_begun = std::mem::replace(&mut self.has_begun[*who], true);
                let first = if has_begun { CONTINUATION } else { BINARY };
                uploader.send(&fragment(first, &noise(1, *bytes)));
                heard(uploader);
            }
            ("ask", [who]) => {
                let request = b"GET /large HTTP/1.1\r\nHost: relay\r\n\r\n";
                // A client that has too many unread answers is closed, and not used again.
                let _ = self.askers[*who].try_send(request);
            }
            ("read", [room, who, bytes]) => {
                let stream = &mut self.stalled[*room][*who].0;
                let timeout = Some(Duration::from_millis(20));
                stream.set_read_timeout(timeout).expect("a socket");
                let mut left = vec![0; *bytes];
                let _ = stream.read_exact(&mut left);
            }
            ("record", [bytes]) => {
                if let Some(mut client) = self.secure.pop() {
                    let tls = client.tls();
                    tls.conn
                        .writer()
                        .write_all(&noise(3, *bytes))
                        .expect("room");
                    let mut records = Vec::new();
                    tls.conn.write_tls(&mut records).expect("a buffer");
                    let part = &records[..records.len() - 1];
                    tls.sock.write_all(part).expect("the relay reads");
                    self.not_whole.push(client);
                }
            }
            _ => panic!("what is {command}?"),
        }
    }
}

/// Incompressible bytes.
fn noise(seed: usize, bytes: usize) -> Vec<u8> {
    let mut random = Random(seed as u64);
    (0..bytes).map(|_| random.below(256) as u8).collect()
}

/// Sends a message to all clients of the press.
fn send_event(press: &mut Client, random: &mut Random, bytes: usize) {
    let body = (0..bytes).map(|_| b'a' + random.below(26) as u8);
    let event: Vec<u8> = std::iter::once(EVENT).chain(body).collect();
    press.send(&frame(TEXT, &event));
    heard(press);
}

/// Waits until the relay has read everything that was sent.
fn heard(client: &mut Client) {
    client.send(&frame(PING, b"heard"));
    while client.frame().opcode != PONG {}
}

/// The other process of the oracle.
#[test]
#[ignore = "what the oracle's clients are, in a process of their own"]
fn the_clients() {
    let Ok(told) = std::env::var(CLIENTS) else {
        return;
    };
    let mut told = told.splitn(3, ' ');
    let mut next = || told.next().expect("three words");
    let plain = next().parse().expect("an address");
    let secure = next().parse().expect("an address");
    let pem = std::fs::read_to_string(next()).expect("an authority");
    let config = Arc::new(config_of(&pem));
    let mut crowd = Crowd::gather(plain, secure, &config);
    println!("done");
    for line in std::io::stdin().lines() {
        crowd.obey(&line.expect("a line"));
        println!("done");
    }
}

fn config_of(pem: &str) -> ClientConfig {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    roots.add(root).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth()
}
