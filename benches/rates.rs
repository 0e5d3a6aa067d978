//! The cost of the token buckets for each message: by themselves, and in the whole engine.
//!
//! `cargo bench --bench rates`. Target: no measurable cost if they are off, and less than 200 ns if
//! both are on. An iteration of `engine/…` is a thousand messages of 32 bytes that one client sends
//! as fast as it can, without receivers, so it measures decoding and checking only. Times are CPU
//! time of the process, including the client's: other load on the machine hardly affects it.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use corecast::engine::{
    AddressBuckets, EndpointSettings, Engine, Keepalive, Rate, RatePolicy, Settings, TokenBucket,
    TokenRate,
};
use corecast::relay::hub::Hub;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rustix::time::{ClockId, clock_gettime};

const MESSAGES: usize = 1_000;
const PAYLOAD_BYTES: u8 = 32;
/// So that the buckets of all addresses are remembered, and one is evicted each time.
const SLOW: TokenRate = TokenRate::new(1, 10);
/// More than any client can send.
const PLENTY: TokenRate = TokenRate::new(1 << 28, 1 << 30);

fn buckets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bucket");
    let (messages, bytes) = (TokenRate::new(1_000_000, 1_000), PLENTY);
    let mut pace = [TokenBucket::default(); 2];
    let mut now_ns = 0;
    group.bench_function("message_and_bytes", |bench| {
        bench.iter_custom(|times| {
            let began = cpu_time();
            for _ in 0..times {
                now_ns += 700;
                let passes = pace[0].has_token(black_box(&messages), now_ns)
                    && pace[1].has_token(black_box(&bytes), now_ns);
                if black_box(passes) {
                    pace[0].spend(&messages, now_ns, 1);
                    pace[1].spend(&bytes, now_ns, black_box(512));
                }
            }
            cpu_time() - began
        });
    });
    let connects = AddressBuckets::default();
    let mut address = 0x0A00_0000_u32;
    group.bench_function("connect_of_a_new_address", |bench| {
        bench.iter_custom(|times| {
            let began = cpu_time();
            for _ in 0..times {
                address += 1;
                now_ns += 1_000;
                let address = std::net::Ipv4Addr::from_bits(address).into();
                black_box(connects.take(address, black_box(&SLOW), now_ns));
            }
            cpu_time() - began
        });
    });
    group.finish();
}

/// CPU time of the process until now.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// A client of an engine with these bounds, alone in its room.
fn client(rate: Rate) -> (Engine, TcpStream) {
    let mut builder = Engine::builder().settings(Settings::default());
    let settings = EndpointSettings {
        keepalive: Keepalive {
            ping: Duration::ZERO,
            pong: Duration::ZERO,
        },
        rate,
        ..EndpointSettings::default()
    };
    let hub = builder.endpoint(settings, Hub { echo: false });
    builder.route("/**", hub).expect("a path");
    let engine = builder.start().expect("an engine");
    let mut stream = TcpStream::connect(engine.addresses()[0]).expect("a connection");
    let upgrade = "GET / HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).expect("an upgrade");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        answer.extend(byte);
    }
    (engine, stream)
}

/// The time to send this many times a thousand messages, followed by a ping, and to receive them.
fn run(stream: &mut TcpStream, messages: &[u8], times: u64) -> Duration {
    let began = cpu_time();
    for _ in 0..times {
        stream.write_all(messages).expect("it reads");
    }
    stream.write_all(&[0x89, 0x80, 0, 0, 0, 0]).expect("a ping");
    let mut pong = [0; 2];
    stream.read_exact(&mut pong).expect("a pong");
    assert_eq!(pong, [0x8A, 0]);
    cpu_time() - began
}

fn engine(criterion: &mut Criterion) {
    let mut message = vec![0x82, 0x80 | PAYLOAD_BYTES, 0, 0, 0, 0];
    message.resize(message.len() + usize::from(PAYLOAD_BYTES), b'x');
    let messages = message.repeat(MESSAGES);
    let mut group = criterion.benchmark_group("engine");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    let on = |policy| Rate {
        messages: Some(PLENTY),
        bytes: Some(PLENTY),
        policy,
    };
    for (name, rate) in [
        ("off", Rate::default()),
        ("close", on(RatePolicy::Close)),
        ("delay", on(RatePolicy::Delay)),
        ("off_again", Rate::default()),
    ] {
        let (engine, mut stream) = client(rate);
        group.bench_function(name, |bench| {
            bench.iter_custom(|times| run(&mut stream, &messages, times));
        });
        drop(stream);
        engine.stop();
    }
    group.finish();
}

criterion_group!(benches, buckets, engine);
criterion_main!(benches);
