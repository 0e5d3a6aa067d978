//! The bare-socket floor: the kernel's cost of a fan-out, and nothing else.
//!
//! One thread, one epoll, no limits, no checks, no UTF-8 validation, no fragments, no bounded
//! outbox. It answers the upgrade, unmasks each frame in place and writes it to every client, its
//! sender included. The comparison (`compare`, beside it) divides a server's CPU per delivery by
//! this program's. It is not a server for other uses: it trusts its clients, and grows without
//! bound when they do not read.
//!
//! `--mode message` sends once per message and client, which is what a relay without batches cannot
//! beat. `--mode turn` gathers the frames of one poll and sends them once per client, which is what
//! a batching relay is measured against.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::Ipv4Addr;
use std::rc::Rc;

use clap::{Parser, ValueEnum};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use socket2::{Domain, Socket, Type};
use tungstenite::handshake::derive_accept_key;

/// The receive buffer, shared by all connections: bytes of one `recv`, more only for a larger
/// frame.
const RECV_BYTES: usize = 256 * 1024;
/// A turn is sent early when it holds this much: more would only overflow the sockets' buffers and
/// the cache.
const TURN_BYTES_MAX: usize = 256 * 1024;
/// Slices in one `writev` to a client that fell behind.
const SLICES_PER_SEND: usize = 64;
const LISTEN_BACKLOG: i32 = 4096;
const LISTENER: Token = Token(usize::MAX);

/// Bare-socket floor for comparisons: forwards every message to every client and does nothing else.
#[derive(Parser)]
struct Args {
    /// TCP port on 127.0.0.1; 0 takes a free one. The address is printed as `listening on ADDRESS`.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// When to send.
    #[arg(long, value_enum, default_value_t = Mode::Message)]
    mode: Mode,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// One send per message and client.
    Message,
    /// One send per turn of the loop and client.
    Turn,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let listener = listen(args.port)?;
    let address = listener.local_addr()?;
    let mut floor = Floor::new(listener, args.mode)?;
    // The driver waits for this line, so it must not stay in a buffer.
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "listening on {address}")?;
    stdout.flush()?;
    floor.run()?;
    Ok(())
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit it on Linux, which saves a system call per connection.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(LISTEN_BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

struct Floor {
    poll: Poll,
    listener: TcpListener,
    mode: Mode,
    clients: Slab<Client>,
    recv: Vec<u8>,
    /// Frames of this turn, sent when it ends. Shared with the clients that could not accept all of
    /// it.
    turn: Rc<Vec<u8>>,
}

struct Client {
    stream: TcpStream,
    open: bool,
    /// Received bytes of a head or a frame that is not complete yet.
    partial: Vec<u8>,
    /// Buffers that the socket did not accept, with the number of bytes of the first that are
    /// already sent.
    pending: VecDeque<Rc<Vec<u8>>>,
    pending_sent: usize,
}

impl Floor {
    fn new(listener: TcpListener, mode: Mode) -> io::Result<Self> {
        let mut floor = Self {
            poll: Poll::new()?,
            listener,
            mode,
            clients: Slab::new(),
            recv: vec![0; RECV_BYTES],
            turn: Rc::default(),
        };
        let registry = floor.poll.registry();
        registry.register(&mut floor.listener, LISTENER, Interest::READABLE)?;
        Ok(floor)
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                let Token(key) = event.token();
                if event.token() == LISTENER {
                    self.accept()?;
                    continue;
                }
                if event.is_writable() && self.clients.get_mut(key).is_some_and(Client::resume) {
                    self.clients.remove(key);
                }
                if event.is_readable() && self.clients.contains(key) {
                    self.read(key, event.is_read_closed());
                }
            }
            self.send_turn();
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            let entry = self.clients.vacant_entry();
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .register(&mut stream, Token(entry.key()), interest)?;
            entry.insert(Client::new(stream));
        }
    }

    /// Reads until a short read shows that the socket is drained, or to the end if the peer has
    /// `closed`.
    fn read(&mut self, key: usize, closed: bool) {
        loop {
            let client = &mut self.clients[key];
            // The rest of the last read goes in front, so that a frame is always in one piece.
            let kept = client.partial.len();
            if self.recv.len() < kept * 2 {
                self.recv.resize(kept * 2, 0);
            }
            self.recv[..kept].copy_from_slice(&client.partial);
            client.partial.clear();
            let received = match client.stream.read(&mut self.recv[kept..]) {
                Ok(0) => return drop(self.clients.remove(key)),
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    client.partial.extend_from_slice(&self.recv[..kept]);
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    client.partial.extend_from_slice(&self.recv[..kept]);
                    continue;
                }
                Err(_) => return drop(self.clients.remove(key)),
            };
            let drained = kept + received < self.recv.len();
            if !self.take(key, kept + received) {
                self.clients.remove(key);
                return;
            }
            if drained && !closed {
                return;
            }
        }
    }

    /// Parses the first `end` bytes of the receive buffer. Returns false to end the connection.
    fn take(&mut self, key: usize, end: usize) -> bool {
        let mut start = 0;
        if !self.clients[key].open {
            match self.upgrade(key, end) {
                Some(head) => start = head,
                None => return true,
            }
        }
        while let Some((frame, next)) = unmask(&mut self.recv[start..end]) {
            let (frame, next) = (start + frame, start + next);
            // Text and binary are 1 and 2; of the control frames only Close (8) matters here.
            match self.recv[frame] & 0x0f {
                1 | 2 => self.publish(frame, next),
                8 => {
                    let _ = self.clients[key].stream.write(&self.recv[frame..next]);
                    return false;
                }
                _ => {}
            }
            start = next;
        }
        self.clients[key]
            .partial
            .extend_from_slice(&self.recv[start..end]);
        true
    }

    /// Answers the upgrade and returns the length of its head, or keeps the bytes when it is not
    /// complete.
    fn upgrade(&mut self, key: usize, end: usize) -> Option<usize> {
        let bytes = &self.recv[..end];
        let client = &mut self.clients[key];
        let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            client.partial.extend_from_slice(bytes);
            return None;
        };
        // The socket is new, so its buffer has room for one head.
        let _ = client.stream.write(response(&bytes[..head]).as_bytes());
        client.open = true;
        Some(head + 4)
    }

    fn publish(&mut self, start: usize, end: usize) {
        let frame = &self.recv[start..end];
        match self.mode {
            Mode::Message => {
                for (_, client) in self.clients.iter_mut().filter(|(_, client)| client.open) {
                    client.send(frame);
                }
            }
            Mode::Turn => {
                // It has no other owner while it is filled, so this never copies.
                Rc::make_mut(&mut self.turn).extend_from_slice(frame);
                if self.turn.len() >= TURN_BYTES_MAX {
                    self.send_turn();
                }
            }
        }
    }

    fn send_turn(&mut self) {
        if self.turn.is_empty() {
            return;
        }
        for (_, client) in self.clients.iter_mut().filter(|(_, client)| client.open) {
            client.send_shared(&self.turn);
        }
        match Rc::get_mut(&mut self.turn) {
            Some(turn) => turn.clear(),
            None => self.turn = Rc::default(),
        }
    }
}

impl Client {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            open: false,
            partial: Vec::new(),
            pending: VecDeque::new(),
            pending_sent: 0,
        }
    }

    /// Sends one frame, or keeps a copy of the part that does not fit.
    fn send(&mut self, frame: &[u8]) {
        let sent = self.try_send(frame);
        if sent < frame.len() {
            self.pending.push_back(Rc::new(frame[sent..].to_vec()));
        }
    }

    /// Sends one turn, or shares the part that does not fit.
    fn send_shared(&mut self, turn: &Rc<Vec<u8>>) {
        let sent = self.try_send(turn);
        if sent < turn.len() {
            if self.pending.is_empty() {
                self.pending_sent = sent;
            }
            self.pending.push_back(Rc::clone(turn));
        }
    }

    /// Bytes that the socket accepted: none if older ones wait. An error is left to the event that
    /// comes with it.
    fn try_send(&mut self, bytes: &[u8]) -> usize {
        if !self.pending.is_empty() {
            return 0;
        }
        self.stream.write(bytes).unwrap_or(0)
    }

    /// Sends what is pending until the socket is full again. True when the connection is broken.
    fn resume(&mut self) -> bool {
        while !self.pending.is_empty() {
            let skipped = |index: usize| if index == 0 { self.pending_sent } else { 0 };
            let slices: Vec<IoSlice<'_>> = (self.pending.iter().take(SLICES_PER_SEND).enumerate())
                .map(|(index, bytes)| IoSlice::new(&bytes[skipped(index)..]))
                .collect();
            match self.stream.write_vectored(&slices) {
                Ok(sent) => self.advance(sent),
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            }
        }
        false
    }

    fn advance(&mut self, sent: usize) {
        self.pending_sent += sent;
        while let Some(first) = self.pending.front() {
            if self.pending_sent < first.len() {
                return;
            }
            self.pending_sent -= first.len();
            self.pending.pop_front();
        }
    }
}

/// Turns the client's frame at the start of `bytes` into a server's frame, in place: the header
/// moves over the masking key, right up to the payload. Returns its start and end, or nothing if it
/// is not complete.
fn unmask(bytes: &mut [u8]) -> Option<(usize, usize)> {
    // RFC 6455 §5.2: two bytes, then none, two or eight of length, then the masking key.
    let header: usize = match bytes.get(1)? & 0x7f {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    let length = match header {
        4 => u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        10 => u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?),
        _ => u64::from(bytes[1] & 0x7f),
    };
    let payload = header + 4;
    let end = payload.checked_add(usize::try_from(length).ok()?)?;
    let key: [u8; 4] = bytes.get(header..payload)?.try_into().ok()?;
    apply_mask(bytes.get_mut(payload..end)?, key);
    bytes[1] &= 0x7f;
    bytes.copy_within(..header, 4);
    Some((4, end))
}

/// XOR with the masking key, eight bytes at a time (RFC 6455 §5.3).
fn apply_mask(payload: &mut [u8], key: [u8; 4]) {
    let word = u64::from_ne_bytes([
        key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3],
    ]);
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (index, byte) in rest.iter_mut().enumerate() {
        *byte ^= key[index & 3];
    }
}

/// A canned 101 with the one value that must be computed: clients check it (RFC 6455 §4.1).
fn response(head: &[u8]) -> String {
    const NAME: &[u8] = b"sec-websocket-key:";
    let named = |line: &&[u8]| {
        line.get(..NAME.len())
            .is_some_and(|name| name.eq_ignore_ascii_case(NAME))
    };
    let key = head.split(|byte| *byte == b'\n').find(named);
    let accept_key = derive_accept_key(key.map_or(b"", |line| line[NAME.len()..].trim_ascii()));
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept_key}\r\n\r\n"
    )
}
