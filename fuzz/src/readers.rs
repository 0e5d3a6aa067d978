//! Two readers of a client's frames, ours and tungstenite's, and their comparison.
//!
//! The decoder's target and `tests/wire_differential.rs` use it. The differences that [`compare`]
//! accepts are in a table there, each with its reason.

use std::io::{self, Read, Write};

use corecast::wire::decoder::{Decoder, DecoderLimits, Input, Item, Passive, ProtocolError};
use corecast::wire::frame::MessageKind;
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tungstenite::{Error, Message};

use crate::pieces::pieces;

/// The limits of both readers; small, so that short inputs reach them.
pub const LIMITS: DecoderLimits = DecoderLimits {
    message_bytes: 2000,
    frame_bytes: 1200,
    allows_compressed: false,
};
const CLIENT_HEADER_BYTES_MAX: usize = 14;
/// The most memory of a decoder besides the bytes of a message.
const STATE_BYTES_MAX: usize = 256;

/// An item of either reader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A whole text.
    Text(Vec<u8>),
    /// A whole binary message.
    Binary(Vec<u8>),
    /// A compressed message as received, and whether it is text.
    Compressed(bool, Vec<u8>),
    /// A ping's payload.
    Ping(Vec<u8>),
    /// A pong's payload.
    Pong(Vec<u8>),
    /// A close with its code and reason.
    Close(Option<(u16, String)>),
}

/// The end of a reader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict<E> {
    /// It waits for more.
    Open,
    /// It has seen a close.
    Closed,
    /// It refused the input.
    Failed(E),
}

/// The results of a reader.
#[derive(PartialEq, Eq, Debug)]
pub struct Outcome<E> {
    /// Its items, in order.
    pub events: Vec<Event>,
    /// Its end.
    pub verdict: Verdict<E>,
}

/// Reads with our decoder.
///
/// # Panics
///
/// If the decoder holds more than the limits allow.
pub fn read_with_ours(
    bytes: &[u8],
    sizes: &[usize],
    limits: &DecoderLimits,
) -> Outcome<ProtocolError> {
    let mut decoder = Decoder::new();
    let mut outcome = Outcome {
        events: Vec::new(),
        verdict: Verdict::Open,
    };
    for piece in pieces(bytes, sizes) {
        let mut buffer = piece.to_vec();
        let mut input = Input::new(&mut buffer);
        loop {
            let event = match decoder.next(&mut input, limits) {
                Ok(None) => break,
                Ok(Some(Item::Passive(Passive::Fragment))) => continue,
                Ok(Some(item)) => event_of(item),
                Err(error) => {
                    outcome.verdict = Verdict::Failed(error);
                    break;
                }
            };
            if matches!(event, Event::Close(_)) {
                outcome.verdict = Verdict::Closed;
            }
            outcome.events.push(event);
        }
        let held_bytes = decoder.held_bytes();
        assert!(
            held_bytes <= limits.message_bytes + STATE_BYTES_MAX,
            "{held_bytes}"
        );
    }
    outcome
}

fn event_of(item: Item<'_>) -> Event {
    match item {
        Item::Message(message) => match message.kind {
            MessageKind::Text => Event::Text(message.payload.to_vec()),
            MessageKind::Binary => Event::Binary(message.payload.to_vec()),
        },
        Item::Compressed(message) => {
            let is_text = message.kind == MessageKind::Text;
            Event::Compressed(is_text, message.payload.to_vec())
        }
        Item::Ping(payload) => Event::Ping(payload.to_vec()),
        Item::Passive(Passive::Pong(payload)) => Event::Pong(payload.to_vec()),
        Item::Passive(Passive::Fragment) => unreachable!("it is no event"),
        Item::Close(frame) => {
            Event::Close(frame.map(|frame| (frame.code, frame.reason.to_owned())))
        }
    }
}

/// A socket that has received these bytes, returns them in pieces, and discards writes.
pub struct Received<'b> {
    pieces: std::vec::IntoIter<&'b [u8]>,
    current: &'b [u8],
}

impl<'b> Received<'b> {
    /// A socket that gives `bytes` in pieces of these sizes.
    pub fn new(bytes: &'b [u8], sizes: &[usize]) -> Received<'b> {
        Received {
            pieces: pieces(bytes, sizes).into_iter(),
            current: &[],
        }
    }
}

impl Read for Received<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() {
            self.current = self.pieces.next().ok_or(io::ErrorKind::WouldBlock)?;
        }
        self.current.read(buffer)
    }
}

impl Write for Received<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads with tungstenite. A failure is the close code that would answer it.
///
/// # Panics
///
/// If tungstenite returns an error that a reader never gets.
pub fn read_with_tungstenite(bytes: &[u8], sizes: &[usize]) -> Outcome<u16> {
    let config = WebSocketConfig::default()
        // One buffer of 128 KiB for each input would be most of the work.
        .read_buffer_size(1 << 12)
        .max_message_size(Some(LIMITS.message_bytes))
        .max_frame_size(Some(LIMITS.frame_bytes as usize));
    let socket = Received::new(bytes, sizes);
    let mut socket = WebSocket::from_raw_socket(socket, Role::Server, Some(config));
    let mut events = Vec::new();
    let verdict = loop {
        match socket.read() {
            Ok(Message::Text(text)) => events.push(Event::Text(text.as_bytes().to_vec())),
            Ok(Message::Binary(payload)) => events.push(Event::Binary(payload.to_vec())),
            Ok(Message::Ping(payload)) => events.push(Event::Ping(payload.to_vec())),
            Ok(Message::Pong(payload)) => events.push(Event::Pong(payload.to_vec())),
            Ok(Message::Close(frame)) => {
                let frame = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                events.push(Event::Close(frame));
                break Verdict::Closed;
            }
            Ok(Message::Frame(frame)) => panic!("a reader yields no bare frame: {frame}"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                break Verdict::Open;
            }
            Err(Error::Protocol(_)) => break Verdict::Failed(1002),
            Err(Error::Utf8(_)) => break Verdict::Failed(1007),
            Err(Error::Capacity(_)) => break Verdict::Failed(1009),
            Err(error) => panic!("no such error here: {error}"),
        }
    };
    Outcome { events, verdict }
}

/// Tungstenite's replacement for a close code that it does not allow.
pub fn tungstenites_close() -> Event {
    Event::Close(Some((1002, "Protocol violation".to_owned())))
}

fn as_tungstenite_sees(event: &Event) -> Event {
    match event {
        Event::Close(Some((1014, _))) => tungstenites_close(),
        event => event.clone(),
    }
}

/// Reads with both, each in pieces of its own sizes, and compares. `is_single` says that no frame
/// commits two offences, so that both name the same one.
///
/// # Panics
///
/// If the readers differ in an undocumented way.
pub fn compare(
    bytes: &[u8],
    sizes: (&[usize], &[usize]),
    is_single: bool,
) -> Outcome<ProtocolError> {
    let ours = read_with_ours(bytes, sizes.0, &LIMITS);
    let mut theirs = read_with_tungstenite(bytes, sizes.1);
    if matches!(ours.verdict, Verdict::Failed(_)) && theirs.verdict == Verdict::Open {
        let rest = [0; LIMITS.frame_bytes as usize + CLIENT_HEADER_BYTES_MAX];
        theirs = read_with_tungstenite(&[bytes, &rest].concat(), sizes.1);
    }
    let mut events: Vec<_> = ours.events.iter().map(as_tungstenite_sees).collect();
    match (ours.verdict, theirs.verdict) {
        (Verdict::Failed(ProtocolError::LengthNotMinimal | ProtocolError::ControlTooLong), _) => {
            theirs.events.truncate(events.len());
        }
        (Verdict::Failed(ProtocolError::InvalidCloseCode), Verdict::Closed) => {
            events.push(tungstenites_close());
        }
        (Verdict::Failed(ProtocolError::InvalidCloseCode), theirs) => {
            assert_eq!(theirs, Verdict::Failed(1007), "reason and code are bad");
        }
        (Verdict::Failed(error), Verdict::Failed(code)) => {
            let is_named_alike = is_single && error != ProtocolError::LengthTooLarge;
            assert!(
                !is_named_alike || code == error.close_code(),
                "{error:?}: {code}"
            );
        }
        (Verdict::Open, Verdict::Open) | (Verdict::Closed, Verdict::Closed) => {}
        (ours, theirs) => panic!("{ours:?}, there {theirs:?}"),
    }
    assert_eq!(events, theirs.events);
    ours
}
