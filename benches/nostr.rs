//! Measures a Nostr relay beside a plain room of the same size, and under load.
//!
//! ```text
//! cargo bench --bench nostr [-- fanout|matching|nagle|flood|stalled]…
//! ```
//!
//! `CORECAST_BIN` is the relay's binary; the default is the one of this build.
//!
//! Each part starts relays of its own, on one shard, and loads them over loopback from this
//! process. Costs are those of the relay's process alone, in nanoseconds of CPU (`schedstat` of its
//! threads): ratios of alternating runs are reliable, single times are not.

use std::alloc::System;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use corecast_nostr::{Draft, Event, Filter, LiveIndex, Signer, to_hex};
use mio::{Events, Interest, Poll, Token};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const DEADLINE: Duration = Duration::from_secs(60);

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    let parts: [(&str, fn()); 5] = [
        ("fanout", fanout),
        ("matching", matching),
        ("nagle", nagle),
        ("flood", flood),
        ("stalled", stalled),
    ];
    for (name, part) in parts {
        if wanted.is_empty() || wanted.iter().any(|each| each == name) {
            part();
        }
    }
}

/// A relay in a process of its own, with a hub at `/r` and Nostr at `/nostr`.
struct Relay {
    process: Child,
    address: SocketAddr,
}

impl Relay {
    fn start(settings: &[&str]) -> Relay {
        let binary = std::env::var_os("CORECAST_BIN");
        let binary = binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_corecast").into());
        let mut command = Command::new(binary);
        // The relay would read it as a configuration key.
        command.env_remove("CORECAST_BIN");
        for setting in [
            "server.host=127.0.0.1",
            "server.port=0",
            "metrics.enabled=false",
            "engine.shards=1",
            "limits.connections=0",
            "keepalive.ping=off",
            "keepalive.pong=off",
            "endpoints.nostr.kind=nostr",
            "endpoints.nostr.path=/nostr",
            "endpoints.nostr.nostr.auth.private_kinds=[]",
            "logging.level=info",
        ]
        .iter()
        .chain(settings)
        {
            command.args(["--set", setting]);
        }
        let mut process = command.stderr(Stdio::piped()).spawn().expect("the relay");
        let log = BufReader::new(process.stderr.take().expect("its log"));
        let mut lines = log.lines().map_while(Result::ok);
        let line = lines
            .find(|line| line.contains(" listening address="))
            .expect("an address");
        let address = line.rsplit('=').next().expect("a value").trim();
        let address = address.parse().expect("an address");
        std::thread::spawn(move || lines.for_each(drop));
        Relay { process, address }
    }

    /// CPU of all its threads, in nanoseconds.
    fn cpu_ns(&self) -> u64 {
        let tasks = format!("/proc/{}/task", self.process.id());
        let tasks = std::fs::read_dir(tasks).expect("its threads");
        let times = tasks.filter_map(|task| {
            let stat = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            stat.split(' ').next()?.parse::<u64>().ok()
        });
        times.sum()
    }

    /// Resident memory, bytes.
    fn rss(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.process.id()));
        let pages: u64 = statm
            .expect("it runs")
            .split(' ')
            .nth(1)
            .map_or(0, |n| n.parse().unwrap_or(0));
        pages * 4_096
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A client with a blocking socket.
struct Client(TcpStream);

impl Client {
    fn open(relay: &Relay, path: &str) -> Client {
        let mut stream = TcpStream::connect(relay.address).expect("a connection");
        stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        let upgrade = format!(
            "GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(upgrade.as_bytes()).expect("an upgrade");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("an answer");
            head.extend(byte);
        }
        assert!(
            head.starts_with(b"HTTP/1.1 101"),
            "{}",
            String::from_utf8_lossy(&head)
        );
        Client(stream)
    }

    fn send(&mut self, text: &str) {
        self.0.write_all(&frame(text)).expect("a message");
    }

    /// The next message.
    fn receive(&mut self) -> String {
        let mut header = [0; 2];
        self.0.read_exact(&mut header).expect("a header");
        let length = match header[1] {
            126 => {
                let mut length = [0; 2];
                self.0.read_exact(&mut length).expect("a length");
                usize::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                self.0.read_exact(&mut length).expect("a length");
                u64::from_be_bytes(length) as usize
            }
            length => usize::from(length),
        };
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).expect("a payload");
        String::from_utf8(payload).expect("text")
    }

    fn until(&mut self, start: &str) -> String {
        loop {
            let text = self.receive();
            if text.starts_with(start) {
                return text;
            }
        }
    }
}

/// A text message of a client, masked with zeros.
fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match text.len() {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    frame
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs()
}

/// An event whose JSON has this many bytes, different from all others.
fn event(signer: &Signer, kind: u16, number: usize, bytes: usize) -> Event {
    let made = |padding: usize| {
        let content = format!("{number:08}{}", "x".repeat(padding));
        signer.sign(Draft {
            created_at: now(),
            kind,
            tags: Vec::new(),
            content,
        })
    };
    let bare = made(0).json().len();
    made(bytes.saturating_sub(bare))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Many readers that only count bytes.
struct Readers {
    poll: Poll,
    streams: Vec<mio::net::TcpStream>,
    buffer: Vec<u8>,
}

impl Readers {
    fn of(clients: Vec<Client>) -> Readers {
        let poll = Poll::new().expect("a poll");
        let mut streams = Vec::new();
        for (number, Client(stream)) in clients.into_iter().enumerate() {
            stream.set_nonblocking(true).expect("a socket");
            let mut stream = mio::net::TcpStream::from_std(stream);
            poll.registry()
                .register(&mut stream, Token(number), Interest::READABLE)
                .expect("a registration");
            streams.push(stream);
        }
        Readers {
            poll,
            streams,
            buffer: vec![0; 1 << 16],
        }
    }

    /// Reads until the relay is gone.
    fn drain(&mut self) {
        let mut events = Events::with_capacity(4_096);
        loop {
            self.poll.poll(&mut events, None).expect("events");
            for event in &events {
                loop {
                    match self.streams[event.token().0].read(&mut self.buffer) {
                        Ok(1..) => {}
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Ok(0) | Err(_) => return,
                    }
                }
            }
        }
    }

    /// Reads until this many bytes have come.
    fn read(&mut self, bytes: usize) {
        let mut events = Events::with_capacity(4_096);
        let (mut got, began) = (0, Instant::now());
        while got < bytes {
            assert!(began.elapsed() < DEADLINE, "{got} bytes of {bytes}");
            self.poll
                .poll(&mut events, Some(Duration::from_secs(1)))
                .expect("events");
            for event in &events {
                loop {
                    match self.streams[event.token().0].read(&mut self.buffer) {
                        Ok(0) => panic!("a reader was closed"),
                        Ok(more) => got += more,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        }
        assert_eq!(got, bytes);
    }
}

const READERS: usize = 10_000;
const FANOUT_EVENTS: usize = 20;
const EVENT_BYTES: usize = 600;

/// A fan-out to 10,000, by subscriptions with different names and by a plain room.
fn fanout() {
    let signer = Signer::new([7; 32]).expect("a key");
    let head = "[\"EVENT\",\"subscription 00000\",".len();
    let mut costs = [Vec::new(), Vec::new()];
    for _ in 0..5 {
        costs[0].push(room_cost(head + EVENT_BYTES + 1));
        costs[1].push(nostr_cost(&signer));
    }
    let [room, nostr] = costs.map(median);
    println!(
        "fanout: {READERS} readers, {EVENT_BYTES} B: room {room:.0} ns of CPU a delivery, \
         nostr {nostr:.0} ns, ratio {:.3}",
        nostr / room
    );
}

fn room_cost(bytes: usize) -> f64 {
    let relay = Relay::start(&[]);
    let readers = (0..READERS).map(|_| Client::open(&relay, "/r")).collect();
    let mut readers = Readers::of(readers);
    let mut writer = Client::open(&relay, "/r");
    let text = "x".repeat(bytes);
    // A frame of that size has a header of 4 bytes.
    let mut round = |readers: &mut Readers| {
        writer.send(&text);
        readers.read(READERS * (bytes + 4));
        writer.receive();
    };
    (0..3).for_each(|_| round(&mut readers));
    let before = relay.cpu_ns();
    (0..FANOUT_EVENTS).for_each(|_| round(&mut readers));
    (relay.cpu_ns() - before) as f64 / (FANOUT_EVENTS * READERS) as f64
}

fn nostr_cost(signer: &Signer) -> f64 {
    let relay = Relay::start(&[]);
    let open = |number: usize| {
        let mut client = Client::open(&relay, "/nostr");
        client.send(&format!(
            "[\"REQ\",\"subscription {number:05}\",{{\"kinds\":[1]}}]"
        ));
        client.until("[\"EOSE\"");
        client
    };
    let mut readers = Readers::of((0..READERS).map(open).collect());
    let mut writer = Client::open(&relay, "/nostr");
    let events: Vec<Event> = (0..FANOUT_EVENTS + 3)
        .map(|number| event(signer, 1, number, EVENT_BYTES))
        .collect();
    let head = "[\"EVENT\",\"subscription 00000\",".len();
    let mut round = |readers: &mut Readers, event: &Event| {
        writer.send(&format!("[\"EVENT\",{}]", event.json()));
        readers.read(READERS * (4 + head + event.body().len()));
        writer.until("[\"OK\"");
    };
    events[..3]
        .iter()
        .for_each(|event| round(&mut readers, event));
    let before = relay.cpu_ns();
    events[3..]
        .iter()
        .for_each(|event| round(&mut readers, event));
    (relay.cpu_ns() - before) as f64 / (FANOUT_EVENTS * READERS) as f64
}

/// Numbers that are the same in each run (SplitMix64).
fn random() -> impl FnMut() -> u64 {
    let mut state: u64 = 42;
    move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// 10,000 subscriptions of 500 authors each, drawn from 100,000 by Zipf's law.
fn matching() {
    const SUBSCRIPTIONS: u32 = 10_000;
    const AUTHORS: usize = 500;
    const KEYS: usize = 100_000;
    let key = |rank: usize| {
        let mut key = [0x5a; 32];
        key[..8].copy_from_slice(
            &(rank as u64)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                .to_be_bytes(),
        );
        key
    };
    let mut weights = Vec::with_capacity(KEYS);
    let mut sum = 0.0;
    for rank in 0..KEYS {
        sum += 1.0 / (rank + 1) as f64;
        weights.push(sum);
    }
    let mut random = random();
    let mut filter = || {
        let authors: std::collections::BTreeSet<[u8; 32]> = (0..AUTHORS)
            .map(|_| {
                let at = (random() >> 11) as f64 / (1_u64 << 53) as f64 * sum;
                key(weights.partition_point(|weight| *weight < at))
            })
            .collect();
        Filter {
            authors: Some(authors.into_iter().collect()),
            ..Filter::default()
        }
    };
    let signer = Signer::new([7; 32]).expect("a key");
    let known = Filter {
        authors: Some([signer.public_key()].into()),
        ..Filter::default()
    };
    let sent = event(&signer, 1, 0, EVENT_BYTES);
    let mut index = LiveIndex::default();
    index.insert(SUBSCRIPTIONS, [&known]);
    for subscriptions in [100, 1_000, SUBSCRIPTIONS] {
        let region = Region::new(GLOBAL);
        let first = index.len() as u32 - 1;
        for number in first..subscriptions {
            index.insert(number, [&filter()]);
        }
        let change = region.change();
        let held = change.bytes_allocated as i64 - change.bytes_deallocated as i64;
        let rounds = 100_000;
        let (mut found, mut compared) = (0, 0);
        let began = Instant::now();
        for _ in 0..rounds {
            compared += index.find(&sent, |_| found += 1);
        }
        let ns = began.elapsed().as_nanos() as f64 / f64::from(rounds);
        assert_eq!((found, compared), (rounds, rounds as usize));
        println!(
            "matching: {subscriptions} subscriptions: {ns:.0} ns an event that one of them is for; \
             {} bytes a subscription of {AUTHORS} authors",
            held / i64::from(subscriptions - first)
        );
    }
}

/// CLOSE, then REQ, as clients do it: with Nagle's algorithm and without.
fn nagle() {
    const QUERIES: usize = 500;
    let relay = Relay::start(&[]);
    let rate = |is_nodelay: bool| {
        let mut client = Client::open(&relay, "/nostr");
        client.0.set_nodelay(is_nodelay).expect("a socket");
        let began = Instant::now();
        for _ in 0..QUERIES {
            client.send("[\"REQ\",\"s\",{\"kinds\":[1],\"limit\":1}]");
            client.until("[\"EOSE\"");
            client.send("[\"CLOSE\",\"s\"]");
        }
        QUERIES as f64 / began.elapsed().as_secs_f64()
    };
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..5 {
        rates[0].push(rate(true));
        rates[1].push(rate(false));
    }
    let [nodelay, nagle] = rates.map(median);
    println!(
        "nagle: {nodelay:.0} queries/s without Nagle's algorithm, {nagle:.0} with it, ratio {:.2}",
        nagle / nodelay
    );
}

/// From when an event was due to when a subscriber has it: the quantiles of 2 s at 200 events/s.
fn latencies(relay: &Relay, key: u8) -> [f64; 2] {
    const EVENTS: usize = 400;
    let signer = Signer::new([key; 32]).expect("a key");
    let author = to_hex(&signer.public_key());
    let mut reader = Client::open(relay, "/nostr");
    reader.send(&format!(
        "[\"REQ\",\"s\",{{\"authors\":[\"{author}\"],\"limit\":0}}]"
    ));
    reader.until("[\"EOSE\"");
    let mut writer = Client::open(relay, "/nostr");
    let stamp = now() as usize % 1_000 * 10_000;
    let events: Vec<Event> = (0..EVENTS)
        .map(|number| event(&signer, 1, stamp + number, EVENT_BYTES))
        .collect();
    let ids: Vec<String> = events.iter().map(|event| to_hex(event.id())).collect();
    let texts: Vec<String> = events
        .iter()
        .map(|event| format!("[\"EVENT\",{}]", event.json()))
        .collect();
    let interval = Duration::from_millis(5);
    let began = Instant::now() + interval;
    let sender = std::thread::spawn(move || {
        for (number, text) in texts.iter().enumerate() {
            let due = began + interval * number as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            writer.send(text);
        }
        // Answers are left unread: they fit into the socket.
        writer
    });
    let mut taken: Vec<f64> = ids
        .iter()
        .enumerate()
        .map(|(number, id)| {
            assert!(reader.receive().contains(id), "in order");
            let due = began + interval * number as u32;
            due.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    sender.join().expect("a sender");
    taken.sort_by(f64::total_cmp);
    [taken[EVENTS / 2], taken[EVENTS * 99 / 100]]
}

/// A client that publishes as fast as it can, on the shard of one with a light load.
fn flood() {
    let flooder = Signer::new([9; 32]).expect("a key");
    let events: Vec<u8> = (0..120_000)
        .flat_map(|number| {
            let draft = Draft {
                created_at: now(),
                kind: 1,
                tags: Vec::new(),
                content: format!("flood {number}"),
            };
            frame(&format!("[\"EVENT\",{}]", flooder.sign(draft).json()))
        })
        .collect();
    let mut quantiles = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
    for _ in 0..5 {
        for is_flooded in [false, true] {
            let relay = Relay::start(&[]);
            if is_flooded {
                let Client(mut stream) = Client::open(&relay, "/nostr");
                let mut answers = stream.try_clone().expect("a socket");
                let events = events.clone();
                std::thread::spawn(move || stream.write_all(&events));
                std::thread::spawn(move || {
                    let mut buffer = vec![0; 1 << 16];
                    while answers.read(&mut buffer).is_ok_and(|bytes| bytes > 0) {}
                });
            }
            let [half, most] = latencies(&relay, 1);
            quantiles[usize::from(is_flooded)][0].push(half);
            quantiles[usize::from(is_flooded)][1].push(most);
        }
    }
    let [[calm, calm_most], [flooded, flooded_most]] = quantiles.map(|each| each.map(median));
    println!(
        "flood: p50 {calm:.0} us, p99 {calm_most:.0} us; with a flood of signed events p50 \
         {flooded:.0} us, p99 {flooded_most:.0} us; p99 ratio {:.2}",
        flooded_most / calm_most
    );
}

/// The other subscribers while one is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Others {
    None,
    Read,
    Stall,
}

/// 1,000 subscribers that read nothing, compared with the same ones reading, and with none.
fn stalled() {
    let mut quantiles: [[Vec<f64>; 2]; 3] = Default::default();
    let mut held = Vec::new();
    for _ in 0..5 {
        for others in [Others::None, Others::Read, Others::Stall] {
            let ([half, most], grown) = beside(others);
            quantiles[others as usize][0].push(half);
            quantiles[others as usize][1].push(most);
            if others == Others::Stall {
                held.push(grown);
            }
        }
    }
    let [[alone, alone_most], [calm, calm_most], [slow, slow_most]] =
        quantiles.map(|each| each.map(median));
    println!(
        "stalled: alone p50 {alone:.0} us, p99 {alone_most:.0} us; beside {OTHERS} subscribers \
         that read {calm:.0} and {calm_most:.0} us; beside as many that stall {slow:.0} and \
         {slow_most:.0} us; the relay grew by {:.0} MB for 440 events, of which 40 have 100 kB",
        median(held)
    );
}

const OTHERS: usize = 1_000;

/// The latencies of one subscriber beside the others, and by how many MB the relay grew.
fn beside(others: Others) -> ([f64; 2], f64) {
    let relay = Relay::start(&["engine.send_buffer_bytes=4KiB"]);
    let before = relay.rss();
    let subscribe = |number: usize| {
        let mut client = Client::open(&relay, "/nostr");
        let name = format!("other {number:05}");
        client.send(&format!(
            "[\"REQ\",\"{name}\",{{\"kinds\":[1],\"limit\":0}}]"
        ));
        client.until("[\"EOSE\"");
        client
    };
    let count = if others == Others::None { 0 } else { OTHERS };
    let clients: Vec<Client> = (0..count).map(subscribe).collect();
    let sockets: Vec<TcpStream> = clients
        .iter()
        .map(|client| client.0.try_clone().expect("a socket"))
        .collect();
    let reading = (others == Others::Read).then(|| {
        let mut readers = Readers::of(clients);
        std::thread::spawn(move || readers.drain())
    });
    // Fills the sockets of those that do not read.
    let signer = Signer::new([3; 32]).expect("a key");
    let mut writer = Client::open(&relay, "/nostr");
    for number in 0..40 {
        let large = event(&signer, 1, number, 100_000);
        writer.send(&format!("[\"EVENT\",{}]", large.json()));
        writer.until("[\"OK\"");
    }
    let quantiles = latencies(&relay, 1);
    let grown = (relay.rss() - before) as f64 / 1e6;
    drop(sockets);
    drop(relay);
    if let Some(reading) = reading {
        reading.join().expect("readers");
    }
    (quantiles, grown)
}
