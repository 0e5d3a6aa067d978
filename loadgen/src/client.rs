//! One connection: connect, upgrade, then frames both ways.
//!
//! ```text
//! Connecting ──writable──▶ Upgrading ──101──▶ Open ──▶ Closed
//!      └────────────refused, other status, timeout───────▲
//! ```
//! A client owns only its socket and the partial frames that a read or a write left over: the
//! receive buffer belongs to the thread. Over TLS the bytes go through a [`Session`].

use std::io::{self, Write};

use mio::net::TcpStream;
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::arrival;
use crate::check::Receiver;
use crate::control::Shared;
use crate::frames::{Fragments, FrameError};
use crate::handshake::Handshake;
use crate::pacing::Publisher;
use crate::plan::Role;
use crate::tls::{Opened, Session, Tls};

/// Receive buffer of a client that does not read, or reads slowly: small, so that it blocks the
/// relay soon.
const STALLED_RECV_BYTES: usize = 16 << 10;

/// The state of a connection.
#[derive(Debug)]
pub(crate) enum Phase {
    Connecting,
    Upgrading(Handshake),
    Open,
    Closed(End),
}

/// Why a connection ended before the run did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) cause: Cause,
    /// In a few words, for the report.
    pub(crate) reason: String,
    /// On the run's clock; 0 while it is unknown.
    pub(crate) at_ns: u64,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The server sent a Close with this code (RFC 6455 §7.4).
    Closed(u16),
    /// The connection ended without a Close, or broke.
    Broken,
    /// The server broke the protocol, so the generator closed.
    Offence,
    /// The upgrade or a push was refused, or not answered in time.
    Refused,
    /// The generator closed it to open a new one.
    Replaced,
}

impl End {
    pub(crate) fn new(cause: Cause, reason: impl Into<String>) -> Self {
        Self {
            cause,
            reason: reason.into(),
            at_ns: 0,
        }
    }

    /// The end by a server's Close.
    pub(crate) fn closed(code: u16, reason: &str) -> Self {
        let reason = format!("the server closed: {code} {}", reason.escape_debug());
        Self::new(Cause::Closed(code), reason.trim_end())
    }

    /// The end of the stream without a Close.
    pub(crate) fn broken() -> Self {
        Self::new(Cause::Broken, "the server closed the connection")
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::new(Cause::Broken, error.to_string())
    }
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> Self {
        Self::new(Cause::Offence, error.to_string())
    }
}

#[derive(Debug)]
pub(crate) struct Client {
    /// Number among all clients of the run.
    pub(crate) index: u32,
    pub(crate) stream: TcpStream,
    /// Present over TLS.
    session: Option<Box<Session>>,
    pub(crate) phase: Phase,
    pub(crate) started_ns: u64,
    pub(crate) role: Role,
    pub(crate) room: u32,
    pub(crate) receiver: Receiver,
    pub(crate) publisher: Option<Publisher>,
    /// The publisher whose messages complete when they arrive here.
    pub(crate) credits: Option<Credit>,
    /// The beginning of a frame or of the response head.
    pub(crate) inbox: Vec<u8>,
    /// Bytes of a large frame that are still to come.
    pub(crate) skip_bytes: usize,
    /// Fragments of a message.
    pub(crate) fragments: Option<Fragments>,
    /// The server may compress messages (RFC 7692).
    pub(crate) deflate: bool,
    /// Taken off the socket since the upgrade, what TLS adds included.
    pub(crate) received_bytes: u64,
    outbox: Vec<u8>,
    outbox_sent: usize,
    /// An edge-triggered event said that there may be something to read.
    pub(crate) readable: bool,
    /// The peer has shut down its side: read to the end.
    pub(crate) read_closed: bool,
    /// It is on the thread's list of publishers that may send.
    pub(crate) is_sending: bool,
}

/// The publisher whose message completes when it arrives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credit {
    /// Its number among all clients.
    pub(crate) publisher: u32,
    /// Its index in the thread.
    pub(crate) place: usize,
}

impl Client {
    /// Starts to connect.
    ///
    /// # Errors
    /// No free file descriptor or port, no route, or a source address that is not this machine's.
    pub(crate) fn connect(
        index: u32,
        shared: &Shared,
        role: Role,
        room: u32,
        now_ns: u64,
    ) -> io::Result<Self> {
        let address = shared.address;
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(!shared.nagle)?;
        // If the system has no receive times, the report says so.
        let _ = arrival::ask_for_times(&socket);
        if matches!(role, Role::Stalled | Role::Slow) {
            socket.set_recv_buffer_size(STALLED_RECV_BYTES)?;
        }
        if let Some(source) = shared.source_of(index) {
            socket.bind(&source.into())?;
        }
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => {
                return Err(error);
            }
            _ => {}
        }
        let session = shared.tls.as_ref().map(Tls::session).transpose()?;
        Ok(Self {
            index,
            stream: TcpStream::from_std(socket.into()),
            session: session.map(Box::new),
            phase: Phase::Connecting,
            started_ns: now_ns,
            role,
            room,
            receiver: Receiver::default(),
            publisher: None,
            credits: None,
            inbox: Vec::new(),
            skip_bytes: 0,
            fragments: None,
            deflate: false,
            received_bytes: 0,
            outbox: Vec::new(),
            outbox_sent: 0,
            readable: false,
            read_closed: false,
            is_sending: false,
        })
    }

    /// True while frames can be exchanged.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// True before the upgrade.
    pub(crate) fn is_opening(&self) -> bool {
        matches!(self.phase, Phase::Connecting | Phase::Upgrading(_))
    }

    /// The socket may have become writable: checks the result of the connect. True once it is
    /// connected and the request can go out.
    pub(crate) fn connected(&mut self) -> io::Result<bool> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        match self.stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends the upgrade request.
    pub(crate) fn request(&mut self, shared: &Shared) -> io::Result<()> {
        let path = shared.target.path_for(self.index, self.room);
        let authority = shared.target.authority();
        let (handshake, request) = Handshake::request(authority, &path, shared.deflate);
        self.phase = Phase::Upgrading(handshake);
        self.write(&request)
    }

    /// The server has accepted the upgrade: frames follow.
    pub(crate) fn upgraded(&mut self, deflate: bool) {
        self.phase = Phase::Open;
        self.deflate = deflate;
        self.received_bytes = 0;
    }

    /// Reads once, after the `kept` bytes of `buffer`, with a receive time if `is_timed`. `None`:
    /// nothing to read.
    #[inline]
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        kept: usize,
        is_timed: bool,
    ) -> io::Result<Option<Opened>> {
        loop {
            let free = &mut buffer[kept..];
            let read = match &mut self.session {
                None => read_once(&self.stream, free, is_timed)
                    .inspect(|opened| self.received_bytes += opened.bytes as u64),
                Some(session) => {
                    session.read(&mut self.stream, free, is_timed, &mut self.received_bytes)
                }
            };
            return match read {
                Ok(opened) => {
                    // A short read has drained the socket, unless the end of the stream is still to
                    // come.
                    self.readable = !opened.is_drained || self.read_closed;
                    Ok(Some(opened))
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    Ok(None)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
        }
    }

    /// The part of `bytes` that does not belong to a skipped large frame.
    pub(crate) fn unskipped<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let skipped = self.skip_bytes.min(bytes.len());
        self.skip_bytes -= skipped;
        &bytes[skipped..]
    }

    /// Keeps the rest of `bytes` after frames took the first `taken`.
    pub(crate) fn keep(&mut self, bytes: &[u8], taken: usize) {
        self.inbox.clear();
        match bytes.get(taken..) {
            Some(rest) => self.inbox.extend_from_slice(rest),
            None => self.skip_bytes = taken - bytes.len(),
        }
    }

    /// Sends `bytes`; the part that does not fit is kept, and nothing else goes out before it.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(session) = &mut self.session {
            return session.write(&mut self.stream, bytes);
        }
        let written = if self.is_blocked() {
            0
        } else {
            write_some(&mut self.stream, bytes)?
        };
        self.outbox.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    /// Sends the bytes that were kept. False while some are left.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        if let Some(session) = &mut self.session {
            session.flush(&mut self.stream)?;
        } else if self.is_blocked() {
            self.outbox_sent += write_some(&mut self.stream, &self.outbox[self.outbox_sent..])?;
            if self.outbox_sent == self.outbox.len() {
                self.outbox.clear();
                self.outbox_sent = 0;
            }
        }
        Ok(!self.is_blocked())
    }

    /// Bytes wait for the socket.
    pub(crate) fn is_blocked(&self) -> bool {
        match &self.session {
            None => !self.outbox.is_empty(),
            Some(session) => session.is_blocked(),
        }
    }

    /// Messages that are due wait for the socket.
    pub(crate) fn is_held(&self) -> bool {
        let publisher = self.publisher.as_ref();
        publisher.is_some_and(|publisher| publisher.is_held)
    }

    /// True after the end.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed(_))
    }

    /// Ends the connection at `now_ns`; only the first end counts.
    pub(crate) fn close(&mut self, end: End, now_ns: u64) {
        if !self.is_closed() {
            self.phase = Phase::Closed(End {
                at_ns: now_ns,
                ..end
            });
            self.readable = false;
            self.outbox.clear();
            self.outbox_sent = 0;
            let _ = self.stream.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Makes dropping the socket send a reset, so that no port is left in TIME_WAIT.
    pub(crate) fn reset_on_drop(&self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO));
    }
}

fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

#[inline(always)]
fn read_once(stream: &TcpStream, free: &mut [u8], is_timed: bool) -> io::Result<Opened> {
    let (bytes, arrived_ns) = match is_timed {
        true => arrival::read_timed(stream, free)?,
        false => (arrival::read(stream, free)?, None),
    };
    Ok(Opened {
        bytes,
        is_drained: bytes < free.len(),
        arrived_ns,
    })
}
