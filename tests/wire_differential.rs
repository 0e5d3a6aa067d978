//! The decoder against tungstenite's own reader: the same bytes, cut differently, must give the
//! same items and the same verdict.
//!
//! The two differ on purpose in this alone:
//!
//! - Ours judges a frame as its bytes arrive, tungstenite when it is whole. So where ours has
//!   failed and tungstenite waits, tungstenite is given the rest of the frame, as zeros, and has
//!   to fail too; and where one frame commits two offences, either may be named.
//! - Ours refuses lengths that are not in their shortest form (RFC 6455 §5.2), and so every
//!   control frame whose length is not in the second byte.
//! - Ours names a length of 2^63 or more a protocol error, tungstenite a frame that is too big.
//! - Tungstenite reports a close with a forbidden code as a close, with a code of its own, and
//!   counts 1014 among the forbidden; ours refuses it, and lets 1014 pass, which the IANA registry
//!   has.

use std::io::{self, Read, Write};

use corecast::wire::decoder::{Decoder, DecoderLimits, Input, Item, ProtocolError};
use corecast::wire::frame::MessageKind;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tungstenite::{Error, Message};

const LIMITS: DecoderLimits = DecoderLimits {
    message_bytes: 2000,
    frame_bytes: 1200,
    allows_compressed: false,
};
const CLIENT_HEADER_BYTES_MAX: usize = 14;

/// What a reader yields, whoever it is.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Event {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

/// How a reader ends: it wants more, it has seen a close, or it failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict<E> {
    Open,
    Closed,
    Failed(E),
}

#[derive(Debug)]
struct Outcome<E> {
    events: Vec<Event>,
    verdict: Verdict<E>,
}

/// `bytes` in pieces of the sizes that are given, over and over.
fn pieces<'b>(bytes: &'b [u8], sizes: &[usize]) -> Vec<&'b [u8]> {
    let mut rest = bytes;
    let mut sizes = sizes.iter().cycle();
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let size = sizes
            .next()
            .map_or(rest.len(), |&size| size.clamp(1, rest.len()));
        let (piece, after) = rest.split_at(size);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

fn read_with_ours(bytes: &[u8], sizes: &[usize]) -> Outcome<ProtocolError> {
    let mut decoder = Decoder::new();
    let mut outcome = Outcome {
        events: Vec::new(),
        verdict: Verdict::Open,
    };
    for piece in pieces(bytes, sizes) {
        let mut buffer = piece.to_vec();
        let mut input = Input::new(&mut buffer);
        loop {
            let event = match decoder.next(&mut input, &LIMITS) {
                Ok(None) => break,
                Ok(Some(Item::Message(message))) => match message.kind {
                    MessageKind::Text => Event::Text(message.payload.to_vec()),
                    MessageKind::Binary => Event::Binary(message.payload.to_vec()),
                },
                Ok(Some(Item::Compressed(_))) => panic!("compression was not agreed on"),
                Ok(Some(Item::Ping(payload))) => Event::Ping(payload.to_vec()),
                Ok(Some(Item::Pong(payload))) => Event::Pong(payload.to_vec()),
                Ok(Some(Item::Close(frame))) => {
                    outcome.verdict = Verdict::Closed;
                    Event::Close(frame.map(|frame| (frame.code, frame.reason.to_owned())))
                }
                Err(error) => {
                    outcome.verdict = Verdict::Failed(error);
                    break;
                }
            };
            outcome.events.push(event);
        }
    }
    outcome
}

/// A socket that has received so much, in pieces, and swallows what is sent.
struct Received<'b> {
    pieces: std::vec::IntoIter<&'b [u8]>,
    current: &'b [u8],
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

/// A failure is the close code that would answer it.
fn read_with_tungstenite(bytes: &[u8], sizes: &[usize]) -> Outcome<u16> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(LIMITS.message_bytes))
        .max_frame_size(Some(LIMITS.frame_bytes as usize));
    let pieces = pieces(bytes, sizes).into_iter();
    let socket = Received {
        pieces,
        current: &[],
    };
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

/// What tungstenite makes of a close code that it does not allow.
fn tungstenites_close() -> Event {
    Event::Close(Some((1002, "Protocol violation".to_owned())))
}

fn as_tungstenite_sees(event: Event) -> Event {
    match event {
        Event::Close(Some((1014, _))) => tungstenites_close(),
        event => event,
    }
}

/// Reads with both and compares. `is_single` says that no frame commits two offences.
fn compare(
    bytes: &[u8],
    sizes: (&[usize], &[usize]),
    is_single: bool,
) -> Result<Outcome<ProtocolError>, TestCaseError> {
    let ours = read_with_ours(bytes, sizes.0);
    let mut theirs = read_with_tungstenite(bytes, sizes.1);
    if matches!(ours.verdict, Verdict::Failed(_)) && theirs.verdict == Verdict::Open {
        let rest = [0; LIMITS.frame_bytes as usize + CLIENT_HEADER_BYTES_MAX];
        theirs = read_with_tungstenite(&[bytes, &rest].concat(), sizes.1);
    }
    let mut events: Vec<_> = ours
        .events
        .iter()
        .cloned()
        .map(as_tungstenite_sees)
        .collect();
    match ours.verdict {
        Verdict::Failed(ProtocolError::LengthNotMinimal | ProtocolError::ControlTooLong) => {
            theirs.events.truncate(events.len());
        }
        Verdict::Failed(ProtocolError::InvalidCloseCode) => {
            if theirs.verdict == Verdict::Closed {
                events.push(tungstenites_close());
            } else {
                prop_assert_eq!(
                    theirs.verdict,
                    Verdict::Failed(1007),
                    "reason and code are bad"
                );
            }
        }
        Verdict::Failed(error) => {
            let Verdict::Failed(code) = theirs.verdict else {
                return Err(TestCaseError::fail(format!(
                    "{error:?}, there {:?}",
                    theirs.verdict
                )));
            };
            let is_named_alike = error != ProtocolError::LengthTooLarge && is_single;
            prop_assert!(
                !is_named_alike || code == error.close_code(),
                "{:?}: {}",
                error,
                code
            );
        }
        Verdict::Open => prop_assert_eq!(theirs.verdict, Verdict::Open),
        Verdict::Closed => prop_assert_eq!(theirs.verdict, Verdict::Closed),
    }
    prop_assert_eq!(&events, &theirs.events);
    Ok(ours)
}

/// A frame as a client sends it, or as one that is broken does.
#[derive(Clone, Debug)]
struct Sent {
    first: u8,
    is_masked: bool,
    key: [u8; 4],
    /// Bytes of the extended length: 0, 2 or 8; `None` for the shortest form.
    length_form: Option<usize>,
    /// What the header says where that is not the payload's length.
    claimed_len: Option<u64>,
    payload: Vec<u8>,
}

impl Sent {
    fn new(first: u8, payload: &[u8], key: [u8; 4]) -> Sent {
        let payload = payload.to_vec();
        Sent {
            first,
            is_masked: true,
            key,
            length_form: None,
            claimed_len: None,
            payload,
        }
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        let len = self.claimed_len.unwrap_or(self.payload.len() as u64);
        let shortest = match len {
            0..=125 => 0,
            126..=0xFFFF => 2,
            _ => 8,
        };
        let mask_bit = if self.is_masked { 0x80 } else { 0 };
        // A longer form than needed can be asked for, a shorter one would be another length.
        let (mark, extended) = match self.length_form.unwrap_or(shortest).max(shortest) {
            0 => (len as u8, &[][..]),
            2 => (126, &len.to_be_bytes()[6..]),
            _ => (127, &len.to_be_bytes()[..]),
        };
        out.extend_from_slice(&[self.first, mask_bit | mark]);
        out.extend_from_slice(extended);
        let key = if self.is_masked { self.key } else { [0; 4] };
        if self.is_masked {
            out.extend_from_slice(&key);
        }
        out.extend(
            self.payload
                .iter()
                .enumerate()
                .map(|(i, byte)| byte ^ key[i % 4]),
        );
    }
}

fn encode(frames: &[Sent]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        frame.append_to(&mut bytes);
    }
    bytes
}

/// One message with its fragments and the control frames between them, as frames and as events.
type Exchange = (Vec<Sent>, Vec<Event>);

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-zé€\u{1F600}]{0,60}".prop_map(String::into_bytes),
        "[a-z]{100,400}".prop_map(String::into_bytes),
        any::<String>().prop_map(String::into_bytes),
    ]
}

fn control() -> impl Strategy<Value = (Sent, Event)> {
    (any::<bool>(), vec(any::<u8>(), 0..=125), any::<[u8; 4]>()).prop_map(
        |(is_ping, payload, key)| {
            let sent = Sent::new(if is_ping { 0x89 } else { 0x8A }, &payload, key);
            (
                sent,
                if is_ping {
                    Event::Ping(payload)
                } else {
                    Event::Pong(payload)
                },
            )
        },
    )
}

fn exchange() -> impl Strategy<Value = Exchange> {
    let message = prop_oneof![
        text().prop_map(|text| (0x1, text)),
        vec(any::<u8>(), 0..700).prop_map(|payload| (0x2, payload)),
    ];
    let cuts = vec((any::<Index>(), proptest::option::of(control())), 0..4);
    (message, cuts, any::<[u8; 4]>()).prop_map(|((opcode, payload), cuts, key)| {
        let mut cuts: Vec<_> = cuts
            .into_iter()
            .map(|(at, control)| (at.index(payload.len() + 1), control))
            .collect();
        cuts.sort_by_key(|(at, _)| *at);
        let (mut frames, mut events) = (Vec::new(), Vec::new());
        let (mut done, mut first) = (0, opcode);
        for (at, control) in cuts {
            frames.push(Sent::new(first, &payload[done..at], key));
            (done, first) = (at, 0x0);
            if let Some((sent, event)) = control {
                frames.push(sent);
                events.push(event);
            }
        }
        frames.push(Sent::new(0x80 | first, &payload[done..], key));
        let kind = if opcode == 0x1 {
            Event::Text
        } else {
            Event::Binary
        };
        events.push(kind(payload));
        (frames, events)
    })
}

fn close() -> impl Strategy<Value = (Sent, Event)> {
    let code = prop_oneof![1000..=1003u16, 1007..=1014u16, 3000..=4999u16];
    let frame = proptest::option::of((code, "[a-zé]{0,60}"));
    (frame, any::<[u8; 4]>()).prop_map(|(frame, key)| {
        let payload = frame.as_ref().map_or(Vec::new(), |(code, reason)| {
            [&code.to_be_bytes()[..], reason.as_bytes()].concat()
        });
        (Sent::new(0x88, &payload, key), Event::Close(frame))
    })
}

fn conversation() -> impl Strategy<Value = Exchange> {
    (vec(exchange(), 0..5), proptest::option::of(close())).prop_map(|(exchanges, close)| {
        let (mut frames, mut events) = (Vec::new(), Vec::new());
        for (more_frames, more_events) in exchanges {
            frames.extend(more_frames);
            events.extend(more_events);
        }
        if let Some((sent, event)) = close {
            frames.push(sent);
            events.push(event);
        }
        (frames, events)
    })
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![vec(1..20usize, 1..8), vec(1..900usize, 0..8)]
}

/// One offence in an otherwise good frame.
#[derive(Clone, Debug)]
enum Offence {
    ReservedBit(u8),
    ReservedOpcode(u8),
    OtherOpcode(u8),
    ToggledFin,
    Unmasked,
    LongerForm(usize),
    ClaimedLen(u64),
    BadByte(Index, u8),
    BadClose(Vec<u8>),
}

fn offence() -> impl Strategy<Value = Offence> {
    prop_oneof![
        (4..7u8).prop_map(|bit| Offence::ReservedBit(1 << bit)),
        prop_oneof![3..=7u8, 11..=15u8].prop_map(Offence::ReservedOpcode),
        prop_oneof![0..=2u8, 9..=10u8].prop_map(Offence::OtherOpcode),
        Just(Offence::ToggledFin),
        Just(Offence::Unmasked),
        prop_oneof![Just(2), Just(8)].prop_map(Offence::LongerForm),
        prop_oneof![1201..=u64::MAX, 1201..3000u64, Just(1 << 63)].prop_map(Offence::ClaimedLen),
        (any::<Index>(), 0x80..=0xFFu8).prop_map(|(at, byte)| Offence::BadByte(at, byte)),
        vec(any::<u8>(), 1..6).prop_map(Offence::BadClose),
    ]
}

fn commit(frame: &mut Sent, offence: Offence) {
    match offence {
        Offence::ReservedBit(bit) => frame.first |= bit,
        Offence::ReservedOpcode(opcode) | Offence::OtherOpcode(opcode) => {
            frame.first = frame.first & 0xF0 | opcode;
        }
        Offence::ToggledFin => frame.first ^= 0x80,
        Offence::Unmasked => frame.is_masked = false,
        Offence::LongerForm(form) => frame.length_form = Some(form),
        Offence::ClaimedLen(len) => frame.claimed_len = Some(len),
        Offence::BadByte(at, byte) => {
            if !frame.payload.is_empty() {
                let at = at.index(frame.payload.len());
                frame.payload[at] = byte;
            }
        }
        Offence::BadClose(payload) => *frame = Sent::new(0x88, &payload, frame.key),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn good_conversations_are_read_alike(
        (frames, events) in conversation(),
        ours in sizes(),
        theirs in sizes(),
    ) {
        let outcome = compare(&encode(&frames), (&ours, &theirs), true)?;
        let is_closed = matches!(events.last(), Some(Event::Close(_)));
        prop_assert_eq!(outcome.events, events);
        prop_assert_eq!(outcome.verdict, if is_closed { Verdict::Closed } else { Verdict::Open });
    }

    #[test]
    fn one_offence_gets_one_verdict(
        (mut frames, _) in conversation(),
        at in any::<Index>(),
        offence in offence(),
        ours in sizes(),
        theirs in sizes(),
    ) {
        // A frame that is too big may also be a control frame.
        let is_single = !matches!(offence, Offence::ClaimedLen(_));
        if !frames.is_empty() {
            let at = at.index(frames.len());
            commit(&mut frames[at], offence);
        }
        compare(&encode(&frames), (&ours, &theirs), is_single)?;
    }

    #[test]
    fn noise_on_the_line_gets_one_verdict(
        (frames, _) in conversation(),
        edits in vec((any::<Index>(), 0..4u8, any::<u8>()), 1..5),
        ours in sizes(),
        theirs in sizes(),
    ) {
        let mut bytes = encode(&frames);
        for (at, edit, byte) in edits {
            let at = at.index(bytes.len() + 1);
            match edit {
                0 => bytes.insert(at, byte),
                1 => bytes.truncate(at),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                _ if at < bytes.len() => bytes[at] = byte,
                _ => {}
            }
        }
        compare(&bytes, (&ours, &theirs), false)?;
    }

    #[test]
    fn frames_in_no_sensible_order_get_one_verdict(
        frames in vec((0..11u8, any::<bool>(), vec(any::<u8>(), 0..130), any::<[u8; 4]>()), 0..8),
        ours in sizes(),
        theirs in sizes(),
    ) {
        let frames: Vec<_> = frames
            .into_iter()
            .map(|(opcode, fin, payload, key)| {
                Sent::new(opcode | if fin { 0x80 } else { 0 }, &payload, key)
            })
            .collect();
        compare(&encode(&frames), (&ours, &theirs), false)?;
    }
}
