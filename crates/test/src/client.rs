//! A client that sends exact bytes, and reads whole frames.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use socket2::{Domain, Socket, Type};

use crate::DEADLINE;

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;
pub const FIN: u8 = 0x80;
/// The message is compressed (RFC 7692 §6).
pub const RSV1: u8 = 0x40;

/// The key of the standard's example, whose answer is [`ACCEPT`].
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A well-formed upgrade.
pub fn upgrade(path: &str) -> String {
    upgrade_with(path, "")
}

/// The same with further header lines.
pub fn upgrade_with(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{headers}\r\n"
    )
}

/// A whole, masked frame.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    raw_frame(FIN | opcode, payload, true)
}

/// A masked fragment: the first byte of the header as it is given.
pub fn fragment(first: u8, payload: &[u8]) -> Vec<u8> {
    raw_frame(first, payload, true)
}

/// A frame with any first byte, masked or not.
pub fn raw_frame(first: u8, payload: &[u8], is_masked: bool) -> Vec<u8> {
    let mask_bit = if is_masked { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(mask_bit | len as u8),
        len @ 126..=0xFFFF => {
            bytes.push(mask_bit | 126);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            bytes.push(mask_bit | 127);
            bytes.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    if is_masked {
        const KEY: [u8; 4] = [0x11, 0x22, 0x33, 0x44];
        bytes.extend_from_slice(&KEY);
        bytes.extend(payload.iter().zip(KEY.iter().cycle()).map(|(a, b)| a ^ b));
    } else {
        bytes.extend_from_slice(payload);
    }
    bytes
}

/// The payload of a Close frame.
pub fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason.as_bytes()].concat()
}

/// A frame from the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

/// An answer to a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    fn of(head: Vec<u8>) -> Answer {
        Answer {
            status: std::str::from_utf8(&head[9..12]).unwrap().parse().unwrap(),
            head: String::from_utf8(head).expect("a head in UTF-8"),
            body: Vec::new(),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

/// A client with a blocking socket. Every wait has [`DEADLINE`].
pub struct Client {
    pub stream: TcpStream,
    received: Vec<u8>,
    /// How many frames came deflated; `None`: that was not agreed on.
    pub deflated_frames: Option<usize>,
    /// The bytes of all frames that came, headers included.
    pub frame_bytes: usize,
    /// The window with which they are inflated.
    window_bits: u8,
}

/// A message as a client compresses it.
pub fn compressed(message: &[u8]) -> Vec<u8> {
    let mut stream = Compress::new(Compression::default(), false);
    let mut out = Vec::with_capacity(message.len() + message.len() / 8 + 100);
    let status = stream.compress_vec(message, &mut out, FlushCompress::Sync);
    assert!(status.is_ok() && out.ends_with(&[0, 0, 0xFF, 0xFF]));
    out.truncate(out.len() - 4);
    out
}

fn inflated(payload: &[u8], window_bits: u8) -> Vec<u8> {
    let mut stream = Decompress::new_with_window_bits(false, window_bits);
    let mut out = Vec::with_capacity(1 << 20);
    let payload = [payload, &[0, 0, 0xFF, 0xFF]].concat();
    let status = stream.decompress_vec(&payload, &mut out, FlushDecompress::Sync);
    assert!(status.is_ok(), "what came cannot be inflated: {status:?}");
    assert_eq!(stream.total_in() as usize, payload.len());
    out
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        Client::from(TcpStream::connect(address).expect("a connection"))
    }

    /// Connects from 127.0.0.`last`, which is an address of this machine on Linux alone.
    pub fn connect_from(last: u8, address: SocketAddr) -> Client {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let own = SocketAddr::from(([127, 0, 0, last], 0));
        socket
            .bind(&own.into())
            .expect("an address of this machine");
        socket.connect(&address.into()).expect("a connection");
        Client::from(TcpStream::from(socket))
    }

    /// Connects with a receive buffer of `bytes`, as far as the system allows.
    pub fn connect_narrow(address: SocketAddr, bytes: usize) -> Client {
        let socket =
            Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(bytes).expect("a small buffer");
        socket.connect(&address.into()).expect("a connection");
        Client::from(TcpStream::from(socket))
    }

    /// Opens a WebSocket.
    pub fn open(address: SocketAddr, path: &str) -> Client {
        Client::connect(address).upgraded(path)
    }

    /// Asks for the upgrade and expects it.
    pub fn upgraded(mut self, path: &str) -> Client {
        self.send(upgrade(path).as_bytes());
        let answer = self.answer();
        assert_eq!(answer.status, 101, "{}", answer.head);
        self
    }

    /// Opens a WebSocket with permessage-deflate and whatever parameters are given.
    pub fn deflating(mut self, path: &str, parameters: &str) -> Client {
        let offer = format!("Sec-WebSocket-Extensions: permessage-deflate{parameters}\r\n");
        self.send(upgrade_with(path, &offer).as_bytes());
        let answer = self.answer();
        assert_eq!(answer.status, 101, "{}", answer.head);
        let agreed = answer.header("sec-websocket-extensions").expect("deflate");
        let bits = agreed.split_once("server_max_window_bits=");
        self.window_bits = bits.map_or(15, |(_, bits)| bits.parse().expect("a window"));
        self.deflated_frames = Some(0);
        self
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the server reads");
    }

    /// Sends to a server that may be gone.
    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub fn text(&mut self, payload: &str) {
        self.send(&frame(TEXT, payload.as_bytes()));
    }

    pub fn close(&mut self, code: u16) {
        self.send(&frame(CLOSE, &close_payload(code, "")));
    }

    /// Sends a ping and waits for its pong: everything that came before it, to this connection or
    /// to others of the same shard, has been read then.
    pub fn round_trip(&mut self) {
        self.send(&frame(PING, b"round trip"));
        assert_eq!(
            self.frame(),
            Frame {
                opcode: PONG,
                payload: b"round trip".to_vec()
            }
        );
    }

    /// The same while messages arrive, which are added to `texts`.
    pub fn round_trip_past(&mut self, texts: &mut Vec<String>) {
        self.send(&frame(PING, b"round trip"));
        loop {
            let frame = self.frame();
            match frame.opcode {
                TEXT => texts.push(String::from_utf8(frame.payload).expect("UTF-8")),
                PONG => return,
                other => panic!("opcode {other}"),
            }
        }
    }

    /// Reads more. Returns `false` at the end of the stream, however it ended.
    fn read_more(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.received.extend_from_slice(&buffer[..count]);
                true
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
                ) =>
            {
                false
            }
            Err(error) => panic!("nothing came in time: {error}"),
        }
    }

    /// The next answer to a request; `None` where the stream ends instead.
    pub fn try_answer(&mut self) -> Option<Answer> {
        let mut answer = Answer::of(self.try_head()?);
        let length = answer
            .header("content-length")
            .map_or(0, |length| length.parse().unwrap());
        while self.received.len() < length {
            assert!(self.read_more(), "a body was cut short");
        }
        answer.body = self.received.drain(..length).collect();
        Some(answer)
    }

    fn try_head(&mut self) -> Option<Vec<u8>> {
        let head_len = loop {
            if let Some(at) = self
                .received
                .windows(4)
                .position(|each| each == b"\r\n\r\n")
            {
                break at + 4;
            }
            if !self.read_more() {
                assert!(self.received.is_empty(), "an answer was cut short");
                return None;
            }
        };
        Some(self.received.drain(..head_len).collect())
    }

    pub fn answer(&mut self) -> Answer {
        self.try_answer().expect("an answer")
    }

    /// The next answer, which is one to HEAD: it has the length of a body and no body.
    pub fn answer_to_head(&mut self) -> Answer {
        let head = self.try_head().expect("an answer");
        Answer::of(head)
    }

    /// The next frame other than a ping, which may come at any time; `None` if the stream ends
    /// instead.
    pub fn try_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.take_frame() {
                if frame.opcode != PING {
                    return Some(frame);
                }
                continue;
            }
            if !self.read_more() {
                assert!(self.received.is_empty(), "a frame was cut short");
                return None;
            }
        }
    }

    /// The frame at the front of the received bytes, inflated.
    fn take_frame(&mut self) -> Option<Frame> {
        let (mut frame, len) = parse_frame(&self.received)?;
        if self.received[0] & RSV1 != 0 {
            let count = self.deflated_frames.as_mut();
            *count.expect("a compressed frame that was not agreed on") += 1;
            frame.payload = inflated(&frame.payload, self.window_bits);
        }
        self.received.drain(..len);
        self.frame_bytes += len;
        Some(frame)
    }

    /// The whole frames that have arrived, pings aside, without waiting for more.
    pub fn arrived(&mut self) -> Vec<Frame> {
        self.arrived_by(usize::MAX)
    }

    /// The same, with so many reads of 16 KiB at most.
    pub fn arrived_by(&mut self, mut reads: usize) -> Vec<Frame> {
        self.stream.set_nonblocking(true).expect("a socket");
        let mut buffer = [0; 16 * 1024];
        while reads > 0
            && let Ok(count) = self.stream.read(&mut buffer)
            && count > 0
        {
            self.received.extend_from_slice(&buffer[..count]);
            reads -= 1;
        }
        self.stream.set_nonblocking(false).expect("a socket");
        let mut frames = Vec::new();
        while let Some(frame) = self.take_frame() {
            frames.push(frame);
        }
        frames.retain(|frame| frame.opcode != PING);
        frames
    }

    pub fn frame(&mut self) -> Frame {
        self.try_frame().expect("a frame")
    }

    /// The next frame, which is to be text.
    pub fn expect_text(&mut self) -> String {
        let frame = self.frame();
        assert_eq!(frame.opcode, TEXT, "{frame:?}");
        String::from_utf8(frame.payload).expect("UTF-8")
    }

    /// Reads up to the Close frame. Returns the text messages before it, its code and its reason.
    pub fn until_close(&mut self) -> (Vec<String>, u16, String) {
        let mut texts = Vec::new();
        loop {
            let frame = self.frame();
            match frame.opcode {
                TEXT => texts.push(String::from_utf8(frame.payload).expect("UTF-8")),
                CLOSE => {
                    let (code, reason) = code_and_reason(&frame.payload);
                    return (texts, code, reason);
                }
                _ => {}
            }
        }
    }

    /// Expects a Close frame with this code next, pings and pongs aside. Returns its reason.
    pub fn expect_close(&mut self, code: u16) -> String {
        let (texts, found, reason) = self.until_close();
        assert_eq!((texts.len(), found), (0, code), "{reason}");
        reason
    }

    /// Expects the stream to end, with nothing before that.
    pub fn expect_end(&mut self) {
        assert_eq!(self.try_frame(), None);
    }
}

impl From<TcpStream> for Client {
    fn from(stream: TcpStream) -> Client {
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
        stream.set_write_timeout(Some(DEADLINE)).expect("a socket");
        Client {
            stream,
            received: Vec::new(),
            deflated_frames: None,
            frame_bytes: 0,
            window_bits: 0,
        }
    }
}

fn code_and_reason(payload: &[u8]) -> (u16, String) {
    match payload {
        [] => (1005, String::new()),
        [high, low, reason @ ..] => (
            u16::from_be_bytes([*high, *low]),
            String::from_utf8(reason.to_vec()).expect("UTF-8"),
        ),
        [_] => panic!("a close code was cut short"),
    }
}

/// The frame at the front of `bytes` and its length. A server neither masks nor fragments.
fn parse_frame(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    assert_eq!(
        first & 0xF0 & !RSV1,
        FIN,
        "fragmented, or reserved bits: {first:#x}"
    );
    let (payload_len, header_len) = match second {
        0..=125 => (usize::from(second), 2),
        126 => {
            let length = bytes.get(2..4)?.try_into().unwrap();
            (usize::from(u16::from_be_bytes(length)), 4)
        }
        127 => {
            let length = bytes.get(2..10)?.try_into().unwrap();
            (u64::from_be_bytes(length) as usize, 10)
        }
        _ => panic!("a server must not mask"),
    };
    let end = header_len + payload_len;
    let payload = bytes.get(header_len..end)?.to_vec();
    let frame = Frame {
        opcode: first & 0x0F,
        payload,
    };
    Some((frame, end))
}
