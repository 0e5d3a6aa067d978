//! Allocations in steady state: a message costs some, a delivery costs none.
//!
//! A test binary of its own, since it replaces the allocator of the process.

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use corecast::engine::{EndpointSettings, Engine, Settings};
use corecast::relay::hub::Hub;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MESSAGES: usize = 200;
const PAYLOAD_BYTES: u8 = 100;
const DEADLINE: Duration = Duration::from_secs(30);

fn open(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let upgrade = [
        "GET / HTTP/1.1",
        "Host: relay",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
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
    stream
}

/// Allocations of the whole process while `clients` members of a room get `MESSAGES` messages, one
/// at a time. All that the test itself needs is allocated before.
fn allocations_with(clients: usize) -> usize {
    let mut builder = Engine::builder().settings(Settings {
        shards: 2,
        ..Settings::default()
    });
    let hub = builder.endpoint(EndpointSettings::default(), Hub { echo: true });
    builder.route("/**", hub).expect("a path");
    let engine = builder.start().expect("an engine");
    let mut members: Vec<TcpStream> = (0..clients).map(|_| open(engine.addresses()[0])).collect();
    // FIN and binary, masked with zeros; what comes back has two bytes of header.
    let mut message = vec![0x82, 0x80 | PAYLOAD_BYTES, 0, 0, 0, 0];
    message.resize(message.len() + usize::from(PAYLOAD_BYTES), b'x');
    let mut received = [0; 2 + PAYLOAD_BYTES as usize];
    let mut exchange = || {
        members[0].write_all(&message).expect("a message");
        for member in &mut members {
            member.read_exact(&mut received).expect("a delivery");
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
    let few = allocations_with(4);
    let many = allocations_with(64);
    let more_deliveries = MESSAGES * 60;
    assert!(few >= MESSAGES, "the allocator is not counted: {few}");
    // A little for the sweeps and ticks that fall into one run and not into the other.
    assert!(
        many < few + more_deliveries / 50,
        "{few} allocations with 4 clients, {many} with 64"
    );
    println!("{few} allocations with 4 clients, {many} with 64, for {MESSAGES} messages");
}
