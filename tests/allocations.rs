//! Allocations in steady state: a message costs some, a delivery costs none.
//!
//! It is a test binary of its own because it replaces the allocator of the process.

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use corecast::engine::Endpoint;
use corecast::engine::{Deflate, EndpointSettings, Engine, Keepalive, Settings};
use corecast::relay::hub::Hub;
use corecast_test::press::{ANSWERED, EVENT, Press};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MESSAGES: usize = 200;
/// Answers in one turn, usually.
const ANSWERS: usize = 100;
const PAYLOAD_BYTES: u8 = 100;
const DEADLINE: Duration = Duration::from_secs(30);

fn open(address: SocketAddr, has_deflate: bool) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let upgrade = [
        "GET / HTTP/1.1",
        "Host: relay",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Extensions: permessage-deflate",
        "\r\n",
    ]
    .join("\r\n");
    stream.write_all(upgrade.as_bytes()).expect("an upgrade");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        answer.extend(byte);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "));
    let answer = String::from_utf8_lossy(&answer);
    assert_eq!(answer.contains("permessage-deflate"), has_deflate);
    stream
}

/// An engine on two shards that sends nothing but the endpoint's messages.
fn start(endpoint: impl Endpoint, has_deflate: bool) -> Engine {
    let mut builder = Engine::builder().settings(Settings {
        shards: 2,
        ..Settings::default()
    });
    let deflate = Deflate {
        enabled: has_deflate,
        min_bytes: 0,
        level: 1,
    };
    let settings = EndpointSettings {
        deflate,
        // Only deliveries may come.
        keepalive: Keepalive {
            ping: Duration::ZERO,
            pong: Duration::ZERO,
        },
        ..EndpointSettings::default()
    };
    let endpoint = builder.endpoint(settings, endpoint);
    builder.route("/**", endpoint).expect("a path");
    builder.start().expect("an engine")
}

/// Allocations of the whole process while `clients` members of a room get `MESSAGES` messages, one
/// at a time. The test itself allocates everything beforehand.
fn allocations_with(clients: usize, has_deflate: bool) -> usize {
    let engine = start(Hub { echo: true }, has_deflate);
    let address = engine.addresses()[0];
    let mut members: Vec<TcpStream> = (0..clients).map(|_| open(address, has_deflate)).collect();
    // FIN and binary, masked with zeros; the echo has two bytes of header, and RSV1 if it is
    // deflated.
    let mut message = vec![0x82, 0x80 | PAYLOAD_BYTES, 0, 0, 0, 0];
    message.resize(message.len() + usize::from(PAYLOAD_BYTES), b'x');
    let (mut header, mut payload) = ([0; 2], [0; PAYLOAD_BYTES as usize]);
    let mut exchange = || {
        members[0].write_all(&message).expect("a message");
        for member in &mut members {
            member.read_exact(&mut header).expect("a delivery");
            assert_eq!(header[0], if has_deflate { 0xC2 } else { 0x82 });
            let payload = &mut payload[..usize::from(header[1])];
            member.read_exact(payload).expect("a delivery");
        }
    };
    // The first ones let buffers grow to their size.
    (0..50).for_each(|_| exchange());
    let region = Region::new(GLOBAL);
    (0..MESSAGES).for_each(|_| exchange());
    let allocations = region.change().allocations;
    drop(members);
    assert!(engine.stop());
    allocations
}

#[test]
fn a_delivery_allocates_nothing() {
    // One after the other, because the whole process is counted.
    for has_deflate in [false, true] {
        compare(|clients| allocations_with(clients, has_deflate));
        compare(|clients| allocations_of_bodies(clients, has_deflate));
    }
    let answers = allocations_of_answers();
    println!("{answers} allocations for {MESSAGES} times {ANSWERS} answers");
    assert!(answers < MESSAGES * ANSWERS / 5, "{answers} allocations");
}

fn compare(allocations_with: impl Fn(usize) -> usize) {
    let few = allocations_with(4);
    let many = allocations_with(64);
    let more_deliveries = MESSAGES * 60;
    assert!(few >= MESSAGES, "the allocator is not counted: {few}");
    // A small allowance for the sweeps and ticks that fall into one run and not into the other.
    assert!(
        many < few + more_deliveries / 50,
        "{few} allocations with 4 clients, {many} with 64"
    );
    println!("{few} allocations with 4 clients, {many} with 64, for {MESSAGES} messages");
}

/// A masked text with zeros as its mask.
fn text(what: u8, payload: &[u8]) -> Vec<u8> {
    let mut message = match payload.len() + 1 {
        len @ ..=125 => vec![0x81, 0x80 | len as u8],
        len => vec![0x81, 0x80 | 126, (len >> 8) as u8, len as u8],
    };
    message.extend([0, 0, 0, 0, what]);
    message.extend(payload);
    message
}

/// Reads a frame that fits the buffer. Returns its first byte and its length.
fn read_frame(stream: &mut TcpStream, room: &mut [u8]) -> (u8, usize) {
    let mut header = [0; 2];
    stream.read_exact(&mut header).expect("a frame");
    let mut length = [0; 2];
    let length = match header[1] {
        126 => {
            stream.read_exact(&mut length).expect("a length");
            usize::from(u16::from_be_bytes(length))
        }
        length => usize::from(length),
    };
    stream.read_exact(&mut room[..length]).expect("a payload");
    (header[0], length)
}

/// The same with messages that have a head of each client's own and a shared body.
fn allocations_of_bodies(clients: usize, has_deflate: bool) -> usize {
    let engine = start(Press, has_deflate);
    let address = engine.addresses()[0];
    let mut room = vec![0; 4_096];
    let open = |_| {
        let mut stream = open(address, has_deflate);
        read_frame(&mut stream, &mut room);
        stream
    };
    let mut readers: Vec<TcpStream> = (0..clients).map(open).collect();
    // Digits without a pattern: DEFLATE makes about a half of them.
    let mut state = 1_u32;
    let mut digit = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b'0' + (state >> 24) as u8 % 10
    };
    let body: Vec<u8> = (0..2_000).map(|_| digit()).collect();
    let message = text(EVENT, &body);
    let mut exchange = || {
        readers[0].write_all(&message).expect("a message");
        for reader in &mut readers {
            let (first, length) = read_frame(reader, &mut room);
            assert_eq!(first, if has_deflate { 0xC1 } else { 0x81 });
            let is_short = length < body.len();
            assert_eq!(is_short, has_deflate);
        }
    };
    (0..50).for_each(|_| exchange());
    let region = Region::new(GLOBAL);
    (0..MESSAGES).for_each(|_| exchange());
    let allocations = region.change().allocations;
    drop(readers);
    assert!(engine.stop());
    allocations
}

/// Allocations while one client asks for `ANSWERS` answers at a time.
fn allocations_of_answers() -> usize {
    let engine = start(Press, false);
    let mut client = open(engine.addresses()[0], false);
    let mut room = vec![0; 4_096];
    read_frame(&mut client, &mut room);
    let questions = text(ANSWERED, &[b'q'; 60]).repeat(ANSWERS);
    let mut exchange = || {
        client.write_all(&questions).expect("questions");
        for _ in 0..ANSWERS {
            assert_eq!(read_frame(&mut client, &mut room), (0x81, 60));
        }
    };
    (0..50).for_each(|_| exchange());
    let region = Region::new(GLOBAL);
    (0..MESSAGES).for_each(|_| exchange());
    let allocations = region.change().allocations;
    drop(client);
    assert!(engine.stop());
    allocations
}
