//! The measured cost of each kind of work of a shard, beside the price that a turn's budget counts
//! for it.
//!
//! `cargo bench --bench prices`. Prices need not be exact, because they only decide when others get
//! their turn: the exit code is 1 if one is off by more than a factor of three, and it is flagged.
//! A shard's work is measured in an engine with one shard, by the CPU time of its thread, while
//! clients on loopback give it one kind of work; key operations are measured by themselves. The
//! lowest of a few rounds counts, because other load on the machine only adds.

use std::fs;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use corecast::engine::{Endpoint, EndpointSettings, Engine, Keepalive, Request, Session, Settings};
use corecast::fanout::Recipients;
use corecast::guard::token::{TokenChecks, TokenKeys};
use corecast::limits::{
    PRICE_ACCEPT, PRICE_CLOSING, PRICE_EDDSA, PRICE_ES256, PRICE_FRAME, PRICE_HS256,
    PRICE_KIB_READ, PRICE_KIB_SENT, PRICE_REQUEST, PRICE_ROOM_LEFT, PRICE_RS256, PRICE_SEND,
    PRICE_VISIT,
};
use corecast::wire::decoder::Message;
use rustix::time::{ClockId, clock_gettime};

const OFF_BY_MAX: f64 = 3.0;
const ROUNDS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_micros(500);
/// Longer than a tick, so that no tick delays finished work.
const SETTLE: Duration = Duration::from_millis(20);

/// Joins a number of its own rooms for each client, and publishes only on request.
struct Bench {
    rooms: u64,
    publishes: bool,
}

impl Endpoint for Bench {
    type State = ();
    type Local = ();

    fn opened(&self, session: &mut Session<'_>, request: &Request<'_>) {
        for room in 0..self.rooms {
            let name = format!("{}/{room}", request.head.path);
            assert!(session.join(&name).is_ok(), "a room");
        }
    }

    fn message(&self, session: &mut Session<'_>, message: Message<'_>) {
        if self.publishes {
            let sender = Recipients::Except(session.id());
            session.publish_to("/members/0", sender, message.kind, message.payload);
        }
    }
}

/// An engine with one shard and no keepalive.
struct Shard {
    engine: Engine,
}

impl Shard {
    fn start(rooms: u64, publishes: bool) -> Shard {
        let settings = EndpointSettings {
            keepalive: Keepalive {
                ping: Duration::ZERO,
                pong: Duration::ZERO,
            },
            ..EndpointSettings::default()
        };
        let mut builder = Engine::builder().settings(Settings::default());
        let endpoint = builder.endpoint(settings, Bench { rooms, publishes });
        builder.route("/**", endpoint).expect("a path");
        let engine = builder.start().expect("an engine");
        Shard { engine }
    }

    fn address(&self) -> SocketAddr {
        self.engine.addresses()[0]
    }

    /// CPU time of its thread, once it is idle.
    fn busy_ns(&self) -> u64 {
        let mut before = shard_cpu_ns();
        loop {
            thread::sleep(SETTLE);
            let now = shard_cpu_ns();
            // A tick may have come between, which takes microseconds.
            if now - before < 100_000 {
                return now;
            }
            before = now;
        }
    }

    fn wait_for_connections(&self, wanted: u64) {
        let view = self.engine.view();
        let deadline = Instant::now() + PATIENCE;
        while view.connections() != wanted {
            assert!(Instant::now() < deadline, "connections stay");
            thread::sleep(POLL);
        }
    }

    fn connect(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address()).expect("a connection");
        stream.set_nodelay(true).expect("an option");
        let upgrade = format!(
            "GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(upgrade.as_bytes()).expect("an upgrade");
        read_head(&mut stream);
        stream
    }

    /// The shard's CPU time for this work.
    fn cost_ns(&self, work: impl FnOnce()) -> f64 {
        let before = self.busy_ns();
        work();
        (self.busy_ns() - before) as f64
    }
}

/// CPU time of the one thread that is a shard's, from the kernel.
fn shard_cpu_ns() -> u64 {
    let deadline = Instant::now() + PATIENCE;
    // A thread that has just begun does not have its name yet.
    let shard = loop {
        if let Some(shard) = shard_thread() {
            break shard;
        }
        assert!(Instant::now() < deadline, "no shard");
        thread::sleep(POLL);
    };
    let text = fs::read_to_string(shard.join("schedstat")).expect("schedstat");
    let on_cpu = text
        .split_whitespace()
        .next()
        .and_then(|ns| ns.parse().ok());
    on_cpu.expect("nanoseconds")
}

fn shard_thread() -> Option<PathBuf> {
    let threads = fs::read_dir("/proc/self/task").expect("Linux").flatten();
    let is_shard = |path: &PathBuf| {
        let name = fs::read_to_string(path.join("comm"));
        name.is_ok_and(|name| name.trim() == "shard-0")
    };
    let mut threads = threads.map(|thread| thread.path());
    threads.find(is_shard)
}

fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        head.extend(byte);
    }
}

/// Masked by zeros.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length @ 126..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

/// Sends frames over and over, followed by a ping, until the pong comes.
fn send_all(stream: &mut TcpStream, frames: &[u8], times: usize) {
    for _ in 0..times {
        stream.write_all(frames).expect("it reads");
    }
    stream.write_all(&frame(9, b"")).expect("a ping");
    let mut pong = [0; 2];
    stream.read_exact(&mut pong).expect("a pong");
    assert_eq!(pong, [0x8A, 0], "a pong");
}

/// The measurements, each with its price.
type Found = Vec<(&'static str, u64, f64)>;

fn reading(found: &mut Found) {
    let shard = Shard::start(0, false);
    let mut client = shard.connect("/read");
    let large = frame(2, &[b'x'; 32 << 10]).repeat(32);
    let ns = shard.cost_ns(|| send_all(&mut client, &large, 64));
    let kib_ns = ns / (64.0 * large.len() as f64 / 1024.0);
    let small = frame(2, b"x").repeat(10_000);
    let ns = shard.cost_ns(|| send_all(&mut client, &small, 50));
    let bytes_ns = kib_ns * 50.0 * small.len() as f64 / 1024.0;
    found.push(("PRICE_KIB_READ", PRICE_KIB_READ, kib_ns));
    found.push((
        "PRICE_FRAME",
        PRICE_FRAME,
        (ns - bytes_ns).max(0.0) / 500_000.0,
    ));
    drop(client);
    shard.engine.stop();
}

/// A thread reads for the members, so that none of them is slow.
fn sending(found: &mut Found) {
    const MEMBERS: u64 = 200;
    const TIMES: u64 = 200;
    let shard = Shard::start(1, true);
    let members: Vec<TcpStream> = (0..MEMBERS).map(|_| shard.connect("/members")).collect();
    let mut publisher = shard.connect("/publisher");
    let received = Arc::new(AtomicU64::new(0));
    let reader = read_members(members, Arc::clone(&received));
    let mut cost = |payload: &[u8]| {
        let message = frame(2, payload);
        let each = payload.len() as u64 + if payload.len() < 126 { 2 } else { 4 };
        let ns = shard.cost_ns(|| {
            for _ in 0..TIMES {
                let wanted = received.load(Ordering::Relaxed) + MEMBERS * each;
                publisher.write_all(&message).expect("it reads");
                wait_until(|| received.load(Ordering::Relaxed) >= wanted);
            }
        });
        ns / (MEMBERS * TIMES) as f64
    };
    let small_ns = cost(b"x");
    let kib = 32;
    let large_ns = cost(&vec![b'x'; kib << 10]);
    let price = PRICE_VISIT + PRICE_SEND;
    found.push(("PRICE_VISIT + PRICE_SEND", price, small_ns));
    let kib_ns = (large_ns - small_ns).max(0.0) / kib as f64;
    found.push(("PRICE_KIB_SENT", PRICE_KIB_SENT, kib_ns));
    drop(publisher);
    shard.engine.stop();
    let _ = reader.join();
}

fn wait_until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it does not come about");
        thread::sleep(POLL);
    }
}

fn read_members(mut members: Vec<TcpStream>, received: Arc<AtomicU64>) -> thread::JoinHandle<()> {
    for member in &members {
        member.set_nonblocking(true).expect("an option");
    }
    thread::spawn(move || {
        let mut buffer = vec![0; 256 << 10];
        while !members.is_empty() {
            members.retain_mut(|member| match member.read(&mut buffer) {
                Ok(0) => false,
                Ok(count) => {
                    received.fetch_add(count as u64, Ordering::Relaxed);
                    true
                }
                Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
            });
            thread::sleep(POLL);
        }
    })
}

/// Pipelined requests, each of which is answered (426).
fn requests(found: &mut Found) {
    const TIMES: usize = 200;
    const PIPELINED: usize = 20;
    let shard = Shard::start(0, false);
    let mut client = TcpStream::connect(shard.address()).expect("a connection");
    let requests = b"GET /request HTTP/1.1\r\nHost: relay\r\n\r\n".repeat(PIPELINED);
    let ns = shard.cost_ns(|| {
        for _ in 0..TIMES {
            client.write_all(&requests).expect("it reads");
            read_answers(&mut client, PIPELINED);
        }
    });
    let each_ns = ns / (TIMES * PIPELINED) as f64;
    found.push(("PRICE_REQUEST", PRICE_REQUEST, each_ns));
    drop(client);
    shard.engine.stop();
}

fn read_answers(stream: &mut TcpStream, count: usize) {
    let (mut answers, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    let begins = |window: &&[u8]| *window == b"HTTP/1.1 426";
    while answers.windows(12).filter(begins).count() < count || !answers.ends_with(b"\n") {
        let received = stream.read(&mut buffer).expect("answers");
        assert!(received > 0, "it is closed");
        answers.extend_from_slice(&buffer[..received]);
    }
}

/// Connections with an upgrade, and their ends: without rooms, and with many.
fn connections(found: &mut Found) {
    const CLIENTS: u64 = 400;
    const ROOMS: u64 = 64;
    let cost = |rooms: u64| {
        let shard = Shard::start(rooms, false);
        let mut clients = Vec::new();
        let connect_ns = shard.cost_ns(|| {
            clients = (0..CLIENTS)
                .map(|client| shard.connect(&format!("/{client}")))
                .collect();
        });
        let close_ns = shard.cost_ns(|| {
            clients.clear();
            shard.wait_for_connections(0);
        });
        shard.engine.stop();
        (connect_ns / CLIENTS as f64, close_ns / CLIENTS as f64)
    };
    let (connect_ns, close_ns) = cost(0);
    let (_, close_rooms_ns) = cost(ROOMS);
    let price = PRICE_ACCEPT + PRICE_REQUEST + PRICE_SEND;
    let name = "PRICE_ACCEPT + _REQUEST + _SEND";
    found.push((name, price, connect_ns));
    found.push(("PRICE_CLOSING", PRICE_CLOSING, close_ns));
    let room_ns = (close_rooms_ns - close_ns).max(0.0) / ROOMS as f64;
    found.push(("PRICE_ROOM_LEFT", PRICE_ROOM_LEFT, room_ns));
}

/// Digits of base64url. Decoded, they begin with a small byte, as numbers in range do.
const DIGITS: &str = "f7Xw9Zb2LqPf3TnV8sRyH1cJm5GdAe6UkQpZr0WtYxI";

/// An invalid signature takes as long as a valid one if its numbers are in range. An RSA key needs
/// no primes for that.
fn keys(found: &mut Found) {
    let of_pem = |algorithm| {
        let pair = rcgen::KeyPair::generate_for(algorithm).expect("a key");
        TokenKeys::parse(&pair.public_key_pem()).expect("a key")
    };
    let parse = |text: &str| TokenKeys::parse(text).expect("a key");
    // 342 digits are 256 bytes, the last of which is odd, as a modulus has to be.
    let modulus = format!("{}w", "_".repeat(341));
    let rsa = parse(&format!(r#"{{"kty":"RSA","e":"AQAB","n":"{modulus}"}}"#));
    let secret = parse(&format!(r#"{{"kty":"oct","k":"{DIGITS}"}}"#));
    let es256 = of_pem(&rcgen::PKCS_ECDSA_P256_SHA256);
    let ed25519 = of_pem(&rcgen::PKCS_ED25519);
    // The last byte is the first one of a number in Ed25519.
    let digits = |count: usize| DIGITS.repeat(8)[..count].to_owned();
    let long = digits(84) + "BA";
    let mut add = |name, price, keys: &TokenKeys, algorithm: &str, signature: &str| {
        let header = base64_url(format!(r#"{{"alg":"{algorithm}"}}"#).as_bytes());
        let token = format!("{header}.e30.{signature}");
        found.push((name, price, verification_ns(keys, &token)));
    };
    add("PRICE_ES256", PRICE_ES256, &es256, "ES256", &long);
    add("PRICE_EDDSA", PRICE_EDDSA, &ed25519, "EdDSA", &long);
    add(
        "PRICE_RS256",
        PRICE_RS256,
        &rsa,
        "RS256",
        &(digits(341) + "A"),
    );
    add(
        "PRICE_HS256",
        PRICE_HS256,
        &secret,
        "HS256",
        &(digits(42) + "A"),
    );
}

fn base64_url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

fn verification_ns(keys: &TokenKeys, token: &str) -> f64 {
    const TIMES: u32 = 500;
    let (checks, now) = (TokenChecks::default(), SystemTime::now());
    let refusal = keys.verify(token, &checks, now).expect_err("no good token");
    assert_eq!(refusal, corecast::guard::token::TokenError::Signature);
    let began = cpu_time();
    for _ in 0..TIMES {
        let _ = black_box(keys.verify(black_box(token), &checks, now));
    }
    (cpu_time() - began).as_nanos() as f64 / f64::from(TIMES)
}

/// CPU time of this thread until now.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// The lowest of all rounds, in the order of measurement.
fn measure() -> Found {
    let mut least: Found = Vec::new();
    for _ in 0..ROUNDS {
        let mut found = Found::new();
        for work in [reading, sending, requests, connections, keys] {
            work(&mut found);
        }
        if least.is_empty() {
            least = found;
            continue;
        }
        for (kept, new) in least.iter_mut().zip(&found) {
            kept.2 = kept.2.min(new.2);
        }
    }
    least
}

fn main() -> ExitCode {
    println!("{:<34} {:>9} {:>12}", "", "price, ns", "measured, ns");
    let mut is_ok = true;
    for (name, price, measured) in measure() {
        let ratio = measured / price as f64;
        let is_off = !(1.0 / OFF_BY_MAX..=OFF_BY_MAX).contains(&ratio);
        let word = if is_off { "OFF" } else { "" };
        println!("{name:<34} {price:>9} {measured:>12.0}   {ratio:>5.2} ×  {word}");
        is_ok &= !is_off;
    }
    ExitCode::from(u8::from(!is_ok))
}
