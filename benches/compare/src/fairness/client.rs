//! A client's side of a connection, by hand: libraries do not permit everything that a generator
//! needs.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// A server that is silent for this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);
/// Any key will do (RFC 6455 §5.3).
const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

pub(super) const CONTINUATION: u8 = 0x0;
pub(super) const TEXT: u8 = 0x1;
pub(super) const BINARY: u8 = 0x2;
pub(super) const PING: u8 = 0x9;
pub(super) const PONG: u8 = 0xA;

/// The source address and the buffer of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Origin {
    pub(super) address: Option<IpAddr>,
    pub(super) receive_buffer_bytes: Option<usize>,
}

pub(super) fn connect(to: SocketAddr, origin: Origin) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(bytes) = origin.receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(address) = origin.address {
        socket.bind(&SocketAddr::new(address, 0).into())?;
    }
    socket.connect_timeout(&to.into(), PATIENCE)?;
    socket.set_tcp_nodelay(true)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Opens a connection that is upgraded at `path`.
pub(super) fn open(to: SocketAddr, path: &str, origin: Origin) -> io::Result<TcpStream> {
    let mut stream = connect(to, origin)?;
    upgrade(&mut stream, path, "")?;
    Ok(stream)
}

/// Requests an upgrade with additional `headers`, each of which ends its line, and waits for it.
pub(super) fn upgrade(
    stream: &mut (impl Read + Write),
    path: &str,
    headers: &str,
) -> io::Result<()> {
    stream.write_all(upgrade_request(path, headers).as_bytes())?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        answer.extend(byte);
    }
    if !answer.starts_with(b"HTTP/1.1 101 ") {
        let answer = String::from_utf8_lossy(&answer).into_owned();
        return Err(io::Error::other(format!("refused: {answer}")));
    }
    Ok(())
}

pub(super) fn upgrade_request(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         {headers}\r\n"
    )
}

/// A masked frame that ends its message.
pub(super) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    masked(0x80 | opcode, payload)
}

/// A masked frame that does not end its message.
pub(super) fn fragment(opcode: u8, payload: &[u8]) -> Vec<u8> {
    masked(opcode, payload)
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
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
    bytes.extend(MASK);
    let masked = payload.iter().zip(MASK.iter().cycle());
    bytes.extend(masked.map(|(byte, key)| byte ^ key));
    bytes
}

/// Splits a server's bytes into frames.
#[derive(Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    from: usize,
}

impl Frames {
    /// Adds received bytes.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.from);
        self.from = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame: its opcode and payload.
    pub(super) fn next(&mut self) -> Option<(u8, &[u8])> {
        let rest = &self.bytes[self.from..];
        let (&first, &second) = (rest.first()?, rest.get(1)?);
        let (header, length) = match second & 0x7F {
            126 => (
                4,
                u64::from(u16::from_be_bytes(*rest.get(2..4)?.first_chunk()?)),
            ),
            127 => (10, u64::from_be_bytes(*rest.get(2..10)?.first_chunk()?)),
            length => (2, u64::from(length)),
        };
        let end = header + usize::try_from(length).ok()?;
        let payload = rest.get(header..end)?;
        self.from += end;
        Some((first & 0xF, payload))
    }
}

/// The result of an operation on a non-blocking socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tried {
    Bytes(usize),
    Later,
    Gone,
}

impl Tried {
    pub(super) fn of(result: io::Result<usize>) -> Self {
        match result {
            Ok(0) => Self::Gone,
            Ok(count) => Self::Bytes(count),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                Self::Later
            }
            Err(_) => Self::Gone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_wherever_they_were_received_in_parts() {
        let mut sent = vec![0x81, 2, b'h', b'i', 0x82, 126, 1, 0];
        sent.extend([7; 256]);
        let mut frames = Frames::default();
        let mut got = Vec::new();
        for part in sent.chunks(3) {
            frames.take(part);
            while let Some((opcode, payload)) = frames.next() {
                got.push((opcode, payload.to_vec()));
            }
        }
        assert_eq!(got, [(TEXT, b"hi".to_vec()), (BINARY, vec![7; 256])]);
    }

    #[test]
    fn a_frame_is_masked_and_says_its_length() {
        assert_eq!(frame(PING, b""), [0x89, 0x80, 0x37, 0xFA, 0x21, 0x3D]);
        assert_eq!(fragment(TEXT, b"a")[..2], [0x01, 0x81]);
        assert_eq!(frame(BINARY, &[0; 300])[..4], [0x82, 0xFE, 1, 44]);
        assert_eq!(frame(BINARY, &[0; 70_000]).len(), 14 + 70_000);
        assert_eq!(frame(TEXT, b"a")[6], b'a' ^ MASK[0]);
    }
}
