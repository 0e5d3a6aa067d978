//! Allocations of a run: connections and reports allocate, messages and deliveries do not.
//!
//! It is a test binary of its own because it replaces the allocator of the process.

#![allow(missing_docs)]

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::AtomicBool;

use clap::Parser;
use loadgen::args::Args;
use loadgen::report::Report;
use loadgen::run::run;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tungstenite::handshake::server::{Request, Response};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CLIENTS: usize = 16;
const PAYLOAD_BYTES: usize = 64;
const HEAD_BYTES: usize = 2;
const MASK_BYTES: usize = 4;

/// A server that sends its first client's messages to all clients, and allocates nothing once they
/// are connected. It ends with the first client.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        let accept = |_| {
            let (stream, _) = listener.accept().expect("a client");
            let mut publishes = false;
            // The callback's error is tungstenite's own type.
            #[allow(clippy::result_large_err)]
            let look = |request: &Request, response: Response| {
                publishes = request.uri().path() == "/0";
                Ok(response)
            };
            let socket = tungstenite::accept_hdr(stream, look).expect("an upgrade");
            let stream = socket.get_ref().try_clone().expect("a second handle");
            (publishes, stream)
        };
        let mut clients: Vec<(bool, TcpStream)> = (0..CLIENTS).map(accept).collect();
        clients.sort_by_key(|(publishes, _)| !publishes);
        while pass_on(&mut clients).is_ok() {}
    });
    url
}

/// One message, from the first client to all.
fn pass_on(clients: &mut [(bool, TcpStream)]) -> std::io::Result<()> {
    let mut frame = [0; HEAD_BYTES + MASK_BYTES + PAYLOAD_BYTES];
    clients[0].1.read_exact(&mut frame)?;
    let (head, payload) = frame.split_at_mut(HEAD_BYTES + MASK_BYTES);
    for (byte, mask) in payload.iter_mut().zip(head[HEAD_BYTES..].iter().cycle()) {
        *byte ^= mask;
    }
    // Clear the mask bit, and move the head to where the mask was.
    frame[MASK_BYTES] = frame[0];
    frame[MASK_BYTES + 1] = PAYLOAD_BYTES as u8;
    for (_, client) in clients {
        client.write_all(&frame[MASK_BYTES..])?;
    }
    Ok(())
}

/// Allocations of the whole process during a run at `rate`, and the deliveries of that run.
fn allocations_at(rate: u32) -> (usize, u64) {
    let url = format!("{}{{i}}", serve());
    let load = format!(
        "loadgen --url {url} --clients {CLIENTS} --publishers 1 --rate {rate} --size \
         {PAYLOAD_BYTES} --warmup 100ms --duration 1s"
    );
    let plan = Args::parse_from(load.split_whitespace()).plan();
    let plan = plan.expect("a plan");
    let region = Region::new(GLOBAL);
    let report = run(&plan, &AtomicBool::new(false), &mut |_| {}).expect("a run");
    let allocations = region.change().allocations;
    let Report::Relay(report) = report else {
        panic!("not messages");
    };
    assert!(report.right, "{}", report.text());
    (allocations, report.measured.delivered)
}

#[test]
fn neither_a_message_nor_a_delivery_allocates() {
    // One after the other, because the whole process is counted.
    let (few, fewer_deliveries) = allocations_at(100);
    let (many, more_deliveries) = allocations_at(4000);
    assert_eq!((fewer_deliveries, more_deliveries), (1600, 64_000));
    assert!(few > CLIENTS, "the allocator is not counted: {few}");
    // A small allowance for the extra looks if the machine was slower in one run than in the other.
    let more_messages = (more_deliveries - fewer_deliveries) as usize / CLIENTS;
    assert!(
        many < few + more_messages / 4,
        "{few} allocations for {fewer_deliveries} deliveries, {many} for {more_deliveries}"
    );
    println!("{few} allocations for {fewer_deliveries} deliveries, {many} for {more_deliveries}");
}
