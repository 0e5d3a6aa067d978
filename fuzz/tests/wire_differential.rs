//! The decoder against tungstenite's own reader: the same bytes, cut differently, must give the
//! same items and the same verdict.
//!
//! The two differ only in the intended [`DIFFERENCES`]: both read each row, so a difference that
//! has disappeared on either side is noticed.

use ProtocolError::{
    ControlTooLong, InvalidCloseCode, InvalidUtf8, LengthNotMinimal, LengthTooLarge, ReservedBits,
    ReservedOpcode,
};
use Verdict::{Closed, Failed, Open};
use corecast::wire::decoder::{DecoderLimits, ProtocolError};
use corecast::wire::frame::{MessageKind, Opcode, append_frame};
use fuzz::readers::{
    Event, LIMITS, Received, Verdict, compare, read_with_ours, read_with_tungstenite,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tungstenite::Message;
use tungstenite::protocol::{Role, WebSocket};

/// A stream of bytes that the two read differently, and the reason.
struct Difference {
    what: &'static str,
    why: &'static str,
    bytes: &'static [u8],
    ours: Verdict<ProtocolError>,
    theirs: Verdict<u16>,
}

const BYTE_BY_BYTE: &str = "an offence is found at the byte that commits it, there when the frame \
    is whole; given the rest of the frame, it has to fail too";
const TWO_OFFENCES: &str = "what comes first is named, there what is looked at first";
const SHORTEST: &str = "RFC 6455 §5.2 asks for the shortest form; there any is read";

/// Every key is zero, so that payloads can be read.
const DIFFERENCES: [Difference; 9] = [
    Difference {
        what: "a reserved opcode, and nothing more yet",
        why: BYTE_BY_BYTE,
        bytes: b"\x83",
        ours: Failed(ReservedOpcode),
        theirs: Open,
    },
    Difference {
        what: "text that cannot become UTF-8, cut short",
        why: BYTE_BY_BYTE,
        bytes: b"\x81\x85\0\0\0\0\xFF",
        ours: Failed(InvalidUtf8),
        theirs: Open,
    },
    Difference {
        what: "a reserved bit in a frame that is too big",
        why: TWO_OFFENCES,
        bytes: b"\xC2\xFE\x0F\xFF\0\0\0\0",
        ours: Failed(ReservedBits),
        theirs: Failed(1009),
    },
    Difference {
        what: "a close whose code is forbidden and whose reason is no text",
        why: TWO_OFFENCES,
        bytes: b"\x88\x83\0\0\0\0\x03\xED\xFF",
        ours: Failed(InvalidCloseCode),
        theirs: Failed(1007),
    },
    Difference {
        what: "a length of one in two bytes",
        why: SHORTEST,
        bytes: b"\x82\xFE\0\x01\0\0\0\0a",
        ours: Failed(LengthNotMinimal),
        theirs: Open,
    },
    Difference {
        what: "a ping with a length of one in two bytes",
        why: SHORTEST,
        bytes: b"\x89\xFE\0\x01\0\0\0\0a",
        ours: Failed(ControlTooLong),
        theirs: Open,
    },
    Difference {
        what: "a length of 2^63",
        why: "RFC 6455 §5.2: the highest bit must be 0, so it is no length; there it is too big",
        bytes: b"\x82\xFF\x80\0\0\0\0\0\0\0\0\0\0\0",
        ours: Failed(LengthTooLarge),
        theirs: Failed(1009),
    },
    Difference {
        what: "a close with 1005",
        why: "RFC 6455 §7.4.1: it must not be sent; there it is a close with a code of the reader",
        bytes: b"\x88\x82\0\0\0\0\x03\xED",
        ours: Failed(InvalidCloseCode),
        theirs: Closed,
    },
    Difference {
        what: "a close with 1014",
        why: "the IANA registry has it; there it counts as forbidden",
        bytes: b"\x88\x82\0\0\0\0\x03\xF6",
        ours: Closed,
        theirs: Closed,
    },
];

#[test]
fn documented_differences_still_exist() {
    for Difference {
        what,
        why,
        bytes,
        ours,
        theirs,
    } in DIFFERENCES
    {
        let (we, they) = (
            read_with_ours(bytes, &[], &LIMITS),
            read_with_tungstenite(bytes, &[]),
        );
        assert_eq!((we.verdict, they.verdict), (ours, theirs), "{what}: {why}");
        let code = match we.verdict {
            Failed(error) => Failed(error.close_code()),
            Open => Open,
            Closed => Closed,
        };
        assert!(
            (code, we.events) != (they.verdict, they.events),
            "{what}: no difference"
        );
        // The comparison accepts it too.
        compare(bytes, (&[], &[]), false);
    }
}

/// A frame as sent by a correct or a broken client.
#[derive(Clone, Debug)]
struct Sent {
    first: u8,
    is_masked: bool,
    key: [u8; 4],
    /// Bytes of the extended length: 0, 2 or 8; `None` for the shortest form.
    length_form: Option<usize>,
    /// The header's length if it is not the payload's.
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
        // A longer form than needed can be requested; a shorter one would be another length.
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

/// One offence in an otherwise valid frame.
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
        let outcome = compare(&encode(&frames), (&ours, &theirs), true);
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
        compare(&encode(&frames), (&ours, &theirs), is_single);
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
        compare(&bytes, (&ours, &theirs), false);
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
        compare(&encode(&frames), (&ours, &theirs), false);
    }
}

/// Lengths around the changes of form, and any others.
fn frame_len() -> impl Strategy<Value = usize> {
    prop_oneof![
        0..=300usize,
        123..=128usize,
        65_533..=65_538usize,
        300..70_000usize,
    ]
}

/// Bytes that are also text, and different enough to identify positions.
fn payload(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|at| (at * 7 + at / 128 + usize::from(seed)) as u8 & 0x7F)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn our_frames_are_read_back_in_any_pieces(
        messages in vec((any::<bool>(), frame_len(), any::<u8>()), 1..5),
        sizes in sizes(),
    ) {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for (is_text, len, seed) in messages {
            let payload = payload(len, seed);
            let kind = if is_text { MessageKind::Text } else { MessageKind::Binary };
            append_frame(&mut bytes, kind.into(), &payload);
            append_frame(&mut bytes, Opcode::Ping, &payload[..len.min(125)]);
            expected.push(match String::from_utf8(payload.clone()) {
                Ok(text) if is_text => Message::text(text),
                _ => Message::binary(payload.clone()),
            });
            expected.push(Message::Ping(payload[..len.min(125)].to_vec().into()));
        }
        let socket = Received::new(&bytes, &sizes);
        let mut socket = WebSocket::from_raw_socket(socket, Role::Client, None);
        for message in expected {
            prop_assert_eq!(socket.read().expect("a frame of ours"), message);
        }
        prop_assert!(socket.read().is_err(), "nothing is left");
    }

    #[test]
    fn a_message_of_any_size_survives_its_fragments_and_pieces(
        (len, seed, is_text, key) in (frame_len(), any::<u8>(), any::<bool>(), any::<[u8; 4]>()),
        mut cuts in vec(any::<Index>(), 0..6),
        controls in vec(proptest::option::of(control()), 6),
        sizes in sizes(),
    ) {
        let payload = payload(len, seed);
        cuts.sort_by_key(|at| at.index(len + 1));
        let (mut frames, mut expected) = (Vec::new(), Vec::new());
        let (mut done, mut first) = (0, if is_text { 0x1 } else { 0x2 });
        for (at, control) in cuts.iter().zip(controls) {
            let at = at.index(len + 1);
            frames.push(Sent::new(first, &payload[done..at], key));
            (done, first) = (at, 0x0);
            if let Some((sent, event)) = control {
                frames.push(sent);
                expected.push(event);
            }
        }
        frames.push(Sent::new(0x80 | first, &payload[done..], key));
        let kind = if is_text { Event::Text } else { Event::Binary };
        expected.push(kind(payload));
        let limits = DecoderLimits { message_bytes: len, frame_bytes: len as u64,
            allows_compressed: false };
        let bytes = encode(&frames);
        let outcome = read_with_ours(&bytes, &sizes, &limits);
        prop_assert_eq!((outcome.events, outcome.verdict), (expected, Open));
        if len > 0 {
            let limits = DecoderLimits { message_bytes: len - 1, ..limits };
            let refused = read_with_ours(&bytes, &sizes, &limits).verdict;
            prop_assert_eq!(refused, Failed(ProtocolError::MessageTooBig));
        }
    }
}
