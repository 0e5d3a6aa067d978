//! Allocations in steady state: a message costs some, a delivery costs none.
//!
//! A test binary of its own, since it replaces the allocator of the process.

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use corecast::engine::{Deflate, EndpointSettings, Engine, Keepalive, Settings};
use corecast::relay::hub::Hub;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MESSAGES: usize = 200;
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

/// Allocations of the whole process while `clients` members of a room get `MESSAGES` messages, one
/// at a time. All that the test itself needs is allocated before.
fn allocations_with(clients: usize, has_deflate: bool) -> usize {
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
        // Nothing but deliveries is to come.
        keepalive: Keepalive {
            ping: Duration::ZERO,
            pong: Duration::ZERO,
        },
        ..EndpointSettings::default()
    };
    let hub = builder.endpoint(settings, Hub { echo: true });
    builder.route("/**", hub).expect("a path");
    let engine = builder.start().expect("an engine");
    let address = engine.addresses()[0];
    let mut members: Vec<TcpStream> = (0..clients).map(|_| open(address, has_deflate)).collect();
    // FIN and binary, masked with zeros; what comes back has two bytes of header, and RSV1 where it
    // is deflated.
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
    // One after the other: all of the process is counted.
    for has_deflate in [false, true] {
        compare(has_deflate);
    }
}

fn compare(has_deflate: bool) {
    let few = allocations_with(4, has_deflate);
    let many = allocations_with(64, has_deflate);
    let more_deliveries = MESSAGES * 60;
    assert!(few >= MESSAGES, "the allocator is not counted: {few}");
    // A little for the sweeps and ticks that fall into one run and not into the other.
    assert!(
        many < few + more_deliveries / 50,
        "{few} allocations with 4 clients, {many} with 64"
    );
    println!("{few} allocations with 4 clients, {many} with 64, for {MESSAGES} messages");
}
