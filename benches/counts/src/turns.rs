//! Whole turns of a real shard, which serves real sockets in a thread of its own.
//!
//! The driver works in lock step with the shard: it does one thing, waits for the shard's answer,
//! and does the next, so that each thing gets its own turns. A count is the difference of two runs,
//! one with few things and one with many, which cancels the cost of starting, connecting and
//! warming up. The kernel's part is not included, because callgrind counts only the instructions of
//! the process. Turns of ticks in between (ten a second, so more of them on a busy machine) are
//! counted and subtracted.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use corecast::engine::{
    Endpoint, EndpointSettings, Engine, Keepalive, Local, OnShard, Request, Session, Settings,
    SharedBody,
};
use corecast::fanout::ConnectionId;
use corecast::relay::hub::Hub;
use corecast::wire::decoder::Message;
use corecast::wire::frame::MessageKind;

const MEMBERS: usize = 50;
const WARMUP: u64 = 10;
const POLL: Duration = Duration::from_micros(200);
/// A thing that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const PAYLOAD_BYTES: u8 = 128;
/// Header bytes of a frame from a client, and of one to a client, with such a payload.
const MASKED_HEADER_BYTES: usize = 8;
const HEADER_BYTES: usize = 4;
/// Bytes of the shared body, and of each client's own head.
const BODY_BYTES: u16 = 600;
const HEAD_BYTES: usize = 40;
/// Frames of a flood in one turn: few enough for one read.
const FLOOD_FRAMES: usize = 250;
const FLOOD_PAYLOAD_BYTES: u8 = 100;
const FLOOD_HEADER_BYTES: usize = 6;

const UPGRADE: &[u8] = b"GET /rooms/lobby HTTP/1.1\r\nHost: relay.example.com\r\n\
    Connection: Upgrade\r\nUpgrade: websocket\r\nOrigin: https://app.example.com\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A kind of thing that is counted.
pub(crate) struct Turns {
    pub(crate) name: &'static str,
    /// Things that the shorter run does, and the longer one.
    pub(crate) few: u64,
    pub(crate) many: u64,
    /// Does this many things, and returns the number of turns of the shard since its start.
    pub(crate) work: fn(u64) -> Result<u64>,
}

/// A tick, which is counted first and is also a count of its own.
pub(crate) const IDLE: Turns = Turns {
    name: "turn: idle, with 50 members",
    few: 10,
    many: 130,
    work: idle_turns,
};

/// Every other kind.
pub(crate) const BUSY: [Turns; 4] = [
    Turns {
        name: "turn: a handshake",
        few: 100,
        many: 600,
        work: handshakes,
    },
    Turns {
        name: "turn: a message to 50 members",
        few: 100,
        many: 600,
        work: messages,
    },
    Turns {
        name: "turn: a body with a head for each of 50",
        few: 100,
        many: 600,
        work: bodies,
    },
    Turns {
        name: "turn: 250 frames of a flood",
        few: 100,
        many: 600,
        work: floods,
    },
];

/// The kind with this name.
pub(crate) fn find(name: &str) -> Option<&'static Turns> {
    let mut all = std::iter::once(&IDLE).chain(&BUSY);
    all.find(|turns| turns.name == name)
}

/// Sends every message to all its clients, each with its own head.
struct Press;

#[derive(Default)]
struct Readers {
    ids: Vec<ConnectionId>,
    body: Option<SharedBody>,
}

impl Local for Readers {
    type Mail = ();

    fn turn(&mut self, shard: &mut OnShard<'_, Readers>) -> bool {
        let mut head = [b'a'; HEAD_BYTES];
        if let Some(body) = self.body.take() {
            for (number, id) in self.ids.iter().enumerate() {
                head[0] = number as u8;
                if let Some(mut client) = shard.client(*id) {
                    client.send_shared(MessageKind::Binary, &head, &body);
                }
            }
        }
        false
    }
}

impl Endpoint for Press {
    type State = ();
    type Local = Readers;

    fn opened(&self, session: &mut Session<'_, (), Readers>, _request: &Request<'_>) {
        let id = session.id();
        session.local().ids.push(id);
    }

    fn message(&self, session: &mut Session<'_, (), Readers>, message: Message<'_>) {
        let body = session.shared_body(message.payload, false);
        session.local().body = Some(body);
        session.ask_for_turn();
    }
}

/// An engine with one shard and without keepalive, so that nothing happens by itself.
fn start<E: Endpoint>(hub: E) -> Result<Engine> {
    let mut builder = Engine::builder().settings(Settings::default());
    let settings = EndpointSettings {
        keepalive: Keepalive {
            ping: Duration::ZERO,
            pong: Duration::ZERO,
        },
        ..EndpointSettings::default()
    };
    let hub = builder.endpoint(settings, hub);
    builder.route("/**", hub)?;
    Ok(builder.start()?)
}

/// Turns that the shard has finished.
fn turns(engine: &Engine) -> u64 {
    let view = engine.view();
    let shards = view.shards();
    shards
        .flat_map(|stats| stats.turns.buckets().map(|(_, count)| count))
        .sum()
}

fn wait_for_turns(engine: &Engine, wanted: u64) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while turns(engine) < wanted {
        ensure!(Instant::now() < deadline, "the shard does not turn");
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// A client that was accepted in one turn and upgraded in another.
fn connect(engine: &Engine) -> Result<TcpStream> {
    let before = turns(engine);
    let mut stream = TcpStream::connect(engine.addresses()[0])?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    wait_for_turns(engine, before + 1)?;
    stream.write_all(UPGRADE)?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).context("no answer")?;
        answer.extend(byte);
    }
    ensure!(answer.starts_with(b"HTTP/1.1 101 "), "it was refused");
    Ok(stream)
}

fn members(engine: &Engine) -> Result<Vec<TcpStream>> {
    (0..MEMBERS).map(|_| connect(engine)).collect()
}

/// The clients stay to the end, and the process ends without closing them: closing is not counted.
fn handshakes(times: u64) -> Result<u64> {
    let engine = start(Hub { echo: true })?;
    let count = WARMUP + times;
    let clients: Result<Vec<_>> = (0..count).map(|_| connect(&engine)).collect();
    std::mem::forget(clients?);
    Ok(turns(&engine))
}

/// One message at a time, which every client receives before the next.
fn messages(times: u64) -> Result<u64> {
    let engine = start(Hub { echo: true })?;
    let mut members = members(&engine)?;
    let mut message = vec![0x82, 0x80 | 126, 0, PAYLOAD_BYTES, 0, 0, 0, 0];
    message.resize(MASKED_HEADER_BYTES + usize::from(PAYLOAD_BYTES), b'a');
    let mut delivered = [0; HEADER_BYTES + PAYLOAD_BYTES as usize];
    for _ in 0..WARMUP + times {
        let before = turns(&engine);
        members[0].write_all(&message)?;
        for member in &mut members {
            member.read_exact(&mut delivered).context("no delivery")?;
        }
        wait_for_turns(&engine, before + 1)?;
    }
    std::mem::forget(members);
    Ok(turns(&engine))
}

/// The same with a body that is copied once, and a head for each client.
fn bodies(times: u64) -> Result<u64> {
    let engine = start(Press)?;
    let mut members = members(&engine)?;
    let [high, low] = BODY_BYTES.to_be_bytes();
    let mut message = vec![0x82, 0x80 | 126, high, low, 0, 0, 0, 0];
    message.resize(MASKED_HEADER_BYTES + usize::from(BODY_BYTES), b'a');
    let mut delivered = [0; HEADER_BYTES + HEAD_BYTES + BODY_BYTES as usize];
    for _ in 0..WARMUP + times {
        let before = turns(&engine);
        members[0].write_all(&message)?;
        for member in &mut members {
            member.read_exact(&mut delivered).context("no delivery")?;
        }
        wait_for_turns(&engine, before + 1)?;
    }
    std::mem::forget(members);
    Ok(turns(&engine))
}

/// Many small messages at a time, without receivers: only publishing is counted.
fn floods(times: u64) -> Result<u64> {
    let engine = start(Hub { echo: false })?;
    let mut client = connect(&engine)?;
    let mut frame = vec![0x82, 0x80 | FLOOD_PAYLOAD_BYTES, 0, 0, 0, 0];
    frame.resize(FLOOD_HEADER_BYTES + usize::from(FLOOD_PAYLOAD_BYTES), b'a');
    let frames = frame.repeat(FLOOD_FRAMES);
    for _ in 0..WARMUP + times {
        let before = turns(&engine);
        client.write_all(&frames)?;
        wait_for_turns(&engine, before + 1)?;
    }
    std::mem::forget(client);
    Ok(turns(&engine))
}

/// Nothing happens but ticks.
fn idle_turns(times: u64) -> Result<u64> {
    let engine = start(Hub { echo: true })?;
    let members = members(&engine)?;
    wait_for_turns(&engine, turns(&engine) + WARMUP)?;
    wait_for_turns(&engine, turns(&engine) + times)?;
    std::mem::forget(members);
    Ok(turns(&engine))
}
