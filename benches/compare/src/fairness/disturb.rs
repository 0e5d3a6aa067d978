//! The disturbances, as a process: it connects its clients, prints `ready`, loads the relay until
//! it is told to end, and prints its results.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use rustix::process::getppid;
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::client::{self, Frames, Origin, Tried};
use super::tls;

/// The name of the command.
pub(crate) const COMMAND: &str = "disturb";
/// The time limit, in case its parent does not end it.
const LONGEST: Duration = Duration::from_secs(120);
/// Bytes that one connection may write at a time, so that all get their turn.
const WRITE_BYTES: usize = 64 << 10;
/// About this many bytes of whole frames are written over and over.
const BLOB_BYTES: usize = 512 << 10;
/// How long to wait if no socket accepts bytes.
const PAUSE: Duration = Duration::from_millis(1);
const READ_BYTES: usize = 256 << 10;
/// Requests that are sent together, before the answer to the first.
const PIPELINED: usize = 150;
/// A stalled client's receive buffer.
const SMALL_BUFFER_BYTES: usize = 2048;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(value_enum)]
    kind: Kind,
    /// The relay
    #[arg(long)]
    to: SocketAddr,
    /// Its listener without TLS, if it is a separate one
    #[arg(long)]
    plain: Option<SocketAddr>,
    #[arg(long, default_value_t = 1)]
    clients: usize,
    /// Rooms of each client
    #[arg(long, default_value_t = 1)]
    rooms: usize,
    /// Bytes or messages a second
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Bytes of a message
    #[arg(long, default_value_t = 64 << 10)]
    size: usize,
}

/// A kind of load that may disturb bystanders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Empty pings, `rate` bytes a second
    Pings,
    /// Texts of one byte, likewise
    Texts,
    /// Messages of 100 bytes without pause, each client in a room of its own
    Flood,
    /// Empty pongs without pause
    Pongs,
    /// Empty fragments of one message without pause
    Fragments,
    /// Upgrades with tokens whose signature is wrong
    BadTokens,
    /// One message of `size` bytes a second to a room of `clients`
    Broadcast,
    /// Clients that are in `rooms` rooms of their own and send nothing
    Rooms,
    /// One fast reader of `rooms` rooms, and one publisher to all of them
    FastReader,
    /// Fast readers of one room over TLS, and one publisher
    TlsReaders,
    /// Clients that never read, and `rate` tiny messages a second to their room
    Stalled,
}

/// The result of the load.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) seconds: f64,
    /// Sent to the relay.
    pub(crate) bytes: u64,
    pub(crate) messages: u64,
    /// Connections that the relay ended.
    pub(crate) closed: u64,
    /// The most by which a paced load fell behind, in seconds of its rate.
    pub(crate) behind_s: f64,
}

/// Set by a signal.
type Ended = Arc<AtomicBool>;

/// Disturbs until it is ended or its parent is gone.
///
/// # Errors
/// It cannot connect.
pub(crate) fn run(args: &Args) -> Result<()> {
    let ended: Ended = Arc::default();
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&ended))?;
    }
    watch_parent(Arc::clone(&ended));
    let report = match args.kind {
        Kind::Pings => paced_bytes(args, &client::frame(client::PING, b""), &ended),
        Kind::Texts => paced_bytes(args, &client::frame(client::TEXT, b"x"), &ended),
        Kind::Flood => flood(args, &client::frame(client::BINARY, &[b'x'; 100]), &ended),
        Kind::Pongs => flood(args, &client::frame(client::PONG, b""), &ended),
        Kind::Fragments => fragments(args, &ended),
        Kind::BadTokens => bad_tokens(args, &ended),
        Kind::Broadcast => broadcast(args, &ended),
        Kind::Rooms => rooms(args, &ended),
        Kind::FastReader => fast_reader(args, &ended),
        Kind::TlsReaders => tls_readers(args, &ended),
        Kind::Stalled => stalled(args, &ended),
    };
    println!("{}", serde_json::to_string(&report?)?);
    Ok(())
}

/// Ends it together with its parent, and after the longest time.
fn watch_parent(ended: Ended) {
    let (parent, began) = (getppid(), Instant::now());
    thread::spawn(move || {
        while getppid() == parent && began.elapsed() < LONGEST {
            thread::sleep(Duration::from_millis(100));
        }
        ended.store(true, Ordering::Relaxed);
    });
}

fn ready() -> Instant {
    println!("ready");
    Instant::now()
}

fn has_ended(ended: &Ended) -> bool {
    ended.load(Ordering::Relaxed)
}

/// A non-blocking connection that writes the same bytes over and over.
struct Writer {
    stream: TcpStream,
    at: usize,
    is_gone: bool,
}

impl Writer {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            at: 0,
            is_gone: false,
        })
    }

    /// Writes the next bytes of `blob`, at most `most`. Returns the number that the socket
    /// accepted.
    fn write(&mut self, blob: &[u8], most: usize) -> usize {
        let end = blob.len().min(self.at + most);
        match Tried::of(self.stream.write(&blob[self.at..end])) {
            Tried::Bytes(count) => {
                self.at = (self.at + count) % blob.len();
                count
            }
            Tried::Later => 0,
            Tried::Gone => {
                self.is_gone |= most > 0;
                0
            }
        }
    }

    /// Reads the available bytes and discards them.
    fn drain(&mut self, buffer: &mut [u8]) -> usize {
        match Tried::of(self.stream.read(buffer)) {
            Tried::Bytes(count) => count,
            Tried::Later => 0,
            Tried::Gone => {
                self.is_gone = true;
                0
            }
        }
    }
}

fn open_each(args: &Args, path: impl Fn(usize) -> String) -> Result<Vec<Writer>> {
    let open = |number| {
        let stream = client::open(args.to, &path(number), Origin::default());
        Ok(Writer::new(
            stream.with_context(|| format!("connecting client {number}"))?,
        )?)
    };
    (0..args.clients).map(open).collect()
}

fn repeated(frame: &[u8]) -> Vec<u8> {
    frame.repeat((BLOB_BYTES / frame.len()).max(1))
}

/// One client that sends this many bytes a second, as exactly as possible.
fn paced_bytes(args: &Args, frame: &[u8], ended: &Ended) -> Result<Report> {
    let mut writers = open_each(args, |number| format!("/disturbed/{number}"))?;
    let blob = repeated(frame);
    let mut buffer = vec![0; READ_BYTES];
    let mut report = Report::default();
    let began = ready();
    while !has_ended(ended) {
        for writer in &mut writers {
            let wanted = (args.rate as f64 * began.elapsed().as_secs_f64()) as u64;
            let missing = wanted.saturating_sub(report.bytes);
            report.behind_s = report
                .behind_s
                .max(missing as f64 / args.rate.max(1) as f64);
            let most = (missing as usize).min(WRITE_BYTES);
            report.bytes += match most {
                0 => 0,
                most => writer.write(&blob, most) as u64,
            };
            while writer.drain(&mut buffer) == buffer.len() {}
        }
        thread::sleep(PAUSE);
    }
    Ok(finish(report, began, &writers))
}

fn finish(mut report: Report, began: Instant, writers: &[Writer]) -> Report {
    report.seconds = began.elapsed().as_secs_f64();
    report.closed += writers.iter().filter(|writer| writer.is_gone).count() as u64;
    report
}

/// All clients send without pause, each in a room of its own, and read their messages.
fn flood(args: &Args, frame: &[u8], ended: &Ended) -> Result<Report> {
    let writers = open_each(args, |number| format!("/disturbed/{number}"))?;
    flood_with(writers, &repeated(frame), ended)
}

/// Each client begins a message that never ends.
fn fragments(args: &Args, ended: &Ended) -> Result<Report> {
    let mut writers = open_each(args, |number| format!("/disturbed/{number}"))?;
    for writer in &mut writers {
        (writer.stream).write_all(&client::fragment(client::TEXT, b"a"))?;
    }
    let blob = repeated(&client::fragment(client::CONTINUATION, b""));
    flood_with(writers, &blob, ended)
}

fn flood_with(mut writers: Vec<Writer>, blob: &[u8], ended: &Ended) -> Result<Report> {
    let mut buffer = vec![0; READ_BYTES];
    let mut report = Report::default();
    let began = ready();
    while !has_ended(ended) {
        let mut written = 0;
        for writer in writers.iter_mut().filter(|writer| !writer.is_gone) {
            written += writer.write(blob, WRITE_BYTES);
            writer.drain(&mut buffer);
        }
        report.bytes += written as u64;
        if written == 0 {
            thread::sleep(PAUSE);
        }
    }
    Ok(finish(report, began, &writers))
}

/// {"alg":"ES256"} . {} . 64 bytes in the range of a signature, so that rejecting it needs a full
/// verification.
fn bad_token() -> String {
    let signature = "k7Xw9Zb2LqPf3TnV8sRyH1cJm5GdAe6U".repeat(3);
    format!("eyJhbGciOiJFUzI1NiJ9.e30.{}A", &signature[..85])
}

/// Clients whose tokens look valid but are not. A refused client tries again.
fn bad_tokens(args: &Args, ended: &Ended) -> Result<Report> {
    let token = format!("Authorization: Bearer {}\r\n", bad_token());
    let blob = client::upgrade_request("/disturbed", &token).repeat(PIPELINED);
    let connect = || Ok(Writer::new(client::connect(args.to, Origin::default())?)?);
    let mut writers = (0..args.clients)
        .map(|_| connect())
        .collect::<Result<Vec<_>>>()?;
    let mut buffer = vec![0; READ_BYTES];
    let mut report = Report::default();
    let began = ready();
    while !has_ended(ended) {
        let mut written = 0;
        for writer in &mut writers {
            written += writer.write(blob.as_bytes(), WRITE_BYTES);
            writer.drain(&mut buffer);
            if writer.is_gone {
                report.closed += 1;
                if let Ok(again) = connect() {
                    *writer = again;
                }
            }
        }
        report.bytes += written as u64;
        thread::sleep(PAUSE);
    }
    Ok(finish(report, began, &[]))
}

/// Threads that read as fast as possible. They end with their connections.
fn read_all(streams: Vec<TcpStream>) -> io::Result<()> {
    let readers: io::Result<Vec<Writer>> = streams.into_iter().map(Writer::new).collect();
    let mut readers = readers?;
    thread::spawn(move || {
        let mut buffer = vec![0; READ_BYTES];
        while !readers.is_empty() {
            let mut taken = 0;
            for reader in &mut readers {
                taken += reader.drain(&mut buffer);
            }
            readers.retain(|reader| !reader.is_gone);
            if taken == 0 {
                thread::sleep(PAUSE);
            }
        }
    });
    Ok(())
}

/// An occasional large message to a room of readers.
fn broadcast(args: &Args, ended: &Ended) -> Result<Report> {
    let open = |_| client::open(args.to, "/broadcast", Origin::default());
    let members: io::Result<Vec<_>> = (0..args.clients).map(open).collect();
    let mut publisher = client::open(args.to, "/broadcast", Origin::default())?;
    let mut streams = members?;
    streams.push(publisher.try_clone()?);
    read_all(streams)?;
    // The readers' clone has made it non-blocking.
    publisher.set_nonblocking(false)?;
    let message = client::frame(client::BINARY, &vec![b'x'; args.size]);
    let mut report = Report::default();
    let began = ready();
    while !has_ended(ended) {
        let due = Duration::from_secs(report.messages);
        if began.elapsed() >= due {
            publisher.write_all(&message)?;
            report.messages += 1;
            report.bytes += message.len() as u64;
        }
        thread::sleep(PAUSE);
    }
    Ok(finish(report, began, &[]))
}

/// Subscribes a client of pubsub to rooms with these numbers, and waits until the subscriptions are
/// active.
fn subscribe(stream: &mut TcpStream, names: impl Iterator<Item = String>) -> io::Result<()> {
    let mut requests = Vec::new();
    for name in names {
        let request = format!(r#"{{"type":"subscribe","room":"{name}"}}"#);
        requests.extend(client::frame(client::TEXT, request.as_bytes()));
    }
    requests.extend(client::frame(client::PING, b""));
    stream.write_all(&requests)?;
    await_pong(stream)
}

/// Waits for the pong. Any other frame but a ping means that the relay refused something.
fn await_pong(stream: &mut TcpStream) -> io::Result<()> {
    let mut frames = Frames::default();
    let mut buffer = [0; 1024];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        frames.take(&buffer[..count]);
        while let Some((opcode, payload)) = frames.next() {
            match opcode {
                client::PONG => return Ok(()),
                client::PING => {}
                _ => {
                    let text = String::from_utf8_lossy(payload);
                    return Err(io::Error::other(format!("refused: {opcode:x} {text}")));
                }
            }
        }
    }
}

fn rooms(args: &Args, ended: &Ended) -> Result<Report> {
    let mut clients = Vec::new();
    for client in 0..args.clients {
        let mut stream = client::open(args.to, "/pubsub", Origin::default())?;
        let names = (0..args.rooms).map(|room| format!("r{client}-{room}"));
        subscribe(&mut stream, names)?;
        clients.push(stream);
    }
    let began = ready();
    while !has_ended(ended) {
        thread::sleep(PAUSE);
    }
    Ok(finish(Report::default(), began, &[]))
}

fn fast_reader(args: &Args, ended: &Ended) -> Result<Report> {
    let mut reader = client::open(args.to, "/pubsub", Origin::default())?;
    subscribe(&mut reader, (0..args.rooms).map(|room| format!("r{room}")))?;
    read_all(vec![reader])?;
    let publisher = client::open(args.to, "/pubsub", Origin::default())?;
    let mut blob = Vec::new();
    for room in 0..args.rooms {
        let data = "x".repeat(40);
        let publish = format!(r#"{{"type":"publish","room":"r{room}","data":"{data}"}}"#);
        blob.extend(client::frame(client::TEXT, publish.as_bytes()));
    }
    flood_with(vec![Writer::new(publisher)?], &blob, ended)
}

fn tls_readers(args: &Args, ended: &Ended) -> Result<Report> {
    let closed = tls::read_all(args.to, "/tls", args.clients)?;
    let plain = args.plain.context("a listener without TLS")?;
    let publisher = client::open(plain, "/tls", Origin::default())?;
    let blob = client::frame(client::BINARY, &vec![b'x'; args.size]);
    let mut report = flood_with(vec![Writer::new(publisher)?], &blob, ended)?;
    report.messages = report.bytes / blob.len() as u64;
    report.closed += closed.load(Ordering::Relaxed);
    Ok(report)
}

/// Fills the sockets of clients that never read, then sends tiny messages one by one.
fn stalled(args: &Args, ended: &Ended) -> Result<Report> {
    let origin = Origin {
        receive_buffer_bytes: Some(SMALL_BUFFER_BYTES),
        ..Origin::default()
    };
    let open = |_| client::open(args.to, "/stalled", origin);
    let clients: io::Result<Vec<_>> = (0..args.clients).map(open).collect();
    let clients = clients?;
    let mut publisher = client::open(args.to, "/stalled", Origin::default())?;
    let large = client::frame(client::BINARY, &[b'y'; 60_000]);
    for _ in 0..60 {
        publisher.write_all(&large)?;
    }
    let tiny = client::frame(client::TEXT, b"tiny");
    let interval = Duration::from_secs(1).div_f64(args.rate.max(1) as f64);
    let mut report = Report::default();
    let began = ready();
    while !has_ended(ended) {
        let due = interval * report.messages as u32;
        let early = due.saturating_sub(began.elapsed());
        if early.is_zero() {
            publisher.write_all(&tiny)?;
            report.messages += 1;
            report.bytes += tiny.len() as u64;
            report.behind_s = (report.behind_s).max((began.elapsed() - due).as_secs_f64());
        } else if early > PAUSE {
            thread::sleep(early - PAUSE);
        } else {
            thread::yield_now();
        }
    }
    drop(clients);
    Ok(finish(report, began, &[]))
}
